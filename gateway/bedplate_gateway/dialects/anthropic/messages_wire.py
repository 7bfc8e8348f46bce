"""The bodies of `POST /v1/messages` and `POST /v1/messages/count_tokens` as Anthropic defines them.

Source: the types and docstrings of the official SDK, anthropic-python 2.13 (`anthropic.types`), compared
November 2026; bounds that they do not state (temperature up to 1, tool names of 1 to 128 characters) are those of
Anthropic's API reference. `output_format` is where the SDKs put the schema before `output_config` had it.

Names are the wire's. The top level takes unknown fields (`FieldRules` sorts them); below it nothing unknown is
accepted, so a misspelt field is an error and not silence. Values of `type` that are Anthropic's but not served are in
`REFUSED_TYPES`, so that they are refused by name and not as a misspelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_gateway.dialects.decoding import FieldRules, Refused, Tags
from bedplate_gateway.dialects.limits import MAX_TOKENS, MAX_TOOLS

MAX_STOP_SEQUENCES: Final = 64
MIN_THINKING_TOKENS: Final = 1024

# `(?!\n)`: Python's `$` alone also matches before a last line feed.
ToolName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,128}$(?!\n)")]
UnitInterval: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
TopK: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
TokenLimit: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
StopSequence: TypeAlias = Annotated[str, Meta(min_length=1)]


class Nested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of everything below the top level."""


class CacheControl(Nested, frozen=True):
    """What comes before this may be cached, for `ttl`."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(Nested, frozen=True, tag_field="type", kw_only=True):
    """The base of content blocks that may end a cached prefix."""

    cache_control: CacheControl | None = None


class TextBlock(Block, frozen=True, tag="text"):
    """Text. `citations` come back with a text that cited something; only their absence is served."""

    text: str
    citations: list[Any] | None = None


class Base64ImageSource(Nested, frozen=True, tag_field="type", tag="base64"):
    """A picture in base64."""

    data: str
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class UrlSource(Nested, frozen=True, tag_field="type", tag="url"):
    """A picture or PDF by address."""

    url: str


class ImageTransformations(Nested, frozen=True):
    """What happens to a picture before the model sees it. Pictures are passed on as they are."""

    oversized_image: Literal["downsize", "error"] | None = None


class ImageBlock(Block, frozen=True, tag="image"):
    """A picture."""

    source: Base64ImageSource | UrlSource
    transformations: ImageTransformations | None = None


class Base64PdfSource(Nested, frozen=True, tag_field="type", tag="base64"):
    """A PDF in base64."""

    data: str
    media_type: Literal["application/pdf"]


class PlainTextSource(Nested, frozen=True, tag_field="type", tag="text"):
    """A file of plain text."""

    data: str
    media_type: Literal["text/plain"]


class Citations(Nested, frozen=True):
    """Whether the answer shall cite the document. Answers cite nothing here."""

    enabled: bool = False


class DocumentBlock(Block, frozen=True, tag="document"):
    """A file to read."""

    source: Base64PdfSource | PlainTextSource | UrlSource
    citations: Citations | None = None
    context: str | None = None
    title: str | None = None


class ThinkingBlock(Nested, frozen=True, tag_field="type", tag="thinking"):
    """What the model thought in an earlier turn, as it was answered."""

    signature: str
    thinking: str


class RedactedThinkingBlock(Nested, frozen=True, tag_field="type", tag="redacted_thinking"):
    """What the model thought, readable by its provider only."""

    data: str


class DirectCaller(Nested, frozen=True, tag_field="type", tag="direct"):
    """The model itself made the call."""


class ToolUseBlock(Block, frozen=True, tag="tool_use"):
    """A call that the model asked for."""

    id: str
    input: dict[str, Any]
    name: str
    caller: DirectCaller | None = None
    toolset_name: None = None


ResultBlock: TypeAlias = TextBlock | ImageBlock | DocumentBlock


class ToolResultBlock(Block, frozen=True, tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None
    toolset_name: None = None


ContentBlock: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)


class UserMessage(Nested, frozen=True, tag_field="role", tag="user"):
    """What the user says, and what tools answered."""

    content: str | list[ContentBlock]


class AssistantMessage(Nested, frozen=True, tag_field="role", tag="assistant"):
    """What the model said."""

    content: str | list[ContentBlock]


class SystemMessage(Nested, frozen=True, tag_field="role", tag="system"):
    """Instructions within the conversation."""

    content: str | list[TextBlock]


AnyMessage: TypeAlias = UserMessage | AssistantMessage | SystemMessage


class CustomTool(Nested, frozen=True, kw_only=True):
    """A tool that the client runs; `input_schema` is a JSON schema."""

    name: ToolName
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[Any] | None = None


class AutoChoice(Nested, frozen=True, tag_field="type", tag="auto"):
    """The model calls tools as it likes."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(Nested, frozen=True, tag_field="type", tag="any"):
    """The model must call a tool."""

    disable_parallel_tool_use: bool | None = None


class ToolChoice(Nested, frozen=True, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class NoneChoice(Nested, frozen=True, tag_field="type", tag="none"):
    """The model must not call a tool."""


class ThinkingEnabled(Nested, frozen=True, tag_field="type", tag="enabled"):
    """Think, up to a budget."""

    budget_tokens: Annotated[int, Meta(ge=MIN_THINKING_TOKENS, le=MAX_TOKENS)]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingDisabled(Nested, frozen=True, tag_field="type", tag="disabled"):
    """Do not think."""


class ThinkingAdaptive(Nested, frozen=True, tag_field="type", tag="adaptive"):
    """Think, as much as the model finds right."""

    display: Literal["summarized", "omitted"] | None = None


class JsonOutputFormat(Nested, frozen=True, tag_field="type", tag="json_schema"):
    """The answer is JSON that the schema allows."""

    schema: dict[str, Any]


class OutputConfig(Nested, frozen=True):
    """How hard to work, and the shape of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonOutputFormat | None = None


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that a message and a token count share."""

    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    cache_control: CacheControl | None = None
    output_config: OutputConfig | None = None
    output_format: JsonOutputFormat | None = None
    system: str | list[TextBlock] | None = None
    thinking: ThinkingEnabled | ThinkingDisabled | ThinkingAdaptive | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoneChoice | None = None
    tools: Annotated[list[CustomTool], Meta(max_length=MAX_TOOLS)] | None = None


class MessagesBody(Prompt, frozen=True, kw_only=True):
    """A message's fields without those that Amazon Bedrock puts into the path (`model`, `stream`)."""

    max_tokens: TokenLimit
    stop_sequences: Annotated[list[StopSequence], Meta(max_length=MAX_STOP_SEQUENCES)] | None = None
    temperature: UnitInterval | None = None
    top_k: TopK | None = None
    top_p: UnitInterval | None = None


class MessagesRequest(MessagesBody, frozen=True, kw_only=True):
    """The fields that are mapped to the canonical request."""

    model: ModelName
    stream: bool | None = None


class CountTokensRequest(Prompt, frozen=True, kw_only=True):
    """The fields of a token count."""

    model: ModelName


IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "metadata": "who calls is known from the credential, not from `metadata.user_id`",
        "service_tier": "there are no tiers; every call is served in the order it came",
    }
)
"""Top-level fields that are accepted and change nothing."""

IGNORED_NESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tools[].cache_control": "tools come before everything else, so that any later cache point covers them",
        "tools[].eager_input_streaming": "the pieces of a tool's input are always passed on as they come",
    }
)
"""Fields below the top level that are accepted and change nothing."""

IGNORED_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anthropic-version": "every version so far has this wire; a request without it is served as well",
        "anthropic-beta": "what a beta adds are fields of the body, and those that are not served are refused by name",
        "anthropic-user-profile-id": "who calls is known from the credential",
        "anthropic-workspace-id": "a credential belongs to one project",
    }
)
"""Request headers of the SDKs that change nothing (`anthropic-version` selects this wire on `/v1/models`)."""

REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "billing_policy": Refused("Nothing is billed here."),
        "compaction": Refused("Conversations are not shortened by the gateway."),
        "container": Refused("There is no code execution."),
        "context_management": Refused("Conversations are not edited by the gateway.", ({}, {"edits": []})),
        "diagnostics": Refused("How prompts were cached is not compared between requests."),
        "fallback_credit_token": Refused("Fallbacks are part of a model's declaration."),
        "fallbacks": Refused("Fallbacks are part of a model's declaration.", ([],)),
        "inference_geo": Refused("Where a model runs is part of its declaration.", ("global",)),
        "mcp_servers": Refused("The gateway does not connect to MCP servers.", ([],)),
        "speed": Refused("There is one speed.", ("standard",)),
        "thread": Refused("A session keeps a conversation: send the header `x-bedplate-session`."),
    }
)
"""Top-level fields that ask for what is not served, with the values that ask for nothing."""

_SERVER_TOOL: Final = "Tools that run on Anthropic's servers are not available."
_NO_FILES: Final = "Files are not stored here: send base64, text or a url."

_BLOCKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "advisor_tool_result": _SERVER_TOOL,
        "bash_code_execution_tool_result": _SERVER_TOOL,
        "browser_state": "Anthropic's browser tools are not available; send the result as text or an image.",
        "code_execution_tool_result": _SERVER_TOOL,
        "compaction": "Conversations are not shortened by the gateway.",
        "container_upload": _SERVER_TOOL,
        "fallback": "Fallbacks are part of a model's declaration.",
        "mcp_tool_listing": "The gateway does not connect to MCP servers.",
        "mcp_tool_result": "The gateway does not connect to MCP servers.",
        "mcp_tool_use": "The gateway does not connect to MCP servers.",
        "search_result": "Answers cite nothing here; send the result as text.",
        "server_tool_use": _SERVER_TOOL,
        "text_editor_code_execution_tool_result": _SERVER_TOOL,
        "tool_addition": "The tools of a request are those in `tools`.",
        "tool_reference": "There is no tool search; list the tools in `tools`.",
        "tool_removal": "The tools of a request are those in `tools`.",
        "tool_search_tool_result": _SERVER_TOOL,
        "web_fetch_tool_result": _SERVER_TOOL,
        "web_search_tool_result": _SERVER_TOOL,
    }
)

REFUSED_TYPES: Final[tuple[tuple[re.Pattern[str], Mapping[str, str]], ...]] = (
    (re.compile(r"^messages\[\d+\]\.content\[\d+\](\.content\[\d+\])?\.type$"), _BLOCKS),
    (
        re.compile(r"\.source\.type$"),
        MappingProxyType({"file": _NO_FILES, "content": "Send a document of blocks as blocks of the message."}),
    ),
    (
        re.compile(r"\.caller\.type$"),
        MappingProxyType(
            dict.fromkeys(
                ("code_execution_20250825", "code_execution_20260120", "code_execution_20260521"), _SERVER_TOOL
            )
        ),
    ),
    (
        re.compile(r"^thinking\.type$"),
        MappingProxyType({"between_tools": "Send disabled, adaptive or enabled."}),
    ),
)
"""Values of `type` that Anthropic has and the gateway does not serve, by the path at which they stand."""

_TAGS: Final[Tags] = (
    (re.compile(r"^messages\[\d+\]\.role$"), "user, assistant, system"),
    (
        re.compile(r"^messages\[\d+\]\.content\[\d+\]\.type$"),
        "text, image, document, thinking, redacted_thinking, tool_use, tool_result",
    ),
    (re.compile(r"^messages\[\d+\]\.content\[\d+\]\.content\[\d+\]\.type$"), "text, image, document"),
    (re.compile(r"\.source\.type$"), "base64, url, text"),
    (re.compile(r"^tool_choice\.type$"), "auto, any, tool, none"),
    (re.compile(r"^thinking\.type$"), "enabled, disabled, adaptive"),
    (re.compile(r"^output_(config\.)?format\.type$"), "json_schema"),
)


def _rules(body: type[Prompt]) -> FieldRules:
    return FieldRules(mapped=frozenset(body.__struct_fields__), ignored=IGNORED, refused=REFUSED, tags=_TAGS)


MESSAGES_FIELDS: Final = _rules(MessagesRequest)
BODY_FIELDS: Final = _rules(MessagesBody)
COUNT_TOKENS_FIELDS: Final = _rules(CountTokensRequest)
"""Whatever is not named becomes an extension."""
