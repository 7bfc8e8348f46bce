"""The parts that a supervisor runs: the database, the engine, and a program such as the gateway itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bedplate_gateway.local.engine import LocalEngine
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.port import require_free_port
from bedplate_store.child_process import die_with_parent
from bedplate_store.embedded import EmbeddedPostgres, EmbeddedPostgresError

PROBE_TIMEOUT_S = 2.0


class PostgresChild:
    """An embedded PostgreSQL server as a part. Its `start` returns when it is ready, recovery included."""

    name = "PostgreSQL"
    ready_timeout_s = 10.0

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    def check(self) -> None:
        """Nothing to check: it has no port, and `start` checks its folder."""

    def start(self) -> None:
        try:
            self._server.start()
        except EmbeddedPostgresError as error:
            raise LaunchError(f"PostgreSQL: {error}") from error

    def is_ready(self) -> bool:
        return self._server.poll() is None

    def poll(self) -> int | None:
        return self._server.poll()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()


class EngineChild:
    """A local engine as a part."""

    def __init__(self, engine: LocalEngine, *, name: str = "the engine", ready_timeout_s: float = 600) -> None:
        self.name = name
        self.ready_timeout_s = ready_timeout_s
        self._engine = engine

    def check(self) -> None:
        """Nothing to check: its port is its own choice, and `start` checks one that was given."""

    def start(self) -> None:
        self._engine.start()

    def is_ready(self) -> bool:
        return self._engine.is_ready()

    def poll(self) -> int | None:
        return self._engine.poll()

    def stop(self) -> None:
        self._engine.stop()

    def kill(self) -> None:
        self._engine.kill()


class ProcessChild:
    """A program that answers `GET <path>` on `host` and `port` with 200 when it is ready, such as the
    gateway; over TLS with `tls`.

    `environ` is its entire environment. Its output goes to the file `log` (the file before is kept as
    `<log>.1`), or to ours when that is None. It is stopped by SIGTERM, and by SIGKILL after `stop_timeout_s`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        port: int,
        host: str = "127.0.0.1",
        path: str = "/healthz",
        tls: bool = False,
        log: Path | None = None,
        ready_timeout_s: float = 60.0,
        stop_timeout_s: float = 30.0,
        port_option: str = "--port",
    ) -> None:
        self.name = name
        self.ready_timeout_s = ready_timeout_s
        self._command = list(command)
        self._environ = dict(environ)
        self._host = host
        self._port = port
        self._path = path
        self._tls = tls
        self._log = log
        self._stop_timeout_s = stop_timeout_s
        self._port_option = port_option
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """Raise `LaunchError` if its port is taken."""
        require_free_port(self._host, self._port, option=self._port_option)

    def start(self) -> None:
        """Start the program. Raises `LaunchError`: its port is taken, or there is no such program."""
        self.check()
        output = self._open_log()
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            raise LaunchError(f"{self.name} cannot be started: {error.strerror} ({error.filename})") from error
        finally:
            if output is not None:
                os.close(output)

    def is_ready(self) -> bool:
        # A server that listens on every address answers on the loopback.
        host = "127.0.0.1" if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104 - compared
        if self._tls:
            connection = http.client.HTTPSConnection(host, self._port, timeout=PROBE_TIMEOUT_S, context=_any_server())
        else:
            connection = http.client.HTTPConnection(host, self._port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def poll(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._stop_timeout_s)
            self.kill()
            process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill the program and whatever it started in its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _open_log(self) -> int | None:
        if self._log is None:
            return None
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log.exists():
            self._log.replace(self._log.with_name(self._log.name + ".1"))
        return os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _any_server() -> ssl.SSLContext:
    """TLS without looking at the certificate: it may be for another name than the loopback's, and nothing is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
