"""The main job from end to end: `bedplate up` with a real vLLM, then the official client in its own environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

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


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`bedplate up` in a fresh home, with the engine and model of the user's cache."""
    folder = tmp_path_factory.mktemp("up")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environ = dict(os.environ) | {"BEDPLATE_HOME": str(folder / "home"), "BEDPLATE_PORT": str(port)}
    output = folder / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen([BEDPLATE, "up"], env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + UP_TIMEOUT_S
        while "Ctrl-C stops everything" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield Installation(process, environ, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


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
    exports = dict(
        line.removeprefix("export ").split("=", 1) for line in run(installation, "env").splitlines() if line
    )
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
def test_ctrl_c_stops_everything_and_the_next_start_is_fast(installation: Installation) -> None:
    installation.process.send_signal(signal.SIGINT)
    assert installation.process.wait(60) == 0, installation.output.read_text()
    home = installation.environ["BEDPLATE_HOME"]
    left = subprocess.run(["pgrep", "-af", home], capture_output=True, text=True).stdout
    assert left == "", left
