"""What an archive promises: all of a session as at one moment; every change is found; it can be read in again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bedplate_core.errors import Conflict, InvalidRequest, NotFound
from bedplate_core.events import StopReason
from bedplate_core.ids import CallId, SessionId, new_call_id, new_project_id, new_response_id
from bedplate_core.messages import Image, MediaBytes, Message, Role, Text
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_sessions.archive.exporter import Exporter
from bedplate_sessions.archive.importer import Imported, Importer
from bedplate_sessions.archive.lines import ArchiveBytes, ArchiveDamaged, LineWriter
from bedplate_sessions.archive.outline import checked
from bedplate_sessions.archive.records import Record
from bedplate_sessions.item_rows import BLOB_BYTES
from bedplate_sessions.response_rows import StoredResponse
from bedplate_sessions.session import NewSession, SessionStatus
from bedplate_sessions.session_steps import SessionSteps
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_sessions.turn_options import TurnOptions
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Store, ask, message, texts, turn

pytestmark = pytest.mark.anyio


async def exported(store: Store, session: SessionId | None = None) -> bytes:
    lines = [line async for line in Exporter(store.config, store.keys).export(store.project, session)]
    return b"".join(lines)


async def imported(store: Store, archive: bytes, *, new_ids: bool = False) -> Imported:
    importer = Importer(store.database, store.keys, retention_s=3600.0)
    return await importer.load(store.project, store.key, ArchiveBytes(archive), new_ids=new_ids)


def records(archive: bytes) -> list[dict[str, Any]]:
    return [json.loads(line)["record"] for line in archive.splitlines()]


def without_times(archive: bytes) -> list[bytes]:
    """The archive's records but for the time of the export and of the last write, and what is hashed over them."""
    found: list[bytes] = []
    for record in records(archive):
        for name in ("header", "project"), ("header", "created_at"), ("session", "updated_at"), ("manifest", "sha256"):
            if record["type"] == name[0]:
                record.pop(name[1])
        found.append(json.dumps(record).encode())
    return found


def resealed(archive: bytes, change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    """An archive whose hashes are right and whose content is not what an export would have."""
    found = records(archive)[:-1]
    change(found)
    writer = LineWriter()
    lines = [writer.line(msgspec.convert(record, Record, strict=False)) for record in map(_typed, found)]
    return b"".join([*lines, writer.manifest()])


def _typed(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.Raw(json.dumps(value).encode()) if name in ("message", "content") else value
        for name, value in record.items()
    }


@pytest.fixture
async def other(store: Store) -> AsyncIterator[Store]:
    """Another project on the same database."""
    opened = Store(store.config, new_project_id())
    yield opened
    opened.assert_nothing_is_held()
    await opened.aclose()


PICTURE = Message(
    role=Role.USER, parts=(Text(text="see"), Image(media=MediaBytes(b"\x89" * (BLOB_BYTES + 1), "image/png")))
)


def steps_of(store: Store) -> SessionSteps:
    sessions = store.sessions
    return SessionSteps(store.database, sessions.durable, store.keys, sessions.reader, sessions.limits)


async def a_rich_session(store: Store) -> SessionId:
    """Two branches, a dropped turn, a picture, a step, a response, a deleted item, an open turn."""
    session = await turn(store, None, Request(model="m", messages=(message("rules", Role.SYSTEM), PICTURE)), "one")
    first = (await store.all_items(session))[-1]
    await turn(store, session, "two \x00 \U0001f600", "answer two")
    broken = await store.open(session)
    await broken.begin(broken.compose(ask("dropped")))
    await broken.aclose()
    await turn(store, session, "three", "answer three")
    await turn(store, session, "fork", "answer fork", options=TurnOptions(fork_at=first.id))
    steps = steps_of(store)
    invocation = await steps.create_invocation(store.project, session, new_call_id(), description="made")
    await steps.put(
        store.project, session, invocation=invocation.id, step="a" * 32, time=TIME, blocks=(Text(text="opaque"),)
    )
    responses = StoredResponses(store.database, store.keys)
    keep = await responses.keep_in_session(store.project, store.key, session)
    response = StoredResponse(
        id=new_response_id(), parent_id=None, model="m", created_s=1, input=(message("in"),),
        output=message("out", Role.ASSISTANT), stop_reason=StopReason.END, usage=Usage(input_tokens=3),
        settings=b'{"a": 1}',
    )  # fmt: skip
    await store.sessions.durable.commit(store.project, [keep(response)], what="this")
    async with store.database.transaction(store.project) as connection:
        await connection.execute(
            text("update session_item set sealed = null, deleted_at = now() where session_id = :s and seq = 3"),
            {"s": session},
        )
    opened = await store.open(session, options=TurnOptions(branch=1))
    await opened.begin(opened.compose(ask("open")))
    await opened.break_off((Text(text="half"),))
    await opened.aclose()
    return session


TIME = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


async def test_an_archive_has_everything(store: Store) -> None:
    session = await a_rich_session(store)
    found = records(await exported(store, session))
    kinds = [record["type"] for record in found]
    assert kinds[:2] == ["header", "session"]
    assert kinds[-1] == "manifest"
    assert found[-1]["counts"] == {kind: kinds.count(kind) for kind in sorted(set(kinds) - {"manifest"})}
    assert found[-1]["lines"] == len(found) - 1
    items = [record for record in found if record["type"] == "item"]
    assert [item["status"] for item in items if item["branch"] == 0].count("dropped") == 1
    assert [item["message"] for item in items if item["deleted_at"]] == [None]
    assert kinds.count("blob") == kinds.count("step") == kinds.count("response") == 1
    assert [record["turn_call"] is None for record in found if record["type"] == "branch"] == [True, False]
    assert "bedplate-blob:" in json.dumps(items)


async def test_what_is_read_in_is_what_was_written_out(store: Store, other: Store) -> None:
    session = await a_rich_session(store)
    archive = await exported(store, session)
    await store.sessions.registry.delete(store.project, session)
    await imported(other, archive)
    assert without_times(await exported(other, session)) == without_times(archive)


async def test_a_conversation_goes_on_where_it_was_forks_and_open_turns_included(store: Store, other: Store) -> None:
    session = await a_rich_session(store)
    before = texts(await store.all_items(session))
    archive = await exported(store, session)
    new = (await imported(other, archive, new_ids=True)).sessions[session]
    assert new != session
    assert texts(await other.all_items(new)) == before
    picture = (await other.all_items(new))[1].message
    assert picture == PICTURE
    await turn(other, new, "four", "answer four")
    assert texts(await other.all_items(new)) == [*before, ("user", "four"), ("assistant", "answer four")]
    # The open turn of the fork is dropped by the next one, as it would have been.
    await turn(other, new, "five", "answer five", options=TurnOptions(branch=1))
    assert ("user", "open") not in texts(await other.all_items(new, 1))
    item = (await other.all_items(new))[2].id
    await turn(other, new, "six", "answer six", options=TurnOptions(fork_at=item))
    assert texts(await other.all_items(new, 2))[-1] == ("assistant", "answer six")
    assert texts(await store.all_items(session)) == before


async def test_an_open_turn_is_taken_up_again_after_an_import(store: Store, other: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    call = CallId(new_call_id())
    opened = await store.open(session, call=call)
    await opened.begin(opened.compose(ask("two")))
    await opened.aclose()
    archive = await exported(store, session)
    await store.sessions.registry.delete(store.project, session)
    await imported(other, archive)
    await turn(other, session, "two", "answer two", resumes=call)
    assert texts(await other.all_items(session))[-2:] == [("user", "two"), ("assistant", "answer two")]


async def test_steps_and_responses_can_be_read_after_an_import(store: Store, other: Store) -> None:
    session = await a_rich_session(store)
    archive = await exported(store, session)
    new = (await imported(other, archive, new_ids=True)).sessions[session]
    steps = steps_of(other)
    made = (await steps.invocations(other.project, new, limit=100)).invocations
    invocation = next(each for each in made if each.description == "made")
    step = await steps.step(other.project, new, invocation=invocation.id, step="a" * 32)
    assert step.blocks == (Text(text="opaque"),)
    # The same step again is known, another under its id is not: its hash came along.
    same = {"invocation": invocation.id, "step": "a" * 32, "time": TIME}
    await steps.put(other.project, new, **same, blocks=(Text(text="opaque"),))
    with pytest.raises(Conflict):
        await steps.put(other.project, new, **same, blocks=(Text(text="another"),))
    async with other.database.transaction(other.project) as connection:
        name = (await connection.execute(text("select id from stored_response"))).scalar_one()
    response = await StoredResponses(other.database, other.keys).read(project=other.project, response_id=name)
    assert (response.output.text, response.settings) == ("out", b'{"a": 1}')
    assert f'"id":"{name}"'.encode() not in archive


async def test_everything_is_sealed_under_a_new_key(store: Store, other: Store) -> None:
    session = await a_rich_session(store)
    await imported(other, await exported(store, session), new_ids=True)
    async with other.database.transaction(other.project) as connection:
        for table in ("session_item", "session_blob", "session_step", "stored_response"):
            found = await connection.execute(text(f"select sealed from {table} where sealed is not null"))
            assert {bytes(each)[:1] for each in found.scalars()} == {b"\x01"}


async def test_an_id_that_exists_is_a_conflict_whosever_it_is(store: Store, other: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    archive = await exported(store, session)
    for importing in (store, other):
        with pytest.raises(Conflict) as error:
            await imported(importing, archive)
        assert session in error.value.message
    with pytest.raises(NotFound):
        await other.sessions.registry.get(other.project, session)
    # What was read in before the conflict is not there either.
    more = await turn(store, None, "two", "answer two")
    both = await exported(store)
    await store.sessions.registry.delete(store.project, session)
    with pytest.raises(Conflict):
        await imported(other, both)
    with pytest.raises(NotFound):
        await other.sessions.registry.get(other.project, session)
    del more


async def test_an_imported_session_is_kept_anew_and_stays_what_it_was(store: Store, other: Store) -> None:
    registry = store.sessions.registry
    new = NewSession(metadata={"a": "b"}, lifetime_s=0.001)
    session = (await registry.create(store.project, store.key, new)).id
    await registry.hold(store.project, session, hold=True)
    async with store.database.transaction(store.project) as connection:
        await connection.execute(text("update session set updated_at = '2020-01-01'"))
    name = (await imported(other, await exported(store, session), new_ids=True)).sessions[session]
    found = await other.sessions.registry.get(other.project, name)
    assert (found.status, found.legal_hold, found.metadata) == (SessionStatus.EXPIRED, True, {"a": "b"})
    assert found.updated_at.year >= 2026


async def test_an_unknown_session_and_another_projects_are_not_found(store: Store, other: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    for wanted in (session, SessionId("sess_" + "0" * 32)):
        with pytest.raises(NotFound):
            await exported(other, wanted)
    assert [record["type"] for record in records(await exported(other))] == ["header", "manifest"]


async def test_a_projects_archive_has_all_its_sessions_oldest_first(store: Store, other: Store) -> None:
    sessions = [await turn(store, None, f"{n}", "answer") for n in range(3)]
    await turn(other, None, "other", "answer")
    archive = await exported(store)
    assert [each["id"] for each in records(archive) if each["type"] == "session"] == sessions
    assert b'"other"' not in archive
    assert len((await imported(other, archive, new_ids=True)).sessions) == 3


async def test_an_archive_is_of_one_moment_while_turns_go_on(store: Store) -> None:
    """After every line of the export another turn is stored, on the main branch and on a new one."""
    session = await turn(store, None, ask(*[f"m{n}" for n in range(60)]), "answer")
    lines: list[bytes] = []
    async for line in Exporter(store.config, store.keys).export(store.project, session):
        lines.append(line)
        if len(lines) in (2, 5, 30):
            await turn(store, session, "more", "answer more")
            await store.sessions.fork(store.project, session, TurnOptions())
    archive = b"".join(lines)
    found = records(archive)
    heads = [record["head"] for record in found if record["type"] == "branch"]
    assert heads == [61]
    assert [record["seq"] for record in found if record["type"] == "item"] == list(range(1, 62))
    assert len(list(checked(ArchiveBytes(archive)))) == len(found) - 2
    assert len(await store.all_items(session)) == 67


async def test_a_reader_that_leaves_leaves_nothing_open(store: Store) -> None:
    session = await turn(store, None, ask("a", "b"), "c")
    archive = Exporter(store.config, store.keys).export(store.project, session)
    await anext(archive)
    await archive.aclose()
    async with store.database.installation() as connection:
        left = await connection.execute(
            text("select count(*) from pg_stat_activity where application_name = 'bedplate export' and state <> 'idle'")
        )
        assert left.scalar_one() == 0


@pytest.fixture(scope="module")
def database_url_for_module(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


async def archive_of(url: str, make: Callable[[Store], Awaitable[SessionId]]) -> bytes:
    """The archive of a session that `make` makes in a project of its own."""
    store = Store(DatabaseConfig(url=url, pool_size=2), new_project_id())
    try:
        return await exported(store, await make(store))
    finally:
        await store.aclose()


async def a_plain_session(store: Store) -> SessionId:
    return await turn(store, None, ask("a", "b", "c"), "answer one")


@pytest.fixture(scope="module")
def plain_archive(database_url_for_module: str) -> bytes:
    return asyncio.run(archive_of(database_url_for_module, a_plain_session))


@pytest.fixture(scope="module")
def rich_archive(database_url_for_module: str) -> bytes:
    return asyncio.run(archive_of(database_url_for_module, a_rich_session))


@pytest.fixture
async def empty(database_url_for_module: str) -> AsyncIterator[Store]:
    """A project without anything, on a database that others use as well."""
    opened = Store(DatabaseConfig(url=database_url_for_module, pool_size=2), new_project_id())
    yield opened
    opened.assert_nothing_is_held()
    await opened.aclose()


def lines_of(archive: bytes) -> list[bytes]:
    return archive.splitlines(keepends=True)


def _without(archive: bytes, number: int) -> bytes:
    lines = lines_of(archive)
    return b"".join(lines[:number] + lines[number + 1 :])


def _swapped(archive: bytes, number: int) -> bytes:
    lines = lines_of(archive)
    lines[number], lines[number + 1] = lines[number + 1], lines[number]
    return b"".join(lines)


def _rehashed_line(archive: bytes, number: int) -> bytes:
    """One item's text changed with the hashes of all lines made anew, but not the manifest's hash of the whole."""
    found = records(archive)
    honest = found[-1]
    writer = LineWriter()
    lines: list[bytes] = []
    for place, record in enumerate(found[:-1]):
        if place == number:
            record["metadata"] = {"forged": "yes"}
        lines.append(writer.line(msgspec.convert(_typed(record), Record, strict=False)))
    return b"".join([*lines, writer.line(msgspec.convert(honest, Record, strict=False))])


def _continued(archive: bytes) -> bytes:
    """Another line behind the manifest, with the hash that follows it."""
    writer = LineWriter()
    lines = [writer.line(msgspec.convert(_typed(record), Record, strict=False)) for record in records(archive)[:-1]]
    blob = {"type": "blob", "id": "x", "sha256": hashlib.sha256(b"").hexdigest(), "created_at": TIME, "data": b""}
    return b"".join([*lines, writer.manifest(), writer.line(msgspec.convert(blob, Record))])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a byte": lambda archive: archive.replace(b"answer one", b"answer two", 1),
    "a hash": lambda archive: archive.replace(b'"sha256":"', b'"sha256":"0', 1),
    "a line lost": lambda archive: _without(archive, 4),
    "the first line lost": lambda archive: _without(archive, 0),
    "lines moved": lambda archive: _swapped(archive, 4),
    "a line twice": lambda archive: b"".join([*lines_of(archive)[:5], *lines_of(archive)[4:]]),
    "no manifest": lambda archive: b"".join(lines_of(archive)[:-1]),
    "cut in a line": lambda archive: archive[:-20],
    "cut at its last byte": lambda archive: archive[:-1],
    "more behind it": lambda archive: archive + lines_of(archive)[4],
    "more behind it that follows": _continued,
    "two archives": lambda archive: archive + archive,
    "nothing": lambda archive: b"",
    "another spelling": lambda archive: archive.replace(b'{"record":', b'{ "record":', 1),
    "all lines anew": lambda archive: _rehashed_line(archive, 1),
}


async def assert_nothing_is_there(store: Store) -> None:
    async with store.database.transaction(store.project) as connection:
        for table in ("session", "session_key", "stored_response"):
            assert (await connection.execute(text(f"select count(*) from {table}"))).scalar_one() == 0


@pytest.mark.parametrize("what", DAMAGE)
async def test_a_file_that_is_not_what_was_exported_is_refused(empty: Store, plain_archive: bytes, what: str) -> None:
    damaged = DAMAGE[what](plain_archive)
    assert damaged != plain_archive
    with pytest.raises(ArchiveDamaged):
        await imported(empty, damaged, new_ids=True)
    await assert_nothing_is_there(empty)


async def test_where_a_line_was_changed_is_said(empty: Store, plain_archive: bytes) -> None:
    number = next(n for n, line in enumerate(lines_of(plain_archive), 1) if b"answer one" in line)
    with pytest.raises(ArchiveDamaged, match=f"^line {number}: was changed"):
        await imported(empty, DAMAGE["a byte"](plain_archive), new_ids=True)
    with pytest.raises(ArchiveDamaged, match="the manifest names"):
        await imported(empty, DAMAGE["all lines anew"](plain_archive), new_ids=True)


def _set(kind: str, place: int, **values: object) -> Callable[[list[dict[str, Any]]], None]:
    def change(found: list[dict[str, Any]]) -> None:
        [record for record in found if record["type"] == kind][place].update(values)

    return change


def _drop(kind: str, place: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(found: list[dict[str, Any]]) -> None:
        found.remove([record for record in found if record["type"] == kind][place])

    return change


FORGED: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "a branch that builds on itself": _set("branch", 1, parent_branch=1),
    "a branch without a parent": _set("branch", 1, parent_branch=None),
    "no branch 0": _drop("branch", 0),
    "media that are missing": _drop("blob", 0),
    "media with another hash": _set("blob", 0, sha256="0" * 64),
    "an item outside of its branch": _set("item", 0, seq=4000),
    "an item twice": _set("item", 1, seq=1, id="item_x"),
    "an item's id twice": lambda found: _set("item", 1, id=next(r for r in found if r["type"] == "item")["id"])(found),
    "a message that is none": _set("item", 0, message={"role": "user", "parts": [{"kind": "tulip"}]}),
    "another role": _set("item", 0, role="assistant"),
    "a newer message": _set("item", 0, schema_version=99),
    "a response's content that is none": _set("response", 0, content={"input": []}),
    "a text that Postgres has not": _set("session", 0, metadata={"a": "\x00"}),
    "a step that the session has not counted": _set("session", 0, steps=0),
    "an invocation that the session has not counted": _set("session", 0, invocations=0),
    "half an open turn": _set("branch", 1, turn_from=None),
    "items before branches": lambda found: found.insert(2, found.pop([r["type"] for r in found].index("item"))),
}


@pytest.mark.parametrize("what", FORGED)
async def test_what_could_not_be_read_again_is_not_read_in(empty: Store, rich_archive: bytes, what: str) -> None:
    with pytest.raises(InvalidRequest):
        await imported(empty, resealed(rich_archive, FORGED[what]), new_ids=True)
    await assert_nothing_is_there(empty)


async def test_an_archive_that_is_only_resealed_is_read_in(empty: Store, rich_archive: bytes) -> None:
    """What is refused above is refused for what was changed in it."""
    assert len((await imported(empty, resealed(rich_archive, lambda _: None), new_ids=True)).sessions) == 1


async def test_another_format_is_refused(empty: Store) -> None:
    writer = LineWriter()
    header = msgspec.convert(
        {"type": "header", "format": 2, "schema_version": 1, "project": "p", "created_at": TIME}, Record
    )
    with pytest.raises(InvalidRequest, match="format 1"):
        await imported(empty, writer.line(header) + writer.manifest())


TEXTS = st.text(max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), TEXTS, TEXTS),
        st.tuples(st.just("break"), TEXTS, TEXTS),
        st.tuples(st.just("fork"), st.integers(0, 9), TEXTS),
    ),
    max_size=5,
)


@settings(max_examples=10, deadline=None)
@given(steps=STEPS, metadata=st.dictionaries(st.text("abc", min_size=1), st.text("xyz\u00e9\U0001f600"), max_size=2))
def test_a_second_export_is_the_first(
    database_url_for_module: str, steps: Sequence[tuple[str, Any, str]], metadata: dict[str, str]
) -> None:
    async def run() -> None:
        config = DatabaseConfig(url=database_url_for_module, pool_size=2)
        store, other = Store(config, new_project_id()), Store(config, new_project_id())
        try:
            session = (await store.sessions.registry.create(store.project, store.key, NewSession(metadata=metadata))).id
            await turn(store, session, "first", "answer")
            for what, first, second in steps:
                match what:
                    case "turn":
                        await turn(store, session, first, second)
                    case "fork":
                        # Of the first turn, which has ended whatever came after it.
                        at = (await store.all_items(session))[first % 2].id
                        await turn(store, session, second, "answer", options=TurnOptions(fork_at=at))
                    case _:
                        opened = await store.open(session)
                        await opened.begin(opened.compose(ask(first)))
                        await opened.break_off((Text(text=second),))
                        await opened.aclose()
            archive = await exported(store, session)
            await store.sessions.registry.delete(store.project, session)
            await imported(other, archive)
            again = await exported(other, session)
            assert without_times(again) == without_times(archive)
        finally:
            await store.aclose()
            await other.aclose()

    asyncio.run(run())
