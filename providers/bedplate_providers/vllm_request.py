"""How vLLM wants a request spelt: the body for `/v1/chat/completions` or `/v1/completions`.

Everything in a `Request` is sent, refused by name, or dropped for a reason that stands here:

- `CachePoint`: vLLM caches prefixes by itself.
- `RedactedReasoning`, and `Reasoning` without a signature of this provider's own origin: reasoning goes back
only to
  whoever made it.
- `Image.detail`: vLLM ignores it ("currently not supported and will be ignored").
- `ToolResult.is_error`: the chat templates have no place for it; the result's text says it.
- `Message.name` is sent; templates use it or not.
"""

from __future__ import annotations

import base64
from typing import assert_never

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
    Dispatch,
    EmbedRequest,
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
from bedplate_providers.extensions import forwarded_extensions

REASONING_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/flac": "flac",
}
_STREAM_OPTIONS: JSONObject = {"include_usage": True, "continuous_usage_stats": True}


def render_request(request: Request, dispatch: Dispatch, origin: str) -> tuple[str, JSONObject]:
    """The path and the JSON body for `request`.

    Always streamed, with the usage in every chunk. `origin` is whose reasoning signatures are ours. The
    cache salt is the one of `dispatch`. Raises `UnsupportedFeature` or `InvalidRequest` naming the field.
    """
    body: JSONObject = {"model": request.model, "stream": True, "stream_options": _STREAM_OPTIONS}
    body.update(forwarded_extensions(request))
    _add_sampling(body, request)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if dispatch.cache_salt is not None:
        body["cache_salt"] = dispatch.cache_salt
    if request.prompts:
        _add_completion(body, request)
        return "/v1/completions", body
    _add_chat(body, request, origin)
    return "/v1/chat/completions", body


def render_embedding(request: EmbedRequest, dispatch: Dispatch) -> JSONObject:
    """The body for `/v1/embeddings`. Raises `UnsupportedFeature` for a mix of texts and tokens or an
    extension.
    """
    body: JSONObject = {"model": request.model, "encoding_format": "base64"}
    for name, value in request.extensions.items():
        if name not in ("truncate_prompt_tokens", "truncation_side", "add_special_tokens"):
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
        if value is not None:
            body[name] = value
    if not request.inputs:
        raise InvalidRequest("input must hold at least one text", param="input")
    body["input"] = _prompts(request.inputs, "input")
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if dispatch.cache_salt is not None:
        body["cache_salt"] = dispatch.cache_salt
    return body


def _add_sampling(body: JSONObject, request: Request) -> None:
    sampling = request.sampling
    for name, value in (
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("top_k", sampling.top_k),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("seed", sampling.seed),
    ):
        if value is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = dict(sampling.logit_bias)
    if request.choices != 1:
        body["n"] = request.choices


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


def _add_completion(body: JSONObject, request: Request) -> None:
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
    prompts = _prompts(request.prompts, "prompt")
    body["prompt"] = prompts[0] if len(prompts) == 1 else prompts
    if request.sampling.max_tokens is not None:
        body["max_tokens"] = request.sampling.max_tokens
    if request.top_logprobs is not None:
        body["logprobs"] = request.top_logprobs
    if request.echo:
        body["echo"] = True
    if request.suffix is not None:
        body["suffix"] = request.suffix


def _prompts(prompts: tuple[RawPrompt, ...], param: str) -> list[JSON]:
    """Texts, or lists of token ids; vLLM takes no mixture."""
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    tokens: list[JSON] = [list(prompt.token_ids) for prompt in prompts if isinstance(prompt, TokenPrompt)]
    if texts and tokens:
        raise UnsupportedFeature(f"{param} must be all texts or all token ids", param=param)
    return [*texts, *tokens]


def _add_chat(body: JSONObject, request: Request, origin: str) -> None:
    if not request.messages:
        raise InvalidRequest("messages must hold at least one message", param="messages")
    if request.echo or request.suffix is not None:
        name = "echo" if request.echo else "suffix"
        raise UnsupportedFeature(f"{name} is not supported for chats", param=name)
    messages: list[JSON] = []
    for number, message in enumerate(request.messages):
        messages.extend(_messages(message, f"messages[{number}]", origin))
    body["messages"] = messages
    if request.sampling.max_tokens is not None:
        body["max_completion_tokens"] = request.sampling.max_tokens
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    _add_tools(body, request)
    _add_reasoning(body, request)


def _add_tools(body: JSONObject, request: Request) -> None:
    """The tools and the choice among them.

    With `none` the tools are left out: a model that does not see them cannot call them, whatever the
    server's flags. With `required` or a named tool, `strict` is set unless the client set it: otherwise vLLM
    0.32 constrains the name of the function and lets the arguments be any JSON
    (`vllm/tool_parsers/structural_tag_registry.py`).
    """
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, ToolMode.AUTO, ToolMode.NONE):
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return
    if choice is ToolMode.NONE:
        return
    forced = isinstance(choice, NamedTool) or choice is ToolMode.REQUIRED
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


def _add_reasoning(body: JSONObject, request: Request) -> None:
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
        body["thinking_token_budget"] = control.budget_tokens


def _messages(message: Message, where: str, origin: str) -> list[JSON]:
    """One message of ours as vLLM's: a tool message per tool result, then the rest, if any."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
    sent: list[JSON] = [
        {"role": "tool", "tool_call_id": result.call_id, "content": _content(result.parts, where)} for result in results
    ]
    if message.role is Role.TOOL:
        if not results or rest:
            raise InvalidRequest(f"{where}: a tool message holds tool results only", param=where)
        return sent
    if message.role is Role.ASSISTANT:
        return [*sent, _assistant(message, rest, where, origin)]
    if rest or not results:
        entry: JSONObject = {"role": message.role.value, "content": _content(rest, where)}
        if message.name is not None:
            entry["name"] = message.name
        sent.append(entry)
    return sent


def _assistant(message: Message, parts: tuple[Part, ...], where: str, origin: str) -> JSONObject:
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
                if part.signature is not None and part.signature.origin == origin:
                    thoughts.append(part.text)
            case RedactedReasoning():
                pass
            case _:
                said.append(part)
    content = _content(tuple(said), where)
    if content or not calls:
        entry["content"] = content
    if calls:
        entry["tool_calls"] = calls
    if thoughts:
        entry["reasoning"] = "".join(thoughts)
    if message.name is not None:
        entry["name"] = message.name
    return entry


def _content(parts: tuple[Part, ...], where: str) -> JSON:
    """A plain string for one or no text, else a list of typed parts."""
    sent: list[JSON] = []
    texts: list[str] = []
    for part in parts:
        plain = part.content if isinstance(part, GuardContent) else part
        match plain:
            case Text() | Refusal():
                texts.append(plain.text)
                sent.append({"type": "text", "text": plain.text})
            case Image():
                sent.append({"type": "image_url", "image_url": {"url": _data_url(plain.media, where)}})
            case Video():
                sent.append({"type": "video_url", "video_url": {"url": _data_url(plain.media, where)}})
            case Audio():
                sent.append({"type": "input_audio", "input_audio": _audio(plain.media, where)})
            case Document():
                raise UnsupportedFeature(f"{where}: documents are not supported by this model's upstream", param=where)
            case CachePoint() | RedactedReasoning() | Reasoning():
                pass
            case ToolCall() | ToolResult():
                raise InvalidRequest(f"{where}: a {type(plain).__name__} cannot stand here", param=where)
            case _:
                assert_never(plain)
    if len(texts) == len(sent) <= 1:
        return "".join(texts)
    return sent


def _data_url(media: Media, where: str) -> str:
    """`media` as a `data:` URL. Addresses are refused: vLLM would fetch them itself, from inside our
    network.
    """
    if isinstance(media, MediaBytes):
        return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
    if media.url.startswith("data:"):
        return media.url
    raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)


def _audio(media: Media, where: str) -> JSONObject:
    if not isinstance(media, MediaBytes):
        raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)
    kind = _AUDIO_FORMATS.get(media.media_type)
    if kind is None:
        raise UnsupportedFeature(
            f"{where}: {media.media_type} audio is not supported; wav, mp3 and flac are", param=where
        )
    return {"data": base64.b64encode(media.data).decode(), "format": kind}


__all__ = ["REASONING_EFFORTS", "render_embedding", "render_request"]
