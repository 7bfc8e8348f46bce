"""Whether reads stay as fast when there are millions of items: fills the tables, times the product, explains its SQL.

    python -m bench.items [--rows 10000000]

Rows are written by Postgres itself, in rounds, so that a session's items lie apart on the disk as they do in life.
At each of the sizes the product's own methods are called; the statements that they send are explained as they were
sent. Ten million items take 12 GB or more below the folder for temporary files, which is removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bedplate_core.ids import ProjectId, SessionId
from bedplate_core.messages import Message, Role, Text
from bedplate_gateway.database import url_of
from bedplate_migrations.runner import upgrade
from bedplate_sessions.keys.cipher import PlainCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.due_sessions import DueSessions
from bedplate_sessions.session import SessionPlace
from bedplate_sessions.session_steps import SessionSteps
from bedplate_sessions.store import Sessions
from bedplate_store.database import Database
from bedplate_store.driver import APP_ROLE, DatabaseConfig
from bedplate_store.embedded import EmbeddedPostgres
from bedplate_store.locks import KeyedLocks

_PROJECT = ProjectId("proj_00000000000000000000000000000001")
_ITEMS_A_SESSION = 100
_ROUNDS = 10
_SAMPLES = 40
_PAGE = 100
_FAR_PAGE = 500
_NEWEST = datetime(2026, 1, 1, tzinfo=UTC)
_RETENTION_S = 30 * 24 * 3600.0
_BYTES_A_ROW = 1300
"""With its indexes and the log that is written before them."""

_SAID = Message(role=Role.USER, parts=(Text(text="The parcel is on its way to the depot. " * 5),))

# A session's id is a hash of its number, so that neighbours in the index are strangers. One in a thousand is due.
_SESSIONS = f"""
    insert into session (id, project_id, created_by, face, created_at, updated_at, invocations)
    select 'sess_' || md5(n::text), '{_PROJECT}', 'key_1', 'chat',
           timestamptz '{_NEWEST.isoformat()}' - make_interval(secs => n),
           now() - make_interval(secs => case when n % 1000 = 0 then {_RETENTION_S * 2} else n % 1000000 end),
           {_ITEMS_A_SESSION // 2}
    from generate_series($1::bigint, $2::bigint) as n
"""
_BRANCHES = f"""
    insert into session_branch (session_id, branch, project_id, head)
    select 'sess_' || md5(n::text), 0, '{_PROJECT}', {_ITEMS_A_SESSION}
    from generate_series($1::bigint, $2::bigint) as n
"""
_ITEMS = f"""
    insert into session_item (session_id, branch, seq, id, project_id, parent_seq, role, call_id, invocation_id,
                              schema_version, status, sealed)
    select 'sess_' || h, 0, seq, 'item_' || md5(h || seq), '{_PROJECT}', nullif(seq - 1, 0),
           case when seq % 2 = 1 then 'user' else 'assistant' end, 'req_' || md5(h || (seq + 1) / 2),
           md5(h || (seq + 1) / 2), 1, 'completed', $5::bytea
    from (select md5(n::text) as h from generate_series($1::bigint, $2::bigint) as n) as session,
         generate_series($3::bigint, $4::bigint) as seq
    order by h, seq
"""
_INVOCATIONS = f"""
    insert into session_invocation (session_id, id, project_id, number, call_id)
    select 'sess_' || h, md5(h || turn), '{_PROJECT}', turn, 'req_' || md5(h || turn)
    from (select md5(n::text) as h from generate_series($1::bigint, $2::bigint) as n) as session,
         generate_series(($3::bigint + 1) / 2, $4::bigint / 2) as turn
"""


class Read(msgspec.Struct, frozen=True):
    """One thing that the product reads; `ask` is given the number of a session that exists."""

    name: str
    ask: Callable[[int], Awaitable[Any]]


class Sent(msgspec.Struct, frozen=True):
    """A statement as the product sent it."""

    statement: str
    parameters: tuple[Any, ...]


class Figures(msgspec.Struct, frozen=True):
    """Milliseconds of the product's method, pages of the dearest statement, and that statement's plan."""

    median_ms: float
    worst_ms: float
    buffers: int
    plan: str


def session_id(number: int) -> SessionId:
    """The id of the session with this number."""
    return SessionId("sess_" + hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())


async def fill(url: str, first: int, last: int) -> None:
    """Write the sessions numbered `first` to `last` with all that is in them."""
    connection = await asyncpg.connect(url)
    try:
        # Every item's session is there: asking that ten million times is most of the work otherwise.
        await connection.execute("set session_replication_role = replica")
        await connection.execute("set synchronous_commit = off")
        await connection.execute("set work_mem = '256MB'")
        await connection.execute(_SESSIONS, first, last)
        await connection.execute(_BRANCHES, first, last)
        each = _ITEMS_A_SESSION // _ROUNDS
        for after in range(0, _ITEMS_A_SESSION, each):
            sealed = PlainCipher().seal(msgspec.json.encode(_SAID), "")
            await connection.execute(_ITEMS, first, last, after + 1, after + each, sealed)
            await connection.execute(_INVOCATIONS, first, last, after + 1, after + each)
        await connection.execute("vacuum (analyze) session, session_branch, session_item, session_invocation")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


def reads(database: Database, config: DatabaseConfig, sessions_there: int) -> Sequence[Read]:
    """What is asked, over a store with `sessions_there` sessions."""
    keys = DataKeys(database, None)
    sessions = Sessions(database, KeyedLocks(config), keys)
    steps = SessionSteps(database, sessions.durable, keys, sessions.reader, sessions.limits)
    due = DueSessions(_PROJECT, keys, kept_s=_RETENTION_S)
    far = min((_FAR_PAGE - 1) * _PAGE, sessions_there - _PAGE)

    async def find_due(_: int) -> None:
        async with database.transaction(_PROJECT) as connection:
            await due.find(connection, passed=())

    async def steps_of(number: int) -> None:
        turn = hashlib.md5(f"{session_id(number)[5:]}7".encode(), usedforsecurity=False).hexdigest()
        page = await steps.page(_PROJECT, session_id(number), limit=_PAGE, invocation=turn)
        if len(page.steps) != 2:
            raise RuntimeError("a turn has two items")

    return (
        Read(
            "last 100 items",
            lambda number: sessions.reader.page(_PROJECT, session_id(number), limit=_PAGE, newest_first=True),
        ),
        Read("sessions, page 1", lambda _: sessions.registry.page(_PROJECT, limit=_PAGE)),
        Read(
            f"sessions, page {far // _PAGE + 1}",
            lambda _: sessions.registry.page(
                _PROJECT, limit=_PAGE, after=SessionPlace(_NEWEST - timedelta(seconds=far), session_id(far))
            ),
        ),
        Read("due for deletion", find_due),
        Read("steps of a session", lambda number: steps.page(_PROJECT, session_id(number), limit=_PAGE)),
        Read("steps of a turn", steps_of),
    )


@contextmanager
def listening(sent: list[Sent]) -> Iterator[None]:
    """Note every statement that is sent meanwhile."""

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append(Sent(statement, tuple(parameters)))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def measure(url: str, config: DatabaseConfig, sessions_there: int) -> dict[str, Figures]:
    """Time every read, and explain what it sends."""
    found: dict[str, Figures] = {}
    database = Database(config)
    numbers = random.Random(1)
    try:
        for read in reads(database, config, sessions_there):
            times_ms: list[float] = []
            for _ in range(_SAMPLES):
                number = numbers.randint(1, sessions_there)
                began_s = time.perf_counter()
                await read.ask(number)
                times_ms.append((time.perf_counter() - began_s) * 1000)
            sent: list[Sent] = []
            with listening(sent):
                await read.ask(numbers.randint(1, sessions_there))
            plans = [await explained(url, each) for each in sent if "set_config" not in each.statement]
            buffers, plan = max(plans)
            found[read.name] = Figures(statistics.median(times_ms), max(times_ms), buffers, plan)
    finally:
        await database.aclose()
    return found


async def explained(url: str, sent: Sent) -> tuple[int, str]:
    """The pages that a statement touches, and its plan, as the gateway's own role."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"set local role {APP_ROLE}")
            await connection.execute("select set_config('bedplate.project', $1, true)", _PROJECT)
            rows = await connection.fetch(f"explain (analyze, buffers, costs off) {sent.statement}", *sent.parameters)
    finally:
        await connection.close()
    lines = [row[0] for row in rows]
    first = next(line for line in lines if "Buffers:" in line)
    pages = sum(int(count) for count in re.findall(r"(?:hit|read)=(\d+)", first))
    return pages, "\n".join(lines)


def show(figures: dict[int, dict[str, Figures]]) -> None:
    """Print the plans at the largest size, then the table."""
    last = figures[max(figures)]
    for name, each in last.items():
        print(f"\n-- {name}\n{each.plan}")
    print(f"\n{'items':>12}  {'read':22}{'median ms':>10}{'worst ms':>10}{'pages':>8}")
    for rows, found in figures.items():
        for name, each in found.items():
            print(f"{rows:12,}  {name:22}{each.median_ms:10.2f}{each.worst_ms:10.2f}{each.buffers:8}")


async def run(url: str, sizes: Sequence[int]) -> None:
    """Fill to each size, and measure there."""
    figures: dict[int, dict[str, Figures]] = {}
    there = 0
    for rows in sizes:
        began_s = time.monotonic()
        await fill(url, there + 1, rows // _ITEMS_A_SESSION)
        there = rows // _ITEMS_A_SESSION
        print(f"{rows:,} items are there after {time.monotonic() - began_s:.0f} s more", flush=True)
        figures[rows] = await measure(url, DatabaseConfig(url=url, statement_timeout_s=60), there)
    show(figures)


def main() -> None:
    """Parse the command line, fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="items at the largest size, at least 10,000")
    rows = max(parser.parse_args().rows, 10_000)
    sizes = sorted({size for size in (10_000, 1_000_000) if size < rows} | {rows})
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        free, needed = shutil.disk_usage(folder).free, rows * _BYTES_A_ROW
        if free < 2 * needed:
            sys.exit(
                f"{needed >> 20:,} MB are needed below {folder.parent} and as much to spare, {free >> 20:,} are free"
            )
        postgres = EmbeddedPostgres(folder / "postgres", settings={"max_wal_size": "4GB", "shared_buffers": "512MB"})
        try:
            url = url_of(postgres.start())
            upgrade(url)
            asyncio.run(run(url, sizes))
        finally:
            postgres.destroy()


if __name__ == "__main__":
    main()
