"""The body of `POST /v1/responses` as OpenAI defines it.

Source: the types and docstrings of the official SDK, openai-python 3.57 and 2.54 (`openai.types.responses`),
compared November 2026. `top_k` is vLLM's field.

Tools and input items are decoded one by one (`responses_items`, `responses_request`): an item's `type` may be left
out, and the many kinds that only OpenAI's own services can serve are refused by their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_gateway.dialects.decoding import FieldRules, Refused, Tags
from bedplate_gateway.dialects.limits import MAX_TOOLS, MAX_TOP_LOGPROBS
from bedplate_gateway.dialects.openai.chat_wire import (
    FunctionName,
    InputAudio,
    ModelName,
    Nested,
    Temperature,
    TokenLimit,
    TopK,
    TopP,
)

MAX_METADATA: Final = 16
MetadataKey: TypeAlias = Annotated[str, Meta(max_length=64)]
MetadataValue: TypeAlias = Annotated[str, Meta(max_length=512)]
Metadata: TypeAlias = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=MAX_METADATA)]
Label: TypeAlias = Annotated[str, Meta(max_length=512)]
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class PromptCacheBreakpoint(Nested, frozen=True):
    """The exact end of a prefix that may be cached."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class InputBlock(Nested, frozen=True, tag_field="type", kw_only=True):
    """The base of the parts of a message."""

    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class InputText(InputBlock, frozen=True, tag="input_text"):
    """Text."""

    text: str


class InputImage(InputBlock, frozen=True, tag="input_image"):
    """A picture: an address, or the picture itself as a `data:` URL. `file_id` is refused."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(InputBlock, frozen=True, tag="input_file"):
    """A file to read: a `data:` URL or an address. `file_id` is refused."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class InputSound(InputBlock, frozen=True, tag="input_audio"):
    """Sound."""

    input_audio: InputAudio


class OutputText(Nested, frozen=True, tag_field="type", tag="output_text"):
    """What the model said, as an answer's item gives it."""

    text: str
    annotations: Any = None
    logprobs: Any = None
    parsed: Any = None


class OutputRefusal(Nested, frozen=True, tag_field="type", tag="refusal"):
    """The model's refusal."""

    refusal: str


InputPart: TypeAlias = InputText | InputImage | InputFile | InputSound
SpokenPart: TypeAlias = OutputText | OutputRefusal | InputText


class UserMessageItem(Nested, frozen=True, kw_only=True):
    """What the user says."""

    role: Literal["user"]
    content: str | list[InputPart]
    type: Literal["message"] = "message"
    id: str | None = None
    status: ItemStatus | None = None
    phase: str | None = None


class SystemMessageItem(Nested, frozen=True, kw_only=True):
    """Instructions in the middle of the input."""

    role: Literal["system", "developer"]
    content: str | list[InputText]
    type: Literal["message"] = "message"
    id: str | None = None
    status: ItemStatus | None = None
    phase: str | None = None


class AssistantMessageItem(Nested, frozen=True, kw_only=True):
    """What the model said, as an item of an earlier answer or written by the client."""

    role: Literal["assistant"]
    content: str | list[SpokenPart]
    type: Literal["message"] = "message"
    id: str | None = None
    status: ItemStatus | None = None
    phase: str | None = None


class FunctionCallItem(Nested, frozen=True, kw_only=True):
    """A call that the model asked for; `arguments` is its own text."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: ItemStatus | None = None
    caller: Any = None
    namespace: str | None = None
    is_async: bool | None = msgspec.field(name="async", default=None)
    parsed_arguments: Any = None
    created_by: Any = None


class FunctionCallOutputItem(Nested, frozen=True, kw_only=True):
    """What a function answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText | InputImage | InputFile]
    id: str | None = None
    name: str | None = None
    status: ItemStatus | None = None
    caller: Any = None
    namespace: str | None = None
    created_by: Any = None


class SummaryText(Nested, frozen=True, tag_field="type", tag="summary_text"):
    """A summary of what the model thought."""

    text: str


class ReasoningText(Nested, frozen=True, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class ReasoningItem(Nested, frozen=True, kw_only=True):
    """What the model thought before it answered or called, as an item of an earlier answer gives it."""

    type: Literal["reasoning"]
    summary: list[SummaryText] = msgspec.field(default_factory=list[SummaryText])
    content: list[ReasoningText] | None = None
    id: str | None = None
    status: ItemStatus | None = None
    encrypted_content: str | None = None


class FunctionTool(Nested, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is a JSON schema."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: list[str] | None = None
    is_async: bool | None = msgspec.field(name="async", default=None)
    defer_loading: bool | None = None
    output_schema: dict[str, Any] | None = None


class NamedFunction(Nested, frozen=True, kw_only=True):
    """The model must call this function."""

    type: Literal["function"]
    name: str


class ResponseTextFormat(Nested, frozen=True, tag_field="type", tag="text"):
    """Plain text."""


class ResponseJsonObjectFormat(Nested, frozen=True, tag_field="type", tag="json_object"):
    """Some JSON object."""


class ResponseJsonSchemaFormat(Nested, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that a schema allows."""

    name: FunctionName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Nested, frozen=True):
    """What the text of the answer is to be like. `verbosity` is passed on to models that know it."""

    format: ResponseTextFormat | ResponseJsonObjectFormat | ResponseJsonSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Nested, frozen=True):
    """How much the model may think. Summaries and the rest are refused."""

    effort: Effort | None = None
    context: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    summary: str | None = None


class PromptCacheOptions(Nested, frozen=True):
    """Only what asks for no more than the prefix caching that happens anyway."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None
    comparison_response_id: str | None = None
    prewarm: bool | None = None


class ResponseStreamOptions(Nested, frozen=True):
    """Options of a streamed answer."""

    include_obfuscation: bool | None = None


class ConversationParam(Nested, frozen=True):
    """The conversation that the response is to be part of."""

    id: Label


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are served. `input` items and `tools` have the shapes of the `...Item` and `...Tool` structs."""

    model: ModelName
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    background: bool | None = None
    conversation: Label | ConversationParam | None = None
    include: list[str] | None = None
    instructions: str | None = None
    max_output_tokens: TokenLimit | None = None
    metadata: Metadata | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: Label | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    reasoning: ReasoningConfig | None = None
    safety_identifier: Label | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    temperature: Temperature | None = None
    text: TextConfig | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    top_k: TopK | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    top_p: TopP | None = None
    user: Label | None = None


ECHOED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "metadata": "the client's own labels: kept with the response and given back, read by nothing here",
        "safety_identifier": "who calls is known from the credential; kept with the response and given back",
        "user": "who calls is known from the credential; kept with the response and given back",
    }
)
"""Fields that reach no model and are shown in the response again."""

IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_tool_calls": "counts calls of built-in tools, of which there are none",
        "prompt_cache_key": "which replica serves a call is the gateway's choice, not the client's",
        "prompt_cache_retention": "prefix caching is automatic on the fleet and has no retention to set",
        "service_tier": "there are no tiers; every response says `default`, which is how it was served",
    }
)
"""Top-level fields that are accepted and change nothing."""

IGNORED_NESTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stream_options.include_obfuscation": "answers are not padded against traffic analysis",
        "prompt_cache_options.mode": "prefix caching is automatic on the fleet",
        "prompt_cache_options.ttl": "prefix caching is automatic on the fleet and has no time to live to set",
        "input[].id": "ids name items in answers; an item that is sent is read whole",
        "input[].status": "an item that is sent is all there is of it",
        "input[].phase": "marks of OpenAI's own models, which no other model was trained with",
        "input[].name": "of a function's output: its `call_id` names the call",
        "input[].created_by": "who made the item is known from the credential",
        "input[].parsed_arguments": "the SDK's own reading of `arguments`",
        "input[].summary": "of reasoning that is sent with its `content`, which says it in full",
        "input[].content[].annotations": "citations of a web search that this wire only lists beside the text",
        "input[].content[].logprobs": "belong to an answer, not to a request",
        "input[].content[].parsed": "the SDK's own reading of `text`",
    }
)
"""Fields below the top level that are accepted and change nothing."""

REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "access_programs": Refused("Access is what the API key permits."),
        "background_options": Refused("A response in the background begins at once.", ({},)),
        "context_management": Refused("The gateway does not compact conversations.", ([],)),
        "image": Refused("Pictures go to the model as they are.", ({}, {"context_compression": "disabled"})),
        "moderation": Refused("Guardrails are set by the project's policy."),
        "prompt": Refused("The gateway keeps no prompt templates; send `instructions` and `input`."),
        "truncation": Refused("Nothing is dropped from a conversation: leave it out.", ("disabled",)),
    }
)
"""Top-level fields that ask for what is not served, with the values that ask for nothing."""

LOGPROBS: Final = "message.output_text.logprobs"
IMAGE_URLS: Final = "message.input_image.image_url"

UNSERVED_INCLUDES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "code_interpreter_call.outputs": "The gateway runs no code.",
        "computer_call_output.output.image_url": "The gateway serves no computer tool.",
        "file_search_call.results": "The gateway does not search files.",
        "reasoning.encrypted_content": "Reasoning comes in plain text, in the `content` of its item; send it back so.",
        "web_search_call.action.sources": "The gateway does not search the web.",
        "web_search_call.results": "The gateway does not search the web.",
    }
)
"""Values of `include` that cannot be served, and why."""

_OWN_SERVICE: Final = "It is a service of OpenAI's own; send a function instead."
UNSERVED_TOOLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "apply_patch": _OWN_SERVICE,
        "code_interpreter": "The gateway runs no code; send a function instead.",
        "computer": _OWN_SERVICE,
        "computer_use_preview": _OWN_SERVICE,
        "custom": "Tools with free text as input are not available; send a function instead.",
        "file_search": "The gateway does not search files; send a function instead.",
        "image_generation": "Models answer in text here.",
        "local_shell": _OWN_SERVICE,
        "mcp": "The gateway does not call MCP servers; send their tools as functions.",
        "namespace": "Send the functions one by one.",
        "programmatic_tool_calling": _OWN_SERVICE,
        "shell": _OWN_SERVICE,
        "tool_search": "Send the functions that the model may call.",
        "web_search": "The gateway does not search the web; send a function instead.",
        "web_search_2025_08_26": "The gateway does not search the web; send a function instead.",
        "web_search_preview": "The gateway does not search the web; send a function instead.",
        "web_search_preview_2025_03_11": "The gateway does not search the web; send a function instead.",
    }
)
"""Types of tools that cannot be served, and what would do."""

UNSERVED_CHOICES: Final[Mapping[str, str]] = MappingProxyType(
    {**UNSERVED_TOOLS, "allowed_tools": "Send only the tools that may be used."}
)
"""Types of `tool_choice` that cannot be served."""

_OF_TOOL: Final = "It belongs to a built-in tool, of which there are none."
UNSERVED_ITEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "additional_tools": "Send all tools in `tools`.",
        "apply_patch_call": _OF_TOOL,
        "apply_patch_call_output": _OF_TOOL,
        "code_interpreter_call": _OF_TOOL,
        "compaction": "The gateway does not compact conversations.",
        "compaction_trigger": "The gateway does not compact conversations.",
        "computer_call": _OF_TOOL,
        "computer_call_output": _OF_TOOL,
        "configuration_update": "Send the settings with the request.",
        "custom_tool_call": _OF_TOOL,
        "custom_tool_call_output": _OF_TOOL,
        "file_search_call": _OF_TOOL,
        "image_generation_call": _OF_TOOL,
        "item_reference": "Send the item itself, or `previous_response_id` for all that was said.",
        "local_shell_call": _OF_TOOL,
        "local_shell_call_output": _OF_TOOL,
        "mcp_approval_request": _OF_TOOL,
        "mcp_approval_response": _OF_TOOL,
        "mcp_call": _OF_TOOL,
        "mcp_list_tools": _OF_TOOL,
        "program": _OF_TOOL,
        "program_output": _OF_TOOL,
        "shell_call": _OF_TOOL,
        "shell_call_output": _OF_TOOL,
        "tool_search_call": _OF_TOOL,
        "tool_search_output": _OF_TOOL,
        "web_search_call": _OF_TOOL,
    }
)
"""Types of input items that cannot be served, and why."""

TAGS: Final[Tags] = (
    (
        re.compile(r"^(?:input|items)\[\d+\]\.content\[\d+\]\.type$"),
        "input_text, input_image, input_file, input_audio (user), output_text, refusal (assistant)",
    ),
    (re.compile(r"^(?:input|items)\[\d+\]\.output\[\d+\]\.type$"), "input_text, input_image, input_file"),
    (re.compile(r"^text\.format\.type$"), "text, json_object, json_schema"),
)

RESPONSES_FIELDS: Final = FieldRules(
    mapped=frozenset(ResponsesRequest.__struct_fields__), ignored=IGNORED, refused=REFUSED, tags=TAGS
)
"""Whatever else is not named here becomes an extension."""
