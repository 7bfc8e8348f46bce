"""How a worker is started: its command line, and an environment with no secret of the gateway's."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

_ONE_THREAD = ("OMP_NUM_THREADS", "ORT_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_FIXED = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "TOKENIZERS_PARALLELISM": "false",
    **dict.fromkeys(_ONE_THREAD, "1"),
}


class Role(StrEnum):
    """What a worker is for. Validators are somebody else's code and never share a process with the models."""

    MODELS = "models"
    VALIDATORS = "validators"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with. `start_s` bounds how long it may take."""

    role: Role
    start_s: float
    models_folder: Path | None = None
    models_module: str = ""
    environment: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])

    def command(self) -> list[str]:
        """The command line. `-P` keeps the current folder out of what can be imported."""
        line = [sys.executable, "-P", "-m", "bedplate_guardrails.worker", "--role", self.role.value]
        line += ["--parent", str(os.getpid())]
        if self.models_folder is not None:
            line += ["--folder", str(self.models_folder)]
        if self.models_module:
            line += ["--models", self.models_module]
        return line

    def worker_environment(self) -> dict[str, str]:
        """The whole environment: made from nothing, so that no secret and no proxy is handed on.

        The worker imports from where this process does. HOME is where packages keep data that an administrator put
        there.
        """
        return {
            **_FIXED,
            "HOME": os.path.expanduser("~"),
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **self.environment,
        }


__all__ = ["Launch", "Role"]
