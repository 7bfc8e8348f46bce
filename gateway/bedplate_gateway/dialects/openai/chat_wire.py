"""The body of `POST /v1/chat/completions` as OpenAI defines it.

Source: the types and docstrings of the official SDK, openai-python 2.54 (`openai.types.chat`), compared
November 2026. Bounds that they do not state (four stop texts, 128 tools) are OpenAI's published ones. Fields
that vLLM adds and that the canonical model has (`top_k`, `reasoning` in messages, `video_url`, `audio_url`)
are spelt as vLLM does.

Names are the wire's. The top level takes unknown fields (`FieldRules` sorts them); below it nothing unknown
is accepted, so a misspelt field is an error and not silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_gateway.dialects.decoding import FieldRules, Refused, Tags
from bedplate_gateway.dialects.limits import (
    MAX_CHOICES,
    MAX_LOGIT_BIASES,
    MAX_SEED,
    MAX_STOP_TEXTS,
    MAX_TOKENS,
    MAX_TOOLS,
    MAX_TOP_LOGPROBS,
    MIN_SEED,
)

# `(?!\n)`: Python's `$` alone also matches before a last line feed.
FunctionName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$(?!\n)")]
ParticipantName: TypeAlias = Annotated[str, Meta(pattern=r"^[^\s<|\\/>]{1,64}$(?!\n)")]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
Temperature: TypeAlias = Annotated[float, Meta(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
TopK: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Seed: TypeAlias = Annotated[int, Meta(ge=MIN_SEED, le=MAX_SEED)]
TokenLimit: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
ChoiceCount: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
StopText: TypeAlias = Annotated[str, Meta(min_length=1)]
Stop: TypeAlias = StopText | Annotated[list[StopText], Meta(max_length=MAX_STOP_TEXTS)]
LogitBias: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[0-9]{1,10}$(?!\n)")], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=MAX_LOGIT_BIASES),
]


class Nested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of everything below the top level."""


class PromptCacheBreakpoint(Nested, frozen=True):
    """The exact end of a prefix that may be cached."""

    mode: Literal["explicit"]


class Block(Nested, frozen=True, tag_field="type", kw_only=True):
    """The base of content parts."""

    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class TextPart(Block, frozen=True, tag="text"):
    """Text."""

    text: str


class RefusalPart(Block, frozen=True, tag="refusal"):
    """The assistant's refusal."""

    refusal: str


class ImageUrl(Nested, frozen=True):
    """An address, or the picture itself as a `data:` URL."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Block, frozen=True, tag="image_url"):
    """A picture."""

    image_url: ImageUrl


class InputAudio(Nested, frozen=True):
    """Sound in base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Block, frozen=True, tag="input_audio"):
    """Sound."""

    input_audio: InputAudio


class FileData(Nested, frozen=True):
    """A file: `file_data` is a `data:` URL. `file_id` is refused."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Block, frozen=True, tag="file"):
    """A file to read."""

    file: FileData


class MediaAddress(Nested, frozen=True):
    """vLLM's shape of an address."""

    url: str


class VideoUrlPart(Block, frozen=True, tag="video_url"):
    """Moving pictures; vLLM's part."""

    video_url: MediaAddress


class AudioUrlPart(Block, frozen=True, tag="audio_url"):
    """Sound by address; vLLM's part."""

    audio_url: MediaAddress


UserPart: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | VideoUrlPart | AudioUrlPart
AssistantPart: TypeAlias = TextPart | RefusalPart


class FunctionCall(Nested, frozen=True):
    """What the model asked for; `arguments` is its own text."""

    name: str
    arguments: str
    parsed_arguments: Any = None


class FunctionToolCall(Nested, frozen=True, tag_field="type", tag="function"):
    """A call of a function. `index` is left by clients that assemble streams themselves."""

    id: str
    function: FunctionCall
    index: int | None = None


class CustomToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """A call of a custom tool. Refused."""


class SystemMessage(Nested, frozen=True, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextPart]
    name: ParticipantName | None = None


class DeveloperMessage(Nested, frozen=True, tag_field="role", tag="developer"):
    """Instructions; the newer name."""

    content: str | list[TextPart]
    name: ParticipantName | None = None


class UserMessage(Nested, frozen=True, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[UserPart]
    name: ParticipantName | None = None


class AssistantMessage(Nested, frozen=True, tag_field="role", tag="assistant"):
    """What the model said, as `message.model_dump()` of an SDK gives it back."""

    content: str | list[AssistantPart] | None = None
    name: ParticipantName | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    audio: Any = None
    function_call: Any = None
    annotations: Any = None
    parsed: Any = None


class ToolMessage(Nested, frozen=True, tag_field="role", tag="tool"):
    """A tool's answer. OpenAI takes text only; vLLM takes pictures as well."""

    content: str | list[UserPart]
    tool_call_id: str
    name: ParticipantName | None = None


class FunctionMessage(msgspec.Struct, frozen=True, tag_field="role", tag="function"):
    """A function's answer in the API of 2023. Refused."""


ChatMessage: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)


class FunctionDefinition(Nested, frozen=True):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Nested, frozen=True, tag_field="type", tag="function"):
    """A function as a tool."""

    function: FunctionDefinition


class CustomTool(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """A tool whose input is free text. Refused."""


class NamedFunction(Nested, frozen=True):
    """A function by name."""

    name: str


class NamedToolChoice(Nested, frozen=True, tag_field="type", tag="function"):
    """The model must call this function."""

    function: NamedFunction


class FunctionReference(Nested, frozen=True, tag_field="type", tag="function"):
    """One of the allowed tools."""

    function: NamedFunction


class AllowedTools(Nested, frozen=True):
    """The tools that may be used in this turn, out of those that are listed."""

    mode: Literal["auto", "required"]
    tools: list[FunctionReference]


class AllowedToolsChoice(Nested, frozen=True, tag_field="type", tag="allowed_tools"):
    """The model may only use some of the tools."""

    allowed_tools: AllowedTools


class CustomToolChoice(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    """The model must call this custom tool. Refused."""


class TextFormat(Nested, frozen=True, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Nested, frozen=True, tag_field="type", tag="json_object"):
    """Some JSON object."""


class JsonSchema(Nested, frozen=True):
    """A named JSON schema."""

    name: FunctionName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Nested, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that a schema allows."""

    json_schema: JsonSchema


class StreamOptions(Nested, frozen=True):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatCompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped to the canonical request."""

    model: ModelName
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    max_completion_tokens: TokenLimit | None = None
    max_tokens: TokenLimit | None = None
    n: ChoiceCount | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: Penalty | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    tool_choice: (
        Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolsChoice | CustomToolChoice | None
    ) = None
    tools: Annotated[list[FunctionTool | CustomTool], Meta(max_length=MAX_TOOLS)] | None = None
    top_k: TopK | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    top_p: TopP | None = None


IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "metadata": "labels completions that OpenAI stores for its dashboard; nothing here reads them",
        "prompt_cache_key": "which replica serves a call is the gateway's choice, not the client's",
        "prompt_cache_options": "prefix caching is automatic on the fleet and has no time to live to set",
        "prompt_cache_retention": "prefix caching is automatic on the fleet and has no retention to set",
        "safety_identifier": "who calls is known from the credential, not from the body",
        "service_tier": "there are no tiers; every call is served in the order it came",
        "user": "who calls is known from the credential, not from the body",
    }
)
"""Top-level fields that are accepted and change nothing."""

IGNORED_NESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stream_options.include_obfuscation": "answers are not padded against traffic analysis",
        "messages[].annotations": "citations of a web search that this wire only lists beside the text",
        "messages[].parsed": "the SDK's own reading of `content`",
        "messages[].tool_calls[].index": "the call's place in a stream, which its place in the list repeats",
        "messages[].tool_calls[].function.parsed_arguments": "the SDK's own reading of `arguments`",
    }
)
"""Fields below the top level that are accepted and change nothing."""

REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "audio": Refused("Models answer in text here."),
        "function_call": Refused("Send `tool_choice` instead."),
        "functions": Refused("Send `tools` instead.", ([],)),
        "modalities": Refused('Models answer in text here: leave it out or send ["text"].', (["text"],)),
        "moderation": Refused("Guardrails are set by the project's policy."),
        "store": Refused("Chat completions are not stored; a session keeps a conversation.", (False,)),
        "web_search_options": Refused("The gateway does not search the web."),
    }
)
"""Top-level fields that ask for what is not served, with the values that ask for nothing."""

_TAGS: Final[Tags] = (
    (re.compile(r"^messages\[\d+\]\.role$"), "system, developer, user, assistant, tool"),
    (re.compile(r"^messages\[\d+\]\.content\[\d+\]\.type$"), "text, image_url, input_audio, file"),
    (re.compile(r"^messages\[\d+\]\.tool_calls\[\d+\]\.type$"), "function"),
    (re.compile(r"^tools\[\d+\]\.type$"), "function"),
    (re.compile(r"^tool_choice$"), "none, auto, required or a named function"),
    (re.compile(r"^tool_choice\.type$"), "function, allowed_tools"),
    (re.compile(r"^response_format\.type$"), "text, json_object, json_schema"),
)

CHAT_FIELDS: Final = FieldRules(
    mapped=frozenset(ChatCompletionRequest.__struct_fields__), ignored=IGNORED, refused=REFUSED, tags=_TAGS
)
"""`verbosity`, and whatever else is not named here, becomes an extension."""
