"""The systems that `bench.path` measures, started on one core with everything they need on another."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bedplate_gateway.access.keyring import ensure_master_key, read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.catalogue.apply import apply_resources, read_resources
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.cli.keys import create_key
from bedplate_gateway.database import database_config, url_of
from bedplate_gateway.settings import Settings, environment_of
from bedplate_migrations.runner import upgrade
from bedplate_store.database import Database
from bedplate_store.embedded import EmbeddedPostgres
from bench.load import Target
from bench.upstream import BURST, CHUNKS, PACE_S, PACED, WHOLE

SYSTEM_CORE, LOAD_CORE = 0, 1
START_TIMEOUT_S = 60.0
FAKE_CHUNKS = 100
_GUARDED_PROJECT, _PLAIN_PROJECT = "guarded", "plain"
_WORDS = tuple(f"forbidden{number:02d}" for number in range(20))
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class System(msgspec.Struct, kw_only=True):
    """One system under test: what it is, its processes' root, and the target of each mode that it can serve.

    `chunks` is how many pieces a streamed answer of its upstream has. `pid` is shared where two systems are two
    configurations of one process.
    """

    name: str
    about: str
    pid: int
    whole: Target
    burst: Target
    paced: Target | None
    chunks: int = CHUNKS

    def cpu_s(self) -> float:
        """User and system time of the process tree so far, in seconds."""
        return tree_cpu_s(self.pid)

    def memory_mb(self) -> float:
        """Resident memory of the process tree, in MB."""
        return sum(_resident_bytes(pid) for pid in process_tree(self.pid)) / 1e6


class Bench:
    """Everything that is running. Leaving the context ends all of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.upstream_port = free_port()
        self.postgres_pid: int | None = None
        self.systems: list[System] = []
        self.skipped: list[str] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start_upstream(self, pace_s: float = PACE_S) -> None:
        """The mock upstream, on the core of the load generator, with `pace_s` seconds between paced pieces."""
        port = self.upstream_port
        command = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--pace-s", str(pace_s)]
        self._start("upstream", command, port, LOAD_CORE)

    def direct(self) -> System:
        """The upstream without anything between."""
        return self._proxy_system("direct", "the upstream alone", os.getpid(), self.upstream_port)

    def add_proxy(self, name: str, factory: str, server: str = "uvicorn") -> None:
        """One of the relays of `bench.bare_proxy`."""
        port = free_port()
        environ = {"UPSTREAM_PORT": str(self.upstream_port)}
        command = server_command(server, f"bench.bare_proxy:{factory}", port)
        pid = self._start(name, command, port, SYSTEM_CORE, environ)
        self.systems.append(self._proxy_system(name, f"relay, {factory.replace('_', ' ')}, {server}", pid, port))

    def add_nginx(self) -> None:
        """nginx as a reverse proxy, if it is installed."""
        program = shutil.which("nginx")
        if program is None:
            self.skipped.append("nginx: not installed")
            return
        port = free_port()
        config = self._folder / "nginx.conf"
        config.write_text(_nginx_config(self._folder, port, self.upstream_port))
        pid = self._start("nginx", [program, "-c", str(config)], port, SYSTEM_CORE)
        self.systems.append(self._proxy_system("nginx", "reverse proxy, keep-alive, no buffering", pid, port))

    def start_postgres(self) -> str:
        """A durable Postgres of its own, migrated; returns its URL."""
        root = self._folder / "postgres"
        postgres = EmbeddedPostgres(root)
        address = postgres.start()
        self._stack.callback(postgres.destroy)
        recorded = msgspec.json.decode((root / "server.json").read_bytes())
        self.postgres_pid = int(recorded["process"]["pid"])
        url = url_of(address)
        upgrade(url)
        return url

    def add_gateway(self, database_url: str, server: str = "bedplate", app: str | None = None) -> Settings:
        """Bedplate, as three systems: everything on, without guardrail, and on the scripted provider.

        `server` is `bedplate` for `bedplate serve`, or `granian`, which adds the first system only.
        """
        home = self._folder / f"gateway-{server}"
        settings = Settings(home=home, cache=home / "cache", port=free_port(), database_url=database_url)
        ensure_master_key(settings.master_key_path)
        guarded, plain = asyncio.run(_declare(settings, self.upstream_port, home))
        command = [sys.executable, "-m", "bedplate_gateway", "serve"]
        if server != "bedplate" or app is not None:
            command = server_command(
                "uvicorn" if server == "bedplate" else server, app or "bedplate_gateway.asgi:application", settings.port
            )
        environ = environment_of(settings) | {"BEDPLATE_LOG_FORMAT": "json"}
        pid = self._start(f"gateway-{server}", command, settings.port, SYSTEM_CORE, environ, path="/readyz")
        if server == "bedplate":
            self.systems += [
                self._gateway_system("bedplate", "authentication, word guardrail, record", pid, settings.port, guarded),
                self._gateway_system("no-guardrail", "authentication, record", pid, settings.port, plain),
                System(
                    name="fake",
                    about="authentication, record, scripted provider",
                    pid=pid,
                    whole=Target(port=settings.port, key=plain, model="fake/echo"),
                    burst=Target(port=settings.port, key=plain, model="fake/burst"),
                    paced=None,
                    chunks=FAKE_CHUNKS,
                ),
            ]
        else:
            name = f"bedplate-{server}"
            self.systems.append(
                self._gateway_system(name, f"as bedplate, served by {server}", pid, settings.port, guarded)
            )
        return settings

    def add_granian_gateway(self, database_url: str) -> None:
        """The gateway on granian, if that can be imported."""
        if importlib.util.find_spec("granian") is None:
            self.skipped.append("granian: not importable (it is no dependency; put it on PYTHONPATH to compare)")
            return
        self.add_gateway(database_url, "granian")

    def stop(self, pid: int, number: signal.Signals = signal.SIGTERM) -> None:
        """End one of the processes early."""
        os.kill(pid, number)
        while alive(pid):
            time.sleep(0.05)

    def _proxy_system(self, name: str, about: str, pid: int, port: int) -> System:
        return System(
            name=name,
            about=about,
            pid=pid,
            whole=Target(port=port, model=WHOLE),
            burst=Target(port=port, model=BURST),
            paced=Target(port=port, model=PACED),
        )

    def _gateway_system(self, name: str, about: str, pid: int, port: int, key: str) -> System:
        return System(
            name=name,
            about=about,
            pid=pid,
            whole=Target(port=port, key=key, model=WHOLE),
            burst=Target(port=port, key=key, model=BURST),
            paced=Target(port=port, key=key, model=PACED),
        )

    def _start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        core: int,
        environ: Mapping[str, str] | None = None,
        path: str = "/health",
    ) -> int:
        log_path = self._folder / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environ or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        self._stack.callback(_end, process)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port, path if core == LOAD_CORE or path == "/readyz" else None):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log_path.read_text()[-4000:]}")
            time.sleep(0.05)
        return process.pid


def server_command(server: str, factory: str, port: int) -> list[str]:
    """The command line that serves an application factory with `uvicorn` or `granian` on one worker."""
    if server == "uvicorn":
        options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--no-server-header"]
        options += ["--log-level", "warning", "--timeout-keep-alive", "75"]
        return [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port), *options]
    options = ["--interface", "asgi", "--loop", "uvloop", "--workers", "1", "--runtime-threads", "1", "--no-ws"]
    return [sys.executable, "-m", "granian", "--factory", factory, "--port", str(port), "--no-log", *options]


def process_tree(root: int) -> Iterator[int]:
    """`root` and all processes below it."""
    yield root
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from process_tree(int(child))


def tree_cpu_s(root: int) -> float:
    """User and system time of a process tree, ended children that were waited for included, in seconds."""
    total = 0.0
    for pid in process_tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15]) * _TICK_S
    return total


def free_port() -> int:
    """A TCP port of the loopback address that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a child process is still running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _declare(settings: Settings, upstream_port: int, folder: Path) -> tuple[str, str]:
    """Declare models, guardrail and projects; returns a key of the guarded and one of the plain project."""
    words = "".join(f"\n      - text: {word}" for word in _WORDS)
    models = "".join(
        f"\n---\nkind: Model\nname: {name}\nspec: {{provider: {provider}}}"
        for provider, name in (
            ("upstream", WHOLE),
            ("upstream", BURST),
            ("upstream", PACED),
            ("fake", "fake/echo"),
            ("fake", "fake/burst"),
        )
    )
    path = folder / "bench.yaml"
    path.write_text(
        f"kind: Project\nname: {_GUARDED_PROJECT}\nspec: {{guardrail: words}}"
        f"\n---\nkind: Guardrail\nname: words\nproject: {_GUARDED_PROJECT}\nspec:"
        f"\n  blockedInputMessaging: No.\n  blockedOutputsMessaging: No.\n  wordPolicyConfig:\n    wordsConfig:{words}"
        f"\n---\nkind: Provider\nname: upstream\nspec: {{kind: vllm, urls: ['http://127.0.0.1:{upstream_port}']}}"
        f"\n---\nkind: Provider\nname: fake\nspec: {{kind: fake}}{models}\n"
    )
    database = Database(database_config(settings))
    keyring = read_keyring(settings.master_key_path)
    try:
        async with database.installation() as connection:
            keys = [
                (await create_key(connection, keyring, name="bench", role=Role.SERVICE, project=project))[1]
                for project in (_GUARDED_PROJECT, _PLAIN_PROJECT)
            ]
        resources = read_resources([path])
        await apply_resources(database, Secrets(settings.secrets_path), resources, source="bench", changed_by="bench")
    finally:
        await database.aclose()
    return keys[0], keys[1]


def _answers(port: int, path: str | None) -> bool:
    """Whether a server listens and, where a path is given, says 200 to it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.connect()
        if path is None:
            return True
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _nginx_config(folder: Path, port: int, upstream_port: int) -> str:
    return f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
  upstream mock {{ server 127.0.0.1:{upstream_port}; keepalive 1024; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000; tcp_nodelay on;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


__all__ = [
    "LOAD_CORE",
    "SYSTEM_CORE",
    "Bench",
    "System",
    "alive",
    "free_port",
    "process_tree",
    "server_command",
    "tree_cpu_s",
]
