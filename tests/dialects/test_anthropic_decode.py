"""What `MessagesExchange.decode` refuses, and how it says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Role, ToolResult
from bedplate_core.requests import ReasoningControl
from bedplate_gateway.dialects.anthropic import CountTokensExchange, MessagesExchange
from bedplate_gateway.dialects.anthropic.messages_request import decode_messages_body
from bedplate_gateway.dialects.anthropic.messages_wire import BODY_FIELDS

Body = dict[str, Any]
TOOL: Body = {"name": "f", "input_schema": {"type": "object"}}
PNG: Body = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Body:
    return {"role": "assistant", "content": content}


def call(call_id: str) -> Body:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}}


def result(call_id: str) -> Body:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "x"}


def text(said: str) -> Body:
    return {"type": "text", "text": said}


def decode(changes: Body, *, continues: bool = False) -> MessagesExchange:
    body = {"model": "m", "max_tokens": 2048, "messages": [user("hi")], **changes}
    return MessagesExchange.decode(json.dumps(body).encode(), continues=continues)


def refusal(changes: Body, *, continues: bool = False) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(changes, continues=continues)
    error = caught.value
    assert error.param is not None
    assert "[" not in error.param
    assert error.message.startswith(error.param)
    return error


INVALID: dict[str, tuple[Body, str, str]] = {
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
    "no such role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role", "expected one of"),
    "no such block": ({"messages": [user([{"type": "zork"}])]}, "messages.0.content.0.type", "expected one of"),
    "misspelt field": (
        {"messages": [user([{"type": "text", "text": "x", "cache": 1}])]},
        "messages.0.content.0.cache",
        "unknown field",
    ),
    "wrong type": ({"messages": [user([text("x"), {"type": "text", "text": 3}])]}, "messages.0.content.1.text", "str"),
    "no messages": ({"messages": []}, "messages", "length"),
    "empty user content": ({"messages": [user([])]}, "messages.0.content", "at least one block"),
    "temperature": ({"temperature": 1.5}, "temperature", "<= 1"),
    "top_k": ({"top_k": -1}, "top_k", ">= 0"),
    "negative max_tokens": ({"max_tokens": -1}, "max_tokens", ">= 0"),
    "empty stop sequence": ({"stop_sequences": [""]}, "stop_sequences.0", "length"),
    "too many stop sequences": ({"stop_sequences": ["x"] * 65}, "stop_sequences", "length"),
    "assistant first": ({"messages": [assistant("x"), user("y")]}, "messages.0.role", "first message"),
    "assistant after system": (
        {"messages": [{"role": "system", "content": "s"}, assistant("x"), user("y")]},
        "messages.1.role",
        "first message",
    ),
    "only system": ({"messages": [{"role": "system", "content": "s"}]}, "messages", "first message"),
    "image of the assistant": (
        {"messages": [user("x"), assistant([{"type": "image", "source": PNG}]), user("y")]},
        "messages.1.content.0",
        "cannot stand",
    ),
    "tool_use of the user": ({"messages": [user([call("t")])]}, "messages.0.content.0", "cannot stand"),
    "thinking of the user": (
        {"messages": [user([{"type": "thinking", "thinking": "x", "signature": ""}])]},
        "messages.0.content.0",
        "cannot stand",
    ),
    "base64": (
        {"messages": [user([{"type": "image", "source": {**PNG, "data": "?"}}])]},
        "messages.0.content.0.source.data",
        "base64",
    ),
    "http url": (
        {"messages": [user([{"type": "image", "source": {"type": "url", "url": "http://a/b"}}])]},
        "messages.0.content.0.source.url",
        "https:",
    ),
    "media type": (
        {"messages": [user([{"type": "image", "source": {**PNG, "media_type": "image/tiff"}}])]},
        "messages.0.content.0.source.media_type",
        "image/tiff",
    ),
    "result unasked": ({"messages": [user([result("t")])]}, "messages.0.content.0.tool_use_id", "answers no tool_use"),
    "result for another call": (
        {"messages": [user("x"), assistant([call("a")]), user([result("a"), result("b")])]},
        "messages.2.content.1.tool_use_id",
        "answers no tool_use",
    ),
    "result twice": (
        {"messages": [user("x"), assistant([call("a")]), user([result("a")]), user([result("a")])]},
        "messages.3.content.0.tool_use_id",
        "answers no tool_use",
    ),
    "result after text": (
        {"messages": [user("x"), assistant([call("a")]), user([text("y"), result("a")])]},
        "messages.2.content.1",
        "before everything else",
    ),
    "call unanswered": (
        {"messages": [user("x"), assistant([call("a"), call("b")]), user([result("a")])]},
        "messages.1.content",
        "answer b",
    ),
    "call unanswered by text": (
        {"messages": [user("x"), assistant([call("a")]), user("y")]},
        "messages.1.content",
        "answer a",
    ),
    "call at the end": ({"messages": [user("x"), assistant([call("a")])]}, "messages.1.content", "answer a"),
    "system between call and result": (
        {"messages": [user("x"), assistant([call("a")]), {"role": "system", "content": "s"}, user([result("a")])]},
        "messages.1.content",
        "answer a",
    ),
    "tools of one name": ({"tools": [TOOL, TOOL]}, "tools.1.name", "another tool"),
    "tool name": ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.name", "regex"),
    "tool without schema": ({"tools": [{"name": "f"}]}, "tools.0.input_schema", "required"),
    "misspelt tool field": ({"tools": [{**TOOL, "inputs": 1}]}, "tools.0.inputs", "unknown field"),
    "choice without tools": ({"tool_choice": {"type": "any"}}, "tool_choice", "tools are given"),
    "choice of an unknown tool": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
        "tool_choice.name",
        "no tool is named",
    ),
    "small thinking budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 1023}},
        "thinking.budget_tokens",
        ">= 1024",
    ),
    "large thinking budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        "thinking.budget_tokens",
        "less than max_tokens",
    ),
    "effort": ({"output_config": {"effort": "huge"}}, "output_config.effort", "huge"),
    "two formats": (
        {
            "output_format": {"type": "json_schema", "schema": {}},
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
        },
        "output_format",
        "only",
    ),
    "cache control": ({"cache_control": {"type": "ephemeral", "ttl": "1d"}}, "cache_control.ttl", "1d"),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_wrong_is_named_as_anthropic_writes_it(name: str) -> None:
    changes, param, said = INVALID[name]
    error = refusal(changes)
    assert type(error) is InvalidRequest
    assert error.param == param
    assert said in error.message


UNSUPPORTED: dict[str, tuple[Body, str]] = {
    "prefill": ({"messages": [user("x"), assistant("The answer is (")]}, "messages.1"),
    "cache warming": ({"max_tokens": 0}, "max_tokens"),
    "cited text": (
        {"messages": [user("x"), assistant([{**text("y"), "citations": [{"type": "char_location"}]}]), user("z")]},
        "messages.1.content.0.citations",
    ),
    "citations wanted": (
        {
            "messages": [
                user(
                    [
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                            "citations": {"enabled": True},
                        }
                    ]
                )
            ]
        },
        "messages.0.content.0.citations",
    ),
    "image by file id": (
        {"messages": [user([{"type": "image", "source": {"type": "file", "file_id": "f"}}])]},
        "messages.0.content.0.source.type",
    ),
    "file id in a result": (
        {
            "messages": [
                user("x"),
                assistant([call("a")]),
                user([{**result("a"), "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]),
            ]
        },
        "messages.2.content.0.content.0.source.type",
    ),
    "document of blocks": (
        {"messages": [user([{"type": "document", "source": {"type": "content", "content": "x"}}])]},
        "messages.0.content.0.source.type",
    ),
    "images must not be resized": (
        {"messages": [user([{"type": "image", "source": PNG, "transformations": {"oversized_image": "error"}}])]},
        "messages.0.content.0.transformations.oversized_image",
    ),
    "server tool block": (
        {"messages": [user("x"), assistant([{"type": "server_tool_use", "id": "s", "name": "w", "input": {}}])]},
        "messages.1.content.0.type",
    ),
    "search result in a result": (
        {
            "messages": [
                user("x"),
                assistant([call("a")]),
                user([{**result("a"), "content": [{"type": "search_result", "source": "s", "title": "t"}]}]),
            ]
        },
        "messages.2.content.0.content.0.type",
    ),
    "call by code": (
        {"messages": [user("x"), assistant([{**call("a"), "caller": {"type": "code_execution_20250825"}}])]},
        "messages.1.content.0.caller.type",
    ),
    "web search": ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, "tools.0.type"),
    "text editor": ({"tools": [TOOL, {"type": "text_editor_20250728", "name": "edit"}]}, "tools.1.type"),
    "computer use": (
        {"tools": [{"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1}]},
        "tools.0.type",
    ),
    "tool with a schema of a server type": ({"tools": [{**TOOL, "type": "bash_20250124"}]}, "tools.0.type"),
    "programmatic calls": (
        {"tools": [{**TOOL, "allowed_callers": ["direct", "code_execution_20250825"]}]},
        "tools.0.allowed_callers",
    ),
    "deferred tool": ({"tools": [{**TOOL, "defer_loading": True}]}, "tools.0.defer_loading"),
    "input examples": ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools.0.input_examples"),
    "thinking between tools": ({"thinking": {"type": "between_tools"}}, "thinking.type"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_served_is_refused_by_name(name: str) -> None:
    changes, param = UNSUPPORTED[name]
    error = refusal(changes)
    assert type(error) is UnsupportedFeature
    assert error.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": "\xff"}', b"null"])
def test_what_is_no_object_is_refused_without_a_path(body: bytes) -> None:
    for decoder in (MessagesExchange.decode, CountTokensExchange.decode):
        with pytest.raises(InvalidRequest) as caught:
            decoder(body)
        assert caught.value.param is None


@pytest.mark.parametrize("field", ["model", "messages", "max_tokens"])
def test_required_fields(field: str) -> None:
    body = {"model": "m", "max_tokens": 3, "messages": [user("hi")]}
    del body[field]
    with pytest.raises(InvalidRequest) as caught:
        MessagesExchange.decode(json.dumps(body).encode())
    assert caught.value.param == field


def test_a_stored_conversation_may_begin_with_results() -> None:
    turn = {"messages": [user([result("a"), text("well?")])]}
    assert refusal(turn).param == "messages.0.content.0.tool_use_id"
    messages = decode(turn, continues=True).request.messages
    assert [message.role for message in messages] == [Role.TOOL, Role.USER]
    later = {"messages": [user("x"), assistant("y"), user([result("a")])]}
    assert refusal(later, continues=True).param == "messages.2.content.0.tool_use_id"


def test_results_of_several_user_messages_answer_one_turn() -> None:
    messages = decode(
        {"messages": [user("x"), assistant([call("a"), call("b")]), user([result("b")]), user([result("a")])]}
    ).request.messages
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    assert [part.call_id for part in messages[2].parts if isinstance(part, ToolResult)] == ["b", "a"]


def test_thinking_modes() -> None:
    modes: list[tuple[Body, ReasoningControl | None]] = [
        ({}, None),
        ({"output_config": {}}, None),
        ({"thinking": {"type": "adaptive"}}, ReasoningControl(enabled=True)),
        ({"thinking": {"type": "disabled"}}, ReasoningControl(enabled=False)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            ReasoningControl(enabled=True, budget_tokens=1024),
        ),
        ({"output_config": {"effort": "xhigh"}}, ReasoningControl(effort="xhigh")),
    ]
    for changes, expected in modes:
        assert decode(changes).request.reasoning == expected


@pytest.mark.parametrize(("display", "omitted"), [("omitted", True), ("summarized", False), (None, False)])
def test_thinking_display(display: str | None, omitted: bool) -> None:
    for thinking in ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}):
        assert decode({"thinking": {**thinking, "display": display}}).omit_thinking is omitted


def test_a_body_without_model_and_stream_is_decoded_for_where_they_stand_elsewhere() -> None:
    body = json.dumps({"max_tokens": 3, "messages": [user("hi")], "anthropic_version": "v"}).encode()
    rules = type(BODY_FIELDS)(
        mapped=BODY_FIELDS.mapped,
        ignored={**BODY_FIELDS.ignored, "anthropic_version": "stands for the wire"},
        refused=BODY_FIELDS.refused,
        tags=BODY_FIELDS.tags,
    )
    request = decode_messages_body(body, model="m", stream=True, rules=rules).request
    assert (request.model, request.stream, request.extensions) == ("m", True, {})
    assert decode_messages_body(body, model="m", stream=False).request.extensions == {"anthropic_version": "v"}
    with pytest.raises(InvalidRequest) as caught:
        decode_messages_body(b'{"max_tokens": 3, "messages": [{"role": "user"}]}', model="m", stream=False)
    assert caught.value.param == "messages.0.content"


def test_a_count_needs_no_limit_and_knows_no_sampling() -> None:
    body = {"model": "m", "system": "s", "messages": [user("hi")]}
    request = CountTokensExchange.decode(json.dumps(body).encode()).request
    assert (request.model, [message.role for message in request.messages]) == ("m", [Role.SYSTEM, Role.USER])
    assert CountTokensExchange(request=request).reply(7).body == b'{"input_tokens":7}'
    given = CountTokensExchange.decode(json.dumps({**body, "temperature": 0.5}).encode()).request
    assert given.extensions == {"temperature": 0.5}
