"""Responses as the official client sees them, on the scripted provider and a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

from bedplate_gateway.access.principal import Role
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import eventually, own_gateway

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
POLICY = """
kind: Guardrail
name: strict
project: guarded
spec:
  blockedInputMessaging: Not asked here.
  blockedOutputsMessaging: Not answered here.
  wordPolicyConfig:
    wordsConfig: [{text: pineapple}, {text: durian, inputEnabled: false}]
  sensitiveInformationPolicyConfig:
    piiEntitiesConfig: [{type: EMAIL, action: ANONYMIZE}]
---
kind: Project
name: guarded
spec: {guardrail: strict}
"""


def client_of(gateway: RunningGateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(gateway: RunningGateway) -> openai.OpenAI:
    return client_of(gateway, gateway.key)


@pytest.fixture(scope="module")
def guarded(gateway: RunningGateway) -> openai.OpenAI:
    key = gateway.create_key("guarded", Role.SERVICE)
    gateway.apply_text(POLICY)
    client = client_of(gateway, key)
    deadline = time.monotonic() + 10
    while client.responses.create(model="fake/echo", input="pineapple", store=False).status == "completed":
        assert time.monotonic() < deadline, "the policy is not in force"
        time.sleep(0.05)
    return client


def strict(response: Response) -> Response:
    """The same response, if the SDK's own types accept every field of it as it came."""
    return Response.model_validate_json(json.dumps(response.model_dump(exclude_unset=True, by_alias=True)), strict=True)


def told(response: Response) -> dict[str, Any]:
    """What a response says, but for what is different each time."""
    said = response.model_dump(exclude_unset=True, by_alias=True)
    text = json.dumps(said).replace(response.id.removeprefix("resp_"), "ID")
    return {**json.loads(text), "created_at": 0}


def rows(gateway: RunningGateway, response_id: str) -> list[dict[str, Any]]:
    return gateway.query("select * from stored_response where id = $1", response_id)


def test_a_response_is_whole_stored_and_can_be_read_again(client: openai.OpenAI, gateway: RunningGateway) -> None:
    created = client.responses.create(
        model="fake/echo",
        input="one two three",
        instructions="Be brief.",
        metadata={"case": "7"},
        temperature=0.5,
        user="someone",
        max_output_tokens=50,
        tools=[WEATHER],
    )
    assert strict(created).output_text == "one two three"
    assert (created.status, created.model, created.instructions) == ("completed", "fake/echo", "Be brief.")
    assert (created.metadata, created.temperature, created.user) == ({"case": "7"}, 0.5, "someone")
    assert created.usage is not None
    assert created.usage.output_tokens == 3
    read = client.responses.retrieve(created.id)
    assert strict(read).model_dump() == created.model_dump()
    [row] = rows(gateway, created.id)
    assert (row["project_id"] is not None, row["parent_id"], row["stop_reason"]) == (True, None, "end")
    assert 29 < (row["expires_at"] - row["stored_at"]).total_seconds() / 86400 < 31
    assert (row["input"], row["output"], row["settings"]) == (None, None, None)
    assert b"Be brief." not in row["sealed"]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("fake/echo", {}),
        ("fake/reasoning", {}),
        ("fake/refusal", {}),
        ("fake/empty", {}),
        ("fake/echo", {"max_output_tokens": 2}),
        ("fake/long", {}),
        ("fake/burst", {}),
        ("fake/split-tool-call", {"tools": [WEATHER]}),
        ("fake/bad-tool-arguments", {"tools": [WEATHER]}),
        ("fake/reasoning", {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}}),
        ("fake/echo", {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
        ("fake/reasoning", {"include": ["message.output_text.logprobs"]}),
        ("fake/echo", {"text": {"format": {"type": "json_object"}}}),
    ],
)
def test_a_stream_ends_with_its_non_streamed_twin(client: openai.OpenAI, model: str, fields: dict[str, Any]) -> None:
    whole = client.responses.create(model=model, input="one two three", **fields)
    events = list(client.responses.create(model=model, input="one two three", stream=True, **fields))
    strict(whole)
    for event in events:
        EVENT.validate_json(json.dumps(event.model_dump(exclude_unset=True, by_alias=True)), strict=True)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert without_call_ids(told(last.response)) == without_call_ids(told(whole))
    assert [event.item for event in events if event.type == "response.output_item.done"] == last.response.output
    assert (
        (whole.status == "incomplete") == (last.type == "response.incomplete") == (fields == {"max_output_tokens": 2})
    )


def without_call_ids(response: dict[str, Any]) -> dict[str, Any]:
    """The scripted provider makes a new id for each call."""
    return {**response, "output": [{**item, "call_id": ""} for item in response["output"]]}


def test_the_sdks_own_accumulator_agrees(client: openai.OpenAI) -> None:
    with client.responses.stream(model="fake/split-tool-call", input="x", tools=[WEATHER]) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    call = final.output[0]
    assert call.type == "function_call"
    assert snapshots[-1] == call.arguments
    assert json.loads(call.arguments) == {"city": ""}


def test_logprobs_belong_to_their_own_text(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="fake/reasoning", input="one two", include=["message.output_text.logprobs"], top_logprobs=1
    )
    message = response.output[-1]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    logprobs = message.content[0].logprobs or []
    assert [token.token for token in logprobs] == ["one", " two"]
    assert [len(token.top_logprobs) for token in logprobs] == [1, 1]


def test_an_output_answers_the_call_of_the_previous_response(client: openai.OpenAI) -> None:
    asked = client.responses.create(model="fake/split-tool-call", input="Weather in Paris?", tools=[WEATHER])
    call = asked.output[0]
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny and warm"}
    answered = client.responses.create(
        model="fake/split-tool-call", input=[output], previous_response_id=asked.id, tools=[WEATHER]
    )
    assert answered.output_text == "sunny and warm"
    assert answered.previous_response_id == asked.id
    for wrong in ([{**output, "call_id": "call_other"}], "never mind"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="fake/echo", input=wrong, previous_response_id=asked.id)
        assert caught.value.param == "input"


def test_the_whole_chain_goes_before_the_input_and_instructions_do_not_carry_over(client: openai.OpenAI) -> None:
    first = client.responses.create(model="fake/echo", input="a b", instructions="one two three four")
    second = client.responses.create(model="fake/echo", input="c", previous_response_id=first.id)
    third = client.responses.create(
        model="fake/echo", input="d", previous_response_id=second.id, instructions="five", stream=True
    )
    done = list(third)[-1]
    assert done.type == "response.completed"
    assert done.response.usage is not None
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens == 4 + 2
    assert second.usage.input_tokens == 2 + 2 + 1
    assert done.response.usage.input_tokens == 1 + (2 + 2 + 1 + 1) + 1


def test_a_response_that_is_not_stored_is_gone(client: openai.OpenAI, gateway: RunningGateway) -> None:
    stored = client.responses.create(model="fake/echo", input="a b")
    loose = client.responses.create(model="fake/echo", input="c", previous_response_id=stored.id, store=False)
    assert loose.usage is not None
    assert loose.usage.input_tokens == 5
    assert rows(gateway, loose.id) == []
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(loose.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="fake/echo", input="d", previous_response_id=loose.id)
    assert caught.value.param == "previous_response_id"


def test_reasoning_and_calls_can_be_sent_back_as_they_came(client: openai.OpenAI) -> None:
    named: Any = {"type": "function", "name": "weather"}
    first = client.responses.create(model="fake/reasoning", input="x", tools=[WEATHER], tool_choice=named, store=False)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    call = first.output[1]
    assert call.type == "function_call"
    again: Any = [
        {"role": "user", "content": "x"},
        *[item.model_dump() for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": [{"type": "input_text", "text": "sunny"}]},
    ]
    assert client.responses.create(model="fake/echo", input=again, store=False).output_text == "sunny"


def test_input_items_come_in_pages(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "done"},
        {"role": "assistant", "content": "well"},
        {"role": "user", "content": "go on"},
    ]
    response = client.responses.create(model="fake/echo", input=items, instructions="not an item")
    oldest = client.responses.input_items.list(response.id, order="asc", limit=4)
    assert [item.type for item in oldest.data] == ["message", "message", "function_call", "function_call_output"]
    ResponseItemList.model_validate_json(json.dumps(oldest.model_dump(by_alias=True, exclude_unset=True)), strict=True)
    rest = client.responses.input_items.list(response.id, order="asc", after=oldest.data[-1].id)
    assert [item.role for item in rest.data if item.type == "message"] == ["assistant", "user"]
    assert not rest.has_more
    newest = list(client.responses.input_items.list(response.id, limit=2))
    assert [item.id for item in newest] == [item.id for item in [*oldest.data, *rest.data]][::-1]
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(response.id, after="msg_nowhere")
    with pytest.raises(openai.BadRequestError):
        client.responses.input_items.list(response.id, limit=101)


def test_deleting_is_real(client: openai.OpenAI, gateway: RunningGateway) -> None:
    first = client.responses.create(model="fake/echo", input="a")
    second = client.responses.create(model="fake/echo", input="b", previous_response_id=first.id)
    client.responses.delete(first.id)
    assert rows(gateway, first.id) == []
    for attempt in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            attempt(first.id)
    assert client.responses.retrieve(second.id).output_text == "b"
    with pytest.raises(openai.NotFoundError, match="deleted or has expired"):
        client.responses.create(model="fake/echo", input="c", previous_response_id=second.id)


def test_an_expired_response_is_not_found(client: openai.OpenAI, gateway: RunningGateway) -> None:
    response = client.responses.create(model="fake/echo", input="a")
    gateway.query("update stored_response set expires_at = now() where id = $1", response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="fake/echo", input="b", previous_response_id=response.id)


def test_what_a_conversation_builds_on_is_kept_as_long_as_its_end(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    first = client.responses.create(model="fake/echo", input="a")
    gateway.query("update stored_response set expires_at = now() + interval '1 hour' where id = $1", first.id)
    client.responses.create(model="fake/echo", input="b", previous_response_id=first.id)
    [row] = rows(gateway, first.id)
    assert (row["expires_at"] - row["stored_at"]).days >= 29


def test_another_projects_response_is_not_there(client: openai.OpenAI, gateway: RunningGateway) -> None:
    mine = client.responses.create(model="fake/echo", input="mine")
    other = client_of(gateway, gateway.other_key)
    asks = (other.responses.retrieve, other.responses.delete, other.responses.cancel, other.responses.input_items.list)
    for ask in asks:
        with pytest.raises(openai.NotFoundError) as theirs:
            ask(mine.id)
        with pytest.raises(openai.NotFoundError) as nobodys:
            ask(f"resp_{'0' * 32}")
        assert theirs.value.message == nobodys.value.message
    with pytest.raises(openai.NotFoundError):
        other.responses.create(model="fake/echo", input="x", previous_response_id=mine.id)
    assert client.responses.retrieve(mine.id).output_text == "mine"


def test_only_what_runs_in_the_background_could_be_cancelled(client: openai.OpenAI) -> None:
    response = client.responses.create(model="fake/echo", input="a")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(response.id)
    assert client.responses.retrieve(response.id).status == "completed"


@pytest.mark.parametrize("name", ["x", "resp_1", "resp_%00", "resp_" + "g" * 32])
def test_what_is_no_id_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.get(f"/responses/{name}", cast_to=Response)


@pytest.mark.parametrize("query", ["stream=true", "starting_after=3", "include[]=message.output_text.logprobs"])
def test_reading_does_not_pretend(client: openai.OpenAI, query: str) -> None:
    response = client.responses.create(model="fake/echo", input="a")
    with pytest.raises(openai.BadRequestError) as caught:
        client.get(f"/responses/{response.id}?{query}", cast_to=Response)
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("model", "error"),
    [("fake/error", openai.InternalServerError), ("fake/rate-limited", openai.RateLimitError)],
)
def test_an_error_before_the_first_event_is_a_status(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError]
) -> None:
    for stream in (False, True):
        with pytest.raises(error):
            client.responses.create(model=model, input="a b c d", stream=stream)


def test_an_error_in_the_middle_is_raised_and_nothing_is_stored(client: openai.OpenAI, gateway: RunningGateway) -> None:
    before = gateway.query("select count(*) from stored_response")
    seen: list[Any] = []
    with pytest.raises(openai.APIError, match="failed while it answered"):
        seen.extend(client.responses.create(model="fake/error-midstream", input="a b c d e f", stream=True))
    assert seen[-1].type == "response.failed"
    assert (seen[-1].response.status, seen[-1].response.error.code) == ("failed", "server_error")
    assert "response.completed" not in [event.type for event in seen]
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="fake/error-midstream", input="a b c d e f")
    assert gateway.query("select count(*) from stored_response") == before


def test_a_session_keeps_its_own_turns(client: openai.OpenAI, gateway: RunningGateway) -> None:
    raw = client.responses.with_raw_response.create(
        model="fake/echo", input="a b", extra_headers={"x-bedplate-session": "auto"}
    )
    session = raw.headers["x-bedplate-session"]
    header = {"x-bedplate-session": session}
    first = raw.parse()
    assert rows(gateway, first.id) == []
    second = client.responses.create(model="fake/echo", input="c", extra_headers=header)
    assert second.usage is not None
    assert second.usage.input_tokens == 5
    for field in ({"previous_response_id": f"resp_{'0' * 32}"}, {"store": True}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="fake/echo", input="d", extra_headers=header, extra_body=field)
        assert caught.value.param == next(iter(field))
        assert "x-bedplate-session" in caught.value.message


def test_what_is_stored_is_what_the_policy_let_through(guarded: openai.OpenAI, gateway: RunningGateway) -> None:
    tool: Any = {**WEATHER, "description": "Ask ann@example.com."}
    response = guarded.responses.create(
        model="fake/echo", input="write to ann@example.com now", instructions="I am ann@example.com.", tools=[tool]
    )
    assert response.output_text == "write to {EMAIL} now"
    [row] = rows(gateway, response.id)
    assert "ann@" not in json.dumps({name: str(value) for name, value in row.items()})
    read = guarded.responses.retrieve(response.id)
    assert (read.instructions, read.output_text) == ("I am {EMAIL}.", "write to {EMAIL} now")
    [item] = guarded.responses.input_items.list(response.id).data
    assert item.type == "message"
    assert item.content[0].model_dump()["text"] == "write to {EMAIL} now"


def test_a_block_in_the_middle_of_a_stream_leaves_an_incomplete_response(guarded: openai.OpenAI) -> None:
    question = f"{'apple ' * 300}durian and more"
    events = list(guarded.responses.create(model="fake/script", input=f"say: {question}", stream=True))
    last = events[-1]
    assert last.type == "response.incomplete"
    response = strict(last.response)
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 10
    assert "".join(deltas) == response.output_text
    assert "durian" not in response.output_text
    assert response.output_text.endswith("Not answered here.")
    assert response.output[-1].model_dump()["status"] == "incomplete"
    stored = guarded.responses.retrieve(response.id)
    assert (stored.status, stored.output_text) == ("incomplete", response.output_text)


def test_a_blocked_input_is_answered_and_not_stored(guarded: openai.OpenAI, gateway: RunningGateway) -> None:
    response = guarded.responses.create(model="fake/echo", input="a pineapple please")
    assert strict(response).output_text == "Not asked here."
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"
    assert rows(gateway, response.id) == []


def test_calls_are_on_record(client: openai.OpenAI, gateway: RunningGateway) -> None:
    response = client.responses.create(model="fake/echo", input="a")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="fake/echo", input="a", moderation={"model": "m"})
    last, refused = gateway.records()[-2:]
    assert (last["operation"], last["outcome"], last["id"]) == (
        "responses",
        "completed",
        f"req_{response.id.removeprefix('resp_')}",
    )
    assert (refused["operation"], refused["outcome"]) == ("responses", "unsupported_feature")


@pytest.fixture
def exposed(own_server: PostgresServer) -> Iterator[RunningGateway]:
    """A gateway whose Postgres belongs to the test."""
    with own_gateway(own_server, database="postgres") as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_database_no_stored_response_is_said_to_be_complete(
    exposed: RunningGateway, own_server: PostgresServer, stream: bool
) -> None:
    client = client_of(exposed, exposed.key)
    assert client.responses.create(model="fake/echo", input="a").status == "completed"
    own_server.embedded.stop()
    loose = client.responses.create(model="fake/echo", input="a b", store=False)
    assert (loose.status, loose.output_text) == ("completed", "a b")
    seen: list[Any] = []
    with pytest.raises(openai.APIError, match="not stored"):
        seen.extend(client.responses.create(model="fake/echo", input="a b", stream=stream))
    assert "response.completed" not in [event.type for event in seen]
    own_server.embedded.start()
    eventually(lambda: client.responses.create(model="fake/echo", input="a").status == "completed", within_s=20)
    stored = exposed.query("select count(*) from stored_response")
    assert stored[0]["count"] == 2
