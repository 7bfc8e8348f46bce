"""How a session's messages read as items: every kind, with ids that hold whatever else is deleted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.conversations import ConversationItem
from pydantic import TypeAdapter

from bedplate_core.errors import NotFound
from bedplate_core.events import StopReason
from bedplate_core.ids import ItemId, new_call_id, new_item_id
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_gateway.dialects.openai.conversations_items import delete_item, whole_list, wire_items, without_item
from bedplate_gateway.dialects.openai.responses_reply import output_items
from bedplate_gateway.dialects.openai.responses_stored import UNLISTED, ListedItem
from bedplate_sessions.conversation_items import REMOVED
from bedplate_sessions.items import Item, ItemKind, ItemStatus

ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)
HEX = "0" * 31 + "1"
PNG = MediaBytes(data=b"png", media_type="image/png")


def item(role: Role, *parts: Part, name: str = f"item_{HEX}", **fields: Any) -> Item:
    values: dict[str, Any] = {"status": ItemStatus.COMPLETED, "stop_reason": None, **fields}
    return Item(
        id=ItemId(name),
        branch=0,
        seq=1,
        parent_seq=None,
        call_id=new_call_id(),
        invocation_id=None,
        message=Message(role=role, parts=parts),
        created_at=datetime.now(UTC),
        **values,
    )


def listed(*items: Item, image_urls: bool = True) -> list[dict[str, Any]]:
    found = json.loads(msgspec.json.encode(whole_list(items, image_urls=image_urls)))["data"]
    for each in found:
        ITEM.validate_json(json.dumps(each), strict=True)
    return found


def test_ids_name_the_message_and_the_number_of_the_item_in_it() -> None:
    said = item(
        Role.ASSISTANT,
        Reasoning(text="hm"),
        Text(text="a"),
        Refusal(text="no"),
        ToolCall(id="c1", name="f", arguments="{}"),
        ToolCall(id="c2", name="f", arguments="{}"),
    )
    assert [each["id"] for each in listed(said)] == [f"rs_{HEX}_0", f"msg_{HEX}_1", f"fc_{HEX}_2", f"fc_{HEX}_3"]
    results = item(Role.TOOL, *(ToolResult(call_id=each, parts=(Text(text="x"),)) for each in ("c1", "c2")))
    assert [each["id"] for each in listed(results)] == [f"fco_{HEX}_0", f"fco_{HEX}_1"]
    for role in (Role.USER, Role.SYSTEM):
        assert [each["id"] for each in listed(item(role, Text(text="x"), Text(text="y")))] == [f"msg_{HEX}"]


def test_an_answers_items_are_those_of_its_response() -> None:
    said = item(Role.ASSISTANT, Reasoning(text="hm"), Text(text="a"), ToolCall(id="c1", name="f", arguments="{}"))
    assert [each.id for each in output_items(f"resp_{HEX}", said.message.parts)] == [
        each["id"] for each in listed(said)
    ]


def test_every_part_of_a_users_message_is_listed_or_says_why_not() -> None:
    shown: dict[type[Part], tuple[Part, str]] = {
        Text: (Text(text="t"), "input_text"),
        Image: (Image(media=PNG), "input_image"),
        Document: (Document(media=PNG, name="n"), "input_file"),
        Video: (Video(media=MediaUrl(url="s3://b/k")), "input_file"),
        Audio: (Audio(media=MediaBytes(data=b"w", media_type="audio/wav")), "input_audio"),
        GuardContent: (GuardContent(content=Text(text="g")), "input_text"),
    }
    only_elsewhere = {ToolCall, ToolResult, Reasoning, Refusal}
    assert set(get_args(Part)) == shown.keys() | UNLISTED.keys() | only_elsewhere
    for part, kind in shown.values():
        page = json.loads(msgspec.json.encode(whole_list([item(Role.USER, part)], image_urls=True)))
        assert [each["type"] for each in page["data"][0]["content"]] == [kind]
    assert listed(item(Role.USER, Text(text="t"), CachePoint()))[0]["content"] == [{"type": "input_text", "text": "t"}]


def test_pictures_are_shown_where_include_asks_for_them() -> None:
    picture = item(Role.USER, GuardContent(content=Image(media=PNG)))
    assert listed(picture, image_urls=False)[0]["content"][0]["image_url"] is None
    assert listed(picture)[0]["content"][0]["image_url"] == "data:image/png;base64,cG5n"


@pytest.mark.parametrize(
    "fields",
    [{"status": ItemStatus.INCOMPLETE}, {"stop_reason": StopReason.LENGTH}, {"stop_reason": StopReason.GUARDRAIL}],
)
def test_the_last_item_of_an_answer_that_was_cut_is_incomplete(fields: dict[str, Any]) -> None:
    said = item(Role.ASSISTANT, Reasoning(text="hm"), Text(text="a"), **fields)
    assert [each["status"] for each in listed(said)] == ["completed", "incomplete"]


def test_a_summary_is_no_item() -> None:
    assert wire_items(item(Role.SYSTEM, Text(text="so far"), kind=ItemKind.SUMMARY), image_urls=True) == ()


def test_what_stands_for_a_deleted_part_is_never_shown() -> None:
    said = item(Role.ASSISTANT, Text(text="a"), REMOVED, Text(text="b"))
    assert [(each["id"], each["content"][0]["text"]) for each in listed(said)] == [
        (f"msg_{HEX}_0", "a"),
        (f"msg_{HEX}_2", "b"),
    ]
    assert b"removed" not in msgspec.json.encode(whole_list([said], image_urls=True))


SAID = st.one_of(
    st.builds(Text, text=st.text(max_size=3)),
    st.builds(Refusal, text=st.text(max_size=3)),
    st.builds(Reasoning, text=st.text(max_size=3)),
    st.builds(ToolCall, id=st.sampled_from("abc"), name=st.just("f"), arguments=st.just("{}")),
    st.just(RedactedReasoning(data=b"x", origin="elsewhere")),
    st.just(CachePoint()),
)
RESULT = st.builds(ToolResult, call_id=st.sampled_from("abc"), parts=st.just((Text(text="r"),)))


@given(data=st.data())
def test_deleting_items_in_any_order_leaves_the_others_as_they_were(data: st.DataObject) -> None:
    role, part = data.draw(st.sampled_from([(Role.ASSISTANT, SAID), (Role.TOOL, RESULT), (Role.USER, SAID)]))
    whole = item(role, *data.draw(st.lists(part, min_size=1, max_size=8)))
    before = {each.id: each for each in wire_items(whole, image_urls=True)}
    now: Item | None = whole
    expected: dict[str, ListedItem] = dict(before)
    for name in data.draw(st.permutations(list(before))):
        assert now is not None
        with pytest.raises(NotFound):
            without_item(f"{name}0", HEX, now.message)
        left = without_item(name, HEX, now.message)
        del expected[name]
        assert (left is None) == (not expected)
        now = None if left is None else msgspec.structs.replace(now, message=left)
        shown = () if now is None else wire_items(now, image_urls=True)
        assert {each.id: each for each in shown} == expected
        if left is not None:
            with pytest.raises(NotFound):
                without_item(name, HEX, left)
            assert [each for each in left.parts if each not in whole.message.parts] in ([REMOVED] * n for n in range(9))


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "msg_", f"msg_{HEX}_01", f"msg_{HEX[1:]}", f"item_{HEX}", f"msg_{HEX.upper()}G",
                                  f"msg_{HEX}_1000000", "msg_\0", f"msg_{HEX}\n"])  # fmt: skip
async def test_what_cannot_be_the_id_of_an_item_reaches_no_store(name: str) -> None:
    with pytest.raises(NotFound):
        await delete_item(None, None, None, name)  # type: ignore[arg-type]  # never used


def test_new_ids_have_the_form_that_items_are_found_by() -> None:
    [shown] = wire_items(item(Role.USER, Text(text="x"), name=new_item_id()), image_urls=True)
    assert len(shown.id) == len(f"msg_{HEX}")
