"""What invocations and steps promise: durable once, in order whatever the clock did, and only in their own session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bedplate_core.errors import Conflict, GatewayError, InvalidRequest, NotFound, QuotaExceeded, StoreUnavailable
from bedplate_core.ids import ProjectId, SessionId, new_call_id, new_project_id, new_session_id
from bedplate_core.messages import Image, MediaBytes, MediaUrl, Text
from bedplate_sessions.limits import SessionLimits
from bedplate_sessions.session import Face, NewSession
from bedplate_sessions.session_steps import Listed, SessionSteps, check_step, merged
from bedplate_sessions.session_tags import MAX_TAGS, SessionTags
from bedplate_sessions.steps import Step, StepBlock, StepPage, StepPlace
from bedplate_sessions.turn_options import TurnOptions
from bedplate_store.database import CommitUncertain
from tests.fixtures.sessions import Store, turn

pytestmark = pytest.mark.anyio

TIME = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
ONE, TWO, THREE = ("1" * 32, "2" * 32, "3" * 32)
HELLO = (Text(text="hello"),)


def steps_of(store: Store, **limits: Any) -> SessionSteps:
    sessions = store.sessions
    limits_ = msgspec.structs.replace(sessions.limits, **limits)
    return SessionSteps(store.database, sessions.durable, store.keys, sessions.reader, limits_)


async def begin(store: Store, **fields: Any) -> SessionId:
    new = NewSession(face=Face.BEDROCK, **fields)
    return (await store.sessions.registry.create(store.project, store.key, new)).id


async def invoked(store: Store, session: SessionId, name: str = ONE) -> SessionSteps:
    steps = steps_of(store)
    await steps.create_invocation(store.project, session, new_call_id(), invocation=name)
    return steps


async def put(
    steps: SessionSteps,
    store: Store,
    session: SessionId,
    blocks: tuple[StepBlock, ...] = HELLO,
    *,
    step: str | None = None,
    invocation: str = ONE,
    time: datetime = TIME,
) -> str:
    return await steps.put(store.project, session, invocation=invocation, step=step, time=time, blocks=blocks)


async def do(store: Store, statement: str, **values: object) -> list[Any]:
    async with store.database.transaction(store.project) as connection:
        result = await connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


async def at_once(store: Store, session: SessionId, work: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """What three of `work` come to that all wait for the same row before the first of them goes on."""
    waiting = text("select count(*) from pg_locks where not granted")
    async with store.database.transaction(store.project) as connection:
        await connection.execute(text("select 1 from session where id = :s for update"), {"s": session})
        tasks = [asyncio.create_task(work()) for _ in range(3)]
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if (await connection.execute(waiting)).scalar_one() == 3:
                break
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def counted(store: Store, session: SessionId) -> tuple[int, ...]:
    """How many invocations and steps there are, and what the session itself says."""
    [row] = await do(
        store,
        "select (select count(*) from session_invocation where session_id = :s), "
        "(select count(*) from session_step where session_id = :s), invocations, steps from session where id = :s",
        s=session,
    )
    return tuple(row)


async def test_a_step_is_what_was_put(store: Store) -> None:
    session = await begin(store)
    steps = await invoked(store, session)
    blocks = (
        Text(text="nul \0, emoji \U0001f600"),
        Image(media=MediaBytes(data=b"\0\xff" * 300_000, media_type="image/webp")),
        Image(media=MediaUrl(url="s3://bucket/key", media_type="image/png")),
    )
    name = await put(steps, store, session, blocks)
    found = await steps.step(store.project, session, invocation=ONE, step=name)
    assert found == Step(id=name, invocation_id=ONE, time=TIME, blocks=blocks)
    assert await counted(store, session) == (1, 1, 1, 1)
    [[sealed, digest]] = await do(store, "select sealed, content_hash from session_step")
    assert b"emoji" not in sealed
    assert digest[:1] == b"\x01", "the hash is encrypted as well"


async def test_writing_is_activity_and_reading_is_not(store: Store) -> None:
    session = await begin(store, idle_timeout_s=60.0)
    await do(store, "update session set updated_at = now() - interval '50 seconds'")
    steps = steps_of(store)

    async def idle_s() -> float:
        return float((await do(store, "select extract(epoch from now() - updated_at) from session"))[0][0])

    await steps.page(store.project, session, limit=1)
    assert await idle_s() > 49
    await steps.create_invocation(store.project, session, new_call_id(), invocation=ONE)
    assert await idle_s() < 10
    await do(store, "update session set updated_at = now() - interval '50 seconds'")
    name = await put(steps, store, session)
    assert await idle_s() < 10
    await do(store, "update session set updated_at = now() - interval '50 seconds'")
    await put(steps, store, session, step=name)
    await steps.step(store.project, session, invocation=ONE, step=name)
    assert await idle_s() > 49
    await do(store, "update session set updated_at = now() - interval '61 seconds'")
    with pytest.raises(Conflict, match="expired"):
        await put(steps, store, session)
    assert (await steps.page(store.project, session, limit=9)).steps[0].id == name


async def test_an_invocation_is_made_once(store: Store) -> None:
    session = await begin(store)
    steps = steps_of(store)
    call = new_call_id()
    first = await steps.create_invocation(store.project, session, call, invocation=ONE, description="why")
    assert (first.id, first.number, first.description) == (ONE, 1, "why")
    assert await steps.create_invocation(store.project, session, call, invocation=ONE) == first, "its own work"
    with pytest.raises(Conflict) as caught:
        await steps.create_invocation(store.project, session, new_call_id(), invocation=ONE)
    assert caught.value.param == "invocationId"
    other = await begin(store)
    await steps.create_invocation(store.project, other, new_call_id(), invocation=ONE)
    assert (await counted(store, session))[2:] == (1, 0)
    made = await at_once(
        store,
        session,
        lambda: steps.create_invocation(store.project, session, new_call_id(), invocation=TWO),
    )
    assert sorted(type(each).__name__ for each in made) == ["Conflict", "Conflict", "Invocation"]
    assert await counted(store, session) == (2, 0, 2, 0)


async def test_a_step_is_put_once(store: Store) -> None:
    session = await begin(store)
    steps = await invoked(store, session)
    await steps.create_invocation(store.project, session, new_call_id(), invocation=TWO)
    assert await put(steps, store, session, step=THREE) == THREE
    assert await at_once(store, session, lambda: put(steps, store, session, step=ONE)) == [ONE] * 3
    assert await counted(store, session) == (2, 2, 2, 2)
    others: list[dict[str, Any]] = [
        {"blocks": (Text(text="other"),)},
        {"blocks": (*HELLO, *HELLO)},
        {"invocation": TWO},
        {"time": TIME + timedelta(microseconds=1)},
    ]
    for other in others:
        with pytest.raises(Conflict) as caught:
            await put(steps, store, session, step=THREE, **other)
        assert caught.value.param == "invocationStepId"
    await store.sessions.registry.end(store.project, session)
    assert await put(steps, store, session, step=THREE) == THREE
    with pytest.raises(Conflict, match="ended"):
        await put(steps, store, session, step=TWO)
    assert await counted(store, session) == (2, 2, 2, 2)


@pytest.mark.parametrize("lost", [True, False])
async def test_a_write_knows_its_own_work_when_the_commit_is_not_known(
    store: Store, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    session = await begin(store)
    steps = steps_of(store)
    commit = store.database._commit
    failures = []

    async def uncertain(connection: Any) -> None:
        if failures and failures.pop():
            if lost:
                await connection.rollback()
            await commit(connection)
            raise CommitUncertain("lost")
        await commit(connection)

    monkeypatch.setattr(store.database, "_commit", uncertain)
    failures.append(True)
    await steps.create_invocation(store.project, session, new_call_id(), invocation=ONE)
    await steps.page(store.project, session, limit=1, invocation=ONE)  # the cipher is cached from here on
    await put(steps, store, session)
    failures.append(True)
    await put(steps, store, session)
    assert not failures
    assert await counted(store, session) == (1, 2, 1, 2)


async def test_the_last_step_of_a_session_is_its_last(store: Store) -> None:
    session = await begin(store)
    await invoked(store, session)
    steps = steps_of(store, steps=3)
    names = [await put(steps, store, session) for _ in range(2)]
    made = await at_once(store, session, lambda: put(steps, store, session))
    assert sorted(type(each).__name__ for each in made) == ["QuotaExceeded"] * 2 + ["str"]
    with pytest.raises(QuotaExceeded, match="3 steps"):
        await put(steps, store, session)
    assert await put(steps, store, session, step=names[0]) == names[0]
    assert await counted(store, session) == (1, 3, 1, 3)


OVER: list[tuple[tuple[StepBlock, ...], str]] = [
    ((Text(text="é" * 50 + "a"),), "payload"),
    ((Text(text="a" * 99), Image(media=MediaUrl(url="s3", media_type="image/png"))), "payload"),
    (
        (Image(media=MediaBytes(data=b"1" * 41, media_type="image/png")),),
        "payload.contentBlocks[0].image.source.bytes",
    ),
    ((*HELLO, *(Image(media=MediaUrl(url="s", media_type="")) for _ in range(3))), "payload.contentBlocks[3].image"),
]


async def test_a_step_over_a_limit_is_not_stored(store: Store) -> None:
    session = await begin(store)
    await invoked(store, session)
    steps = steps_of(store, step_bytes=100, step_images=2, step_image_bytes=40)
    for blocks, param in OVER:
        with pytest.raises(InvalidRequest) as caught:
            await put(steps, store, session, blocks)
        assert caught.value.param == param
    assert await counted(store, session) == (1, 0, 1, 0)
    await put(steps, store, session, (Text(text="é" * 50),))


def test_the_limits_are_bedrocks() -> None:
    limits = SessionLimits()
    assert (limits.steps, limits.step_bytes, limits.step_images, limits.step_image_bytes) == (
        1000,
        50_000_000,
        20,
        3_750_000,
    )
    pictures = tuple(Image(media=MediaBytes(data=bytes(1), media_type="image/png")) for _ in range(20))
    check_step(pictures, limits)
    with pytest.raises(InvalidRequest, match="20 images"):
        check_step((*pictures, pictures[0]), limits)


async def test_a_turn_is_an_invocation_and_its_items_are_steps(store: Store) -> None:
    session = await turn(store, None, "question", "answer")
    await turn(store, session, "more", "and more")
    steps = steps_of(store)
    page = await steps.invocations(store.project, session, limit=10)
    assert [each.number for each in page.invocations] == [2, 1]
    first = page.invocations[1].id
    name = await put(steps, store, session, invocation=first)
    listed = (await steps.page(store.project, session, limit=10)).steps
    items = await store.all_items(session)
    assert [each.id for each in listed] == [name, *(item.id.removeprefix("item_") for item in reversed(items))]
    ours = (await steps.page(store.project, session, limit=10, invocation=first)).steps
    assert [each.id for each in ours] == [name, *(item.id.removeprefix("item_") for item in reversed(items[:2]))]
    read = await steps.step(store.project, session, invocation=first, step=ours[1].id)
    assert read.message == items[1].message
    with pytest.raises(NotFound):
        await steps.step(store.project, session, invocation=page.invocations[0].id, step=ours[1].id)
    with pytest.raises(Conflict):
        await put(steps, store, session, step=ours[1].id, invocation=first)
    assert len(await store.all_items(session)) == 4, "a step is no item"
    await do(store, "update session_item set status = 'dropped' where seq = 4")
    await do(store, "update session_item set deleted_at = now(), sealed = null where seq = 3")
    assert len((await steps.page(store.project, session, limit=10)).steps) == 3
    for gone in items[2:]:
        with pytest.raises(NotFound):
            await steps.step(
                store.project, session, invocation=page.invocations[0].id, step=gone.id.removeprefix("item_")
            )


async def test_a_turn_of_another_branch_is_found_by_its_invocation(store: Store) -> None:
    session = await turn(store, None, "question", "answer")
    from_item = (await store.all_items(session))[1].id
    await turn(store, session, "elsewhere", "there", options=TurnOptions(fork_at=from_item))
    steps = steps_of(store)
    assert len((await steps.page(store.project, session, limit=10)).steps) == 2
    newest = (await steps.invocations(store.project, session, limit=1)).invocations[0].id
    there = (await steps.page(store.project, session, limit=10, invocation=newest)).steps
    assert len(there) == 2
    read = await steps.step(store.project, session, invocation=newest, step=there[0].id)
    assert read.message is not None
    assert read.message.text == "there"


async def test_nothing_is_found_in_another_session_or_project(store: Store) -> None:
    mine, other = await begin(store), await begin(store)
    steps = await invoked(store, mine)
    await steps.create_invocation(store.project, other, new_call_id(), invocation=TWO)
    name = await put(steps, store, mine)
    stranger = new_project_id()

    def calls(project: ProjectId, session: SessionId) -> list[Callable[[], Any]]:
        return [
            lambda: steps.create_invocation(project, session, new_call_id(), invocation=THREE),
            lambda: steps.invocations(project, session, limit=1),
            lambda: steps.put(project, session, invocation=ONE, time=TIME, blocks=HELLO),
            lambda: steps.put(project, session, invocation=ONE, step=name, time=TIME, blocks=HELLO),
            lambda: steps.step(project, session, invocation=ONE, step=name),
            lambda: steps.page(project, session, limit=1),
            lambda: steps.page(project, session, limit=1, invocation=ONE),
            lambda: SessionTags(store.database).add(project, session, {"a": "b"}),
            lambda: SessionTags(store.database).remove(project, session, ["a"]),
        ]

    messages: list[set[str]] = [set(), set()]
    for project, session, number in ((stranger, mine, 0), (store.project, new_session_id(), 1)):
        for call in calls(project, session):
            with pytest.raises(NotFound) as caught:
                await call()
            messages[number].add(caught.value.message)
    assert messages[0] == messages[1]
    for call in calls(store.project, other)[2:5] + calls(store.project, other)[6:7]:
        with pytest.raises(NotFound):
            await call()
    assert await counted(store, mine) == (1, 1, 1, 1)
    assert await counted(store, other) == (1, 0, 1, 0)


async def test_content_under_a_destroyed_key_is_no_answer(store: Store) -> None:
    session = await begin(store)
    steps = await invoked(store, session)
    name = await put(steps, store, session)
    await do(store, "update session_step set sealed = sealed || '\\x00'::bytea")
    with pytest.raises(GatewayError, match="not what was stored"):
        await steps.step(store.project, session, invocation=ONE, step=name)
    await do(store, "update session_step set schema_version = 99")
    with pytest.raises(StoreUnavailable, match="newer version"):
        await steps.step(store.project, session, invocation=ONE, step=name)


async def test_pages_are_the_list_whatever_the_clock_did_and_comes_meanwhile(store: Store) -> None:
    session = await turn(store, None, "a", "b")
    steps = await invoked(store, session)
    for number in range(4):
        await put(steps, store, session, (Text(text=str(number)),))
        if number % 2:
            await turn(store, session, f"q{number}", "r")
    # As after a clock that went back and forth.
    await do(store, "update session_step set created_at = now() - make_interval(secs => (seq * 7) % 5)")
    whole = (await steps.page(store.project, session, limit=100)).steps
    assert len(whole) == 10
    for size in (1, 2, 3, 7):
        found: list[Step] = []
        place: StepPlace | None = None
        while True:
            page = await steps.page(store.project, session, limit=size, before=place)
            found += page.steps
            place = page.next_before
            if place is None:
                break
            assert len(page.steps) == size
            assert len(found) < len(whole)
            if size == 3:
                await put(steps, store, session)  # newer than the list that is being read
                await turn(store, session, "late", "late")
        assert tuple(found) == whole, size
        whole = (await steps.page(store.project, session, limit=100)).steps
    numbers: list[int] = []
    before: int | None = None
    while True:
        invocations = await steps.invocations(store.project, session, limit=2, before=before)
        numbers += [each.number for each in invocations.invocations]
        before = invocations.next_before
        if before is None:
            break
    assert numbers == list(range(len(numbers), 0, -1))


_times = st.lists(st.integers(0, 5), max_size=12)


@settings(deadline=None)
@given(items=_times, steps=_times, size=st.integers(1, 5))
def test_merged_pages_are_the_merged_whole(items: list[int], steps: list[int], size: int) -> None:
    def listed(times: list[int], kind: str) -> list[Listed]:
        count = len(times)
        return [
            Listed(
                seq=count - place,
                created_at=TIME + timedelta(seconds=time),
                step=Step(id=f"{kind}{count - place}", invocation_id="", time=TIME),
            )
            for place, time in enumerate(times)
        ]

    of_items, of_steps = listed(items, "i"), listed(steps, "s")
    whole = merged(of_items, of_steps, limit=1000)
    assert whole.next_before is None
    names = [each.id for each in whole.steps]
    for kind, all_ in (("i", of_items), ("s", of_steps)):
        assert [name for name in names if name.startswith(kind)] == [each.step.id for each in all_]
    found: list[str] = []
    place: StepPlace | None = StepPlace(1000, 1000)
    while place is not None:
        page: StepPage = merged(
            [each for each in of_items if each.seq < place.seq][: size + 1],
            [each for each in of_steps if each.seq < place.step_seq][: size + 1],
            limit=size,
        )
        found += [each.id for each in page.steps]
        place = page.next_before
        assert len(found) <= len(names)
    assert found == names


async def test_tags_change_one_by_one(store: Store) -> None:
    session = await begin(store, tags={"a": "1", "b": "2"})
    tags = SessionTags(store.database)
    await tags.add(store.project, session, {"b": "3", "c": "4"})
    await tags.remove(store.project, session, ["a", "never"])
    assert (await store.sessions.registry.get(store.project, session)).tags == {"b": "3", "c": "4"}
    await asyncio.gather(*(tags.add(store.project, session, {f"k{number}": ""}) for number in range(20)))
    assert len((await store.sessions.registry.get(store.project, session)).tags) == 22
    full = {f"m{number}": "" for number in range(MAX_TAGS - 22)}
    await tags.add(store.project, session, full)
    with pytest.raises(QuotaExceeded):
        await tags.add(store.project, session, {"new": ""})
    await tags.add(store.project, session, {"m1": "changed"})
    await store.sessions.registry.end(store.project, session)
    await tags.remove(store.project, session, list(full))
    assert len((await store.sessions.registry.get(store.project, session)).tags) == 22
