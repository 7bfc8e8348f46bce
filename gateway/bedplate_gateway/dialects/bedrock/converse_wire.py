"""The bodies of Converse and ConverseStream as Bedrock defines them.

Source: botocore 1.44.8's model of `bedrock-runtime` (2023-09-30) with its lengths, ranges and patterns, which boto3
itself does not check, compared November 2026. Bounds that it does not state (128 tools) are this gateway's.

Names are the wire's. A union of the wire is an object with exactly one member; here it is a `Union` whose members are
all optional, and `chosen` checks that one is set. Below the top level nothing unknown is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_gateway.dialects.decoding import FieldRules, Refused
from bedplate_gateway.dialects.limits import MAX_LOGIT_BIASES, MAX_SEED, MAX_TOKENS, MAX_TOOLS, MIN_SEED

# `(?!\n)`: Python's `$` alone also matches before a last line feed.
ToolName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$(?!\n)")]
ToolUseId: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.:-]{1,64}$(?!\n)")]
Blob: TypeAlias = Annotated[bytes, Meta(min_length=1)]
Words: TypeAlias = Annotated[str, Meta(min_length=1)]
S3Uri: TypeAlias = Annotated[
    str, Meta(max_length=1024, pattern=r"^s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/.*)?$(?!\n)")
]
MetadataKey: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}$(?!\n)")]
MetadataValue: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}$(?!\n)")]
ResponsePath: TypeAlias = Annotated[str, Meta(max_length=256, pattern=r"^(?:/(?:[^~/]|~[01])*)+$(?!\n)")]
"""A JSON pointer (RFC 6901)."""

Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
TokenLimit: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
LogitBias: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[0-9]{1,10}$(?!\n)")], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=MAX_LOGIT_BIASES),
]
ImageFormat: TypeAlias = Literal["png", "jpeg", "gif", "webp"]
VideoFormat: TypeAlias = Literal["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]
AudioFormat: TypeAlias = Literal[
    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"
]
DocumentFormat: TypeAlias = Literal["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]
Latency: TypeAlias = Literal["standard", "optimized"]
Tier: TypeAlias = Literal["priority", "default", "flex", "reserved"]


class Nested(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of everything below the top level."""


class Union(Nested, frozen=True):
    """The base of the wire's unions; null counts as absent."""


class S3Location(Nested, frozen=True):
    """An object in a bucket."""

    uri: S3Uri
    bucketOwner: Any = None  # noqa: N815 # the wire's name


class MediaSource(Union, frozen=True):
    """The source of an image, a video or a sound."""

    bytes: Blob | None = None
    s3Location: S3Location | None = None  # noqa: N815 # the wire's name


class ImageBlock(Nested, frozen=True):
    """A picture."""

    format: ImageFormat
    source: MediaSource
    error: Any = None


class VideoBlock(Nested, frozen=True):
    """Moving pictures."""

    format: VideoFormat
    source: MediaSource


class AudioBlock(Nested, frozen=True):
    """Sound."""

    format: AudioFormat
    source: MediaSource
    error: Any = None


class DocumentContentBlock(Union, frozen=True):
    """A piece of a document's text."""

    text: str | None = None


class DocumentSource(Union, frozen=True):
    """A document as a file, as text, or as text in pieces."""

    bytes: Blob | None = None
    s3Location: S3Location | None = None  # noqa: N815 # the wire's name
    text: str | None = None
    content: Annotated[list[DocumentContentBlock], Meta(min_length=1)] | None = None


class CitationsConfig(Nested, frozen=True):
    """Whether the model is to cite the document."""

    enabled: bool


class DocumentBlock(Nested, frozen=True):
    """A file to read."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    source: DocumentSource
    format: DocumentFormat | None = None
    context: str | None = None
    citations: CitationsConfig | None = None


class CachePointBlock(Nested, frozen=True):
    """Everything before this may be cached."""

    type: Literal["default"]
    ttl: Literal["5m", "1h"] | None = None


class GuardImageSource(Union, frozen=True):
    """The source of a picture that is marked for a guardrail."""

    bytes: Blob | None = None


class GuardImageBlock(Nested, frozen=True):
    """A picture that is marked for a guardrail."""

    format: Literal["png", "jpeg"]
    source: GuardImageSource


class GuardTextBlock(Nested, frozen=True):
    """Text that is marked for a guardrail."""

    text: str
    qualifiers: list[Literal["grounding_source", "query", "guard_content"]] | None = None


class GuardContentBlock(Union, frozen=True):
    """Content that is marked for a guardrail."""

    text: GuardTextBlock | None = None
    image: GuardImageBlock | None = None


class ReasoningTextBlock(Nested, frozen=True):
    """What the model thought."""

    text: str
    signature: str | None = None


class ReasoningContentBlock(Union, frozen=True):
    """Reasoning, readable or encrypted."""

    reasoningText: ReasoningTextBlock | None = None  # noqa: N815 # the wire's name
    redactedContent: bytes | None = None  # noqa: N815 # the wire's name


class ToolUseBlock(Nested, frozen=True):
    """A call that the model asked for. `input` is any JSON."""

    toolUseId: ToolUseId  # noqa: N815 # the wire's name
    name: ToolName
    input: Any
    type: Any = None


class ToolResultContentBlock(Union, frozen=True):
    """A piece of a tool's answer. `json` is any JSON."""

    json: Any = None
    text: str | None = None
    image: ImageBlock | None = None
    document: DocumentBlock | None = None
    video: VideoBlock | None = None
    searchResult: Any = None  # noqa: N815 # the wire's name


class ToolResultBlock(Nested, frozen=True):
    """What a tool answered."""

    toolUseId: ToolUseId  # noqa: N815 # the wire's name
    content: list[ToolResultContentBlock]
    status: Literal["success", "error"] | None = None
    type: Any = None


class ContentBlock(Union, frozen=True):
    """A piece of a message."""

    text: str | None = None
    image: ImageBlock | None = None
    document: DocumentBlock | None = None
    video: VideoBlock | None = None
    audio: AudioBlock | None = None
    toolUse: ToolUseBlock | None = None  # noqa: N815 # the wire's name
    toolResult: ToolResultBlock | None = None  # noqa: N815 # the wire's name
    guardContent: GuardContentBlock | None = None  # noqa: N815 # the wire's name
    cachePoint: CachePointBlock | None = None  # noqa: N815 # the wire's name
    reasoningContent: ReasoningContentBlock | None = None  # noqa: N815 # the wire's name
    citationsContent: Any = None  # noqa: N815 # the wire's name
    searchResult: Any = None  # noqa: N815 # the wire's name
    toolAddition: Any = None  # noqa: N815 # the wire's name
    toolRemoval: Any = None  # noqa: N815 # the wire's name


class Message(Nested, frozen=True):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[list[ContentBlock], Meta(min_length=1)]


class SystemContentBlock(Union, frozen=True):
    """A piece of the instructions."""

    text: Words | None = None
    guardContent: GuardContentBlock | None = None  # noqa: N815 # the wire's name
    cachePoint: CachePointBlock | None = None  # noqa: N815 # the wire's name


class InferenceConfiguration(Nested, frozen=True):
    """How tokens are chosen."""

    maxTokens: TokenLimit | None = None  # noqa: N815 # the wire's name
    temperature: Fraction | None = None
    topP: Fraction | None = None  # noqa: N815 # the wire's name
    stopSequences: Annotated[list[Words], Meta(max_length=2500)] | None = None  # noqa: N815 # the wire's name


class ToolInputSchema(Union, frozen=True):
    """A JSON schema."""

    json: dict[str, Any] | None = None


class ToolSpecification(Nested, frozen=True):
    """A tool that the model may call."""

    name: ToolName
    inputSchema: ToolInputSchema  # noqa: N815 # the wire's name
    description: Words | None = None
    strict: bool | None = None


class Tool(Union, frozen=True):
    """A tool, or a mark between tools."""

    toolSpec: ToolSpecification | None = None  # noqa: N815 # the wire's name
    systemTool: Any = None  # noqa: N815 # the wire's name
    cachePoint: CachePointBlock | None = None  # noqa: N815 # the wire's name


class AutoToolChoice(Nested, frozen=True):
    """The model decides."""


class AnyToolChoice(Nested, frozen=True):
    """The model must call some tool."""


class SpecificToolChoice(Nested, frozen=True):
    """The model must call this tool."""

    name: ToolName


class ToolChoice(Union, frozen=True):
    """Whether the model calls a tool."""

    auto: AutoToolChoice | None = None
    any: AnyToolChoice | None = None
    tool: SpecificToolChoice | None = None


class ToolConfiguration(Nested, frozen=True):
    """The tools of a request."""

    tools: Annotated[list[Tool], Meta(min_length=1, max_length=MAX_TOOLS)]
    toolChoice: ToolChoice | None = None  # noqa: N815 # the wire's name


class JsonSchemaDefinition(Nested, frozen=True):
    """A JSON schema, itself as JSON text."""

    schema: str
    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    description: str | None = None


class OutputFormatStructure(Union, frozen=True):
    """What the answer's text must be."""

    jsonSchema: JsonSchemaDefinition | None = None  # noqa: N815 # the wire's name


class OutputFormat(Nested, frozen=True):
    """The form of the answer's text."""

    type: Literal["json_schema"]
    structure: OutputFormatStructure


class OutputConfig(Nested, frozen=True):
    """The form of the answer, and how hard the model tries."""

    textFormat: OutputFormat | None = None  # noqa: N815 # the wire's name
    effort: Literal["", "low", "medium", "high", "xhigh", "max"] | None = None


class PerformanceConfiguration(Nested, frozen=True):
    """The latency that was asked for; answers repeat it."""

    latency: Latency | None = None


class ServiceTier(Nested, frozen=True):
    """The tier that was asked for; answers repeat it."""

    type: Tier


def _null() -> msgspec.Raw:
    return msgspec.Raw(b"null")


class GuardrailConfiguration(Nested, frozen=True):
    """The guardrail that a request chooses. `streamProcessingMode` is ConverseStream's only."""

    guardrailIdentifier: Annotated[str, Meta(max_length=2048)] = ""  # noqa: N815 # the wire's name
    guardrailVersion: str = ""  # noqa: N815 # the wire's name
    trace: Literal["enabled", "disabled", "enabled_full"] = "disabled"
    streamProcessingMode: Literal["sync", "async"] | None = None  # noqa: N815 # the wire's name


class ConverseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are read. The model is in the path."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    system: list[SystemContentBlock] | None = None
    inferenceConfig: InferenceConfiguration | None = None  # noqa: N815 # the wire's name
    toolConfig: ToolConfiguration | None = None  # noqa: N815 # the wire's name
    additionalModelRequestFields: msgspec.Raw = msgspec.field(  # noqa: N815 # the wire's name
        default_factory=_null  # a factory: JSON schemas cannot show a default of this type
    )
    additionalModelResponseFieldPaths: (  # noqa: N815 # the wire's name
        Annotated[list[ResponsePath], Meta(max_length=10)] | None
    ) = None
    requestMetadata: (  # noqa: N815 # the wire's name
        Annotated[dict[MetadataKey, MetadataValue], Meta(min_length=1, max_length=16)] | None
    ) = None
    performanceConfig: PerformanceConfiguration | None = None  # noqa: N815 # the wire's name
    serviceTier: ServiceTier | None = None  # noqa: N815 # the wire's name
    outputConfig: OutputConfig | None = None  # noqa: N815 # the wire's name
    guardrailConfig: GuardrailConfiguration | None = None  # noqa: N815 # the wire's name


class Thinking(Nested, frozen=True):
    """Anthropic's `thinking`, as Bedrock's users send it for Claude."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None


class AdditionalFields(msgspec.Struct, frozen=True, kw_only=True):
    """The members of `additionalModelRequestFields` that the canonical request has, spelt as vLLM and Anthropic do."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_k: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=MIN_SEED, le=MAX_SEED)] | None = None
    logit_bias: LogitBias | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    thinking: Thinking | None = None
    reasoning_config: Thinking | None = None


VALIDATED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "additionalModelResponseFieldPaths": "answers have no fields beside Converse's own; AWS, too, leaves out what "
        "a pointer does not find",
        "requestMetadata": "labels entries in AWS's invocation logs; the gateway's records have no place for it",
    }
)
"""Top-level fields that are checked, accepted and change nothing."""

REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "projectIdentifier": Refused("The project is the credential's.", ("default",)),
        "promptVariables": Refused("Stored prompts cannot be run here; send messages.", ({},)),
    }
)
"""Top-level fields that ask for what is not served, with the values that ask for nothing."""

REFUSED_NESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AudioBlock.error": "is an answer's field",
        "ContentBlock.citationsContent": "answers have no citations here, so there are none to send back",
        "ContentBlock.searchResult": "search results are not supported; send a document or text",
        "ContentBlock.toolAddition": "tools are those of toolConfig for the whole conversation",
        "ContentBlock.toolRemoval": "tools are those of toolConfig for the whole conversation",
        "ImageBlock.error": "is an answer's field",
        "S3Location.bucketOwner": "nobody here could check it before the object is read",
        "Tool.systemTool": "no tool runs inside the gateway",
        "ToolResultBlock.type": "no tool runs inside the gateway",
        "ToolResultContentBlock.searchResult": "search results are not supported; send text or json",
        "ToolUseBlock.type": "no tool runs inside the gateway",
    }
)
"""Members below the top level that are refused when they are set, by `<struct>.<member>`."""

IGNORED_NESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Tool.cachePoint": "checked and counted; the canonical request has no place between tools, and a cache point "
        "in system or messages covers the tools, which come before",
    }
)
"""Members below the top level that are accepted and change nothing."""

CONVERSE_FIELDS: Final = FieldRules(
    mapped=frozenset(ConverseRequest.__struct_fields__) - VALIDATED.keys(), ignored=VALIDATED, refused=REFUSED
)
"""What is not named here is an error: fields of the model's own go into `additionalModelRequestFields`."""

_ELSEWHERE: Final = Refused("Send Converse's own field for it.")
_NOWHERE: Final = Refused("Converse's answers have no place for it.")

_ADDITIONAL_REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "echo": _NOWHERE,
        "inferenceConfig": _ELSEWHERE,
        "logprobs": _NOWHERE,
        "max_completion_tokens": _ELSEWHERE,
        "max_tokens": _ELSEWHERE,
        "messages": _ELSEWHERE,
        "model": _ELSEWHERE,
        "n": _NOWHERE,
        "prompt": _ELSEWHERE,
        "response_format": _ELSEWHERE,
        "stop": _ELSEWHERE,
        "stop_sequences": _ELSEWHERE,
        "stream": _ELSEWHERE,
        "stream_options": _ELSEWHERE,
        "suffix": _NOWHERE,
        "system": _ELSEWHERE,
        "tool_choice": _ELSEWHERE,
        "tools": _ELSEWHERE,
        "top_logprobs": _NOWHERE,
        "top_p": _ELSEWHERE,
    }
)

ADDITIONAL_FIELDS: Final = FieldRules(
    mapped=frozenset(AdditionalFields.__struct_fields__),
    ignored=MappingProxyType({}),
    refused=_ADDITIONAL_REFUSED,
)
"""Whatever else `additionalModelRequestFields` holds is an extension: the provider forwards or refuses it by name."""


def chosen(union: Union, at: str) -> str:
    """The name of the one member of `union` that is set.

    Raises `InvalidRequest` naming `at` for none or several, `UnsupportedFeature` for one that is refused.
    """
    fields = union.__struct_fields__
    given = [name for name in fields if getattr(union, name) is not None]
    if len(given) != 1:
        got = f", got {', '.join(given)}" if given else ""
        raise InvalidRequest(f"{at}: expected exactly one of {', '.join(fields)}{got}", param=at)
    refuse(union, at, given[0])
    return given[0]


def refuse(struct: Nested, at: str, *names: str) -> None:
    """Raise `UnsupportedFeature` for the first of these members that is set and in `REFUSED_NESTED`."""
    for name in names:
        reason = REFUSED_NESTED.get(f"{type(struct).__name__}.{name}")
        if reason is not None and getattr(struct, name) is not None:
            param = f"{at}.{name}"
            raise UnsupportedFeature(f"{param}: is not supported: {reason}", param=param)
