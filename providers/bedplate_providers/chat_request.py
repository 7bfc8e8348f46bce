"""How OpenAI-compatible servers want a request spelt: what vLLM and every other share.

Everything in a `Request` is sent, refused by name, or dropped for a reason that stands here:

- `CachePoint`: these servers cache prefixes by themselves.
- `RedactedReasoning`, and `Reasoning` without a signature of this provider's own origin: reasoning goes back only
  to whoever made it.
- `Image.detail`: vLLM ignores it ("currently not supported and will be ignored"); OpenAI gets it.
- `ToolResult.is_error`: the wire has no place for it; the result's text says it.
- `Message.name` is sent; servers use it or not.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import (
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    RawPrompt,
    Request,
    ResponseFormat,
    TokenPrompt,
    Tool,
    ToolMode,
)

REASONING_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


class ChatSpelling(msgspec.Struct, frozen=True, kw_only=True):
    """Where servers differ.

    `system_role` is the role of system messages, `max_tokens` the field of the chat route that bounds the output.
    `origin` is whose reasoning goes back, `None` where none does. `budget` is the field for a budget of reasoning
    tokens. `audio` maps MIME types to the server's words. `strict_when_forced` says to constrain the arguments of a
    forced tool that does not say. `media_in_results` is whether a tool's result may hold more than text.
    """

    system_role: str = "system"
    max_tokens: str = "max_completion_tokens"
    origin: str | None = None
    budget: str | None = None
    audio: Mapping[str, str] = MappingProxyType({})
    video: bool = False
    documents: bool = False
    image_detail: bool = False
    media_in_results: bool = False
    strict_when_forced: bool = False


def add_sampling(body: JSONObject, request: Request) -> None:
    """Put the sampling, the number of choices and the response format into `body`."""
    sampling = request.sampling
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.presence_penalty is not None:
        body["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty is not None:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = dict(sampling.logit_bias)
    if request.choices != 1:
        body["n"] = request.choices
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)


def _response_format(wanted: ResponseFormat) -> JSONObject:
    match wanted:
        case JsonObjectFormat():
            return {"type": "json_object"}
        case JsonSchemaFormat():
            schema: JSONObject = {"name": wanted.name, "schema": wanted.schema}
            if wanted.description is not None:
                schema["description"] = wanted.description
            if wanted.strict is not None:
                schema["strict"] = wanted.strict
            return {"type": "json_schema", "json_schema": schema}
        case _:
            assert_never(wanted)


def add_completion(body: JSONObject, request: Request) -> None:
    """Put the raw prompts of `request` into the `body` for `/completions`."""
    if request.messages:
        raise InvalidRequest("a request has messages or prompts, not both")
    for name, given in (
        ("tools", bool(request.tools)),
        ("tool_choice", request.tool_choice is not None),
        ("parallel_tool_calls", request.parallel_tool_calls is not None),
        ("reasoning", request.reasoning is not None),
    ):
        if given:
            raise UnsupportedFeature(f"{name} is not supported for text completions", param=name)
    prompts = raw_prompts(request.prompts, "prompt")
    body["prompt"] = prompts[0] if len(prompts) == 1 else prompts
    if request.sampling.max_tokens is not None:
        body["max_tokens"] = request.sampling.max_tokens
    if request.top_logprobs is not None:
        body["logprobs"] = request.top_logprobs
    if request.echo:
        body["echo"] = True
    if request.suffix is not None:
        body["suffix"] = request.suffix


def raw_prompts(prompts: tuple[RawPrompt, ...], param: str) -> list[JSON]:
    """Texts, or lists of token ids. Raises `UnsupportedFeature` for a mixture, which no server takes."""
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    tokens: list[JSON] = [list(prompt.token_ids) for prompt in prompts if isinstance(prompt, TokenPrompt)]
    if texts and tokens:
        raise UnsupportedFeature(f"{param} must be all texts or all token ids", param=param)
    return [*texts, *tokens]


def add_chat(body: JSONObject, request: Request, spelling: ChatSpelling) -> None:
    """Put the messages, tools and reasoning of `request` into the `body` for `/chat/completions`.

    Raises `UnsupportedFeature` or `InvalidRequest` naming the field.
    """
    if not request.messages:
        raise InvalidRequest("messages must hold at least one message", param="messages")
    if request.echo or request.suffix is not None:
        name = "echo" if request.echo else "suffix"
        raise UnsupportedFeature(f"{name} is not supported for chats", param=name)
    messages: list[JSON] = []
    for number, message in enumerate(request.messages):
        plain = _plain(message, spelling)
        if plain is None:
            messages.extend(_messages(message, f"messages[{number}]", spelling))
        else:
            messages.append(plain)
    body["messages"] = messages
    if request.sampling.max_tokens is not None:
        body[spelling.max_tokens] = request.sampling.max_tokens
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    _add_tools(body, request, spelling)
    _add_reasoning(body, request, spelling)


def _add_tools(body: JSONObject, request: Request, spelling: ChatSpelling) -> None:
    """The tools and the choice among them.

    With `none` the tools are left out: a model that does not see them cannot call them, whatever the
    server's flags. With `required` or a named tool and `strict_when_forced`, `strict` is set unless the client
    set it.
    """
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, ToolMode.AUTO, ToolMode.NONE):
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return
    if choice is ToolMode.NONE:
        return
    forced = spelling.strict_when_forced and (isinstance(choice, NamedTool) or choice is ToolMode.REQUIRED)
    body["tools"] = [_tool(tool, forced=forced) for tool in request.tools]
    if isinstance(choice, NamedTool):
        if all(tool.name != choice.name for tool in request.tools):
            raise InvalidRequest("tool_choice names a tool that tools does not have", param="tool_choice")
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        body["tool_choice"] = (choice or ToolMode.AUTO).value
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(tool: Tool, *, forced: bool) -> JSONObject:
    strict = True if forced and tool.strict is None else tool.strict
    function: JSONObject = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if strict is not None:
        function["strict"] = strict
    return {"type": "function", "function": function}


def _add_reasoning(body: JSONObject, request: Request, spelling: ChatSpelling) -> None:
    control = request.reasoning
    if control is None:
        return
    effort = control.effort
    if control.enabled is False:
        effort = "none"
    if effort is not None:
        if effort not in REASONING_EFFORTS:
            words = ", ".join(sorted(REASONING_EFFORTS))
            raise InvalidRequest(f"reasoning_effort must be one of {words}", param="reasoning_effort")
        body["reasoning_effort"] = effort
    elif control.enabled:
        body["reasoning_effort"] = "medium"
    if control.budget_tokens is not None and control.enabled is not False:
        if spelling.budget is None:
            raise UnsupportedFeature(
                "a budget of reasoning tokens is not supported by this model's upstream; an effort is",
                param="thinking.budget_tokens",
            )
        body[spelling.budget] = control.budget_tokens


def _plain(message: Message, spelling: ChatSpelling) -> JSONObject | None:
    """A message of one text and no name, which most are; `None` for any other."""
    parts, role = message.parts, message.role
    if len(parts) != 1 or type(only := parts[0]) is not Text or message.name is not None or role is Role.TOOL:
        return None
    if role is Role.USER:
        return {"role": "user", "content": only.text}
    return {"role": "assistant" if role is Role.ASSISTANT else spelling.system_role, "content": only.text}


def _messages(message: Message, where: str, spelling: ChatSpelling) -> list[JSON]:
    """One message of ours as the wire's: a tool message per tool result, then the rest, if any."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    rest = tuple(part for part in message.parts if not isinstance(part, ToolResult | CachePoint))
    sent: list[JSON] = [
        {"role": "tool", "tool_call_id": result.call_id, "content": _result(result, where, spelling)}
        for result in results
    ]
    if message.role is Role.TOOL:
        if not results or rest:
            raise InvalidRequest(f"{where}: a tool message holds tool results only", param=where)
        return sent
    if message.role is Role.ASSISTANT:
        return [*sent, _assistant(message, rest, where, spelling)]
    if rest or not results:
        role = spelling.system_role if message.role is Role.SYSTEM else message.role.value
        entry: JSONObject = {"role": role, "content": _content(rest, where, spelling)}
        if message.name is not None:
            entry["name"] = message.name
        sent.append(entry)
    return sent


def _result(result: ToolResult, where: str, spelling: ChatSpelling) -> JSON:
    if not spelling.media_in_results and not all(isinstance(part, Text) for part in result.parts):
        raise UnsupportedFeature(f"{where}: a tool's result holds text only for this model's upstream", param=where)
    return _content(result.parts, where, spelling)


def _assistant(message: Message, parts: tuple[Part, ...], where: str, spelling: ChatSpelling) -> JSONObject:
    entry: JSONObject = {"role": "assistant"}
    said: list[Part] = []
    calls: list[JSON] = []
    thoughts: list[str] = []
    for part in parts:
        match part:
            case ToolCall():
                function: JSONObject = {"name": part.name, "arguments": part.arguments or "{}"}
                calls.append({"id": part.id, "type": "function", "function": function})
            case Reasoning():
                if part.signature is not None and part.signature.origin == spelling.origin:
                    thoughts.append(part.text)
            case RedactedReasoning():
                pass
            case _:
                said.append(part)
    content = _content(tuple(said), where, spelling)
    if content or not calls:
        entry["content"] = content
    if calls:
        entry["tool_calls"] = calls
    if thoughts:
        entry["reasoning"] = "".join(thoughts)
    if message.name is not None:
        entry["name"] = message.name
    return entry


def _content(parts: tuple[Part, ...], where: str, spelling: ChatSpelling) -> JSON:
    """A plain string for one or no text, else a list of typed parts."""
    sent: list[JSON] = []
    texts: list[str] = []
    for part in parts:
        plain = part.content if isinstance(part, GuardContent) else part
        match plain:
            case Text() | Refusal():
                texts.append(plain.text)
                sent.append({"type": "text", "text": plain.text})
            case Image() | Audio() | Video() | Document():
                sent.append(_media_part(plain, where, spelling))
            case CachePoint() | RedactedReasoning() | Reasoning():
                pass
            case ToolCall() | ToolResult():
                raise InvalidRequest(f"{where}: a {type(plain).__name__} cannot stand here", param=where)
            case _:
                assert_never(plain)
    if len(texts) == len(sent) <= 1:
        return "".join(texts)
    return sent


def _media_part(part: Image | Audio | Video | Document, where: str, spelling: ChatSpelling) -> JSONObject:
    match part:
        case Image():
            image: JSONObject = {"url": _data_url(part.media, where)}
            if part.detail is not None and spelling.image_detail:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case Video() if spelling.video:
            return {"type": "video_url", "video_url": {"url": _data_url(part.media, where)}}
        case Video():
            raise UnsupportedFeature(f"{where}: video is not supported by this model's upstream", param=where)
        case Audio():
            return {"type": "input_audio", "input_audio": _audio(part.media, where, spelling.audio)}
        case Document() if spelling.documents and not (part.citations or part.context):
            file: JSONObject = {"filename": part.name or "document", "file_data": _data_url(part.media, where)}
            return {"type": "file", "file": file}
        case Document():
            what = "documents are" if not spelling.documents else "a document's context or citations are"
            raise UnsupportedFeature(f"{where}: {what} not supported by this model's upstream", param=where)
        case _:
            assert_never(part)


def _data_url(media: Media, where: str) -> str:
    """`media` as a `data:` URL. Addresses are refused: the server would fetch them itself, perhaps from
    inside our network, past the guard that checks addresses.
    """
    if isinstance(media, MediaBytes):
        return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
    raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)


def _audio(media: Media, where: str, formats: Mapping[str, str]) -> JSONObject:
    if not isinstance(media, MediaBytes):
        raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)
    kind = formats.get(media.media_type)
    if kind is None:
        known = ", ".join(sorted(set(formats.values()))) or "no audio"
        raise UnsupportedFeature(
            f"{where}: {media.media_type} audio is not supported by this model's upstream, which takes {known}",
            param=where,
        )
    return {"data": base64.b64encode(media.data).decode(), "format": kind}


__all__ = ["REASONING_EFFORTS", "ChatSpelling", "add_chat", "add_completion", "add_sampling", "raw_prompts"]
