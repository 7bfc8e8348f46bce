"""The local engine's life: ready when it answers, gone with all its processes, whatever was killed.

Most tests run a stand-in for the `vllm` command in an environment like the engine's; the last ones run vLLM itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bedplate_gateway.local.engine import EngineOptions, LocalEngine
from bedplate_gateway.local.engine_environment import EngineEnvironment, cpu_requirements
from bedplate_gateway.local.engine_record import EngineRecord
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.model import LocalModel
from bedplate_gateway.local.progress import SilentProgress
from bedplate_store.child_process import ProcessIdentity, proc_stat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the local engine is for Linux")

WaitUntil = Callable[..., None]


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    """The Python of an environment whose `vllm` command is the stand-in."""
    bin_folder = tmp_path / "environment" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(os.path.realpath(sys.executable))
    (bin_folder / "vllm").write_text(Path(__file__).with_name("fake_vllm.py").read_text())
    return bin_folder / "python"


@pytest.fixture
def make_engine(tmp_path: Path, fake_python: Path) -> Iterator[Callable[..., LocalEngine]]:
    made: list[LocalEngine] = []

    def make(mode: str = "", port: int | None = None) -> LocalEngine:
        environ = {"PATH": os.environ["PATH"], "VLLM_FAKE_MODE": mode, "BEDPLATE_SECRET": "s", "PYTHONPATH": "x"}
        engine = LocalEngine(tmp_path / "home", python=fake_python, model=tmp_path, environ=environ, port=port)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.stop()


def processes_in(session: int) -> set[int]:
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = proc_stat(int(entry))
            if fields is not None and int(fields[3]) == session and fields[0] != "Z":
                found.add(int(entry))
    return found


def ask(engine: LocalEngine, content: str = "hello") -> dict[str, object]:
    body = {
        "model": engine.served_name,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
        "temperature": 0,
    }
    request = urllib.request.Request(
        engine.base_url + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {engine.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def recorded(tmp_path: Path) -> EngineRecord:
    record = EngineRecord.read(tmp_path / "home" / "run" / "engine.json")
    assert record is not None
    return record


def test_it_answers_when_it_is_ready_and_leaves_nothing_when_it_stops(
    tmp_path: Path, make_engine: Callable[..., LocalEngine]
) -> None:
    engine = make_engine()
    engine.start()
    engine.wait_ready(SilentProgress(), timeout_s=20)
    record = recorded(tmp_path)
    session = processes_in(record.guard.pid)
    assert len(session) == 4  # the guard, the server, its worker, Python's resource tracker
    seen = ask(engine)["environ"]
    assert isinstance(seen, dict)
    assert "BEDPLATE_SECRET" not in seen
    assert "PYTHONPATH" not in seen
    command_lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in session]
    assert not any(engine.api_key in line for line in command_lines)
    open_files = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in session for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not any("engine.lock" in file for file in open_files)

    engine.stop()
    assert processes_in(record.guard.pid) == set()
    assert record.shared
    assert not any(Path(segment.path).exists() for segment in record.shared)
    assert not (tmp_path / "home" / "run" / "engine.json").exists()


def test_it_keeps_its_port_and_key_over_a_restart(make_engine: Callable[..., LocalEngine]) -> None:
    engine = make_engine()
    engine.start()
    before = (engine.base_url, engine.api_key)
    engine.stop()
    engine.start()
    engine.wait_ready(SilentProgress(), timeout_s=20)
    assert (engine.base_url, engine.api_key) == before


def test_an_engine_that_dies_while_it_starts_shows_the_end_of_its_log(
    make_engine: Callable[..., LocalEngine],
) -> None:
    engine = make_engine("die")
    engine.start()
    with pytest.raises(LaunchError, match=r"exit status 3[^$]*made of cheese"):
        engine.wait_ready(SilentProgress(), timeout_s=20)


def test_an_engine_that_refuses_a_simple_request_is_not_ready(
    make_engine: Callable[..., LocalEngine],
) -> None:
    engine = make_engine("refuse")
    engine.start()
    with pytest.raises(LaunchError, match="no weights"):
        engine.wait_ready(SilentProgress(), timeout_s=20)


def test_a_second_launcher_on_the_same_home_is_refused(make_engine: Callable[..., LocalEngine]) -> None:
    first = make_engine()
    first.start()
    with pytest.raises(LaunchError, match=f"started by process {os.getpid()}"):
        make_engine().start()
    first.wait_ready(SilentProgress(), timeout_s=20)


def test_a_port_that_is_taken_is_refused(make_engine: Callable[..., LocalEngine]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LaunchError, match="in use"):
            make_engine(port=taken.getsockname()[1]).start()


def test_a_killed_server_takes_its_stubborn_worker_along(
    tmp_path: Path, make_engine: Callable[..., LocalEngine], wait_until: WaitUntil
) -> None:
    engine = make_engine()
    engine.start()
    engine.wait_ready(SilentProgress(), timeout_s=20)
    record = recorded(tmp_path)
    server = next(p for p in record.processes() if str(p.pid) in _children(record.guard.pid))
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: engine.poll() is not None)
    assert engine.poll() == 128 + signal.SIGKILL
    assert processes_in(record.guard.pid) == set()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


LAUNCHER = """
    import os, sys
    from pathlib import Path
    from bedplate_gateway.local.engine import LocalEngine
    from bedplate_gateway.local.progress import SilentProgress
    home, python = Path(sys.argv[1]), Path(sys.argv[2])
    engine = LocalEngine(home, python=python, model=home, environ={"PATH": os.environ["PATH"]})
    engine.start()
    engine.wait_ready(SilentProgress(), timeout_s=20)
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def launcher(tmp_path: Path, fake_python: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has started an engine in this test's home."""
    (tmp_path / "home").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LAUNCHER), str(tmp_path / "home"), str(fake_python)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_launcher_takes_the_engine_along(
    tmp_path: Path, launcher: subprocess.Popen[str], wait_until: WaitUntil
) -> None:
    record = recorded(tmp_path)
    assert processes_in(record.guard.pid)
    launcher.kill()
    wait_until(lambda: processes_in(record.guard.pid) == set())


def test_the_next_start_ends_what_even_the_guard_could_not(
    tmp_path: Path, launcher: subprocess.Popen[str], make_engine: Callable[..., LocalEngine], wait_until: WaitUntil
) -> None:
    record = recorded(tmp_path)
    worker = next(p for p in record.processes() if "SIG_IGN" in Path(f"/proc/{p.pid}/cmdline").read_text())
    command_line = {p.pid: Path(f"/proc/{p.pid}/cmdline").read_text() for p in record.processes()}
    tracker = next(pid for pid, line in command_line.items() if "resource_tracker" in line)
    for pid in (tracker, record.guard.pid, launcher.pid):
        os.kill(pid, signal.SIGKILL)
    launcher.wait()
    wait_until(lambda: not record.guard.is_alive())
    assert worker.is_alive()
    assert all(Path(segment.path).exists() for segment in record.shared)

    engine = make_engine()
    engine.start()
    assert not worker.is_alive()
    assert not any(Path(segment.path).exists() for segment in record.shared)
    engine.wait_ready(SilentProgress(), timeout_s=20)


def test_a_foreign_process_in_a_recorded_session_is_left_alone(
    tmp_path: Path, make_engine: Callable[..., LocalEngine]
) -> None:
    """A recycled id: the session's number is the recorded one, the program in it is not."""
    foreign = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (tmp_path / "home" / "run").mkdir(parents=True)
        python = os.path.realpath(sys.executable)
        dead = ProcessIdentity(foreign.pid, "an-earlier-boot:1")
        EngineRecord(dead, python, 1).write(tmp_path / "home" / "run" / "engine.json")
        engine = make_engine()
        engine.start()
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


@pytest.fixture(scope="module")
def real_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """vLLM itself with the real model, from the user's cache folder, where both are built on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bedplate"
    python = EngineEnvironment(cache, cpu_requirements(), os.environ).ensure(SilentProgress())
    model = LocalModel(cache, python, os.environ)
    engine = LocalEngine(
        tmp_path_factory.mktemp("engine"),
        python=python,
        model=model.ensure(SilentProgress()),
        chat_template=model.chat_template,
        environ=os.environ,
        options=EngineOptions(kv_cache_bytes=256 << 20),
    )
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_real_vllm_answers_and_leaves_nothing(real_engine: LocalEngine) -> None:
    real_engine.wait_ready(SilentProgress())
    record = EngineRecord.read(real_engine.log.parent.parent / "run" / "engine.json")
    assert record is not None
    answer = ask(real_engine, "What is the capital of France?")
    assert answer["model"] == "smollm2"
    assert answer["usage"]["completion_tokens"] > 0  # type: ignore[index]
    began = time.monotonic()
    real_engine.stop()
    assert time.monotonic() - began < 20
    assert processes_in(record.guard.pid) == set()
    assert not any(Path(segment.path).exists() for segment in record.shared)
