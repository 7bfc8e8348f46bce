"""Every field of OpenAI's responses is mapped, echoed, refused by name or ignored for a written reason, and does what
its category says."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.responses import response_create_params
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Part
from bedplate_gateway.dialects.openai import responses_wire as wire
from bedplate_gateway.dialects.openai.responses_exchange import ResponsesExchange
from bedplate_gateway.dialects.openai.responses_reply import UNSAID
from bedplate_gateway.dialects.openai.responses_stored import UNLISTED

Body = dict[str, Any]
BASE: Body = {"model": "m", "input": "hi"}
TOOL: Body = {"type": "function", "name": "f", "parameters": {}, "strict": True}
RESPONSE_ID = f"resp_{'0' * 32}"

# A value of each mapped field that must change the exchange, with the fields it needs beside it.
VALUES: dict[str, Body] = {
    "background": {"background": True},
    "include": {"include": [wire.LOGPROBS]},
    "input": {"input": "ho"},
    "instructions": {"instructions": "be brief"},
    "max_output_tokens": {"max_output_tokens": 3},
    "metadata": {"metadata": {"a": "b"}},
    "model": {"model": "other"},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "previous_response_id": {"previous_response_id": RESPONSE_ID},
    "conversation": {"conversation": {"id": f"conv_{RESPONSE_ID.removeprefix('resp_')}"}},
    "reasoning": {"reasoning": {"effort": "high"}},
    "safety_identifier": {"safety_identifier": "x"},
    "store": {"store": False},
    "stream": {"stream": True},
    "temperature": {"temperature": 1},
    "text": {"text": {"format": {"type": "json_object"}}},
    "tool_choice": {"tools": [TOOL], "tool_choice": "required"},
    "tools": {"tools": [TOOL]},
    "top_k": {"top_k": 4},
    "top_logprobs": {"include": [wire.LOGPROBS], "top_logprobs": 2},
    "top_p": {"top_p": 0.5},
    "user": {"user": "x"},
}
NEUTRAL_MAPPED: dict[str, Body] = {
    "prompt_cache_options": {"prompt_cache_options": {"mode": "explicit", "ttl": "30m", "prewarm": False}},
    "stream_options": {"stream": True, "stream_options": {"include_obfuscation": True}},
}
"""Mapped so that what they could ask for is refused; the rest changes nothing."""

REFUSED_VALUES: Body = {
    "access_programs": {"cyber": "standard"},
    "background_options": {"completion_window": "8h"},
    "context_management": [{"type": "compaction"}],
    "image": {"context_compression": "enabled"},
    "moderation": {"model": "omni"},
    "prompt": {"id": "pmpt_1"},
    "truncation": "auto",
}
REFUSED_NESTED: dict[str, Body] = {
    "include": {"include": ["reasoning.encrypted_content"]},
    "prompt_cache_options.prewarm": {"prompt_cache_options": {"prewarm": True}},
    "prompt_cache_options.comparison_response_id": {"prompt_cache_options": {"comparison_response_id": "r"}},
    "reasoning.summary": {"reasoning": {"summary": "auto"}},
    "reasoning.generate_summary": {"reasoning": {"generate_summary": "auto"}},
    "reasoning.context": {"reasoning": {"context": "all_turns"}},
    "reasoning.mode": {"reasoning": {"mode": "pro"}},
    "tool_choice.type": {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
    "tools[0].allowed_callers": {"tools": [{**TOOL, "allowed_callers": ["programmatic"]}]},
    "tools[0].async": {"tools": [{**TOOL, "async": True}]},
    "tools[0].defer_loading": {"tools": [{**TOOL, "defer_loading": True}]},
    "tools[0].output_schema": {"tools": [{**TOOL, "output_schema": {}}]},
    "input[0].content[0].file_id": {
        "input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1", "detail": "auto"}]}]
    },
    "input[0].content[0].detail": {
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a.png",
                                                "detail": "original"}]}]
    },
    "input[0].encrypted_content": {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}]},
    "input[0].type": {"input": [{"id": "msg_1"}]},
    "input[0].namespace": {
        "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "namespace": "n"}]
    },
    "input[0].async": {
        "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "async": True}]
    },
}  # fmt: skip


def decoded(changes: Body, **options: Any) -> ResponsesExchange:
    return ResponsesExchange.decode(json.dumps({**BASE, **changes}).encode(), response_id=RESPONSE_ID, **options)


@pytest.mark.parametrize(
    "params",
    [response_create_params.ResponseCreateParamsBase, response_create_params.ResponseCreateParamsStreaming],
)
def test_every_field_of_the_sdk_is_in_exactly_one_category(params: Any) -> None:
    rules = wire.RESPONSES_FIELDS
    for field in params.__annotations__:
        assert sum(field in category for category in (rules.mapped, rules.ignored, rules.refused)) == 1, field
    assert set(wire.ECHOED) <= rules.mapped


@pytest.mark.parametrize("field", sorted(wire.RESPONSES_FIELDS.mapped | wire.IGNORED.keys()))
def test_mapped_fields_change_the_exchange_and_ignored_ones_do_not(field: str) -> None:
    if field in VALUES:
        needed = {name: value for name, value in VALUES[field].items() if name != field}
        assert decoded(VALUES[field]) != decoded(needed)
    elif field in NEUTRAL_MAPPED:
        needed = {name: value for name, value in NEUTRAL_MAPPED[field].items() if name != field}
        assert decoded(NEUTRAL_MAPPED[field]) == decoded(needed)
    else:
        for value in ("x", {"a": "b"}, 3, None):
            assert decoded({field: value}) == decoded({})


@pytest.mark.parametrize("field", sorted(wire.ECHOED))
def test_echoed_fields_reach_no_model(field: str) -> None:
    assert decoded(VALUES[field]).request == decoded({}).request


@pytest.mark.parametrize("field", sorted(wire.REFUSED))
def test_refused_fields_are_named_and_their_neutral_values_pass(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decoded({field: REFUSED_VALUES[field]})
    assert caught.value.param == field
    for value in (None, *wire.REFUSED[field].neutral):
        assert decoded({field: value}) == decoded({})


@pytest.mark.parametrize("param", REFUSED_NESTED)
def test_what_is_refused_below_the_top_level_is_named(param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decoded(REFUSED_NESTED[param])
    assert caught.value.param == param


def tags(union: Any) -> set[str]:
    """The values of `type` in a union of the SDK's parameters."""
    found: set[str] = set()
    for kind in get_args(union):
        said = str(kind.__annotations__.get("type", ""))
        found |= {part.strip("'\" ") for part in said.partition("Literal[")[2].partition("]")[0].split(",")}
    return found - {""}


def test_every_tool_of_the_sdk_is_served_or_refused_by_name() -> None:
    assert tags(ToolParam) >= {"function", "web_search", "mcp"}
    for kind in tags(ToolParam) - {"function"}:
        for changes in ({"tools": [{"type": kind}]}, {"tools": [TOOL], "tool_choice": {"type": kind}}):
            with pytest.raises(UnsupportedFeature) as caught:
                decoded(changes)
            assert kind in caught.value.message


def test_every_input_item_of_the_sdk_is_served_or_refused_by_name() -> None:
    served = {"message", "function_call", "function_call_output", "reasoning"}
    assert tags(ResponseInputItemParam) >= served
    for kind in tags(ResponseInputItemParam) - served:
        with pytest.raises(UnsupportedFeature) as caught:
            decoded({"input": [{"type": kind}]})
        assert (caught.value.param, kind in caught.value.message) == ("input[0].type", True)


def test_every_value_of_include_is_served_or_refused_by_name() -> None:
    for value in get_args(ResponseIncludable):
        if value in (wire.LOGPROBS, wire.IMAGE_URLS):
            decoded({"include": [value]})
            continue
        with pytest.raises(UnsupportedFeature) as caught:
            decoded({"include": [value]})
        assert value in caught.value.message
    with pytest.raises(InvalidRequest, match="there is no"):
        decoded({"include": ["everything"]})


def items(**ignored: Any) -> Body:
    """An input with every kind of item, with fields that change nothing added where they belong."""
    part: Body = {"type": "output_text", "text": "x"}
    said: Body = {"type": "message", "role": "assistant", "content": [part]}
    call: Body = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output: Body = {"type": "function_call_output", "call_id": "c", "output": "y"}
    thought: Body = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    for path, value in ignored.items():
        for target in (part,) if path.startswith("content_") else (said, call, output, thought):
            name = path.removeprefix("content_")
            allowed = {
                "id": (said, call, output, thought),
                "status": (said, call, output, thought),
                "phase": (said,),
                "name": (output,),
                "created_by": (call, output),
                "parsed_arguments": (call,),
                "summary": (thought,),
            }.get(name, (part,))
            if any(target is each for each in allowed):
                target[name] = value
    return {"input": [{"role": "user", "content": "q"}, thought, said, call, output]}


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("input[].id", {"id": "item_1"}),
        ("input[].status", {"status": "completed"}),
        ("input[].phase", {"phase": "final_answer"}),
        ("input[].name", {"name": "f"}),
        ("input[].created_by", {"created_by": "me"}),
        ("input[].parsed_arguments", {"parsed_arguments": {}}),
        ("input[].summary", {"summary": [{"type": "summary_text", "text": "short"}]}),
        ("input[].content[].annotations", {"content_annotations": []}),
        ("input[].content[].logprobs", {"content_logprobs": []}),
        ("input[].content[].parsed", {"content_parsed": {"a": 1}}),
    ],
)
def test_ignored_fields_of_items_change_nothing(path: str, ignored: Body) -> None:
    assert path in wire.IGNORED_NESTED
    assert items(**ignored) != items()
    assert decoded(items(**ignored)) == decoded(items())


def test_every_ignored_nested_field_is_covered() -> None:
    marks = test_ignored_fields_of_items_change_nothing.pytestmark
    covered = {path for path, _ in marks[0].args[1]}
    covered |= {"stream_options.include_obfuscation", "prompt_cache_options.mode", "prompt_cache_options.ttl"}
    assert covered == set(wire.IGNORED_NESTED)


def test_verbosity_and_unknown_fields_become_extensions() -> None:
    request = decoded({"text": {"verbosity": "low"}, "min_p": 0.1, "top_a": None}).request
    assert request.extensions == {"verbosity": "low", "min_p": 0.1}
    with pytest.raises(InvalidRequest, match=r"text\.verbosity"):
        decoded({"verbosity": "low"})


@pytest.mark.parametrize("field", ["cache_salt", "api_base", "priority", "request_id"])
def test_what_only_the_gateway_sets_is_refused_by_name(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded({field: "x"})
    assert caught.value.param == field


def test_every_kind_of_part_is_said_or_listed_as_unsaid() -> None:
    kinds = set(get_args(Part))
    said = {kind for kind in kinds if kind.__name__ in {"Text", "Reasoning", "Refusal", "ToolCall"}}
    assert said | set(UNSAID) == kinds
    assert not said & set(UNSAID)
    assert set(UNLISTED) <= kinds


def test_in_a_session_nothing_is_stored_as_a_response() -> None:
    assert decoded({}).store
    assert not decoded({}, in_session=True).store
    for field in ({"store": True}, {"previous_response_id": RESPONSE_ID}):
        with pytest.raises(InvalidRequest, match="x-bedplate-session") as caught:
            decoded(field, in_session=True)
        assert caught.value.param == next(iter(field))
