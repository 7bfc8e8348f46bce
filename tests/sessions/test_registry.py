"""Sessions are made, found, changed, ended, held and deleted; one that has ended or expired can only be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bedplate_core.errors import Conflict, GatewayError, InvalidRequest, NotFound
from bedplate_core.ids import SessionId, new_project_id, new_session_id
from bedplate_core.messages import Text
from bedplate_sessions.keys.cipher import PlainCipher
from bedplate_sessions.session import Face, NewSession, SessionPlace, SessionStatus
from bedplate_sessions.turn_options import OnBusy, TurnOptions
from tests.fixtures.sessions import Store, ask, end, interrupted, texts, turn

pytestmark = pytest.mark.anyio

ENDS = ("ended", "idle", "past its end")


async def finish(store: Store, session: SessionId, how: str) -> None:
    """Make the session end or expire."""
    match how:
        case "ended":
            await store.sessions.registry.end(store.project, session)
        case "idle":
            await set_columns(store, session, "updated_at = now() - interval '60 s', idle_timeout_s = 59.9")
        case _:
            await set_columns(store, session, "expires_at = now()")


async def set_columns(store: Store, session: SessionId, assignments: str) -> None:
    await store.run(f"update session set {assignments} where id = :session", session=session)


async def updated_at(store: Store, session: SessionId) -> datetime:
    return (await store.sessions.registry.get(store.project, session)).updated_at


async def test_a_session_is_what_it_was_made_as(tenant: Store) -> None:
    registry = tenant.sessions.registry
    before = datetime.now(UTC)
    made = await registry.create(
        tenant.project,
        tenant.key,
        NewSession(
            face=Face.BEDROCK,
            metadata={"a": "1", "b": '"\\ \U0001f600'},
            tags={"t": "x"},
            encryption_key_arn="arn:aws:kms:eu-central-1:111122223333:key/x",
            idle_timeout_s=90.5,
            lifetime_s=3600,
        ),
    )
    assert made == await registry.get(tenant.project, made.id)
    assert (made.face, made.status, made.legal_hold) == (Face.BEDROCK, SessionStatus.ACTIVE, False)
    assert (made.metadata, made.tags) == ({"a": "1", "b": '"\\ \U0001f600'}, {"t": "x"})
    assert made.encryption_key_arn == "arn:aws:kms:eu-central-1:111122223333:key/x"
    assert made.idle_timeout_s == 90.5
    assert made.expires_at is not None
    assert abs(made.expires_at - before - timedelta(hours=1)) < timedelta(minutes=1)
    assert made.created_at == made.updated_at
    plain = await registry.create(tenant.project, tenant.key, NewSession())
    assert (plain.face, plain.metadata, plain.tags) == (Face.CHAT, {}, {})
    assert (plain.idle_timeout_s, plain.expires_at, plain.encryption_key_arn) == (None, None, None)
    assert await tenant.all_items(plain.id) == ()


async def test_sessions_are_listed_newest_first_in_pages_and_by_their_metadata(tenant: Store) -> None:
    registry = tenant.sessions.registry
    made = [
        await tenant.create(NewSession(metadata={"color": "red" if number % 2 else "blue", "n": f"{number}"}))
        for number in range(7)
    ]
    foreign = Store(tenant.config, new_project_id())
    other = await foreign.create()
    pages: list[list[SessionId]] = []
    after = None
    while True:
        page = await registry.page(tenant.project, limit=3, after=after)
        pages.append([each.id for each in page.sessions])
        after = page.next_after
        if after is None:
            break
    assert pages == [made[:3:-1], made[3:0:-1], made[:1]]
    whole = await registry.page(tenant.project, limit=7)
    assert (len(whole.sessions), whole.next_after) == (7, None)
    red = await registry.page(tenant.project, limit=10, metadata={"color": "red"})
    assert [each.id for each in red.sessions] == made[5::-2]
    one = await registry.page(tenant.project, limit=10, metadata={"color": "red", "n": "3"})
    assert [each.id for each in one.sessions] == [made[3]]
    for none in ({"color": "green"}, {"color": "red", "n": "2"}):
        assert (await registry.page(tenant.project, limit=10, metadata=none)).sessions == ()
    # A place says where the list goes on, also when what was there is gone or is another project's.
    third = await registry.get(tenant.project, made[3])
    for name in (new_session_id(), other, SessionId("' or true --")):
        place = SessionPlace(third.created_at, name)
        assert {each.id for each in (await registry.page(tenant.project, limit=10, after=place)).sessions} >= {
            *made[:3]
        }
    await registry.delete(tenant.project, made[3])
    after = SessionPlace(third.created_at, third.id)
    assert [each.id for each in (await registry.page(tenant.project, limit=10, after=after)).sessions] == made[2::-1]
    for limit in (0, 1001):
        with pytest.raises(ValueError, match="limit"):
            await registry.page(tenant.project, limit=limit)
    await foreign.aclose()


async def test_sessions_made_at_one_moment_are_each_on_one_page(tenant: Store) -> None:
    made = {await tenant.create() for _ in range(5)}
    await tenant.run("update session set created_at = now()")
    seen: list[SessionId] = []
    after = None
    for _ in range(5):
        page = await tenant.sessions.registry.page(tenant.project, limit=1, after=after)
        seen += [each.id for each in page.sessions]
        after = page.next_after
    assert after is None
    assert (len(seen), set(seen)) == (5, made)


async def test_another_projects_session_is_unknown_to_every_method(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    other = Store(tenant.config, new_project_id())
    registry, said = other.sessions.registry, set[str]()
    for name in (session, new_session_id()):
        attempts: list[Awaitable[object]] = [
            registry.get(other.project, name),
            registry.replace_metadata(other.project, name, {"a": "b"}),
            registry.replace_metadata(other.project, name, None),
            registry.replace_tags(other.project, name, {"a": "b"}),
            registry.end(other.project, name),
            registry.hold(other.project, name, hold=True),
            registry.delete(other.project, name),
            other.sessions.fork(other.project, name, TurnOptions()),
            other.all_items(name),
            other.open(name),
        ]
        for attempt in attempts:
            with pytest.raises(NotFound) as refused:
                await attempt
            said.add(refused.value.message)
    assert len(said) == 1
    assert (await tenant.sessions.registry.get(tenant.project, session)).tags == {}
    other.assert_nothing_is_held()
    await other.aclose()


async def test_metadata_and_tags_are_replaced_whole(tenant: Store) -> None:
    registry = tenant.sessions.registry
    session = await tenant.create(NewSession(metadata={"a": "1", "b": "2"}, tags={"t": "x"}))
    assert (await registry.replace_metadata(tenant.project, session, {"b": "3"})).metadata == {"b": "3"}
    assert (await registry.replace_metadata(tenant.project, session, None)).metadata == {"b": "3"}
    assert (await registry.replace_metadata(tenant.project, session, {})).metadata == {}
    assert (await registry.replace_tags(tenant.project, session, {"u": "y"})).tags == {"u": "y"}
    for values in ({"a\0": "b"}, {"a": "\0"}):
        with pytest.raises(InvalidRequest):
            await registry.replace_metadata(tenant.project, session, values)
        with pytest.raises(InvalidRequest):
            await registry.replace_tags(tenant.project, session, values)
        with pytest.raises(InvalidRequest):
            await registry.create(tenant.project, tenant.key, NewSession(metadata=values))
    found = await registry.get(tenant.project, session)
    assert (found.metadata, found.tags) == ({}, {"u": "y"})


# Activity and its end -------------------------------------------------------------------------------------------------


async def test_writing_is_activity_and_reading_is_none(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    registry = tenant.sessions.registry

    async def moves(work: Callable[[], Awaitable[object]]) -> bool:
        await set_columns(tenant, session, "updated_at = now() - interval '1 hour'")
        before = await updated_at(tenant, session)
        await work()
        return await updated_at(tenant, session) > before

    async def look() -> None:
        opened = await tenant.open(session)
        opened.compose(ask("1"))
        await opened.aclose()

    item = (await tenant.all_items(session))[0].id
    assert await moves(lambda: interrupted(tenant, session, "1", None))
    assert await moves(lambda: turn(tenant, session, "1", "answer 1"))
    assert await moves(lambda: registry.replace_metadata(tenant.project, session, None))
    assert not await moves(look)
    assert not await moves(lambda: tenant.all_items(session))
    assert not await moves(lambda: tenant.sessions.reader.one(tenant.project, session, item))
    assert not await moves(lambda: registry.get(tenant.project, session))
    assert not await moves(lambda: registry.replace_tags(tenant.project, session, {"a": "b"}))


async def test_the_last_write_is_never_moved_back(tenant: Store) -> None:
    """As when a standby takes over whose clock is behind."""
    session = await turn(tenant, None, "0", "answer 0")
    await set_columns(tenant, session, "updated_at = now() + interval '1 hour'")
    ahead = await updated_at(tenant, session)
    opened = await tenant.open(session)
    await opened.begin(opened.compose(ask("1")))
    assert await updated_at(tenant, session) == ahead
    await end(tenant, opened, "answer 1")
    await opened.aclose()
    assert await updated_at(tenant, session) == ahead
    await tenant.sessions.registry.replace_metadata(tenant.project, session, {"a": "b"})
    assert await updated_at(tenant, session) == ahead


async def test_an_idle_session_expires_when_its_time_is_over_and_activity_puts_that_off(tenant: Store) -> None:
    session = await tenant.create(NewSession(idle_timeout_s=0.4))
    registry = tenant.sessions.registry
    for _ in range(3):
        await asyncio.sleep(0.2)
        assert (await registry.replace_metadata(tenant.project, session, None)).status is SessionStatus.ACTIVE
    await asyncio.sleep(0.5)
    assert (await registry.get(tenant.project, session)).status is SessionStatus.EXPIRED
    never = await tenant.create()
    await set_columns(tenant, never, "updated_at = now() - interval '100 years'")
    assert (await registry.get(tenant.project, never)).status is SessionStatus.ACTIVE


@pytest.mark.parametrize("how", ENDS)
async def test_a_session_that_is_over_can_be_read_and_every_write_is_a_conflict(tenant: Store, how: str) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    items = await tenant.all_items(session)
    opened = [await tenant.open(session), await tenant.open(session, options=TurnOptions(fork_at=items[1].id))]
    requests = [each.compose(ask("late")) for each in opened]
    await finish(tenant, session, how)
    registry = tenant.sessions.registry
    found = await registry.get(tenant.project, session)
    assert found.status is (SessionStatus.ENDED if how == "ended" else SessionStatus.EXPIRED)
    word = "ended" if how == "ended" else "expired"
    before, last = await tenant.rows(), found.updated_at
    branches = await tenant.run(
        "select * from session_branch where session_id = :session order by branch", session=session
    )
    for turn_begun, request in zip(opened, requests, strict=True):
        with pytest.raises(Conflict, match=word):
            await turn_begun.begin(request)
        await turn_begun.break_off([Text(text="half")])
        await turn_begun.aclose()
    attempts: list[Awaitable[object]] = [
        tenant.open(session),
        tenant.open(session, options=TurnOptions(fork_at=items[1].id)),
        tenant.open(session, options=TurnOptions(on_busy=OnBusy.BRANCH)),
        tenant.open(session, turn=call),
        tenant.sessions.fork(tenant.project, session, TurnOptions()),
        registry.replace_metadata(tenant.project, session, {"a": "b"}),
        registry.replace_metadata(tenant.project, session, None),
    ]
    for attempt in attempts:
        with pytest.raises(Conflict, match=word):
            await attempt
        tenant.assert_nothing_is_held()
    assert await tenant.rows() == before
    assert branches == await tenant.run(
        "select * from session_branch where session_id = :session order by branch", session=session
    )
    after = await registry.get(tenant.project, session)
    assert (after.metadata, after.updated_at) == ({}, last)
    assert await tenant.all_items(session) == items
    assert await tenant.sessions.reader.one(tenant.project, session, items[0].id) == items[0]
    assert [each.id for each in (await registry.page(tenant.project, limit=10)).sessions] == [session]
    assert (await registry.replace_tags(tenant.project, session, {"a": "b"})).tags == {"a": "b"}
    assert (await registry.end(tenant.project, session)).status is SessionStatus.ENDED
    await registry.delete(tenant.project, session, only_inactive=True)


@pytest.mark.parametrize("how", ENDS)
async def test_a_turn_that_began_is_stored_although_the_session_is_over(tenant: Store, how: str) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    opened = await tenant.open(session)
    await opened.begin(opened.compose(ask("1")))
    await finish(tenant, session, how)
    await end(tenant, opened, "answer 1")
    await opened.aclose()
    assert texts(await tenant.all_items(session))[2:] == [("user", "1"), ("assistant", "answer 1")]
    if how == "idle":
        # The end of the turn was activity; the session is idle again only after another such time.
        await set_columns(tenant, session, "updated_at = now() - interval '60 s'")
    with pytest.raises(Conflict):
        await tenant.open(session)


async def test_ending_twice_changes_nothing(tenant: Store) -> None:
    session = await tenant.create()
    first = await tenant.sessions.registry.end(tenant.project, session)
    ended = await tenant.run("select ended_at from session where id = :session", session=session)
    assert await tenant.sessions.registry.end(tenant.project, session) == first
    assert await tenant.run("select ended_at from session where id = :session", session=session) == ended


# Deletion -------------------------------------------------------------------------------------------------------------


async def test_a_deleted_session_leaves_nothing_and_its_key_is_gone(tenant: Store) -> None:
    kept = await turn(tenant, None, "kept", "kept")
    alone = await tenant.rows()
    session = await turn(tenant, None, "0", "answer 0")
    item = (await tenant.all_items(session))[0]
    await turn(tenant, session, "else", "where", options=TurnOptions(fork_at=item.id))
    await interrupted(tenant, session, "1", "half")
    await tenant.sessions.registry.delete(tenant.project, session)
    assert await tenant.rows() == alone
    assert isinstance(await tenant.keys.cipher(tenant.project, session), PlainCipher)
    attempts: list[Awaitable[object]] = [
        tenant.sessions.registry.get(tenant.project, session),
        tenant.sessions.registry.delete(tenant.project, session),
        tenant.all_items(session),
        tenant.open(session),
        tenant.sessions.reader.one(tenant.project, session, item.id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt
    assert texts(await tenant.all_items(kept)) == [("user", "kept"), ("assistant", "kept")]


@pytest.mark.parametrize(
    "when", ["before it begins", "before it ends", "before it breaks off", "before it is taken up"]
)
async def test_a_turn_whose_session_was_deleted_is_a_conflict_and_stores_nothing(tenant: Store, when: str) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    _, call = await interrupted(tenant, session, "1", "half")
    opened = await tenant.open(session, turn=call if when == "before it is taken up" else None)
    request = opened.compose(ask("1"))
    begins = when in ("before it begins", "before it is taken up")
    if not begins:
        await opened.begin(request)
    await tenant.sessions.registry.delete(tenant.project, session)
    if begins:
        work: Awaitable[object] = opened.begin(request)
    elif when == "before it ends":
        work = end(tenant, opened, "answer 1")
    else:
        work = opened.break_off([Text(text="half")])
    # Nothing tells a session that was deleted from one that never was.
    with pytest.raises((Conflict, NotFound)):
        await work
    await opened.aclose()
    assert set((await tenant.rows()).values()) == {0}


async def test_under_a_legal_hold_nothing_is_deleted(tenant: Store) -> None:
    registry = tenant.sessions.registry
    session = await turn(tenant, None, "0", "answer 0")
    assert (await registry.hold(tenant.project, session, hold=True)).legal_hold
    before = await tenant.rows()
    for only_inactive in (False, True):
        with pytest.raises(Conflict, match="legal hold"):
            await registry.delete(tenant.project, session, only_inactive=only_inactive)
    await registry.end(tenant.project, session)
    with pytest.raises(Conflict, match="legal hold"):
        await registry.delete(tenant.project, session, only_inactive=True)
    assert await tenant.rows() == before
    assert texts(await tenant.all_items(session)) == [("user", "0"), ("assistant", "answer 0")]
    assert not (await registry.hold(tenant.project, session, hold=False)).legal_hold
    await registry.delete(tenant.project, session)
    assert set((await tenant.rows()).values()) == {0}


async def test_a_hold_that_comes_during_the_deletion_is_seen(tenant: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check and the deletion are one: a hold between them is not passed over, and the key is still there."""
    registry = tenant.sessions.registry
    session = await turn(tenant, None, "0", "answer 0")
    destroy = tenant.keys.destroy

    async def held_meanwhile(*arguments: Any) -> Any:
        write = await destroy(*arguments)
        await registry.hold(tenant.project, session, hold=True)
        return write

    monkeypatch.setattr(tenant.keys, "destroy", held_meanwhile)
    with pytest.raises(Conflict, match="legal hold"):
        await registry.delete(tenant.project, session)
    assert texts(await tenant.all_items(session)) == [("user", "0"), ("assistant", "answer 0")]


async def test_an_active_session_is_deleted_only_when_that_is_asked_for(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    with pytest.raises(Conflict, match="is active"):
        await tenant.sessions.registry.delete(tenant.project, session, only_inactive=True)
    await tenant.sessions.registry.end(tenant.project, session)
    await tenant.sessions.registry.delete(tenant.project, session, only_inactive=True)
    assert set((await tenant.rows()).values()) == {0}


async def test_turns_forks_and_a_deletion_at_the_same_time_leave_nothing(tenant: Store) -> None:
    for number in range(6):
        session = await turn(tenant, None, "0", "answer 0")
        item = (await tenant.all_items(session))[1].id
        works: list[Awaitable[object]] = [
            turn(tenant, session, "1", "answer 1"),
            turn(tenant, session, "2", "answer 2", options=TurnOptions(fork_at=item)),
            interrupted(tenant, session, "3", "half"),
            tenant.sessions.registry.replace_metadata(tenant.project, session, {"a": "b"}),
            tenant.sessions.registry.delete(tenant.project, session),
        ]
        works = works[number % 5 :] + works[: number % 5]
        results = await asyncio.gather(*works, return_exceptions=True)
        failed = [each for each in results if isinstance(each, BaseException)]
        assert all(isinstance(each, GatewayError) for each in failed), failed
        assert set((await tenant.rows()).values()) == {0}, (number, results)
        tenant.assert_nothing_is_held()
