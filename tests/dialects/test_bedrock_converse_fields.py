"""Every member of Converse's input, at any depth, is mapped, refused by name or ignored for a written reason, and does
what its category says. botocore's model is the list."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from botocore.model import Shape

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Part
from bedplate_gateway.dialects.bedrock import converse_wire as wire
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.converse_reply import UNSAID, ConverseResponse
from bedplate_gateway.dialects.bedrock.converse_stream import ConverseStreamEvent
from bedplate_gateway.dialects.bedrock.errors import ExceptionBody
from tests.dialects.bedrock_sdk import operation

REQUESTS = Path(__file__).parent.parent / "wire" / "bedrock" / "requests"
SEEDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted(REQUESTS.glob("converse_*.json"))
    if not path.stem.endswith(".canonical")
}
BASE: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
PICTURE = {"format": "png", "source": {"bytes": "AAAA"}}
SCHEMA = {"json": {"type": "object"}}
TOOL = {"toolSpec": {"name": "f", "inputSchema": SCHEMA}}


def decode(body: dict[str, Any]) -> ConverseExchange:
    return ConverseExchange.decode(json.dumps(body).encode(), model="m", stream=False, started_s=0.0)


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def called(call: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    use = {"toolUseId": "c", "name": "f", "input": {}, **call}
    answer = {"toolUseId": "c", "content": [{"text": "x"}], **result}
    return {
        "messages": [
            *BASE["messages"],
            {"role": "assistant", "content": [{"toolUse": use}]},
            {"role": "user", "content": [{"toolResult": answer}]},
        ]
    }


STREAM_ONLY = {("GuardrailConfiguration", "streamProcessingMode")}
"""Members that one struct has for both operations; Converse refuses them by name."""


def struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct inside an optional, annotated or list type; None for what is none."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        for inner in get_args(annotation):
            found = struct_of(inner)
            if found is not None:
                return found
    return None


def members(shape: Shape, struct: type[msgspec.Struct], seen: set[str]) -> Iterator[tuple[str, set[str], set[str]]]:
    """Per structure below `shape`: the struct's name, the model's members, the struct's."""
    yield struct.__name__, set(shape.members), set(struct.__struct_fields__)
    for name, annotation in get_type_hints(struct, include_extras=True).items():
        if (struct.__name__, name) in STREAM_ONLY and name not in shape.members:
            continue
        inner, below = struct_of(annotation), shape.members[name]
        if below.type_name == "list":
            below = below.member
        if inner is not None and below.type_name == "structure" and f"{struct.__name__}.{name}" not in seen:
            seen.add(f"{struct.__name__}.{name}")
            yield from members(below, inner, seen)


@pytest.mark.parametrize("name", ["Converse", "ConverseStream"])
def test_every_member_of_the_model_is_known_and_nothing_else(name: str) -> None:
    shape = operation(name).input_shape
    top = set(shape.members) - {"modelId"}
    categories = (wire.CONVERSE_FIELDS.mapped, wire.CONVERSE_FIELDS.ignored, wire.CONVERSE_FIELDS.refused)
    for field in top:
        assert sum(field in category for category in categories) == 1, field
    assert set().union(*categories) == top
    walked = list(members(shape, wire.ConverseRequest, set()))[1:]
    assert len(walked) > 30
    for struct, modelled, ours in walked:
        assert ours - {member for owner, member in STREAM_ONLY if owner == struct and name == "Converse"} == modelled, (
            struct
        )


def test_every_body_has_a_json_schema() -> None:
    _, schemas = msgspec.json.schema_components(
        (wire.ConverseRequest, ConverseResponse, ConverseStreamEvent, ExceptionBody)
    )
    assert json.loads(json.dumps(schemas)) == schemas
    assert set(schemas["ConverseRequest"]["properties"]) == set(wire.ConverseRequest.__struct_fields__)


def optional_places(value: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every member of every object in `value`, outermost last, with its path without list positions."""
    if isinstance(value, dict):
        for key in list(value):
            yield from optional_places(value[key], f"{path}.{key}" if path else key)
            yield value, key, f"{path}.{key}" if path else key
    elif isinstance(value, list):
        for item in value:
            yield from optional_places(item, path)


IGNORED_PATHS = {*wire.VALIDATED, *wire.REFUSED, "toolConfig.tools.cachePoint"}
"""Paths of the fixtures that may be left out without a change: what they hold is ignored, or asks for nothing."""

SAME_AS_ABSENT = {
    "messages.content.toolResult.status",  # success
    "messages.content.document.citations",  # false
    "messages.content.document.citations.enabled",
}


def test_every_member_of_the_fixtures_changes_the_request_when_it_is_left_out() -> None:
    seen: set[str] = set()
    for case, body in SEEDS.items():
        whole = decode(body)
        for number, (_, _, path) in enumerate(optional_places(copy.deepcopy(body))):
            if any(path == ignored or path.startswith(f"{ignored}.") for ignored in IGNORED_PATHS):
                continue
            less = copy.deepcopy(body)
            container, key, _ = list(optional_places(less))[number]
            del container[key]
            try:
                changed = decode(less) != whole
            except InvalidRequest:
                changed = True
            if changed:
                seen.add(path)
            else:
                assert path in SAME_AS_ABSENT, (case, path)
    for field in wire.CONVERSE_FIELDS.mapped - {"additionalModelRequestFields"}:
        assert field in seen, field


@pytest.mark.parametrize("field", sorted(wire.VALIDATED))
def test_ignored_fields_are_checked_and_change_nothing(field: str) -> None:
    value = SEEDS["converse_unread"][field]
    assert decode({**BASE, field: value}) == decode(BASE)
    with pytest.raises(InvalidRequest) as caught:
        decode({**BASE, field: "x"})
    assert caught.value.param == field


def test_a_cache_point_between_tools_is_checked_and_changes_nothing() -> None:
    config = {"tools": [TOOL, {"cachePoint": {"type": "default", "ttl": "1h"}}]}
    assert decode({**BASE, "toolConfig": config}) == decode({**BASE, "toolConfig": {"tools": [TOOL]}})
    with pytest.raises(InvalidRequest):
        decode({**BASE, "toolConfig": {"tools": [TOOL, {"cachePoint": {"type": "other"}}]}})


REFUSED_VALUES: dict[str, Any] = {
    "projectIdentifier": "proj_1",
    "promptVariables": {"name": {"text": "x"}},
}


@pytest.mark.parametrize("field", sorted(wire.REFUSED))
def test_refused_fields_are_named_and_their_neutral_values_pass(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decode({**BASE, field: REFUSED_VALUES[field]})
    assert caught.value.param == field
    for value in (None, *wire.REFUSED[field].neutral):
        assert decode({**BASE, field: value}) == decode(BASE)


NESTED_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "AudioBlock.error": (
        user({"audio": {"format": "mp3", "source": {"bytes": "AAAA"}, "error": {}}}),
        "messages[0].content[0].audio.error",
    ),
    "ContentBlock.citationsContent": (user({"citationsContent": {}}), "messages[0].content[0].citationsContent"),
    "ContentBlock.searchResult": (user({"searchResult": {}}), "messages[0].content[0].searchResult"),
    "ContentBlock.toolAddition": (user({"toolAddition": {}}), "messages[0].content[0].toolAddition"),
    "ContentBlock.toolRemoval": (user({"toolRemoval": {}}), "messages[0].content[0].toolRemoval"),
    "ImageBlock.error": (
        user({"image": {**PICTURE, "error": {"message": "x"}}}),
        "messages[0].content[0].image.error",
    ),
    "S3Location.bucketOwner": (
        user({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://abc/d", "bucketOwner": "1"}}}}),
        "messages[0].content[0].image.source.s3Location.bucketOwner",
    ),
    "Tool.systemTool": (
        {**BASE, "toolConfig": {"tools": [{"systemTool": {"name": "x"}}]}},
        "toolConfig.tools[0].systemTool",
    ),
    "ToolResultBlock.type": (called({}, {"type": "x"}), "messages[2].content[0].toolResult.type"),
    "ToolResultContentBlock.searchResult": (
        called({}, {"content": [{"searchResult": {}}]}),
        "messages[2].content[0].toolResult.content[0].searchResult",
    ),
    "ToolUseBlock.type": (called({"type": "server_tool_use"}, {}), "messages[1].content[0].toolUse.type"),
}


@pytest.mark.parametrize("member", sorted(wire.REFUSED_NESTED))
def test_refused_members_are_named(member: str) -> None:
    body, param = NESTED_REFUSED[member]
    with pytest.raises(UnsupportedFeature) as caught:
        decode(body)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize("field", sorted(wire.ADDITIONAL_FIELDS.refused))
def test_additional_fields_that_have_a_place_of_their_own_are_refused(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decode({**BASE, "additionalModelRequestFields": {field: 1}})
    assert caught.value.param == f"additionalModelRequestFields.{field}"


@pytest.mark.parametrize("field", ["cache_salt", "api_base", "apiKey", "webhook_url", "priority"])
def test_what_only_the_gateway_sets_is_refused_in_both_places(field: str) -> None:
    for body in ({**BASE, field: 1}, {**BASE, "additionalModelRequestFields": {field: 1}}):
        with pytest.raises(InvalidRequest, match="is set by the gateway"):
            decode(body)


def test_other_additional_fields_are_extensions() -> None:
    extra = {"min_p": 0.5, "anthropic_beta": ["x"], "unset": None}
    assert decode({**BASE, "additionalModelRequestFields": extra}).request.extensions == {
        "min_p": 0.5,
        "anthropic_beta": ["x"],
    }


def test_parts_that_answers_leave_out_are_named_with_a_reason() -> None:
    said = {"Text", "Refusal", "Reasoning", "RedactedReasoning", "ToolCall"}
    assert {kind.__name__ for kind in UNSAID} == {kind.__name__ for kind in get_args(Part)} - said
    assert all(UNSAID.values())
