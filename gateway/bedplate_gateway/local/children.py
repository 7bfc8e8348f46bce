"""The parts that a supervisor runs: the database, the engine, and programs such as the gateway itself."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from bedplate_gateway.local.engine import LocalEngine
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.port import require_free_port
from bedplate_gateway.local.program import Program
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
    gateway; over TLS with `tls`. See `Program` for `environ`, `log` and `stop_timeout_s`.
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
        self._program = Program(name, command, environ=environ, log=log, stop_timeout_s=stop_timeout_s)
        self._host = host
        self._port = port
        self._path = path
        self._tls = tls
        self._port_option = port_option

    def check(self) -> None:
        """Raise `LaunchError` if its port is taken."""
        require_free_port(self._host, self._port, option=self._port_option)

    def start(self) -> None:
        """Start the program. Raises `LaunchError`: its port is taken, or there is no such program."""
        self.check()
        self._program.start()

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
        return self._program.poll()

    def stop(self) -> None:
        self._program.stop()

    def kill(self) -> None:
        self._program.kill()


class WorkerChild:
    """A program without a port, such as the jobs: it is ready as soon as it runs, and nothing waits for it.

    See `Program` for `environ`, `log` and `stop_timeout_s`.
    """

    ready_timeout_s = 1.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        log: Path | None = None,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self._program = Program(name, command, environ=environ, log=log, stop_timeout_s=stop_timeout_s)

    def check(self) -> None:
        """Nothing to check: it has no port."""

    def start(self) -> None:
        self._program.start()

    def is_ready(self) -> bool:
        return self._program.poll() is None

    def poll(self) -> int | None:
        return self._program.poll()

    def stop(self) -> None:
        self._program.stop()

    def kill(self) -> None:
        self._program.kill()


def _any_server() -> ssl.SSLContext:
    """TLS without looking at the certificate: it may be for another name than the loopback's, and nothing is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


__all__ = ["PROBE_TIMEOUT_S", "EngineChild", "PostgresChild", "ProcessChild", "WorkerChild"]
