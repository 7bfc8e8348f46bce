"""The places of a turn at which something is killed, and what it is."""

from __future__ import annotations

import contextlib
import os
import signal
from enum import StrEnum
from pathlib import Path

import msgspec


class Point(StrEnum):
    """Places in the order of a turn. COMMITTING is while Postgres works on the commit of its end."""

    ADMITTED = "admitted"
    INPUT_STORED = "input-stored"
    FIRST_EVENT = "first-event"
    MIDSTREAM = "midstream"
    BEFORE_END = "before-end"
    COMMITTING = "committing"
    AFTER_END = "after-end"
    SENT = "sent"


class Victim(StrEnum):
    """What is killed."""

    GATEWAY = "gateway"
    POSTGRES = "postgres"
    ENGINE = "engine"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Kill `victim` when the next turn comes to `point`. `pids` are its processes; for the gateway: itself."""

    number: int
    point: Point
    victim: Victim
    pids: tuple[int, ...] = ()


class Orders:
    """Orders on their way from the run to the gateway's processes, as files of a folder.

    Each is carried out once: whoever comes to its point first renames its file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def give(self, order: Order) -> None:
        """Put up an order."""
        partial = self._folder / "partial"
        partial.write_bytes(msgspec.json.encode(order))
        partial.rename(self._folder / f"{order.number}.{order.point.value}.open")

    def taken(self, order: Order) -> bool:
        """Whether it was carried out."""
        return (self._folder / f"{order.number}.{order.point.value}.taken").exists()

    def take(self, point: Point) -> Order | None:
        """The open order for `point`, which is the caller's to carry out now."""
        suffix = f".{point.value}.open"
        for name in os.listdir(self._folder):
            if name.endswith(suffix):
                taken = self._folder / f"{name.removesuffix('.open')}.taken"
                with contextlib.suppress(FileNotFoundError):  # another process was quicker
                    (self._folder / name).rename(taken)
                    return msgspec.json.decode(taken.read_bytes(), type=Order)
        return None


def carry_out(order: Order) -> None:
    """Kill the processes and their children; does not return where the victim is this process."""
    for pid in order.pids or (os.getpid(),):
        children: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


__all__ = ["Order", "Orders", "Point", "Victim", "carry_out"]
