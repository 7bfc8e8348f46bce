"""What becomes of the data keys of stored responses: one for a chain, the session's for a turn, none left behind."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
import pytest
from sqlalchemy import text

from bedplate_core.errors import Conflict, InvalidRequest, NotFound
from bedplate_core.ids import SessionId
from bedplate_core.response import collect
from bedplate_core.usage import Usage
from bedplate_sessions.durable import Write
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.response_rows import StoredResponse
from bedplate_sessions.response_turn import ResponseTurn
from bedplate_sessions.stored_responses import StoredResponses
from tests.fixtures.sessions import Store, answer, ask, message, turn

pytestmark = pytest.mark.anyio

CANARY = "canary-90aa"


def responses_of(store: Store) -> StoredResponses:
    return StoredResponses(store.database, store.keys)


async def begun(store: Store, previous: str | None = None, *, name: str | None = None) -> ResponseTurn:
    opened = await responses_of(store).open_turn(
        project=store.project,
        key=store.key,
        response_id=name or new_id(),
        previous=previous,
        store=True,
        instructions=0,
        settings=lambda _: msgspec.json.encode({"said": CANARY}),
    )
    await opened.begin(opened.compose(ask(CANARY)))
    return opened


def new_id() -> str:
    return f"resp_{secrets.token_hex(16)}"


async def ending(opened: ResponseTurn) -> list[Write]:
    return list(opened.ending(await collect(answer(CANARY))))


async def respond(store: Store, previous: str | None = None) -> str:
    name = new_id()
    await store.sessions.durable.commit(store.project, await ending(await begun(store, previous, name=name)), what="it")
    return name


async def respond_in(store: Store, session: SessionId) -> str:
    keep = await responses_of(store).keep_in_session(store.project, store.key, session)
    response = await collect(answer(CANARY))
    stored = StoredResponse(
        id=new_id(),
        parent_id=None,
        model="m",
        created_s=1,
        input=(message(CANARY),),
        output=response.choices[0].message,
        stop_reason=response.choices[0].stop.reason,
        usage=response.usage,
        settings=b"{}",
    )
    await store.sessions.durable.commit(store.project, [keep(stored)], what="it")
    return stored.id


async def owners(store: Store) -> set[str]:
    async with store.database.transaction(store.project) as connection:
        return set((await connection.execute(text("select owner from session_key"))).scalars())


async def delete(store: Store, name: str) -> None:
    await responses_of(store).delete(project=store.project, response_id=name)


async def read(store: Store, name: str) -> StoredResponse:
    return await responses_of(store).read(project=store.project, response_id=name)


async def test_a_chain_has_one_key_until_its_last_response_is_deleted(store: Store) -> None:
    first = await respond(store)
    second = await respond(store, first)
    third = await respond(store, second)
    fork = await respond(store, second)
    apart = await respond(store)
    assert await owners(store) == {first, apart}
    for name in (first, third, second):
        await delete(store, name)
        assert await owners(store) == {first, apart}
    assert (await read(store, fork)).output.text == CANARY
    await delete(store, fork)
    assert await owners(store) == {apart}
    with pytest.raises(NotFound):
        await delete(store, fork)


async def test_two_deletions_at_once_leave_no_key(store: Store) -> None:
    for _ in range(5):
        first = await respond(store)
        second = await respond(store, first)
        await asyncio.gather(delete(store, first), delete(store, second))
        assert await owners(store) == set()


async def test_the_content_of_a_row_that_was_copied_cannot_be_read_without_the_key(store: Store) -> None:
    first = await respond(store)
    async with store.database.transaction(store.project) as connection:
        found = await connection.execute(text("select sealed from stored_response where id = :id"), {"id": first})
        sealed = bytes(found.scalar_one())
    await delete(store, first)
    with pytest.raises(ContentUnreadable):
        (await store.keys.cipher(store.project, first)).open(sealed, first)


async def test_an_answer_whose_chain_was_deleted_meanwhile_is_not_stored(store: Store) -> None:
    first = await respond(store)
    opened = await begun(store, first)
    await delete(store, first)
    with pytest.raises(Conflict):
        await store.sessions.durable.commit(store.project, await ending(opened), what="it")
    async with store.database.transaction(store.project) as connection:
        assert (await connection.execute(text("select count(*) from stored_response"))).scalar_one() == 0


async def test_a_deletion_and_an_answer_that_builds_on_it_wait_for_each_other(store: Store) -> None:
    first = await respond(store)
    name = new_id()
    writes = await ending(await begun(store, first, name=name))
    async with store.database.transaction(store.project) as connection:
        for write in writes:
            await write(connection)
        deletion = asyncio.create_task(delete(store, first))
        await asyncio.sleep(0.1)
        assert not deletion.done()
    await deletion
    assert await owners(store) == {first}
    assert (await read(store, name)).output.text == CANARY


async def test_a_response_of_a_session_lives_under_its_key_and_goes_with_it(store: Store) -> None:
    session = await turn(store, None, "one", "1")
    await delete(store, await respond_in(store, session))
    assert await owners(store) == {session}, "the last response took the session's key along"
    kept = await respond_in(store, session)
    assert (await read(store, kept)).output.text == CANARY
    with pytest.raises(InvalidRequest, match="conversation"):
        await begun(store, kept)
    await store.sessions.registry.delete(store.project, session)
    assert await owners(store) == set()
    with pytest.raises(NotFound):
        await read(store, kept)


async def test_rows_hold_no_content_in_the_clear(store: Store) -> None:
    session = await turn(store, None, "one", "1")
    await respond(store, await respond(store))
    await respond_in(store, session)
    async with store.database.transaction(store.project) as connection:
        found = (await connection.execute(text("select r::text from stored_response r"))).scalars().all()
    assert len(found) == 3
    assert not [row for row in found if CANARY in row or CANARY.encode().hex() in row]


OLD_ROW = text(
    "insert into stored_response (id, project_id, created_by, model, created_s, input, output, settings, stop_reason, "
    "usage, schema_version, size_bytes, expires_at) values (:id, :project, :key, 'm', 1, cast(:input as json), "
    "cast(:output as json), '{}', 'end', cast(:usage as json), 1, 1, now() + interval '1 day')"
)


async def test_a_chain_that_began_before_there_were_keys_goes_on_with_one(store: Store) -> None:
    first = new_id()
    asked, answered = (message(text) for text in ("asked", "answered"))
    row = {
        "id": first,
        "project": store.project,
        "key": store.key,
        "input": msgspec.json.encode([asked]).decode(),
        "output": msgspec.json.encode(answered).decode(),
        "usage": msgspec.json.encode(Usage(input_tokens=1, output_tokens=1)).decode(),
    }
    async with store.database.transaction(store.project) as connection:
        await connection.execute(OLD_ROW, row)
    assert (await read(store, first)).input == (asked,)
    second = await respond(store, first)
    third = await respond(store, second)
    assert await owners(store) == {second}
    composed = (await begun(store, third)).compose(ask("more"))
    assert [each.text for each in composed.messages] == ["asked", "answered", *[CANARY] * 4, "more"]
    for name in (first, third, second):
        await delete(store, name)
    assert await owners(store) == set()
