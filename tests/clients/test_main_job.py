"""The main job from end to end: `bedplate up` with a real vLLM, then the official client in its own environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from bedplate_store.embedded import EmbeddedPostgres

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
CLIENTS_PYTHON = ROOT / ".venv-clients" / "bin" / "python"
BEDPLATE = Path(sys.executable).with_name("bedplate")
UP_TIMEOUT_S = 1500.0


class Installation(NamedTuple):
    """A running `bedplate up`."""

    process: subprocess.Popen[bytes]
    environ: dict[str, str]
    output: Path


def start(environ: dict[str, str], output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`bedplate up`, ready."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            [BEDPLATE, "up", *arguments], env=environ, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + UP_TIMEOUT_S
    while "Ctrl-C stops everything" not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)
    return process


def fresh(folder: Path) -> dict[str, str]:
    """The environment for an installation in `folder`, on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return dict(os.environ) | {"BEDPLATE_HOME": str(folder / "home"), "BEDPLATE_PORT": str(port)}


def discard(environ: dict[str, str]) -> None:
    """Remove the database, which as root may lie outside the home folder."""
    EmbeddedPostgres(Path(environ["BEDPLATE_HOME"]) / "postgres").destroy()


def processes(home: str) -> list[str]:
    """The command lines of all processes that name `home`."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if home in line]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`bedplate up` in a fresh home, with the engine and model of the user's cache."""
    folder = tmp_path_factory.mktemp("up")
    environ = fresh(folder)
    output = folder / "up.log"
    process = start(environ, output)
    try:
        yield Installation(process, environ, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        discard(environ)


def run(installation: Installation, *arguments: str) -> str:
    """The output of a `bedplate` command beside the running installation."""
    done = subprocess.run([BEDPLATE, *arguments], env=installation.environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.engine
@pytest.mark.timeout(1800)
def test_the_main_job_with_the_official_client(installation: Installation) -> None:
    run(installation, "apply", "-f", str(FOLDER / "policy.yaml"))
    time.sleep(1.0)  # the promise: everywhere within a second
    exports = dict(line.removeprefix("export ").split("=", 1) for line in run(installation, "env").splitlines() if line)
    client = {name: value.strip("'") for name, value in exports.items()}
    done = subprocess.run(
        [CLIENTS_PYTHON, FOLDER / "main_job.py"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **client},
        capture_output=True,
        text=True,
        timeout=600,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "main job: passed" in done.stdout


@pytest.mark.engine
@pytest.mark.timeout(1800)
def test_sigkill_of_everything_then_ctrl_c(installation: Installation) -> None:
    """SIGKILL of the launcher takes all its parts down; the next start works and has what was acknowledged."""
    environ, home = installation.environ, installation.environ["BEDPLATE_HOME"]
    key = (Path(home) / "credentials").read_text().strip()
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{environ['BEDPLATE_PORT']}/v1",
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )
    # Sampled, the small model now and then says nothing at all, and then there is nothing to compare.
    said = {"max_tokens": 8, "min_tokens": 4, "temperature": 0}
    body = {"model": "smollm2", **said, "messages": [{"role": "user", "content": "Keep this."}]}
    answer = client.post("/chat/completions", json=body, headers={"x-bedplate-session": "auto"})
    session = answer.headers["x-bedplate-session"]

    installation.process.kill()
    installation.process.wait()
    deadline = time.monotonic() + 20
    while processes(home):
        assert time.monotonic() < deadline, processes(home)
        time.sleep(0.1)

    output = installation.output.with_name("again.log")
    again = start(environ, output)
    try:
        items = client.get(f"/sessions/{session}/items").json()["data"]
        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[1]["parts"][0]["text"] == answer.json()["choices"][0]["message"]["content"]
        assert "shown once" not in output.read_text()
        assert client.post("/chat/completions", json=body).status_code == 200
        again.send_signal(signal.SIGINT)
        assert again.wait(60) == 0, output.read_text()
        assert processes(home) == []
    finally:
        if again.poll() is None:
            again.kill()


def test_fake_is_up_in_seconds_and_its_second_start_is_faster(tmp_path: Path) -> None:
    environ = fresh(tmp_path)
    times: list[float] = []
    for name in ("first.log", "second.log"):
        began = time.monotonic()
        process = start(environ, tmp_path / name, "--fake")
        times.append(time.monotonic() - began)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (tmp_path / name).read_text()
    print(f"first start {times[0]:.1f} s, second {times[1]:.1f} s")
    assert "shown once" in (tmp_path / "first.log").read_text()
    assert "shown once" not in (tmp_path / "second.log").read_text()
    credentials = Path(environ["BEDPLATE_HOME"]) / "credentials"
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert processes(environ["BEDPLATE_HOME"]) == []
    discard(environ)


def jobs_of(launcher: int) -> list[int]:
    """The processes `bedplate jobs` that the launcher has started."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(launcher)], capture_output=True, text=True, check=False
    ).stdout
    return [int(line.split()[0]) for line in found.splitlines() if line.endswith("bedplate_gateway jobs")]


def test_jobs_run_beside_the_gateway_and_come_back_without_it(tmp_path: Path) -> None:
    environ = fresh(tmp_path)
    process = start(environ, tmp_path / "up.log", "--fake")
    log = Path(environ["BEDPLATE_HOME"]) / "logs" / "jobs.log"
    try:
        _soon(lambda: "jobs: started" in log.read_text())
        (first,) = jobs_of(process.pid)
        os.kill(first, signal.SIGKILL)
        _soon(lambda: jobs_of(process.pid) not in ([], [first]))
        response = httpx.get(f"http://127.0.0.1:{environ['BEDPLATE_PORT']}/healthz", trust_env=False)
        assert response.status_code == 200
        (second,) = jobs_of(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (tmp_path / "up.log").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
    discard(environ)


def _soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    environ = fresh(tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", int(environ["BEDPLATE_PORT"])))
        listener.listen()
        done = subprocess.run([BEDPLATE, "up", "--fake"], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port {environ['BEDPLATE_PORT']}" in done.stderr
    assert "--port" in done.stderr
