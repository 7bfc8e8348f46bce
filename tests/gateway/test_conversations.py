"""Conversations as the official client sees them, on the scripted provider and a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types.conversations import Conversation, ConversationItem
from openai.types.responses import Response
from pydantic import TypeAdapter

from bedplate_gateway.access.principal import Role
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import http, sdk

ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)
UNKNOWN = f"conv_{'0' * 32}"
CANARY = "canary-41d7"
TOOLS: Any = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
POLICY = """
kind: Guardrail
name: strict
project: guarded
spec:
  blockedInputMessaging: Not asked here.
  blockedOutputsMessaging: Not answered here.
  wordPolicyConfig:
    wordsConfig: [{text: pineapple}]
  sensitiveInformationPolicyConfig:
    piiEntitiesConfig: [{type: EMAIL, action: ANONYMIZE}]
---
kind: Project
name: guarded
spec: {guardrail: strict}
"""


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def texts(items: Any) -> list[tuple[str, str]]:
    """Role and text of each message; the type of every other item."""
    return [
        (item.role, "".join(part.text for part in item.content)) if item.type == "message" else (item.type, "")
        for item in items
    ]


def listed(client: openai.OpenAI, conversation: str, **options: Any) -> list[Any]:
    found = list(client.conversations.items.list(conversation, order="asc", **options))
    for item in found:
        ITEM.validate_json(json.dumps(item.model_dump(exclude_unset=True)), strict=True)
    return found


@pytest.fixture
def client(gateway: RunningGateway) -> openai.OpenAI:
    return sdk(gateway)


@pytest.fixture
def other(gateway: RunningGateway) -> openai.OpenAI:
    return sdk(gateway, gateway.other_key)


@pytest.fixture
def say(client: openai.OpenAI) -> Callable[..., Response]:
    def say(conversation: Any, text: Any, model: str = "fake/echo", **fields: Any) -> Response:
        return client.responses.create(model=model, input=text, conversation=conversation, **fields)

    return say


def test_a_conversation_is_made_read_changed_and_deleted(client: openai.OpenAI, gateway: RunningGateway) -> None:
    made = client.conversations.create(items=[user("one"), user("two")], metadata={"case": "7"})
    assert Conversation.model_validate_json(made.model_dump_json(), strict=True) == made
    assert (made.object, made.metadata, made.id[:5], len(made.id)) == ("conversation", {"case": "7"}, "conv_", 37)
    assert abs(made.created_at - time.time()) < 60
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"topic": "x"})
    assert (changed.id, changed.metadata) == (made.id, {"topic": "x"})
    assert client.conversations.update(made.id, metadata=None).metadata == {}
    assert texts(listed(client, made.id)) == [("user", "one"), ("user", "two")]
    deleted = client.conversations.delete(made.id)
    assert deleted.model_dump() == {"id": made.id, "object": "conversation.deleted", "deleted": True}
    for attempt in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            attempt(made.id)
    session = made.id.replace("conv_", "sess_")
    for table in ("session_item", "session_branch", "session_invocation", "stored_response"):
        assert gateway.query(f"select 1 from {table} where session_id = $1", session) == []
    assert gateway.query("select 1 from session_key where owner = $1", session) == []


def test_an_empty_conversation_needs_no_body(gateway: RunningGateway, client: openai.OpenAI) -> None:
    made = client.conversations.create()
    page = client.conversations.items.list(made.id)
    assert (page.data, page.has_more, page.last_id) == ([], False, "")
    with http(gateway, gateway.key) as raw:
        assert raw.post("/v1/conversations").json()["metadata"] == {}


def test_items_of_every_kind_keep_their_ids_and_their_order(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    sent: Any = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
        ]},
        {"type": "reasoning", "id": "rs_x", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "no JSON"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "a"},
                                                                     {"type": "input_text", "text": "b"}]},
    ]  # fmt: skip
    page = client.conversations.items.create(made.id, items=sent)
    kinds = ["message", "message", "reasoning", "message", *["function_call"] * 2, *["function_call_output"] * 2]
    assert [item.type for item in page.data] == kinds
    assert (page.object, page.has_more, page.first_id, page.last_id) == (
        "list",
        False,
        page.data[0].id,
        page.data[-1].id,
    )
    again = listed(client, made.id)
    assert [item.model_dump() for item in again] == [item.model_dump() for item in page.data]
    assert len({item.id for item in again}) == len(sent)
    for item in again:
        assert client.conversations.items.retrieve(item.id, conversation_id=made.id).model_dump() == item.model_dump()
    picture = again[1]
    assert [part.type for part in picture.content] == ["input_text", "input_image", "input_file"]
    assert picture.content[1].image_url is None
    shown = client.conversations.items.retrieve(
        picture.id, conversation_id=made.id, include=["message.input_image.image_url"]
    )
    assert shown.content[1].image_url == f"data:image/png;base64,{PIXEL}"  # type: ignore[union-attr]
    [included] = client.conversations.items.create(
        made.id, items=[sent[1]], include=["message.input_image.image_url"]
    ).data
    assert included.content[1].image_url.endswith(PIXEL)  # type: ignore[union-attr]
    assert (again[5].arguments, again[7].output[1].text) == ("no JSON", "b")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_cut_a_message_anywhere_and_lose_nothing(client: openai.OpenAI, order: Any, limit: int) -> None:
    made = client.conversations.create(items=[
        user("q"),
        {"type": "reasoning", "id": "x", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": "I ask"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        user("r"),
    ])  # fmt: skip
    whole = [item.id for item in client.conversations.items.list(made.id, order=order, limit=100).data]
    assert len(whole) == 6
    page = client.conversations.items.list(made.id, order=order, limit=limit)
    assert len(page.data) == min(limit, 6)
    assert page.has_more == (limit < 6)
    assert [item.id for item in page] == whole
    for place, name in enumerate(whole):
        behind = client.conversations.items.list(made.id, order=order, limit=limit, after=name).data
        assert [item.id for item in behind] == whole[place + 1 : place + 1 + limit]


def test_newest_first_is_the_default_and_a_page_has_twenty(client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[user(str(number)) for number in range(20)])
    client.conversations.items.create(made.id, items=[user(str(number)) for number in range(20, 25)])
    page = client.conversations.items.list(made.id)
    assert [text for _, text in texts(page.data)] == [str(number) for number in range(24, 4, -1)]
    assert page.has_more


def test_a_response_is_a_turn_and_a_stored_response(
    client: openai.OpenAI, say: Callable[..., Response], gateway: RunningGateway
) -> None:
    made = client.conversations.create(items=[{"role": "system", "content": "s1 s2"}, user("one")])
    first = say(made.id, "two three", instructions="i1 i2 i3")
    assert (first.output_text, first.instructions, first.previous_response_id) == ("two three", "i1 i2 i3", None)
    assert first.conversation is not None
    assert first.conversation.id == made.id
    assert first.usage is not None
    assert first.usage.input_tokens == 3 + 2 + 1 + 2
    second = say({"id": made.id}, "four")
    assert second.usage is not None
    assert second.usage.input_tokens == 2 + 1 + 2 + 2 + 1, "instructions are carried on"
    said = [("system", "s1 s2"), ("user", "one"), ("user", "two three"), ("assistant", "two three")]
    assert texts(listed(client, made.id)) == [*said, ("user", "four"), ("assistant", "four")]
    read = client.responses.retrieve(first.id)
    assert Response.model_validate_json(read.model_dump_json(by_alias=True), strict=True)
    assert read.model_dump() == first.model_dump()
    assert texts(client.responses.input_items.list(first.id)) == [("user", "two three")]
    [row] = gateway.query("select session_id, key_owner, parent_id from stored_response where id = $1", first.id)
    session = made.id.replace("conv_", "sess_")
    assert row == {"session_id": session, "key_owner": session, "parent_id": None}
    assert gateway.query("select 1 from session_key where owner = $1", first.id) == []
    [record] = gateway.query("select session_id, outcome from invocation where id = $1", call_of(first))
    assert record == {"session_id": session, "outcome": "completed"}
    client.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_the_items_of_an_answer_have_the_ids_that_its_response_gave_them(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create()
    answered = say(made.id, "one", "fake/reasoning")
    assert [item.id for item in listed(client, made.id)[1:]] == [item.id for item in answered.output]
    assert len(answered.output) == 2
    for item in answered.output:
        found = client.conversations.items.retrieve(str(item.id), conversation_id=made.id)
        assert found.type == item.type


def test_a_response_in_the_background_is_a_turn_as_well(client: openai.OpenAI, say: Callable[..., Response]) -> None:
    made = client.conversations.create(items=[user("one")])
    begun = say(made.id, "two", background=True)
    deadline = time.monotonic() + 10
    while (read := client.responses.retrieve(begun.id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (read.status, read.output_text) == ("completed", "two")
    assert read.conversation is not None
    assert read.conversation.id == made.id
    assert texts(listed(client, made.id)) == [("user", "one"), ("user", "two"), ("assistant", "two")]


def call_of(response: Response) -> str:
    return response.id.replace("resp_", "req_")


def test_a_stream_is_a_turn_and_every_response_in_it_names_the_conversation(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    events = list(client.responses.create(model="fake/echo", input="one two", conversation=made.id, stream=True))
    assert events[-1].type == "response.completed"
    for event in events:
        if event.type in ("response.created", "response.in_progress", "response.completed"):
            assert event.response.conversation is not None
            assert event.response.conversation.id == made.id
    assert texts(listed(client, made.id)) == [("user", "one two"), ("assistant", "one two")]
    assert client.responses.retrieve(events[-1].response.id).output_text == "one two"


def test_without_store_the_turn_is_kept_and_no_response(client: openai.OpenAI, say: Callable[..., Response]) -> None:
    made = client.conversations.create()
    answered = say(made.id, "one", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answered.id)
    assert texts(listed(client, made.id)) == [("user", "one"), ("assistant", "one")]


def test_system_messages_of_the_input_stand_in_for_those_before_and_stay(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create(items=[{"role": "system", "content": "s1 s2"}, user("one")])
    answered = say(made.id, [{"role": "developer", "content": "d"}, user("two")])
    assert answered.usage is not None
    assert answered.usage.input_tokens == 1 + 1 + 1
    assert texts(client.responses.input_items.list(answered.id, order="asc")) == [("system", "d"), ("user", "two")]
    again = say(made.id, "three")
    assert again.usage is not None
    assert again.usage.input_tokens == 1 + 1 + 1 + 1 + 1


def test_calls_and_their_outputs_meet_over_turns_and_appends(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create()
    asked = say(made.id, "Weather in Paris?", "fake/parallel-tools", tools=TOOLS)
    first, second = [item for item in asked.output if item.type == "function_call"]
    with pytest.raises(openai.BadRequestError) as caught:
        say(made.id, "never mind")
    assert caught.value.param == "input"
    output: Any = {"type": "function_call_output", "output": "sunny"}
    with pytest.raises(openai.BadRequestError):
        say(made.id, [{**output, "call_id": "call_other"}])
    before = len(listed(client, made.id))
    client.conversations.items.create(made.id, items=[{**output, "call_id": first.call_id}])
    with pytest.raises(openai.BadRequestError):
        say(made.id, "still one to go")
    assert len(listed(client, made.id)) == before + 1
    answered = say(made.id, [{**output, "call_id": second.call_id, "output": "warm"}])
    assert answered.output_text.endswith("warm")


def test_a_call_can_be_appended_before_its_output(client: openai.OpenAI) -> None:
    call: Any = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    made = client.conversations.create(items=[user("q"), call])
    client.conversations.items.create(
        made.id, items=[{"type": "function_call_output", "call_id": "c1", "output": "sunny"}]
    )
    assert [item.type for item in listed(client, made.id)] == ["message", "function_call", "function_call_output"]
    with pytest.raises(openai.BadRequestError, match="no output"):
        client.conversations.items.create(made.id, items=[call, user("too early")])


def test_the_ids_of_a_models_items_hold_when_one_is_deleted(
    client: openai.OpenAI, say: Callable[..., Response], gateway: RunningGateway
) -> None:
    made = client.conversations.create()
    say(made.id, CANARY, "fake/reasoning")
    question, thought, said = listed(client, made.id)
    assert (thought.type, said.type) == ("reasoning", "message")
    answer = client.conversations.items.delete(thought.id, conversation_id=made.id)
    assert (answer.id, answer.object) == (made.id, "conversation")
    assert [item.model_dump() for item in listed(client, made.id)] == [question.model_dump(), said.model_dump()]
    for gone in (thought.id, thought.id.replace("rs_", "msg_")):
        with pytest.raises(openai.NotFoundError):
            client.conversations.items.retrieve(gone, conversation_id=made.id)
        with pytest.raises(openai.NotFoundError):
            client.conversations.items.delete(gone, conversation_id=made.id)
        with pytest.raises(openai.NotFoundError):
            client.conversations.items.list(made.id, after=gone)
    client.conversations.items.delete(said.id, conversation_id=made.id)
    client.conversations.items.delete(question.id, conversation_id=made.id)
    assert listed(client, made.id) == []
    found = gateway.query(
        "select sealed, payload, deleted_at from session_item where session_id = $1", made.id.replace("conv_", "sess_")
    )
    assert len(found) == 2
    assert all(row["sealed"] is None and row["payload"] is None and row["deleted_at"] is not None for row in found)
    assert say(made.id, "goes on").output_text == "goes on"


def test_deleting_one_of_several_calls_and_outputs_leaves_the_others(client: openai.OpenAI) -> None:
    calls: Any = [
        {"type": "function_call", "call_id": f"c{number}", "name": "weather", "arguments": "{}"} for number in range(3)
    ]
    outputs: Any = [
        {"type": "function_call_output", "call_id": f"c{number}", "output": str(number)} for number in range(3)
    ]
    said: Any = {"role": "assistant", "content": "a"}
    made = client.conversations.create(items=[user("q"), said, *calls, *outputs])
    items = listed(client, made.id)
    for place in (3, 6):
        client.conversations.items.delete(items[place].id, conversation_id=made.id)
    left = [item.model_dump() for item in items if item.id not in (items[3].id, items[6].id)]
    assert [item.model_dump() for item in listed(client, made.id)] == left
    answered = client.responses.create(model="fake/echo", input="go on", conversation=made.id)
    assert answered.output_text == "go on"


def test_one_conversation_in_three_dialects(client: openai.OpenAI, gateway: RunningGateway) -> None:
    made = client.conversations.create(items=[user("one")], metadata={"a": "b"})
    claude = anthropic.Anthropic(base_url=gateway.base_url, api_key=gateway.key, max_retries=0)
    session = made.id.replace("conv_", "sess_")
    for name in (made.id, session):
        claude.messages.create(
            model="fake/echo", max_tokens=50, messages=[{"role": "user", "content": "two"}],
            extra_headers={"x-bedplate-session": name},
        )  # fmt: skip
    chat = client.chat.completions.with_raw_response.create(
        model="fake/echo", messages=[user("three")], extra_headers={"x-bedplate-session": made.id}
    )
    assert chat.headers["x-bedplate-session"] == session
    expected = [("user", "one"), *[("user", "two"), ("assistant", "two")] * 2]
    expected += [("user", "three"), ("assistant", "three")]
    assert texts(listed(client, made.id)) == expected
    answered = client.responses.create(model="fake/echo", input="four", conversation=session)
    assert answered.conversation is not None
    assert answered.conversation.id == made.id


def test_a_session_of_any_dialect_is_a_conversation(client: openai.OpenAI, gateway: RunningGateway) -> None:
    claude = anthropic.Anthropic(base_url=gateway.base_url, api_key=gateway.key, max_retries=0)
    begun = claude.messages.with_raw_response.create(
        model="fake/split-tool-call", max_tokens=50, system="be brief", messages=[user("weather?")],
        tools=[{"name": "weather", "input_schema": {"type": "object"}}],
        extra_headers={"x-bedplate-session": "auto"},
    )  # fmt: skip
    session = begun.headers["x-bedplate-session"]
    conversation = session.replace("sess_", "conv_")
    assert client.conversations.retrieve(conversation).id == conversation
    [call] = [block for block in begun.parse().content if block.type == "tool_use"]
    claude.messages.create(
        model="fake/echo", max_tokens=50, extra_headers={"x-bedplate-session": session},
        messages=[
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"},
                                         {"type": "text", "text": "so?"}]}
        ],
    )  # fmt: skip
    items = listed(client, conversation)
    assert [item.type for item in items] == [
        "message", "message", "function_call", "function_call_output", "message", "message",
    ]  # fmt: skip
    assert (items[2].call_id, items[3].call_id, items[3].output) == (call.id, call.id, "sunny")


def test_items_of_another_branch_are_no_items_of_the_conversation(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    made = client.conversations.create(items=[user("one")])
    session = made.id.replace("conv_", "sess_")
    [shared] = gateway.query("select id from session_item where session_id = $1", session)
    client.chat.completions.create(
        model="fake/echo", messages=[user("two")],
        extra_headers={"x-bedplate-session": f"{session}; fork_at={shared['id']}"},
    )  # fmt: skip
    [elsewhere] = gateway.query(
        "select id from session_item where session_id = $1 and branch = 1 and role = 'user'", session
    )
    name = elsewhere["id"].replace("item_", "msg_")
    assert texts(listed(client, made.id)) == [("user", "one")]
    for attempt in (
        lambda: client.conversations.items.retrieve(name, conversation_id=made.id),
        lambda: client.conversations.items.delete(name, conversation_id=made.id),
        lambda: client.conversations.items.list(made.id, after=name),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_an_interrupted_answer_is_an_incomplete_item_until_the_next_turn_drops_it(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create(items=[user("one")])
    with pytest.raises(openai.APIError):
        list(client.responses.create(model="fake/error-midstream", input="a b c d", conversation=made.id, stream=True))
    items = listed(client, made.id)
    assert [(item.role, item.status) for item in items] == [
        ("user", "completed"), ("user", "completed"), ("assistant", "incomplete"),
    ]  # fmt: skip
    say(made.id, "two")
    assert texts(listed(client, made.id)) == [("user", "one"), ("user", "two"), ("assistant", "two")]
    for item in items[1:]:
        with pytest.raises(openai.NotFoundError):
            client.conversations.items.retrieve(item.id, conversation_id=made.id)


def test_an_answer_that_the_limit_cut_is_an_incomplete_item(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create()
    assert say(made.id, "one two three", max_output_tokens=2).status == "incomplete"
    assert [item.status for item in listed(client, made.id)] == ["completed", "incomplete"]


def test_conversation_and_another_way_to_go_on_exclude_each_other(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create()
    first = say(made.id, "one")
    for fields, param in (
        ({"previous_response_id": first.id}, "previous_response_id"),
        ({"extra_headers": {"x-bedplate-session": "auto"}}, "conversation"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            say(made.id, "two", **fields)
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError, match="conversation") as caught:
        client.responses.create(model="fake/echo", input="two", previous_response_id=first.id)
    assert caught.value.param == "previous_response_id"
    assert len(listed(client, made.id)) == 2


def operations(client: openai.OpenAI, conversation: str, item: str) -> list[Callable[[], Any]]:
    """Everything that can be asked of a conversation."""
    whole, items = client.conversations, client.conversations.items
    found: list[Callable[[], Any]] = [
        lambda: whole.retrieve(conversation),
        lambda: whole.update(conversation, metadata={"a": "b"}),
        lambda: whole.delete(conversation),
        lambda: items.list(conversation),
        lambda: items.create(conversation, items=[user("x")]),
        lambda: items.retrieve(item, conversation_id=conversation),
        lambda: items.delete(item, conversation_id=conversation),
    ]
    if len(conversation) <= 512:
        found.append(lambda: client.responses.create(model="fake/echo", input="x", conversation=conversation))
    return found


def test_another_projects_conversation_is_unknown_to_every_operation(
    client: openai.OpenAI, other: openai.OpenAI, gateway: RunningGateway
) -> None:
    made = client.conversations.create(items=[user("mine")])
    [item] = listed(client, made.id)
    theirs = other.conversations.create(items=[user("theirs")])
    before = gateway.query("select count(*) as n from session_item")
    for name in (made.id, made.id.replace("conv_", "sess_"), UNKNOWN, "conv_x", "conv_%00", "\u00e4", "x" * 3000):
        for attempt in operations(other, name, item.id):
            with pytest.raises(openai.NotFoundError) as caught:
                attempt()
            assert caught.value.status_code == 404
    for attempt in (
        lambda: other.conversations.items.retrieve(item.id, conversation_id=theirs.id),
        lambda: other.conversations.items.delete(item.id, conversation_id=theirs.id),
        lambda: other.conversations.items.list(theirs.id, after=item.id),
        lambda: client.conversations.items.list(made.id, after="msg_nonsense"),
        lambda: client.conversations.items.retrieve("item\x00", conversation_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert gateway.query("select count(*) as n from session_item") == before
    assert texts(listed(client, made.id)) == [("user", "mine")]


MANY: Any = [user("x")] * 21


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": MANY}, "items"),
        ({"items": [user("x"), {"type": "item_reference", "id": "msg_1"}]}, "items[1].type"),
        ({"items": [{"type": "web_search_call", "id": "x", "status": "completed"}]}, "items[0].type"),
        ({"items": [{"type": "message", "role": "critic", "content": "x"}]}, "items[0].role"),
        ({"items": [{"role": "user", "content": [{"type": "nonsense"}]}]}, "items[0].content[0].type"),
        ({"items": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "items[0].content[0].file_id"),
        ({"items": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,eA=="}]}]},
         "messages[0].content[0]"),
        ({"items": "text"}, "items"),
        ({"metadata": {"a": "x" * 513}}, None),
        ({"metadata": {"a" * 65: "x"}}, None),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "\0"}}, "metadata"),
        ({"metadata": {"\0": "a"}}, "metadata"),
        ({"metadata": {"a": 1}}, None),
        ({"metadata": "x"}, "metadata"),
        ({"surprise": 1}, "surprise"),
        ({"items": [user("x")], "include": ["a"]}, "include"),
        ([], None),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_nothing_is_written(gateway: RunningGateway, body: Any, param: str | None) -> None:
    client = sdk(gateway)
    made = client.conversations.create(metadata={"kept": "yes"})
    before = gateway.query("select (select count(*) from session) as s, (select count(*) from session_item) as i")
    with http(gateway, gateway.key) as raw:
        replies = [raw.post("/v1/conversations", json=body)]
        if isinstance(body, dict) and "metadata" in body:
            replies.append(raw.post(f"/v1/conversations/{made.id}", json=body))
        if isinstance(body, dict) and "items" in body:
            replies.append(raw.post(f"/v1/conversations/{made.id}/items", json=body))
    for reply in replies:
        assert reply.status_code == 400, reply.text
        assert param is None or reply.json()["error"]["param"] == param, reply.text
    after = gateway.query("select (select count(*) from session) as s, (select count(*) from session_item) as i")
    assert after == before
    assert client.conversations.retrieve(made.id).metadata == {"kept": "yes"}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "include=nonsense"])
def test_bad_queries_are_refused(gateway: RunningGateway, client: openai.OpenAI, query: str) -> None:
    made = client.conversations.create()
    with http(gateway, gateway.key) as raw:
        assert raw.get(f"/v1/conversations/{made.id}/items?{query}").status_code == 400
        if query.startswith("include"):
            sent = {"items": [user("x")]}
            assert raw.post(f"/v1/conversations/{made.id}/items?{query}", json=sent).status_code == 400
    assert listed(client, made.id) == []


def test_an_update_without_metadata_and_an_append_without_items_are_refused(
    gateway: RunningGateway, client: openai.OpenAI
) -> None:
    made = client.conversations.create()
    with http(gateway, gateway.key) as raw:
        for path, body in ((made.id, {}), (f"{made.id}/items", {}), (f"{made.id}/items", {"items": []})):
            assert raw.post(f"/v1/conversations/{path}", json=body).status_code == 400
            assert raw.post(f"/v1/conversations/{path}", content=b"{").status_code == 400


@pytest.mark.parametrize("change", ["ended_at = now()", "expires_at = now() - interval '1 s'"])
def test_a_conversation_that_is_over_can_be_read_and_deleted_only(
    gateway: RunningGateway, client: openai.OpenAI, change: str, say: Callable[..., Response]
) -> None:
    made = client.conversations.create(items=[user("one")])
    [item] = listed(client, made.id)
    session = made.id.replace("conv_", "sess_")
    gateway.query(f"update session set {change} where id = $1 returning 1", session)
    for attempt in (
        lambda: client.conversations.update(made.id, metadata={}),
        lambda: client.conversations.items.create(made.id, items=[user("x")]),
        lambda: client.conversations.items.delete(item.id, conversation_id=made.id),
        lambda: say(made.id, "x"),
    ):
        with pytest.raises(openai.ConflictError) as caught:
            attempt()
        assert caught.value.code == "conflict"
    assert texts(listed(client, made.id)) == [("user", "one")]
    assert client.conversations.delete(made.id).deleted


@pytest.fixture(scope="module")
def guarded(gateway: RunningGateway) -> openai.OpenAI:
    client = sdk(gateway, gateway.create_key("guarded", Role.SERVICE))
    gateway.apply_text(POLICY)
    deadline = time.monotonic() + 10
    while client.responses.create(model="fake/echo", input="pineapple", store=False).status == "completed":
        assert time.monotonic() < deadline, "the policy is not in force"
        time.sleep(0.05)
    return client


def test_items_are_stored_as_the_guardrail_lets_them_through(guarded: openai.OpenAI, gateway: RunningGateway) -> None:
    made = guarded.conversations.create(items=[user("write to someone@example.com")])
    assert texts(listed(guarded, made.id)) == [("user", "write to {EMAIL}")]
    before = gateway.query("select count(*) as n from session")
    for attempt in (
        lambda: guarded.conversations.items.create(made.id, items=[user("fine"), user("a pineapple")]),
        lambda: guarded.conversations.create(items=[user("a pineapple")]),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            attempt()
        assert caught.value.param == "items"
    assert gateway.query("select count(*) as n from session") == before
    assert len(listed(guarded, made.id)) == 1


def test_a_blocked_turn_is_no_part_of_the_conversation(guarded: openai.OpenAI) -> None:
    made = guarded.conversations.create(items=[user("one")])
    blocked = guarded.responses.create(model="fake/echo", input="pineapple", conversation=made.id)
    assert blocked.status == "incomplete"
    assert texts(listed(guarded, made.id)) == [("user", "one")]
    with pytest.raises(openai.NotFoundError):
        guarded.responses.retrieve(blocked.id)


def test_no_row_holds_what_was_said_in_the_clear(
    client: openai.OpenAI, say: Callable[..., Response], gateway: RunningGateway
) -> None:
    made = client.conversations.create(items=[user(CANARY)])
    first = say(made.id, CANARY, instructions=CANARY)
    alone = client.responses.create(model="fake/echo", input=CANARY, instructions=CANARY, tools=TOOLS)
    hexed = CANARY.encode().hex()
    for table, column, name in (
        ("session_item", "session_id", made.id.replace("conv_", "sess_")),
        ("stored_response", "id", first.id),
        ("stored_response", "id", alone.id),
    ):
        found = gateway.query(f"select to_jsonb(t)::text as row from {table} t where {column} = $1", name)
        assert found
        for row in found:
            assert CANARY not in row["row"]
            assert hexed not in row["row"]


def test_the_last_response_of_a_chain_takes_its_key_along(client: openai.OpenAI, gateway: RunningGateway) -> None:
    first = client.responses.create(model="fake/echo", input="one")
    second = client.responses.create(model="fake/echo", input="two", previous_response_id=first.id)
    key = "select 1 as one from session_key where owner = $1"
    assert len(gateway.query(key, first.id)) == 1
    assert gateway.query(key, second.id) == []
    client.responses.delete(first.id)
    assert client.responses.retrieve(second.id).output_text == "two"
    assert len(gateway.query(key, first.id)) == 1
    client.responses.delete(second.id)
    assert gateway.query(key, first.id) == []


def test_a_stored_turn_that_is_deleted_leaves_the_conversation_and_its_key(
    client: openai.OpenAI, say: Callable[..., Response]
) -> None:
    made = client.conversations.create()
    first = say(made.id, "one")
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert say(made.id, "two").output_text == "two"
    assert len(listed(client, made.id)) == 4


def test_the_wire_has_only_the_fields_of_the_sdk(gateway: RunningGateway, client: openai.OpenAI) -> None:
    made = client.conversations.create(items=[user("one")])
    with http(gateway, gateway.key) as raw:
        shown: httpx.Response = raw.get(f"/v1/conversations/{made.id}")
        assert set(shown.json()) == {"id", "object", "created_at", "metadata"}
        page = raw.get(f"/v1/conversations/{made.id}/items").json()
    assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
    assert set(page["data"][0]) == {"id", "type", "role", "status", "content"}
