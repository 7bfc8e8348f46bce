"""Data keys on a real database: made with their owner or not at all, shared, destroyed, wrapped anew."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, StoreUnavailable
from bedplate_core.ids import ProjectId, new_project_id
from bedplate_sessions.durable import Durable, Write
from bedplate_sessions.keys.cipher import Cipher, ContentUnreadable, DataKeyCipher, PlainCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.keys.provider import KeyProvider, WrappedKey
from bedplate_sessions.keys.unwrap_only import UnwrapOnly
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

VERSIONS = {version: secrets.token_bytes(32) for version in (1, 2, 3)}
OWNER = "sess_1"
PLACE = "item/0/1"
SAID = b"something that was said"


def keys_of(*versions: int) -> LocalKeys:
    """The versions of a key file, of which the last is the current one."""
    return LocalKeys(name="file", keys={version: VERSIONS[version] for version in versions}, current=versions[-1])


class Watched:
    """A provider that counts, and waits for `gate` when it unwraps."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider
        self.unwraps = 0
        self.wraps = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    @property
    def key_id(self) -> str:
        return self._provider.key_id

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        self.wraps += 1
        return await self._provider.wrap(project, owner, data_key)

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        self.unwraps += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._provider.unwrap(project, owner, wrapped)

    async def aclose(self) -> None:
        await self._provider.aclose()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(DatabaseConfig(url=database_url, pool_size=4))
    yield opened
    assert opened.connections_in_use == 0
    await opened.aclose()


@pytest.fixture
def project() -> ProjectId:
    return new_project_id()


async def commit(database: Database, project: ProjectId, *writes: Write | None) -> None:
    await Durable(database).commit(project, [write for write in writes if write is not None], what="this")


async def rolled_back(database: Database, project: ProjectId, *writes: Write) -> None:
    async def fail(_connection: AsyncConnection) -> None:
        raise RuntimeError("something else failed")

    with pytest.raises(RuntimeError, match="something else"):
        await commit(database, project, *writes, fail)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - a pool and a counter have no event to wait for
            await asyncio.sleep(0.005)


async def made(keys: DataKeys, database: Database, project: ProjectId, owner: str = OWNER) -> Cipher:
    cipher, write = await keys.create(project, owner)
    await commit(database, project, write)
    return cipher


async def destroyed(keys: DataKeys, database: Database, project: ProjectId, *owners: str) -> None:
    await commit(database, project, await keys.destroy(project, owners))


def rows(server: PostgresServer, database: Database) -> Sequence[tuple[str, str, bytes]]:
    name = database._config.url.rpartition("@/")[2].partition("?")[0]
    found = server.fetch("select owner, key_id, wrapped from session_key order by owner", database=name)
    return [tuple(row) for row in found]


# Making.


async def test_a_key_is_stored_with_its_owner_and_opens_in_another_process(
    database: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    keys = DataKeys(database, keys_of(1))
    cipher, write = await keys.create(project, OWNER)
    sealed = cipher.seal(SAID, PLACE)
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)  # not before the owner's transaction
    await commit(database, project, write)
    other = DataKeys(database, keys_of(1))
    assert (await other.cipher(project, OWNER)).open(sealed, PLACE) == SAID
    assert (await keys.cipher(project, OWNER)).open(sealed, PLACE) == SAID
    assert [(owner, key_id) for owner, key_id, _ in rows(postgres_server, database)] == [(OWNER, "file:1")]


async def test_the_write_may_run_again(database: Database, project: ProjectId) -> None:
    keys = DataKeys(database, keys_of(1))
    cipher, write = await keys.create(project, OWNER)
    await commit(database, project, write, write)
    await commit(database, project, write)
    assert (await keys.cipher(project, OWNER)).open(cipher.seal(SAID, PLACE), PLACE) == SAID


async def test_the_write_may_run_again_after_a_rotation(database: Database, project: ProjectId) -> None:
    """An attempt that was stored without our knowing, whose key was wrapped anew before the next attempt."""
    keys = DataKeys(database, keys_of(1, 3, 2))
    cipher, write = await keys.create(project, OWNER)
    await commit(database, project, write)
    _, other = await keys.create(project, OWNER)
    assert await DataKeys(database, keys_of(1, 2, 3)).rewrap(project, limit=10) == 1
    await commit(database, project, write)
    with pytest.raises(Conflict):
        await commit(database, project, other)
    assert (await keys.cipher(project, OWNER)).open(cipher.seal(SAID, PLACE), PLACE) == SAID


async def test_an_owner_that_has_another_key_is_refused(database: Database, project: ProjectId) -> None:
    keys = DataKeys(database, keys_of(1))
    kept = await made(keys, database, project)
    with pytest.raises(Conflict):
        await made(keys, database, project)
    with pytest.raises(Conflict):
        await made(keys, database, new_project_id())  # another project's owner is nobody's
    assert (await keys.cipher(project, OWNER)).open(kept.seal(SAID, PLACE), PLACE) == SAID


async def test_a_transaction_that_is_rolled_back_leaves_no_key_to_seal_under(
    database: Database, project: ProjectId
) -> None:
    keys = DataKeys(database, keys_of(1))
    _, write = await keys.create(project, OWNER)
    assert write is not None

    async def look(connection: AsyncConnection) -> None:
        assert isinstance(await keys.cipher(project, OWNER, connection), DataKeyCipher)

    await rolled_back(database, project, write, look)
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)


async def test_without_a_provider_new_owners_are_plain_and_old_ones_keep_their_keys(
    database: Database, project: ProjectId
) -> None:
    sealed = (await made(DataKeys(database, keys_of(1)), database, project)).seal(SAID, PLACE)
    for provider in (None, UnwrapOnly(keys_of(1))):
        keys = DataKeys(database, provider)
        cipher, write = await keys.create(project, "sess_new")
        assert isinstance(cipher, PlainCipher)
        assert write is None
        assert await keys.rewrap(project, limit=10) == 0
        assert await keys.stale(project) == 0
        assert isinstance(await keys.cipher(project, "sess_new"), PlainCipher)
    assert (await DataKeys(database, UnwrapOnly(keys_of(1, 2))).cipher(project, OWNER)).open(sealed, PLACE) == SAID
    with pytest.raises(ContentUnreadable):
        await DataKeys(database, None).cipher(project, OWNER)


async def test_a_row_under_another_owner_or_project_does_not_open(
    database: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    """Somebody who can write the table copies a key to an owner of theirs."""
    keys = DataKeys(database, keys_of(1))
    await made(keys, database, project)
    other = new_project_id()
    name = database._config.url.rpartition("@/")[2].partition("?")[0]
    copy = "insert into session_key (owner, project_id, key_id, wrapped) select '{}', '{}', key_id, wrapped from "
    postgres_server.run(copy.format("sess_2", project) + "session_key where owner = 'sess_1'", database=name)
    postgres_server.run(f"update session_key set project_id = '{other}' where owner = 'sess_1'", database=name)
    for at, owner in ((project, "sess_2"), (other, OWNER)):
        with pytest.raises(ContentUnreadable):
            await keys.cipher(at, owner)


async def test_another_project_does_not_see_a_key(database: Database, project: ProjectId) -> None:
    keys = DataKeys(database, keys_of(1, 2))
    await made(DataKeys(database, keys_of(1)), database, project)
    await keys.cipher(project, OWNER)
    other = new_project_id()
    assert isinstance(await keys.cipher(other, OWNER), PlainCipher)
    assert await keys.counts(other) == {}
    assert await keys.rewrap(other, limit=10) == 0
    await destroyed(keys, database, other, OWNER)
    assert await keys.counts(project) == {"file:1": 1}


# Reading.


async def test_a_key_is_unwrapped_once_while_it_is_kept(database: Database, project: ProjectId) -> None:
    clock = Clock()
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched, cache_s=300.0, clock=clock)
    await made(keys, database, project)
    first = await keys.cipher(project, OWNER)
    clock.now += 299.0
    assert await keys.cipher(project, OWNER) is first
    assert watched.unwraps == 1
    clock.now += 1.0
    assert await keys.cipher(project, OWNER) is not first
    assert watched.unwraps == 2


async def test_time_is_counted_from_the_reading_and_not_from_the_unwrap(database: Database, project: ProjectId) -> None:
    clock = Clock()
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched, cache_s=10.0, clock=clock)
    await made(keys, database, project)
    watched.gate.clear()
    slow = asyncio.create_task(keys.cipher(project, OWNER))
    await until(lambda: watched.unwraps == 1)
    clock.now += 9.0
    watched.gate.set()
    await slow
    clock.now += 1.0
    await keys.cipher(project, OWNER)
    assert watched.unwraps == 2


async def test_the_cache_is_bounded(database: Database, project: ProjectId) -> None:
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched, cache_size=2)
    for owner in ("a", "b", "c"):
        await made(keys, database, project, owner)
        await keys.cipher(project, owner)
    await keys.cipher(project, "c")
    await keys.cipher(project, "b")
    assert watched.unwraps == 3
    await keys.cipher(project, "a")
    assert watched.unwraps == 4


async def test_an_owner_without_a_key_is_looked_up_every_time(database: Database, project: ProjectId) -> None:
    keys = DataKeys(database, keys_of(1))
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)
    await made(keys, database, project)
    assert isinstance(await keys.cipher(project, OWNER), DataKeyCipher)


async def test_reading_in_a_transaction_takes_no_other_connection(database_url: str, project: ProjectId) -> None:
    database = Database(DatabaseConfig(url=database_url, pool_size=1, connect_timeout_s=0.5))
    keys = DataKeys(database, keys_of(1))
    await made(keys, database, project)
    async with database.transaction(project) as connection:
        assert isinstance(await keys.cipher(project, OWNER, connection), DataKeyCipher)
    await database.aclose()


async def test_callers_at_once_share_one_unwrap_and_a_cancelled_first_one_fails_nobody(
    database: Database, project: ProjectId
) -> None:
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched)
    await made(keys, database, project)
    watched.gate.clear()
    callers = [asyncio.create_task(keys.cipher(project, OWNER)) for _ in range(4)]
    await until(lambda: watched.unwraps == 1 and not database.connections_in_use)
    callers[0].cancel()
    await asyncio.sleep(0.01)
    watched.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert len({id(await caller) for caller in callers[1:]}) == 1
    assert watched.unwraps == 1


async def test_a_failure_is_everybodys_and_nobodys_afterwards(
    database: Database, project: ProjectId, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched)
    await made(keys, database, project)
    watched.gate.clear()
    watched.error = StoreUnavailable("away")
    callers = [asyncio.create_task(keys.cipher(project, OWNER)) for _ in range(3)]
    await until(lambda: watched.unwraps == 1 and not database.connections_in_use)
    watched.gate.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    gone = asyncio.create_task(keys.cipher(project, OWNER))  # nobody is left to see this failure
    watched.gate.clear()
    await until(lambda: watched.unwraps == 2)
    gone.cancel()
    await asyncio.wait([gone])
    watched.gate.set()
    await asyncio.sleep(0.02)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
    watched.error = None
    assert isinstance(await keys.cipher(project, OWNER), DataKeyCipher)


@pytest.mark.parametrize("by_scope", [False, True])
async def test_a_cancellation_at_any_point_leaves_nothing_behind(
    database: Database, project: ProjectId, by_scope: bool
) -> None:
    keys = DataKeys(database, Watched(keys_of(1)), cache_s=0.0)
    await made(keys, database, project)

    async def work() -> None:
        await keys.cipher(project, OWNER)
        async with database.transaction(project) as connection:
            await keys.cipher(project, OWNER, connection)

    point = 0
    while await run_cancelled(work(), point, by_scope=by_scope):
        point += 1
        assert database.connections_in_use == 0
    assert point > 4
    await asyncio.sleep(0)
    assert not keys._unwrapping
    assert isinstance(await keys.cipher(project, OWNER), DataKeyCipher)


async def test_a_key_of_another_length_is_no_key(database: Database, project: ProjectId) -> None:
    class Short(Watched):
        async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
            return b"short"

    await made(DataKeys(database, keys_of(1)), database, project)
    with pytest.raises(ContentUnreadable):
        await DataKeys(database, Short(keys_of(1))).cipher(project, OWNER)


# Destroying.


async def test_what_was_sealed_cannot_be_read_once_its_key_is_destroyed(
    database: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    keys = DataKeys(database, keys_of(1))
    sealed = (await made(keys, database, project)).seal(SAID, PLACE)
    kept = (await made(keys, database, project, "sess_2")).seal(SAID, PLACE)
    await keys.cipher(project, OWNER)
    await destroyed(keys, database, project, OWNER, "sess_unknown")
    assert [owner for owner, _, _ in rows(postgres_server, database)] == ["sess_2"]
    for again in (keys, DataKeys(database, keys_of(1))):
        with pytest.raises(ContentUnreadable):
            (await again.cipher(project, OWNER)).open(sealed, PLACE)
    assert (await keys.cipher(project, "sess_2")).open(kept, PLACE) == SAID
    await destroyed(keys, database, project)
    await destroyed(keys, database, project, OWNER)


async def test_a_reader_between_the_deletion_and_its_commit_keeps_nothing(
    database: Database, project: ProjectId
) -> None:
    keys = DataKeys(database, keys_of(1))
    await made(keys, database, project)
    await keys.cipher(project, OWNER)
    write = await keys.destroy(project, [OWNER])
    assert write is not None
    async with database.transaction(project) as connection:
        await write(connection)
        assert isinstance(await keys.cipher(project, OWNER), DataKeyCipher)  # not committed: it is there for others
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)


async def test_an_unwrap_under_way_while_the_key_is_destroyed_is_not_kept(
    database: Database, project: ProjectId
) -> None:
    watched = Watched(keys_of(1))
    keys = DataKeys(database, watched)
    await made(keys, database, project)
    watched.gate.clear()
    reader = asyncio.create_task(keys.cipher(project, OWNER))
    await until(lambda: watched.unwraps == 1)
    await destroyed(keys, database, project, OWNER)
    watched.gate.set()
    await reader
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)


async def test_a_deletion_that_is_rolled_back_destroys_nothing(database: Database, project: ProjectId) -> None:
    keys = DataKeys(database, keys_of(1))
    sealed = (await made(keys, database, project)).seal(SAID, PLACE)
    write = await keys.destroy(project, [OWNER])
    assert write is not None
    await rolled_back(database, project, write)
    assert (await keys.cipher(project, OWNER)).open(sealed, PLACE) == SAID


async def test_another_process_forgets_a_destroyed_key_in_time(database: Database, project: ProjectId) -> None:
    clock = Clock()
    other = DataKeys(database, keys_of(1), cache_s=300.0, clock=clock)
    keys = DataKeys(database, keys_of(1))
    await made(keys, database, project)
    await other.cipher(project, OWNER)
    await destroyed(keys, database, project, OWNER)
    clock.now += 300.0
    assert isinstance(await other.cipher(project, OWNER), PlainCipher)


# Apart.


@pytest.fixture
async def apart(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    name = postgres_server.create_database()
    opened = Database(DatabaseConfig(url=postgres_server.url(name), pool_size=2))
    yield opened
    assert opened.connections_in_use == 0
    await opened.aclose()
    postgres_server.drop_database(name)


async def test_keys_apart_are_there_before_the_content_and_gone_before_it(
    database: Database, apart: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    keys = DataKeys(apart, keys_of(1), apart=True)
    cipher, write = await keys.create(project, OWNER)
    assert write is None
    assert [owner for owner, _, _ in rows(postgres_server, apart)] == [OWNER]
    assert rows(postgres_server, database) == []
    async with database.transaction(project) as connection:
        found = await keys.cipher(project, OWNER, connection)
    assert found.open(cipher.seal(SAID, PLACE), PLACE) == SAID
    with pytest.raises(Conflict):
        await keys.create(project, OWNER)
    assert await DataKeys(apart, keys_of(1, 2), apart=True).rewrap(project, limit=10) == 1
    assert await keys.destroy(project, [OWNER]) is None
    assert rows(postgres_server, apart) == []
    assert isinstance(await keys.cipher(project, OWNER), PlainCipher)


async def test_a_database_apart_that_is_away_is_said_to_be(project: ProjectId, database: Database) -> None:
    away = Database(DatabaseConfig(url="postgresql://x@/x?host=/nonexistent", connect_timeout_s=0.1))
    keys = DataKeys(away, keys_of(1), apart=True)
    with pytest.raises(StoreUnavailable):
        await keys.cipher(project, OWNER)
    with pytest.raises(StoreUnavailable):
        async with database.transaction(project) as connection:
            await keys.cipher(project, OWNER, connection)
    await away.aclose()


# Wrapping anew.


async def test_rotation_and_then_an_old_backup(
    database: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    """The old rows in a backup open with the old version of the file, and with the new file not at all."""
    keys = DataKeys(database, keys_of(1))
    owners = [f"sess_{number:02}" for number in range(40)]
    sealed = {owner: (await made(keys, database, project, owner)).seal(SAID, PLACE) for owner in owners}
    backup = rows(postgres_server, database)
    rotating = DataKeys(database, keys_of(1, 2))
    assert await rotating.stale(project) == 40
    assert await rotating.rewrap(project, limit=25) == 25
    assert await rotating.counts(project) == {"file:1": 15, "file:2": 25}
    assert await rotating.rewrap(project, limit=25) == 15
    assert await rotating.rewrap(project, limit=25) == 0
    assert await rotating.stale(project) == 0
    removed = DataKeys(database, keys_of(2))
    for owner in owners:
        assert (await removed.cipher(project, owner)).open(sealed[owner], PLACE) == SAID
    for owner, key_id, wrapped in backup:
        old = WrappedKey(key_id=key_id, wrapped=wrapped)
        assert len(await keys_of(1).unwrap(project, owner, old)) == 32
        with pytest.raises(ContentUnreadable):
            await keys_of(2).unwrap(project, owner, old)


async def test_keys_that_do_not_unwrap_stay_and_stop_nobody(
    database: Database, project: ProjectId, caplog: pytest.LogCaptureFixture
) -> None:
    for version, owners in ((3, range(20)), (1, range(20, 40))):
        for number in owners:
            await made(DataKeys(database, keys_of(version)), database, project, f"sess_{number:02}")
    rotating = DataKeys(database, keys_of(1, 2))
    with caplog.at_level(logging.WARNING):
        assert await rotating.rewrap(project, limit=30) == 20
    assert "20 data keys" in caplog.text
    assert await rotating.counts(project) == {"file:2": 20, "file:3": 20}
    assert await rotating.stale(project) == 20


async def test_a_provider_that_goes_away_keeps_what_was_done(database: Database, project: ProjectId) -> None:
    for number in range(40):
        await made(DataKeys(database, keys_of(1)), database, project, f"sess_{number:02}")

    class Failing(Watched):
        async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
            if owner == "sess_20":
                raise StoreUnavailable("away")
            return await super().unwrap(project, owner, wrapped)

    keys = DataKeys(database, Failing(keys_of(1, 2)))
    with pytest.raises(StoreUnavailable):
        await keys.rewrap(project, limit=40)
    assert (await keys.counts(project))["file:2"] == 31  # all of the first sixteen and the others of the second
    assert await DataKeys(database, keys_of(1, 2)).rewrap(project, limit=40) == 9


class Turns:
    """Lets the steps of two rotations go in a drawn order, as far as they come."""

    def __init__(self, order: Sequence[bool]) -> None:
        self._order = list(order)
        self._waiting = 0
        self._changed = asyncio.Condition()
        self.over: set[bool] = set()

    async def step(self, who: bool) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._order or self._order[0] == who or (not who) in self.over)
            if self._order and self._order[0] == who:
                self._order.pop(0)
            self._changed.notify_all()

    async def end(self, who: bool) -> None:
        async with self._changed:
            self.over.add(who)
            self._changed.notify_all()


class Turned(Watched):
    """A provider whose every call takes a turn."""

    def __init__(self, provider: KeyProvider, turns: Turns, who: bool) -> None:
        super().__init__(provider)
        self._turns = turns
        self._who = who

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        await self._turns.step(self._who)
        return await super().wrap(project, owner, data_key)

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        await self._turns.step(self._who)
        return await super().unwrap(project, owner, wrapped)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.lists(st.booleans(), max_size=20),
    currents=st.sampled_from([(2, 2), (2, 3)]),
    owners=st.integers(1, 4),
    deleted=st.booleans(),
)
async def test_two_rotations_in_any_order_do_no_harm(
    database_url: str, order: list[bool], currents: tuple[int, int], owners: int, deleted: bool
) -> None:
    database = Database(DatabaseConfig(url=database_url, pool_size=4))
    project = new_project_id()
    prefix = secrets.token_hex(4)
    first = DataKeys(database, keys_of(1))
    sealed = {}
    for number in range(owners):
        owner = f"{prefix}_{number}"
        sealed[owner] = (await made(first, database, project, owner)).seal(SAID, PLACE)
    turns = Turns(order)

    async def rotate(who: bool, current: int) -> int:
        versions = [version for version in (1, 2, 3) if version != current]
        provider = Turned(keys_of(*versions, current), turns, who)
        try:
            return await DataKeys(database, provider).rewrap(project, limit=10)
        finally:
            await turns.end(who)

    async def delete() -> None:
        if deleted:
            await destroyed(first, database, project, f"{prefix}_0")

    done_first, done_second, _ = await asyncio.gather(rotate(True, currents[0]), rotate(False, currents[1]), delete())
    left = [owner for owner in sealed if not (deleted and owner.endswith("_0"))]
    assert set(await first.counts(project)) <= {f"file:{current}" for current in currents}
    assert sum((await first.counts(project)).values()) == len(left)
    assert done_first + done_second >= len(left)
    if currents[0] == currents[1]:
        assert done_first + done_second <= owners
    for owner in left:
        cipher = await DataKeys(database, keys_of(1, 2, 3)).cipher(project, owner)
        assert cipher.open(sealed[owner], PLACE) == SAID
    await database.aclose()


async def test_a_rotation_between_reading_and_unwrapping_is_no_trouble(database: Database, project: ProjectId) -> None:
    watched = Watched(keys_of(1, 2))
    keys = DataKeys(database, watched)
    sealed = (await made(DataKeys(database, keys_of(1)), database, project)).seal(SAID, PLACE)
    watched.gate.clear()
    reader = asyncio.create_task(keys.cipher(project, OWNER))
    await until(lambda: watched.unwraps == 1)
    assert await DataKeys(database, keys_of(1, 2)).rewrap(project, limit=1) == 1
    watched.gate.set()
    assert (await reader).open(sealed, PLACE) == SAID


async def test_rows_say_when_they_were_wrapped(
    database: Database, project: ProjectId, postgres_server: PostgresServer
) -> None:
    await made(DataKeys(database, keys_of(1)), database, project)
    await DataKeys(database, keys_of(1, 2)).rewrap(project, limit=1)
    async with database.transaction(project) as connection:
        found = await connection.execute(text("select wrapped_at > created_at as later from session_key"))
        assert found.scalar_one()
    (row,) = rows(postgres_server, database)
    assert row[1] == "file:2"
