"""A turn that broke off: dropped without a trace, continued as far as it came, or taken up again by its own call."""

from __future__ import annotations

import pytest

from bedplate_core.errors import Conflict, NotFound
from bedplate_core.ids import CallId, SessionId, new_call_id
from bedplate_core.messages import Message, Role, Text, ToolCall
from bedplate_sessions.items import ItemStatus
from bedplate_sessions.turn_options import TurnOptions
from tests.fixtures.sessions import CONTINUE, Store, ask, end, interrupted, message, texts, turn

pytestmark = pytest.mark.anyio

HALVES = pytest.mark.parametrize("half", [None, "half"], ids=["before any text", "in its middle"])


async def composed(store: Store, session: SessionId, options: TurnOptions | None = None) -> list[str]:
    """What a model would be told if the next turn asked `next`."""
    opened = await store.open(session, options=options)
    try:
        return [each.text for each in opened.compose(ask("next")).messages]
    finally:
        await opened.aclose()


@HALVES
async def test_what_broke_off_is_shown_until_the_next_turn_and_then_dropped(tenant: Store, half: str | None) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    kept = await tenant.all_items(session)
    _, call = await interrupted(tenant, session, "broken", half)
    shown = (await tenant.all_items(session))[2:]
    assert [item.message.text for item in shown] == ["broken"] + ([half] if half else [])
    assert [item.status for item in shown] == [ItemStatus.COMPLETED, ItemStatus.INCOMPLETE][: len(shown)]
    assert {item.call_id for item in shown} == {call}
    assert await composed(tenant, session) == ["0", "answer 0", "next"]
    # To look is not to drop: only a turn that begins does.
    assert len(await tenant.all_items(session)) == 2 + len(shown)
    await turn(tenant, session, "1", "answer 1")
    items = await tenant.all_items(session)
    assert items[:2] == kept
    assert texts(items)[2:] == [("user", "1"), ("assistant", "answer 1")]
    assert items[2].parent_seq == 2
    assert items[2].seq == 3 + len(shown), "numbers are not used again"
    for item in shown:
        with pytest.raises(NotFound):
            await tenant.sessions.reader.one(tenant.project, session, item.id)
    assert await composed(tenant, session, CONTINUE) == ["0", "answer 0", "1", "answer 1", "next"]


@HALVES
async def test_what_broke_off_can_be_continued(tenant: Store, half: str | None) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    await interrupted(tenant, session, "broken", half)
    shown = (await tenant.all_items(session))[2:]
    parts = ["broken"] + ([half] if half else [])
    assert await composed(tenant, session, CONTINUE) == ["0", "answer 0", *parts, "next"]
    await turn(tenant, session, "go on", "the rest", options=CONTINUE)
    items = await tenant.all_items(session)
    assert [item.message.text for item in items] == ["0", "answer 0", *parts, "go on", "the rest"]
    assert items[2 : 2 + len(shown)] == shown
    assert [item.parent_seq for item in items] == [None, *range(1, len(items))]
    # It is part of the conversation now: no later turn drops it.
    await turn(tenant, session, "1", "answer 1")
    assert [item.message.text for item in await tenant.all_items(session)][: len(items)] == [
        item.message.text for item in items
    ]


async def test_three_turns_in_a_row_break_off(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    for number, half in enumerate((None, "half", "more")):
        await interrupted(tenant, session, f"broken {number}", half)
    assert await composed(tenant, session) == ["0", "answer 0", "next"]
    assert await composed(tenant, session, CONTINUE) == ["0", "answer 0", "broken 2", "more", "next"]
    await turn(tenant, session, "1", "answer 1")
    items = await tenant.all_items(session)
    assert [(item.seq, item.parent_seq) for item in items] == [(1, None), (2, 1), (8, 2), (9, 8)]
    assert texts(items)[2:] == [("user", "1"), ("assistant", "answer 1")]


async def test_three_turns_in_a_row_break_off_and_each_goes_on_from_the_one_before(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    for number, half in enumerate((None, "half", "more")):
        await interrupted(tenant, session, f"broken {number}", half, options=CONTINUE)
    expected = ["0", "answer 0", "broken 0", "broken 1", "half", "broken 2", "more"]
    assert await composed(tenant, session, CONTINUE) == [*expected, "next"]
    # What was continued stays; only the last, which nobody has continued, is dropped.
    assert await composed(tenant, session) == [*expected[:-2], "next"]
    await turn(tenant, session, "1", "answer 1")
    assert [item.message.text for item in await tenant.all_items(session)] == [*expected[:-2], "1", "answer 1"]


@HALVES
async def test_the_first_turn_of_a_new_session_breaks_off(tenant: Store, half: str | None) -> None:
    session, _ = await interrupted(tenant, None, "broken", half)
    assert await composed(tenant, session) == ["next"]
    await turn(tenant, session, "1", "answer 1")
    items = await tenant.all_items(session)
    assert texts(items) == [("user", "1"), ("assistant", "answer 1")]
    assert items[0].parent_seq is None


async def test_a_dropped_turns_system_message_does_not_hold(tenant: Store) -> None:
    def system(text: str) -> Message:
        return message(text, Role.SYSTEM)

    session = await turn(tenant, None, ask(system("be brief"), "0"), "answer 0")
    await interrupted(tenant, session, ask(system("be long"), "broken"), "half")
    assert (await composed(tenant, session))[0] == "be brief"
    assert (await composed(tenant, session, CONTINUE))[0] == "be long"
    await turn(tenant, session, "1", "answer 1")
    assert (await composed(tenant, session))[0] == "be brief"


async def test_only_parts_that_say_something_are_kept(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    opened = await tenant.open(session)
    await opened.break_off([Text(text="before it began")])
    await opened.begin(opened.compose(ask("broken")))
    call = ToolCall(id="c", name="f", arguments='{"a"')
    await opened.break_off([Text(text=""), call])
    await opened.aclose()
    items = await tenant.all_items(session)
    assert [item.message.parts for item in items[2:]] == [(Text(text="broken"),), (call,)]
    await interrupted(tenant, session, "again", "")
    assert [item.message.text for item in await tenant.all_items(session)] == ["0", "answer 0", "again"]


# Taken up again -------------------------------------------------------------------------------------------------------


async def invocations(store: Store, session: SessionId) -> list[tuple[object, ...]]:
    return await store.run(
        "select id, call_id, number from session_invocation where session_id = :session order by number",
        session=session,
    )


@HALVES
@pytest.mark.parametrize("new", [False, True], ids=["in a session", "that made its session"])
async def test_a_turn_is_taken_up_again_without_storing_its_input_twice(
    tenant: Store, half: str | None, new: bool
) -> None:
    session = None if new else await turn(tenant, None, "0", "answer 0")
    before = 0 if session is None else len(await tenant.all_items(session))
    session, call = await interrupted(tenant, session, "1", half)
    first = (await tenant.all_items(session))[before]
    again = new_call_id()
    opened = await tenant.open(session, call=again, turn=call)
    request = opened.compose(ask("1"))
    assert [each.text for each in request.messages] == (["1"] if new else ["0", "answer 0", "1"])
    await opened.begin(request)
    assert [item.message.text for item in await tenant.all_items(session)][before:] == ["1"]
    await end(tenant, opened, "answer 1")
    await opened.aclose()
    items = await tenant.all_items(session)
    assert texts(items)[before:] == [("user", "1"), ("assistant", "answer 1")]
    assert items[before] == first
    assert (items[-1].call_id, items[-1].parent_seq) == (again, first.seq)
    assert items[-1].invocation_id == first.invocation_id == call.removeprefix("req_")
    assert [row[1] for row in await invocations(tenant, session)][-1] == call
    assert len(await invocations(tenant, session)) == before // 2 + 1


async def test_a_turn_that_is_taken_up_breaks_off_again_and_again(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    for half in (None, "third", "fourth"):
        await interrupted(tenant, session, "1", half, resumes=call)
        assert [item.message.text for item in await tenant.all_items(session)][2:] == ["1"] + ([half] if half else [])
    await turn(tenant, session, "1", "answer 1", resumes=call)
    assert texts(await tenant.all_items(session))[2:] == [("user", "1"), ("assistant", "answer 1")]
    assert len(await invocations(tenant, session)) == 2


async def test_a_turn_that_was_taken_up_and_broke_off_is_dropped_or_continued_like_any(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    await interrupted(tenant, session, "1", "other half", resumes=call)
    assert await composed(tenant, session, CONTINUE) == ["0", "answer 0", "1", "other half", "next"]
    assert await composed(tenant, session) == ["0", "answer 0", "next"]
    await turn(tenant, session, "2", "answer 2")
    assert texts(await tenant.all_items(session))[2:] == [("user", "2"), ("assistant", "answer 2")]


async def test_what_follows_a_turn_that_was_taken_up_follows_what_is_left_of_it(tenant: Store) -> None:
    """Its first half is dropped, no second one came, and the numbers of neither are those of anything's parent."""
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    await interrupted(tenant, session, "1", None, resumes=call)
    await turn(tenant, session, "2", "answer 2", options=CONTINUE)
    assert [(item.message.text, item.seq, item.parent_seq) for item in await tenant.all_items(session)] == [
        ("0", 1, None),
        ("answer 0", 2, 1),
        ("1", 3, 2),
        ("2", 5, 3),
        ("answer 2", 6, 5),
    ]


@HALVES
async def test_a_turn_that_others_have_passed_begins_anew(tenant: Store, half: str | None) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", half)
    await turn(tenant, session, "2", "answer 2")
    await turn(tenant, session, "1", "answer 1", resumes=call)
    assert [item.message.text for item in await tenant.all_items(session)] == [
        "0", "answer 0", "2", "answer 2", "1", "answer 1",
    ]  # fmt: skip
    assert len(await invocations(tenant, session)) == 3, "it is the same turn, and the same invocation"


async def test_another_turn_that_is_open_is_not_taken_for_ones_own(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    await turn(tenant, session, "2", "answer 2", resumes=CallId("req_" + "0" * 32))
    assert [item.message.text for item in await tenant.all_items(session)][2:] == ["2", "answer 2"]
    await interrupted(tenant, session, "3", "half")
    await turn(tenant, session, "1", "answer 1", resumes=call, options=CONTINUE)
    assert [item.message.text for item in await tenant.all_items(session)][4:] == ["3", "half", "1", "answer 1"]


async def test_a_turn_that_is_taken_up_after_the_branch_went_on_meanwhile_is_refused(tenant: Store) -> None:
    """Its lock was lost between its look at the session and its begin."""
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    opened = await tenant.open(session, turn=call)
    request = opened.compose(ask("1"))
    other = Store(tenant.config, tenant.project)
    await tenant.locks.aclose()  # frees what is held, and holders are not told
    await turn(other, session, "2", "answer 2")
    with pytest.raises(Conflict):
        await opened.begin(request)
    await opened.aclose()
    assert [item.message.text for item in await tenant.all_items(session)][2:] == ["2", "answer 2"]
    other.assert_nothing_is_held()
    await other.aclose()
