"""The local engine as the command line sets it up."""

from __future__ import annotations

import os
from pathlib import Path

from bedplate_gateway.local.engine import EngineOptions, LocalEngine
from bedplate_gateway.local.engine_environment import (
    GPU_REQUIREMENTS,
    EngineEnvironment,
    cpu_requirements,
    has_nvidia_gpu,
)
from bedplate_gateway.local.model import LocalModel
from bedplate_gateway.local.progress import Progress
from bedplate_gateway.settings import Settings, process_environment

ENGINE_SECRET = "local-engine"  # noqa: S105 - the name of a file, not a secret
DEFAULT_MODEL = "smollm2"


def engine_environment(settings: Settings) -> tuple[EngineEnvironment, bool]:
    """The environment that this machine's engine runs in, and whether it uses a GPU."""
    environ = process_environment()
    gpu = has_nvidia_gpu(environ)
    return EngineEnvironment(settings.cache, GPU_REQUIREMENTS if gpu else cpu_requirements(), environ), gpu


def prepare_engine(
    settings: Settings, progress: Progress, *, model: Path | None = None, port: int | None = None
) -> LocalEngine:
    """The engine ready to start: installed, its model converted, its key in the secrets folder.

    `model` is a Hugging Face folder to serve under its own name; SmolLM2-135M-Instruct as `smollm2` when None.
    Raises `LaunchError`.
    """
    environment, gpu = engine_environment(settings)
    python = environment.ensure(progress)
    options = EngineOptions(gpu=gpu)
    if model is None:
        local_model = LocalModel(settings.cache, python, process_environment())
        folder, template, name = local_model.ensure(progress), local_model.chat_template, DEFAULT_MODEL
    else:
        folder, template, name = model.resolve(), None, model.resolve().name
    engine = LocalEngine(
        settings.home,
        python=python,
        model=folder,
        environ=process_environment(),
        chat_template=template,
        served_name=name,
        port=port,
        options=options,
    )
    write_secret(settings.secrets_path, ENGINE_SECRET, engine.api_key)
    return engine


def write_secret(folder: Path, name: str, value: str) -> None:
    """Write a secret file, readable by its owner only, replacing it atomically."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{name}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value)
    temporary.rename(folder / name)


__all__ = ["DEFAULT_MODEL", "ENGINE_SECRET", "engine_environment", "prepare_engine", "write_secret"]
