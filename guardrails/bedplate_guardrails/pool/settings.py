"""How large a pool is and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a pool. All are for one gateway process.

    `processes` run the models and `validator_processes` the validators; each is started when work waits and all
    that run are busy, and never before the first task.
    """

    processes: int = 1
    validator_processes: int = 1
    models_folder: Path | None = None
    """Folder with weights in place of the packages'."""
    validators_file: Path | None = None
    """The validators that may be used (`registry`)."""

    max_waiting: int = 2000
    """Most tasks that wait, for models and for validators each. A tenant may fill half of it."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Most bytes of tasks that wait, likewise."""
    batch_tasks: int = 32
    batch_characters: int = 4000
    """A batch ends before the task that exceeds it; one task may be longer. It is what another tenant waits for."""

    start_s: float = 60.0
    """How long a worker may take to start, and again to load each model or validator."""
    stall_s: float = 15.0
    """How long a batch may take before the worker is killed, beside the time for its characters."""
    characters_per_s: float = 1000.0
    """What the slowest model reads in a second on a busy machine."""
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0
    """Before a worker that died is started again: the first pause, doubled each time, up to the longest."""

    memory_entries: int = 50_000
    memory_bytes: int = 32 * 1024 * 1024
    """What is remembered of results."""

    environment: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """More variables for the workers' environment, which is otherwise made from nothing."""
    models_module: str = ""
    """The module that makes the models, where it is not our own. For tests and measurements; no API sets it."""


__all__ = ["PoolSettings"]
