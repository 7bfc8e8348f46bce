"""The supervisor: order, restarts, signals, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bedplate_gateway.local.children import ProcessChild, WorkerChild
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.port import free_port
from bedplate_gateway.local.progress import SilentProgress
from bedplate_gateway.local.supervisor import RestartPolicy, Supervisor

WaitUntil = Callable[..., None]
QUICK = RestartPolicy(limit=3, window_s=60, first_wait_s=0.05, longest_wait_s=0.2)


class FakeChild:
    """A part in memory that writes what is done to it into `diary`."""

    ready_timeout_s = 5.0

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.status: int | None = None
        self.starts = 0
        self.dies_after: Callable[[FakeChild], bool] = lambda child: False
        self.fails_to_start: Callable[[FakeChild], bool] = lambda child: False
        self.checks: Callable[[], None] = lambda: None
        self.ready: Callable[[FakeChild], bool] = lambda child: True
        self._diary = diary

    def check(self) -> None:
        self._diary.append(f"check {self.name}")
        self.checks()

    def start(self) -> None:
        self._diary.append(f"start {self.name}")
        self.starts += 1
        self.status = None
        if self.fails_to_start(self):
            raise LaunchError(f"{self.name} does not start")

    def is_ready(self) -> bool:
        return self.ready(self)

    def poll(self) -> int | None:
        if self.dies_after(self):
            self.status = -signal.SIGKILL
        return self.status

    def stop(self) -> None:
        self._diary.append(f"stop {self.name}")

    def kill(self) -> None:
        self._diary.append(f"kill {self.name}")


class Notes(SilentProgress):
    def __init__(self, on_note: Callable[[str], None]) -> None:
        self._on_note = on_note
        self.seen: list[str] = []

    def note(self, text: str) -> None:
        self.seen.append(text)
        self._on_note(text)


def interrupt_soon(after_s: float = 0.3) -> None:
    threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_parts_start_in_order_and_stop_in_reverse() -> None:
    diary: list[str] = []
    children = [FakeChild(name, diary) for name in ("database", "engine", "gateway")]
    interrupt_soon()
    Supervisor(children, SilentProgress()).run()
    checks = [f"check {child.name}" for child in children]
    starts = [f"start {child.name}" for child in children]
    stops = [f"stop {child.name}" for child in reversed(children)]
    assert diary == [*checks, *starts, *stops]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_started_when_a_check_fails() -> None:
    diary: list[str] = []
    database, gateway = FakeChild("database", diary), FakeChild("gateway", diary)

    def taken() -> None:
        raise LaunchError("port 1 is in use")

    gateway.checks = taken
    with pytest.raises(LaunchError, match="port 1 is in use"):
        Supervisor([database, gateway], SilentProgress()).run()
    assert "start database" not in diary


def test_a_part_that_does_not_start_takes_the_others_down() -> None:
    diary: list[str] = []
    database, gateway = FakeChild("database", diary), FakeChild("gateway", diary)
    gateway.fails_to_start = lambda child: True
    with pytest.raises(LaunchError, match="gateway does not start"):
        Supervisor([database, gateway], SilentProgress()).run()
    assert diary[-2:] == ["stop gateway", "stop database"]


def test_a_part_that_is_not_ready_in_time_is_an_error() -> None:
    slow = FakeChild("slow", [])
    slow.ready_timeout_s = 0.2
    slow.ready = lambda child: False
    with pytest.raises(LaunchError, match="not ready within"):
        Supervisor([slow], SilentProgress()).run()


def test_a_dead_part_is_restarted_while_the_others_go_on() -> None:
    diary: list[str] = []
    engine, gateway = FakeChild("engine", diary), FakeChild("gateway", diary)
    began = time.monotonic()
    engine.dies_after = lambda child: child.starts == 1 and time.monotonic() - began > 0.3
    progress = Notes(lambda text: interrupt_soon(0.0) if text == "engine is back" else None)
    Supervisor([engine, gateway], progress, restarts=QUICK).run()
    assert (engine.starts, gateway.starts) == (2, 1)
    assert "engine ended unexpectedly (killed by SIGKILL): starting it again in 0 s" in progress.seen


def test_a_part_whose_restart_fails_is_tried_again() -> None:
    engine = FakeChild("engine", [])
    began = time.monotonic()
    engine.dies_after = lambda child: child.starts == 1 and time.monotonic() - began > 0.2
    engine.fails_to_start = lambda child: child.starts == 2
    progress = Notes(lambda text: interrupt_soon(0.0) if text == "engine is back" else None)
    Supervisor([engine], progress, restarts=QUICK).run()
    assert engine.starts == 3


def test_a_part_that_keeps_dying_ends_everything_with_its_reason() -> None:
    diary: list[str] = []
    engine, gateway = FakeChild("engine", diary), FakeChild("gateway", diary)
    engine.dies_after = lambda child: gateway.starts == 1
    with pytest.raises(LaunchError, match=r"engine .*after 3 restarts: giving up"):
        Supervisor([engine, gateway], SilentProgress(), restarts=QUICK).run()
    assert engine.starts == 1 + QUICK.limit
    assert diary[-2:] == ["stop gateway", "stop engine"]


def test_restarts_wait_longer_each_time() -> None:
    policy = RestartPolicy()
    assert [policy.wait_s(n) for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]


SERVER = """
    import http.server, signal, sys
    port, stubborn = int(sys.argv[1]), len(sys.argv) > 2
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 404); self.end_headers()
        def log_message(self, *arguments): ...
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

STACK = """
    import os, sys
    from bedplate_gateway.local.children import ProcessChild
    from bedplate_gateway.local.progress import ConsoleProgress
    from bedplate_gateway.local.supervisor import Supervisor
    from rich.console import Console
    server, ports, more = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    children = [
        ProcessChild(f"server {n}", [sys.executable, server, port, *more], environ=dict(os.environ), port=int(port))
        for n, port in enumerate(ports, 1)
    ]
    Supervisor(children, ConsoleProgress(Console())).run(announce=lambda: "all up")
"""

StartStack = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Start a supervisor of real servers in a process of its own, and wait until all are up."""
    server = tmp_path / "server.py"
    server.write_text(textwrap.dedent(SERVER))
    started: list[subprocess.Popen[str]] = []

    def start(ports: list[int], *more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(STACK), str(server), ",".join(map(str, ports)), *more],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line == "all up\n":
                return process
        raise AssertionError("the servers did not come up")

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_is_no_failure(start_stack: StartStack, number: signal.Signals) -> None:
    ports = [free_port(), free_port()]
    stack = start_stack(ports)
    assert all(answers(port) for port in ports)
    stack.send_signal(number)
    stack.communicate(timeout=20)
    assert stack.returncode == 0
    assert not any(answers(port) for port in ports)


def test_a_second_signal_kills_what_does_not_stop(start_stack: StartStack) -> None:
    ports = [free_port(), free_port()]
    stack = start_stack(ports, "stubborn")
    began = time.monotonic()
    stack.send_signal(signal.SIGINT)
    time.sleep(0.5)
    stack.send_signal(signal.SIGINT)
    stack.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert not any(answers(port) for port in ports)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child when its parent is killed")
def test_a_killed_supervisor_takes_its_parts_along_and_the_next_one_starts(
    start_stack: StartStack, wait_until: WaitUntil
) -> None:
    ports = [free_port(), free_port()]
    start_stack(ports).kill()
    wait_until(lambda: not any(answers(port) for port in ports))
    start_stack(ports)
    assert all(answers(port) for port in ports)


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        child = ProcessChild("the gateway", ["true"], environ={}, port=port)
        with pytest.raises(LaunchError) as caught:
            child.check()
    assert str(port) in caught.value.message
    assert "--port" in caught.value.hint
    child.check()


def test_a_program_that_is_missing_is_named() -> None:
    child = ProcessChild("the gateway", ["/no/such/program"], environ={}, port=free_port())
    with pytest.raises(LaunchError, match="the gateway cannot be started"):
        child.start()


WORKER = """
    import pathlib, signal, sys
    signal.signal(signal.SIGTERM, lambda *_: (print("stopped", flush=True), sys.exit(0)))
    print("started", flush=True)
    while not pathlib.Path(sys.argv[1]).exists():
        signal.sigtimedwait([], 0.05)
    sys.exit(3)
"""


def worker(folder: Path, *, log: Path) -> WorkerChild:
    """A worker that ends by itself, with status 3, when there is a file `end` in `folder`."""
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(folder / "end")]
    return WorkerChild("the jobs", command, environ=dict(os.environ), log=log)


def test_a_worker_without_a_port_is_ready_when_it_runs_and_leaves_its_log(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    log = tmp_path / "logs" / "jobs.log"
    child = worker(tmp_path, log=log)
    child.check()
    child.start()
    assert child.is_ready()
    wait_until(lambda: log.read_text() == "started\n")
    assert log.stat().st_mode & 0o777 == 0o600
    child.stop()
    assert log.read_text() == "started\nstopped\n"
    child.start()
    assert log.with_name("jobs.log.1").read_text() == "started\nstopped\n"
    child.kill()
    wait_until(lambda: child.poll() == -signal.SIGKILL)
    child.stop()


def test_a_worker_that_ends_comes_back_while_the_gateway_goes_on(tmp_path: Path, wait_until: WaitUntil) -> None:
    gateway = FakeChild("gateway", [])
    end = tmp_path / "end"

    def note(text: str) -> None:
        if text == "the jobs is back":
            interrupt_soon(0.0)
        else:
            end.unlink(missing_ok=True)

    progress = Notes(note)
    threading.Timer(0.5, end.touch).start()
    Supervisor([gateway, worker(tmp_path, log=tmp_path / "jobs.log")], progress, restarts=QUICK).run()
    assert progress.seen[0] == "the jobs ended unexpectedly (exit status 3): starting it again in 0 s"
    assert gateway.starts == 1


def test_a_worker_whose_program_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="the jobs cannot be started"):
        WorkerChild("the jobs", ["/no/such/program"], environ={}, log=tmp_path / "log").start()
