"""Kept replies: one call at a time has a key, its reply is durable with its writes, and nobody else can read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest
from sqlalchemy import text

from bedplate_core.errors import Conflict, IdempotencyMismatch, PayloadTooLarge
from bedplate_core.ids import CallId, new_call_id, new_project_id
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.limits import SessionLimits
from bedplate_sessions.session import NewSession
from bedplate_sessions.stored_replies import Claim, StoredReplies, StoredReply
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.sessions import Store

pytestmark = pytest.mark.anyio

REPLY = StoredReply(status=200, headers={"content-type": "text/plain", "x-more": "\u00e9"}, body=b"canary \x00\xff")
ONE, OTHER = b"1" * 32, b"2" * 32


class Kept(Store):
    """A store with replies; `other` is another project's view of the same database."""

    def __init__(self, config: DatabaseConfig, **limits: float) -> None:
        super().__init__(config, new_project_id())
        self.replies = StoredReplies(
            self.database, self.keys, limits=msgspec.structs.replace(SessionLimits(), **limits)
        )

    async def claim(self, key: str = "k", request: bytes = ONE, call: CallId | None = None) -> Claim:
        claimed = await self.replies.claim(self.project, key, request, call or new_call_id())
        assert isinstance(claimed, Claim)
        return claimed

    async def end(self, claim: Claim, reply: StoredReply = REPLY) -> None:
        await self.sessions.durable.commit(self.project, (self.replies.ending(claim, reply, None),), what="it")

    async def rows(self, statement: str) -> list[dict[str, object]]:
        async with self.database.transaction(self.project) as connection:
            found = await connection.execute(text(statement))
            return [dict(row) for row in found.mappings()] if found.returns_rows else []


@pytest.fixture
async def kept(database_url: str) -> AsyncGenerator[Kept, None]:
    store = Kept(DatabaseConfig(url=database_url))
    yield store
    assert store.database.connections_in_use == 0
    await store.locks.aclose()
    await store.database.aclose()


async def test_what_was_answered_is_answered_again(kept: Kept) -> None:
    claim = await kept.claim()
    assert claim.turn is None
    assert await kept.replies.read(kept.project, "k", ONE) is None
    await kept.end(claim)
    assert await kept.replies.claim(kept.project, "k", ONE, new_call_id()) == REPLY
    assert await kept.replies.read(kept.project, "k", ONE) == REPLY
    rows = await kept.rows("select sealed, key_owner from stored_reply")
    assert b"canary" not in rows[0]["sealed"]  # type: ignore[operator]  # bytes


async def test_another_request_is_refused_once_it_is_answered(kept: Kept) -> None:
    claim = await kept.claim()
    with pytest.raises(IdempotencyMismatch):
        await kept.replies.read(kept.project, "k", OTHER)
    await kept.end(claim)
    with pytest.raises(IdempotencyMismatch):
        await kept.replies.claim(kept.project, "k", OTHER, new_call_id())


async def test_a_key_without_an_answer_is_taken_over_with_its_turn(kept: Kept) -> None:
    first = await kept.claim()
    second = await kept.claim()
    third = await kept.claim()
    assert second.turn == third.turn == first.call
    for late in (first, second):
        with pytest.raises(Conflict):
            await kept.end(late)
    await kept.end(third)
    assert await kept.replies.read(kept.project, "k", ONE) == REPLY


async def test_another_request_takes_no_turn_over(kept: Kept) -> None:
    await kept.claim()
    assert (await kept.claim(request=OTHER)).turn is None


async def test_a_session_that_was_begun_is_gone_on_with(kept: Kept) -> None:
    first = await kept.claim()
    session = (await kept.sessions.registry.create(kept.project, kept.key, NewSession())).id
    await kept.replies.note_session(first, session)
    assert (await kept.claim()).session == session
    assert (await kept.claim(request=OTHER)).session is None


async def test_one_that_was_not_made_is_not(kept: Kept) -> None:
    first = await kept.claim()
    await kept.replies.note_session(first, "sess_" + "0" * 32)  # type: ignore[arg-type]  # never made
    taken = await kept.claim()
    assert (taken.turn, taken.session) == (first.call, None)


async def test_the_end_may_run_again(kept: Kept) -> None:
    claim = await kept.claim()
    write = kept.replies.ending(claim, REPLY, None)
    for _ in range(2):
        await kept.sessions.durable.commit(kept.project, (write,), what="it")
    assert await kept.replies.read(kept.project, "k", ONE) == REPLY
    assert len(await kept.rows("select 1 from session_key")) == 1


async def test_many_claim_at_once(kept: Kept) -> None:
    """Without the lock every one claims, and still only the last to do so can answer."""
    claims = await asyncio.gather(*(kept.claim() for _ in range(8)))
    ended = await asyncio.gather(*(kept.end(each) for each in claims), return_exceptions=True)
    assert sum(result is None for result in ended) == 1
    assert all(result is None or isinstance(result, Conflict) for result in ended)


async def test_an_expired_key_is_new(kept: Kept) -> None:
    await kept.end(await kept.claim())
    before = await kept.rows("select owner from session_key")
    await kept.rows("update stored_reply set expires_at = now() - interval '1 second'")
    assert await kept.replies.read(kept.project, "k", ONE) is None
    assert await kept.replies.read(kept.project, "k", OTHER) is None
    again = await kept.claim(request=OTHER)
    assert again.turn is None
    assert await kept.rows("select owner from session_key") == []
    await kept.end(again)
    assert await kept.rows("select owner from session_key") != before


async def test_one_too_large_is_noted(database_url: str) -> None:
    kept = Kept(DatabaseConfig(url=database_url), reply_bytes=len(REPLY.body) - 1)
    await kept.end(await kept.claim())
    with pytest.raises(PayloadTooLarge):
        await kept.replies.claim(kept.project, "k", ONE, new_call_id())
    assert await kept.rows("select 1 from session_key") == []
    await kept.database.aclose()


async def test_a_reply_of_a_session_needs_its_key(kept: Kept) -> None:
    session = (await kept.sessions.registry.create(kept.project, kept.key, NewSession())).id
    claim = await kept.claim()
    write = kept.replies.ending(claim, REPLY, session)
    await kept.sessions.durable.commit(kept.project, (write,), what="it")
    assert await kept.replies.read(kept.project, "k", ONE) == REPLY
    rows = await kept.rows("select key_owner, session_id from stored_reply")
    assert rows == [{"key_owner": session, "session_id": session}]
    destroy = await kept.keys.destroy(kept.project, (session,))
    assert destroy is not None
    await kept.sessions.durable.commit(kept.project, (destroy,), what="it")
    with pytest.raises(ContentUnreadable):
        await kept.replies.read(kept.project, "k", ONE)


async def test_a_reply_moved_to_another_key_does_not_open(kept: Kept) -> None:
    await kept.end(await kept.claim())
    await kept.rows("update stored_reply set key = 'elsewhere'")
    with pytest.raises(ContentUnreadable):
        await kept.replies.read(kept.project, "elsewhere", ONE)


async def test_projects_do_not_share_keys(kept: Kept, database_url: str) -> None:
    await kept.end(await kept.claim())
    other = Kept(DatabaseConfig(url=database_url))
    assert await other.replies.read(other.project, "k", ONE) is None
    assert (await other.claim()).turn is None
    assert await kept.replies.read(kept.project, "k", ONE) == REPLY
    await other.database.aclose()


async def test_what_is_shown_until_it_is_settled(kept: Kept) -> None:
    shown = StoredReply(status=200, headers={"content-type": "application/json"}, body=b'"canary running"')
    claim, begin = await kept.replies.begin(kept.project, "response:1", new_call_id(), shown)
    for _ in range(2):
        await kept.sessions.durable.commit(kept.project, (begin,), what="it")
    standing = await kept.replies.standing(kept.project, "response:1")
    assert standing is not None
    assert (standing.running, standing.reply.body) == (True, shown.body)
    assert await kept.replies.settle(kept.project, "response:1", msgspec.structs.replace(REPLY, status=499))
    assert not await kept.replies.settle(kept.project, "response:1", REPLY)
    with pytest.raises(Conflict):
        await kept.end(claim)
    settled = await kept.replies.standing(kept.project, "response:1")
    assert settled is not None
    assert (settled.running, settled.reply) == (False, msgspec.structs.replace(REPLY, status=499))
    assert all(b"canary" not in row["sealed"] for row in await kept.rows("select sealed from stored_reply"))  # type: ignore[operator]  # bytes
    await kept.sessions.durable.commit(kept.project, (kept.replies.deletion(kept.project, "response:1"),), what="it")
    assert await kept.replies.standing(kept.project, "response:1") is None
    assert await kept.rows("select 1 from session_key") == []
