"""Anthropic's official SDK against a running gateway, on the scripted provider."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import pytest
from anthropic._exceptions import ContentTooLargeError, ServiceUnavailableError
from anthropic.types import Message
from pydantic import BaseModel

from bedplate_gateway.access.principal import Role
from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import count_records, eventually, http, record_of

USER: Any = {"role": "user", "content": "one two three"}
WEATHER: Any = {
    "name": "get_weather",
    "description": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME: Any = {"name": "get_time", "input_schema": {"type": "object"}}
MODELS = """
kind: Model
name: thinker
spec: {provider: fake, upstream_model: fake/reasoning, profile: {reasoning: true}}
---
kind: Model
name: thoughtless
spec: {provider: fake, upstream_model: fake/echo, profile: {reasoning: false}}
---
kind: Provider
name: uncounting
spec: {kind: openai, base_url: 'http://127.0.0.1:9'}
---
kind: Model
name: uncounted
spec: {provider: uncounting}
"""
GUARDED = """
kind: Project
name: anthropic-guarded
spec: {guardrail: safe}
---
kind: Guardrail
name: safe
project: anthropic-guarded
spec:
  blockedInputMessaging: The question was stopped.
  blockedOutputsMessaging: The answer was stopped.
  wordPolicyConfig: {wordsConfig: [{text: forbidden}, {text: unspeakable, inputEnabled: false}]}
"""


def sdk(gateway: RunningGateway, key: str | None = None) -> anthropic.Anthropic:
    """The official client, without its retries."""
    return anthropic.Anthropic(base_url=gateway.base_url, api_key=key or gateway.key, max_retries=0, timeout=30.0)


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> anthropic.Anthropic:
    gateway.apply_text(MODELS)
    made = sdk(gateway)
    eventually(lambda: any(model.id == "thinker" for model in made.models.list(limit=1000)), within_s=30)
    return made


@pytest.fixture(scope="module")
def guarded(gateway: RunningGateway) -> anthropic.Anthropic:
    gateway.apply_text(GUARDED)
    key = gateway.create_key("anthropic-guarded", Role.SERVICE)

    def taken_up() -> bool:
        with http(gateway, key) as plain:
            return plain.get("/v1/models").status_code == 200

    eventually(taken_up, within_s=30)
    return sdk(gateway, key)


def both(client: anthropic.Anthropic, **arguments: Any) -> Message:
    """The whole answer, after checking that the SDK assembles the streamed one to the same."""
    given: dict[str, Any] = {"model": "fake/echo", "max_tokens": 64, "messages": [USER], **arguments}
    whole = client.messages.create(**given)
    with client.messages.stream(**given) as stream:
        assembled = stream.get_final_message()
    assert comparable(assembled) == comparable(whole)
    assert whole.model == given["model"]
    return whole


def comparable(message: Message) -> dict[str, Any]:
    dumped = message.model_dump(exclude_none=True)
    del dumped["id"]
    for block in dumped["content"]:
        block.pop("parsed_output", None)
        if block["type"] == "tool_use":
            del block["id"]
    return dumped


def texts(message: Message) -> list[str]:
    return [block.text for block in message.content if block.type == "text"]


def test_a_message_whole_and_streamed(client: anthropic.Anthropic, gateway: RunningGateway) -> None:
    message = both(client)
    assert texts(message) == ["one two three"]
    assert (message.role, message.type, message.stop_reason) == ("assistant", "message", "end_turn")
    assert message.stop_sequence is None
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 3)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (0, 0)
    assert message._request_id is not None
    record = record_of(gateway, message._request_id)
    assert {name: record[name] for name in ("dialect", "operation", "outcome", "stop_reason", "stream")} == {
        "dialect": "anthropic",
        "operation": "messages",
        "outcome": "completed",
        "stop_reason": "end",
        "stream": False,
    }


def test_system_prompts_and_several_turns(client: anthropic.Anthropic) -> None:
    history: Any = [USER, {"role": "assistant", "content": "four five"}, {"role": "user", "content": "six"}]
    blocks: Any = [{"type": "text", "text": "be very brief", "cache_control": {"type": "ephemeral"}}]
    for system in ("be very brief", blocks):
        message = both(client, messages=history, system=system)
        assert texts(message) == ["six"]
        assert message.usage.input_tokens == 3 + 3 + 2 + 1 + (0 if isinstance(system, str) else 1)


def test_a_tool_call_in_pieces_and_its_result(client: anthropic.Anthropic) -> None:
    arguments: Any = {"model": "fake/split-tool-call", "tools": [WEATHER], "messages": [USER]}
    asked = both(client, **arguments)
    assert asked.stop_reason == "tool_use"
    (call,) = [block for block in asked.content if block.type == "tool_use"]
    assert call.name == "get_weather"
    assert set(call.input) == {"city"}
    with client.messages.stream(max_tokens=64, **arguments) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
    assert len(pieces) > 5
    assert json.loads("".join(pieces)) == call.input
    for content, is_error in (("18 degrees", False), ([{"type": "text", "text": "no such city"}], True)):
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": is_error}
        turn: Any = [result, {"type": "text", "text": "and now?"}]
        history: Any = [USER, {"role": "assistant", "content": asked.content}]
        told = both(client, **{**arguments, "messages": [*history, {"role": "user", "content": [result]}]})
        assert texts(told) == ["18 degrees" if content == "18 degrees" else "no such city"]
        assert told.stop_reason == "end_turn"
        both(client, model="fake/echo", tools=[WEATHER], messages=[*history, {"role": "user", "content": turn}])


def test_calls_in_parallel_and_their_choice(client: anthropic.Anthropic) -> None:
    arguments: Any = {"model": "fake/parallel-tools", "tools": [WEATHER, TIME]}
    asked = both(client, **arguments)
    calls = [block for block in asked.content if block.type == "tool_use"]
    assert [block.name for block in calls] == ["get_weather", "get_time"]
    assert calls[0].id != calls[1].id
    alone = both(client, **arguments, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert len(alone.content) == 1
    named = both(client, tools=[WEATHER, TIME], tool_choice={"type": "tool", "name": "get_time"})
    assert [block.name for block in named.content if block.type == "tool_use"] == ["get_time"]
    assert both(client, tools=[WEATHER], tool_choice={"type": "any"}).stop_reason == "tool_use"
    assert both(client, **arguments, tool_choice={"type": "none"}).stop_reason == "end_turn"


def test_arguments_that_are_no_json_are_shown(client: anthropic.Anthropic) -> None:
    arguments: Any = {"model": "fake/bad-tool-arguments", "max_tokens": 64, "messages": [USER], "tools": [WEATHER]}
    whole = client.messages.create(**arguments)
    assert whole.content[0].type == "tool_use"
    assert whole.content[0].input == {"INVALID_JSON": '{"city": "Par'}
    pieces = [
        event.delta.partial_json
        for event in client.messages.create(**arguments, stream=True)
        if event.type == "content_block_delta" and event.delta.type == "input_json_delta"
    ]
    assert "".join(pieces) == '{"city": "Par'


def test_thinking_and_its_signature_come_and_go_back(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    message = both(client, model="thinker", max_tokens=2048, thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "text"]
    first = message.content[0]
    assert first.type == "thinking"
    assert first.thinking.startswith("The user wants")
    assert first.signature
    details = message.usage.output_tokens_details
    assert details is not None
    assert details.thinking_tokens == 8
    history: Any = [USER, {"role": "assistant", "content": message.content}, {"role": "user", "content": "again"}]
    both(client, model="thinker", max_tokens=2048, thinking=thinking, messages=history)
    hidden = both(client, model="thinker", thinking={"type": "adaptive", "display": "omitted"})
    assert hidden.content[0].type == "thinking"
    assert (hidden.content[0].thinking, hidden.content[0].signature) == ("", first.signature)
    assert both(client, model="thoughtless", thinking={"type": "disabled"}).stop_reason == "end_turn"
    with pytest.raises(anthropic.BadRequestError, match="reasoning"):
        client.messages.create(model="thoughtless", max_tokens=8, messages=[USER], thinking={"type": "adaptive"})


def test_where_an_answer_stops(client: anthropic.Anthropic) -> None:
    stopped = both(client, stop_sequences=["three", "two"])
    assert (stopped.stop_reason, stopped.stop_sequence, texts(stopped)) == ("stop_sequence", "two", ["one "])
    cut = both(client, max_tokens=2)
    assert (cut.stop_reason, texts(cut)) == ("max_tokens", ["one two"])
    refused = both(client, model="fake/refusal")
    assert (refused.stop_reason, texts(refused)) == ("refusal", ["I cannot help with that."])
    assert both(client, model="fake/empty").content == []
    assert texts(both(client, model="fake/burst", max_tokens=5)) == ["word0 word1 word2 word3 word4"]


class Answer(BaseModel):
    """A shape for an answer."""

    number: int
    word: str


def test_answers_in_a_shape(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(model="fake/echo", max_tokens=64, messages=[USER], output_format=Answer)
    assert isinstance(parsed.parsed_output, Answer)
    with client.messages.stream(model="fake/echo", max_tokens=64, messages=[USER], output_format=Answer) as stream:
        final = stream.get_final_message()
    assert final.parsed_output == parsed.parsed_output
    history: Any = [USER, {"role": "assistant", "content": final.content}, {"role": "user", "content": "again"}]
    assert texts(client.messages.create(model="fake/echo", max_tokens=64, messages=history)) == ["again"]


def test_a_session_goes_on_with_the_new_messages_only(client: anthropic.Anthropic, gateway: RunningGateway) -> None:
    def turn(session: str, model: str, messages: Any, **more: Any) -> tuple[str, Message]:
        raw = client.messages.with_raw_response.create(
            model=model,
            max_tokens=2048,
            messages=messages,
            extra_headers={"x-bedplate-session": session},
            **more,
        )
        return raw.headers["x-bedplate-session"], raw.parse()

    session, _ = turn("auto", "thinker", [USER])
    _, asked = turn(session, "fake/split-tool-call", [{"role": "user", "content": "weather"}], tools=[WEATHER])
    (call,) = [block for block in asked.content if block.type == "tool_use"]
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    same, told = turn(session, "fake/split-tool-call", [{"role": "user", "content": [result]}], tools=[WEATHER])
    assert same == session
    assert texts(told) == ["rain"]
    # the first answer's thought and text, then the rest of the conversation
    assert told.usage.input_tokens > 3 + 8 + 3
    with http(gateway, gateway.key) as plain:
        stored = plain.get(f"/v1/sessions/{session}/items").json()["data"]
    assert [message["role"] for message in stored] == ["user", "assistant", "user", "assistant", "tool", "assistant"]
    assert stored[1]["parts"][0]["signature"]["origin"] == "fake"


@pytest.mark.parametrize(("text", "said"), [("a forbidden thing", "question"), ("an unspeakable thing", "answer")])
def test_what_a_guardrail_stops_is_a_refusal(guarded: anthropic.Anthropic, text: str, said: str) -> None:
    message = both(guarded, model="fake/slow", messages=[{"role": "user", "content": text}])
    assert message.stop_reason == "refusal"
    assert f"The {said} was stopped." in "".join(texts(message))
    assert "unspeakable" not in "".join(texts(message))


def test_tokens_are_counted(client: anthropic.Anthropic, gateway: RunningGateway) -> None:
    count = client.messages.count_tokens(model="fake/echo", messages=[USER], system="be brief", tools=[WEATHER])
    assert count.input_tokens == 3 + 2 + 2
    assert count._request_id is not None
    assert record_of(gateway, count._request_id)["operation"] == "count_tokens"
    message = client.messages.create(
        model="fake/echo", max_tokens=3, messages=[USER], system="be brief", tools=[WEATHER]
    )
    assert message.usage.input_tokens == count.input_tokens
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="no-such", messages=[USER])
    with pytest.raises(anthropic.BadRequestError, match="does not support token counting") as unable:
        client.messages.count_tokens(model="uncounted", messages=[USER])
    assert unable.value.error_code == "unsupported_feature"
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.role"):
        client.messages.count_tokens(model="fake/echo", messages=[{"role": "assistant", "content": "x"}])


def test_models_in_both_forms_on_one_path(client: anthropic.Anthropic, gateway: RunningGateway) -> None:
    listed = list(client.models.list(limit=3))
    assert len(listed) > 10
    assert len({model.id for model in listed}) == len(listed)
    one = client.models.retrieve("fake/echo")
    assert (one.id, one.type, one.display_name, one.lifecycle) == ("fake/echo", "model", "fake/echo", "active")
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.models.retrieve("no/such")
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.models.list(after_id="nobody")
    assert wrong.value.error_code == "invalid_request"
    with http(gateway, gateway.key) as plain:
        assert plain.get("/v1/models").json()["object"] == "list"
        assert plain.get("/v1/models/fake/echo").json()["object"] == "model"
        assert plain.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()["has_more"] is True


class Expected(NamedTuple):
    """What the client catches and what stays on record."""

    raised: type[anthropic.APIStatusError]
    status: int
    type: str
    code: str
    param: str | None = None
    retry_after: str | None = None


CALLS: dict[str, tuple[dict[str, Any], Expected]] = {
    "unknown model": (
        {"model": "no-such-model"},
        Expected(anthropic.NotFoundError, 404, "not_found_error", "model_not_found", "model"),
    ),
    "context too long": (
        {"model": "fake/context-length"},
        Expected(anthropic.BadRequestError, 400, "invalid_request_error", "context_length_exceeded", "messages"),
    ),
    "upstream away": (
        {"model": "fake/error"},
        Expected(ServiceUnavailableError, 503, "overloaded_error", "upstream_unavailable", retry_after="1"),
    ),
    "upstream overloaded": (
        {"model": "fake/rate-limited"},
        Expected(anthropic.RateLimitError, 429, "rate_limit_error", "rate_limited", retry_after="2"),
    ),
    "unknown session": (
        {"extra_headers": {"x-bedplate-session": "sess_0123456789abcdef0123456789abcdef"}},
        Expected(anthropic.NotFoundError, 404, "not_found_error", "not_found"),
    ),
    "wrong type inside": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
        Expected(
            anthropic.BadRequestError, 400, "invalid_request_error", "invalid_request", "messages.0.content.0.text"
        ),
    ),
    "prefill": (
        {"messages": [USER, {"role": "assistant", "content": "The"}]},
        Expected(anthropic.BadRequestError, 400, "invalid_request_error", "unsupported_feature", "messages.1"),
    ),
    "server tool": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        Expected(anthropic.BadRequestError, 400, "invalid_request_error", "unsupported_feature", "tools.0.type"),
    ),
    "unsupported field": (
        {"extra_body": {"no_such_extension": 1}},
        Expected(anthropic.BadRequestError, 400, "invalid_request_error", "unsupported_feature", "no_such_extension"),
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_begin(gateway: RunningGateway, name: str, stream: bool) -> None:
    arguments, expected = CALLS[name]
    before = count_records(gateway)
    given: dict[str, Any] = {"model": "fake/echo", "max_tokens": 8, "messages": [USER], "stream": stream}
    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk(gateway).messages.create(**(given | arguments))
    error = caught.value
    assert type(error) is expected.raised
    assert (error.status_code, error.type, error.error_code) == (expected.status, expected.type, expected.code)
    assert error.response.json()["error"]["details"].get("param") == expected.param
    assert error.response.headers.get("retry-after") == expected.retry_after
    assert error.request_id is not None
    record = record_of(gateway, error.request_id)
    assert (record["outcome"], record["http_status"], record["operation"]) == (
        expected.code,
        expected.status,
        "messages",
    )
    assert count_records(gateway) == before + 1


def test_errors_before_a_route_are_in_this_form(gateway: RunningGateway) -> None:
    with pytest.raises(anthropic.AuthenticationError) as refused:
        sdk(gateway, "bp_wrong").messages.create(model="fake/echo", max_tokens=8, messages=[USER])
    assert refused.value.type == "authentication_error"
    assert refused.value.request_id is not None
    large = "x" * (gateway.settings.max_body_bytes + 1)
    with pytest.raises(ContentTooLargeError) as too_large:
        sdk(gateway).messages.create(model="fake/echo", max_tokens=8, messages=[{"role": "user", "content": large}])
    assert too_large.value.api_message is not None
    assert too_large.value.type == "request_too_large"
    with pytest.raises(anthropic.NotFoundError) as missing:
        sdk(gateway).messages.batches.list()
    assert missing.value.type == "not_found_error"


@pytest.mark.parametrize("model", ["fake/error-midstream", "fake/cut"])
def test_a_stream_that_fails_raises_and_does_not_look_complete(gateway: RunningGateway, model: str) -> None:
    seen: list[str] = []
    stream = sdk(gateway).messages.create(model=model, max_tokens=64, messages=[USER], stream=True)
    with pytest.raises(anthropic.APIStatusError) as caught:
        seen.extend(event.type for event in stream)
    assert seen[0] == "message_start"
    assert seen[-1] == "content_block_stop"
    assert caught.value.type == ("api_error" if model == "fake/cut" else "overloaded_error")
    assert "message_stop" not in seen
    whole = sdk(gateway).messages
    with pytest.raises(anthropic.InternalServerError):
        whole.create(model=model, max_tokens=64, messages=[USER])


def test_a_client_that_leaves_ends_the_call(gateway: RunningGateway) -> None:
    stream = sdk(gateway).messages.create(model="fake/slow", max_tokens=64, messages=[USER], stream=True)
    request_id = stream.response.headers["request-id"]
    next(iter(stream))
    stream.close()
    eventually(lambda: bool(gateway.query("select 1 as one from invocation where id = $1", request_id)), within_s=2)
    assert record_of(gateway, request_id)["outcome"] == "cancelled"


def test_the_document_describes_the_routes(gateway: RunningGateway) -> None:
    with http(gateway, gateway.key) as plain:
        document = plain.get("/openapi.json").json()
        reply = plain.post("/v1/messages", json={"model": "fake/echo", "max_tokens": 8, "messages": [USER]}).json()
    schemas = document["components"]["schemas"]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        operation = document["paths"][path]["post"]
        named = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert {"model", "messages"} <= set(schemas[named]["required"])
        error = operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
        assert error.endswith("/AnthropicErrorBody")
    assert "text/event-stream" in document["paths"]["/v1/messages"]["post"]["responses"]["200"]["content"]
    assert set(reply) <= set(schemas["AnthropicMessageReply"]["properties"])


async def post(gateway: InProcess, body: dict[str, Any], leave_after: int | None = None) -> Exchange:
    """POST a message inside this event loop; leave when that many pieces of the body were sent."""
    exchange = Exchange()
    sent = json.dumps({"max_tokens": 64, "messages": [USER], **body}).encode()
    incoming = [{"type": "http.request", "body": sent, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await exchange.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        exchange.sent.append(message)
        if leave_after is not None and len(exchange.sent) > leave_after:
            exchange.disconnected.set()
        await asyncio.sleep(0)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/messages",
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "headers": [(b"x-api-key", gateway.key.encode()), (b"anthropic-version", b"2023-06-01")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
        "state": {},
    }
    await gateway.application.asgi(scope, receive, send)  # type: ignore[arg-type]
    return exchange


@pytest.mark.anyio
@pytest.mark.parametrize("leave_after", [0, 1, 3])
async def test_leaving_releases_the_upstream(tmp_path: Path, database_url: str, leave_after: int) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        await post(gateway, {"model": "fake/slow", "stream": True}, leave_after)
        rows = await gateway.settled(1)
        assert [(row["outcome"], row["dialect"]) for row in rows] == [("cancelled", "anthropic")]


@pytest.mark.anyio
async def test_pings_fill_the_silence(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url, keep_alive_s=0.005) as gateway:
        many = {"role": "user", "content": "word " * 30}
        exchange = await post(gateway, {"model": "fake/slow", "stream": True, "messages": [many]})
        assert exchange.body.count(b'event: ping\ndata: {"type":"ping"}\n\n') >= 1
        assert exchange.body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        assert [row["outcome"] for row in await gateway.settled(1)] == ["completed"]
