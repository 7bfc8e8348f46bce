"""A request, checked: every text that reaches the model, and every field that would get around the output's rules."""

from __future__ import annotations

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import Message, Text
from bedplate_core.requests import (
    JsonSchemaFormat,
    NamedTool,
    Request,
    ResponseFormat,
    TokenPrompt,
    Tool,
)
from bedplate_guardrails.screen import Screen

_TOKEN_FIELDS = (
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "return_token_ids",
    "return_tokens_as_token_ids",
)


def refuse_token_output(request: Request) -> None:
    """Refuse what would put tokens beside the text: they carry text that an output rule has not released.

    Raises `UnsupportedFeature` naming the field.
    """
    fields = [field for field in _TOKEN_FIELDS if _asks(request.extensions.get(field))]
    if request.top_logprobs is not None:
        fields.insert(0, "top_logprobs")
    if fields:
        raise UnsupportedFeature(
            f"{fields[0]} cannot be used with a guardrail on the output: it carries text that was not released",
            param=fields[0],
        )


def _asks(value: JSON) -> bool:
    """Whether a field is given and not off. The number 0 asks for the log-probability of each token itself."""
    return value is not None and value is not False


def refuse_token_prompts(request: Request) -> None:
    """Refuse prompts given as token ids, which no rule on the input can read. Raises `UnsupportedFeature`."""
    if any(isinstance(prompt, TokenPrompt) for prompt in request.prompts):
        raise UnsupportedFeature(
            "prompt: token ids cannot be checked by a guardrail on the input; send the prompt as text", param="prompt"
        )


def screened_request(request: Request, screen: Screen) -> Request:
    """`request` with every text masked. When `screen.blocked` is set, it must not be sent.

    Read are the messages with everything in them, raw prompts and the suffix, the tools' names, descriptions and
    parameter schemas, the response format's schema, and the fields that a dialect passed on. Not read is what no
    model sees: stop texts, the model's name, ids, addresses of media.
    """
    if isinstance(request.tool_choice, NamedTool):
        screen.name(request.tool_choice.name)
    messages = _messages(request.messages, screen)
    if messages is request.messages and not (
        request.prompts or request.suffix or request.tools or request.response_format or request.extensions
    ):
        return request
    return msgspec.structs.replace(
        request,
        messages=messages,
        prompts=tuple(screen.text(prompt) if isinstance(prompt, str) else prompt for prompt in request.prompts),
        suffix=request.suffix if request.suffix is None else screen.text(request.suffix),
        tools=tuple(_tool(tool, screen) for tool in request.tools),
        response_format=_format(request.response_format, screen),
        extensions={name: screen.json_value(value) for name, value in request.extensions.items()},
    )


def _messages(messages: tuple[Message, ...], screen: Screen) -> tuple[Message, ...]:
    """The messages, masked; the same tuple when nothing was.

    Those that are one text and nothing else, which is most of them, are asked about together first.
    """
    texts = [_only_text(message) for message in messages]
    plain = [text for text in texts if text is not None]
    if not screen.quiet(plain):
        return tuple(screen.message(message) for message in messages)
    if len(plain) == len(messages):
        return messages
    return tuple(
        screen.message(message) if text is None else message for message, text in zip(messages, texts, strict=True)
    )


def _only_text(message: Message) -> str | None:
    """The text that a message consists of; None for one with anything else in it, a name included."""
    parts = message.parts
    if message.name is None and len(parts) == 1 and type(part := parts[0]) is Text:
        return part.text
    return None


def _tool(tool: Tool, screen: Screen) -> Tool:
    screen.name(tool.name)
    return msgspec.structs.replace(
        tool,
        description=tool.description if tool.description is None else screen.text(tool.description),
        parameters=tool.parameters if tool.parameters is None else screen.json_object(tool.parameters),
    )


def _format(response_format: ResponseFormat | None, screen: Screen) -> ResponseFormat | None:
    if not isinstance(response_format, JsonSchemaFormat):
        return response_format
    screen.name(response_format.name)
    return msgspec.structs.replace(
        response_format,
        schema=screen.json_object(response_format.schema),
        description=response_format.description and screen.text(response_format.description),
    )


__all__ = ["refuse_token_output", "refuse_token_prompts", "screened_request"]
