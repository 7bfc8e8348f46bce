"""Every field of Anthropic's requests is mapped, refused by name or ignored for a written reason, and every type of
block is served or refused by name."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import anthropic.types as sdk
import msgspec
import pytest
from anthropic.types import (
    content_block_param,
    document_block_param,
    image_block_param,
    message_count_tokens_params,
    message_create_params,
    thinking_config_param,
    tool_choice_param,
    tool_result_block_param,
    tool_union_param,
)
from anthropic.types.beta import message_create_params as beta_create_params
from anthropic.types.beta.beta_content_block_param import BetaContentBlockParam
from pydantic import BaseModel

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.events import StopReason
from bedplate_core.messages import Part
from bedplate_gateway.dialects.anthropic import CountTokensExchange, MessagesExchange
from bedplate_gateway.dialects.anthropic import messages_wire as wire
from bedplate_gateway.dialects.anthropic.messages_reply import STOP_REASONS, UNSAID
from bedplate_gateway.dialects.decoding import FieldRules

Body = dict[str, Any]
TOOL: Body = {"name": "f", "input_schema": {"type": "object"}}
BASE: Body = {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {
    "betas": "anthropic-beta",
    "user_profile_id": "anthropic-user-profile-id",
    "workspace_id": "anthropic-workspace-id",
}

# A value of each mapped field that must change what is decoded, with the fields it needs beside it.
VALUES: dict[str, Body] = {
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "max_tokens": {"max_tokens": 3},
    "messages": {"messages": [{"role": "user", "content": "ho"}]},
    "model": {"model": "other"},
    "output_config": {"output_config": {"effort": "low"}},
    "output_format": {"output_format": {"type": "json_schema", "schema": {}}},
    "stop_sequences": {"stop_sequences": ["x"]},
    "stream": {"stream": True},
    "system": {"system": "be brief"},
    "temperature": {"temperature": 0.5},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "tool_choice": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "tools": {"tools": [TOOL]},
    "top_k": {"top_k": 4},
    "top_p": {"top_p": 0.5},
}
REFUSED_VALUES: Body = {
    "billing_policy": {"type": "x"},
    "compaction": {"type": "x"},
    "container": "c",
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "diagnostics": {"previous_message_id": None},
    "fallback_credit_token": "t",
    "fallbacks": [{"model": "x"}],
    "inference_geo": "us",
    "mcp_servers": [{"type": "url", "name": "x"}],
    "speed": "fast",
    "thread": {"id": "x"},
}
PAIRS: list[tuple[type[msgspec.Struct], Any]] = [
    (wire.CacheControl, sdk.CacheControlEphemeralParam),
    (wire.TextBlock, sdk.TextBlockParam),
    (wire.ImageBlock, sdk.ImageBlockParam),
    (wire.ImageTransformations, sdk.ImageTransformationsParam),
    (wire.Base64ImageSource, sdk.Base64ImageSourceParam),
    (wire.UrlSource, sdk.URLImageSourceParam),
    (wire.UrlSource, sdk.URLPDFSourceParam),
    (wire.DocumentBlock, sdk.DocumentBlockParam),
    (wire.Base64PdfSource, sdk.Base64PDFSourceParam),
    (wire.PlainTextSource, sdk.PlainTextSourceParam),
    (wire.Citations, sdk.CitationsConfigParam),
    (wire.ThinkingBlock, sdk.ThinkingBlockParam),
    (wire.RedactedThinkingBlock, sdk.RedactedThinkingBlockParam),
    (wire.ToolUseBlock, sdk.ToolUseBlockParam),
    (wire.DirectCaller, sdk.DirectCallerParam),
    (wire.ToolResultBlock, sdk.ToolResultBlockParam),
    (wire.UserMessage, sdk.UserMessageParam),
    (wire.AssistantMessage, sdk.AssistantMessageParam),
    (wire.SystemMessage, sdk.SystemMessageParam),
    (wire.CustomTool, sdk.ToolParam),
    (wire.AutoChoice, sdk.ToolChoiceAutoParam),
    (wire.AnyChoice, sdk.ToolChoiceAnyParam),
    (wire.ToolChoice, sdk.ToolChoiceToolParam),
    (wire.NoneChoice, sdk.ToolChoiceNoneParam),
    (wire.ThinkingEnabled, sdk.ThinkingConfigEnabledParam),
    (wire.ThinkingDisabled, sdk.ThinkingConfigDisabledParam),
    (wire.ThinkingAdaptive, sdk.ThinkingConfigAdaptiveParam),
    (wire.OutputConfig, sdk.OutputConfigParam),
    (wire.JsonOutputFormat, sdk.JSONOutputFormatParam),
]


def decoded(changes: Body) -> MessagesExchange:
    return MessagesExchange.decode(json.dumps({**BASE, **changes}).encode())


def types_of(union: Any) -> set[str]:
    """The values of `type` in a union of the SDK's TypedDicts and models, nested unions included."""
    found: set[str] = set()
    for member in get_args(union):
        if get_args(member):
            found |= types_of(member)
        elif isinstance(member, type):
            model = issubclass(member, BaseModel)
            kind = member.model_fields["type"].annotation if model else get_type_hints(member)["type"]
            found |= {value for value in (*get_args(kind), *types_in(kind)) if isinstance(value, str)}
    return found


def types_in(kind: Any) -> set[str]:
    """The literals within an `Optional` of one."""
    return {value for inner in get_args(kind) for value in get_args(inner)}


def tags_of(union: Any) -> set[str]:
    return {member.__struct_config__.tag for member in get_args(union)}


def refused_at(path: str) -> set[str]:
    return {name for pattern, reasons in wire.REFUSED_TYPES if pattern.search(path) for name in reasons}


@pytest.mark.parametrize(
    ("rules", "params"),
    [
        (wire.MESSAGES_FIELDS, message_create_params.MessageCreateParamsBase),
        (wire.MESSAGES_FIELDS, message_create_params.MessageCreateParamsStreaming),
        (wire.MESSAGES_FIELDS, beta_create_params.MessageCreateParamsBase),
        (wire.COUNT_TOKENS_FIELDS, message_count_tokens_params.MessageCountTokensParams),
    ],
)
def test_every_field_of_the_sdk_is_in_exactly_one_category(rules: FieldRules, params: Any) -> None:
    for field in params.__annotations__:
        if field in HEADERS:
            assert HEADERS[field] in wire.IGNORED_HEADERS
            continue
        categories = (rules.mapped, rules.ignored.keys(), rules.refused.keys())
        assert sum(field in category for category in categories) == 1, field


@pytest.mark.parametrize(("struct", "params"), PAIRS, ids=[params.__name__ for _, params in PAIRS])
def test_nested_fields_are_those_of_the_sdk(struct: type[msgspec.Struct], params: Any) -> None:
    ours = set(struct.__struct_fields__)
    if struct.__struct_config__.tag_field is not None:
        ours.add(struct.__struct_config__.tag_field)
    assert ours == set(get_type_hints(params))


@pytest.mark.parametrize("field", sorted(wire.MESSAGES_FIELDS.mapped | wire.IGNORED.keys()))
def test_mapped_fields_change_the_request_and_ignored_ones_do_not(field: str) -> None:
    if field in VALUES:
        needed = {name: value for name, value in VALUES[field].items() if name != field}
        assert decoded(VALUES[field]) != decoded(needed)
    else:
        for value in ("x", {"a": "b"}, 3, None):
            assert decoded({field: value}) == decoded({})


@pytest.mark.parametrize("field", sorted(wire.REFUSED))
def test_refused_fields_are_named_and_their_neutral_values_pass(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decoded({field: REFUSED_VALUES[field]})
    assert caught.value.param == field
    assert field in caught.value.message
    for neutral in (None, *wire.REFUSED[field].neutral):
        assert decoded({field: neutral}) == decoded({})


def test_unknown_fields_become_extensions_and_the_gateways_own_are_refused() -> None:
    assert decoded({"min_p": 0.1, "seed": None}).request.extensions == {"min_p": 0.1}
    for field in ("cache_salt", "api_base", "extra_headers", "priority"):
        with pytest.raises(InvalidRequest) as caught:
            decoded({field: "x"})
        assert caught.value.param == field


def test_every_type_of_block_is_served_or_refused_by_name() -> None:
    path = "messages[0].content[0]"
    served = tags_of(wire.ContentBlock)
    for union in (content_block_param.ContentBlockParam, BetaContentBlockParam):
        assert types_of(union) <= served | refused_at(f"{path}.type")
    assert not served & refused_at(f"{path}.type")
    results = types_of(tool_result_block_param.Content)
    assert results <= tags_of(wire.ResultBlock) | refused_at(f"{path}.content[0].type")
    images = {"base64", "url"} | refused_at(f"{path}.source.type")
    assert types_of(image_block_param.Source) <= images
    assert types_of(document_block_param.Source) <= images | {"text"}
    callers = {"direct"} | refused_at(f"{path}.caller.type")
    assert types_of(sdk.tool_use_block_param.Caller) <= callers
    thinking = {"enabled", "disabled", "adaptive"} | refused_at("thinking.type")
    assert types_of(thinking_config_param.ThinkingConfigParam) == thinking
    assert types_of(tool_choice_param.ToolChoiceParam) == {"auto", "any", "tool", "none"}


@pytest.mark.parametrize("kind", sorted(refused_at("messages[0].content[0].type")))
def test_refused_blocks_are_named(kind: str) -> None:
    for content in ([{"type": kind}], [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": kind}]}]):
        with pytest.raises(UnsupportedFeature, match=kind):
            decoded({"messages": [{"role": "user", "content": content}]})


@pytest.mark.parametrize("kind", sorted(types_of(tool_union_param.ToolUnionParam) - {"custom"}))
def test_every_tool_of_anthropics_own_is_refused_by_name(kind: str) -> None:
    for tool in ({"type": kind}, {"type": kind, "name": "x", "max_uses": 1}, {**TOOL, "type": kind}):
        for decode in (MessagesExchange.decode, CountTokensExchange.decode):
            with pytest.raises(UnsupportedFeature, match=kind) as caught:
                decode(json.dumps({**BASE, "tools": [TOOL, tool]}).encode())
            assert caught.value.param == "tools.1.type"


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("tools[].cache_control", {"cache_control": {"type": "ephemeral"}}),
        ("tools[].eager_input_streaming", {"eager_input_streaming": True}),
    ],
)
def test_ignored_fields_below_the_top_level_change_nothing(path: str, ignored: Body) -> None:
    assert path in wire.IGNORED_NESTED
    assert decoded({"tools": [{**TOOL, **ignored}]}) == decoded({"tools": [TOOL]})


def test_every_ignored_nested_field_is_covered() -> None:
    marks = test_ignored_fields_below_the_top_level_change_nothing.pytestmark
    assert {path for path, _ in marks[0].args[1]} == set(wire.IGNORED_NESTED)


def test_stop_reasons_are_the_sdks() -> None:
    assert set(STOP_REASONS) == set(StopReason)
    assert set(STOP_REASONS.values()) == set(get_args(sdk.StopReason))


def test_every_kind_of_part_is_said_or_listed_as_unsaid() -> None:
    kinds = set(get_args(Part))
    names = {"Text", "Reasoning", "RedactedReasoning", "Refusal", "ToolCall"}
    said = {kind for kind in kinds if kind.__name__ in names}
    assert said | set(UNSAID) == kinds
    assert not said & set(UNSAID)
