"""Where the gateway's own time goes: a profile of one process under load, answer by answer and event by event."""

from __future__ import annotations

import cProfile
import os
import pstats
import signal
import time
from pathlib import Path
from typing import Any

import uvloop

from bedplate_gateway.asgi import application
from bench.load import Target, saturate
from bench.path_systems import Bench

_WINDOW_S = 4.0


def profiled() -> Any:
    """The gateway's application factory, with a profile that SIGUSR1 begins anew and SIGUSR2 writes to a file."""
    path = Path(os.environ["BENCH_PROFILE"])
    profile: list[cProfile.Profile] = [cProfile.Profile()]

    def begin(*_: object) -> None:
        profile[0].disable()
        profile[0] = cProfile.Profile()
        profile[0].enable()

    def write(*_: object) -> None:
        profile[0].disable()
        partial = path.with_suffix(".partial")
        profile[0].dump_stats(partial)
        partial.rename(path)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, write)
    return application()


def print_profile(bench: Bench, folder: Path, name: str, functions: int) -> None:
    """Profile one of the gateway's systems under whole answers, then under streams in a burst."""
    path = folder / "profile"
    os.environ["BENCH_PROFILE"] = str(path)
    bench.add_gateway(bench.start_postgres(), app="bench.path_profile:profiled")
    system = next(system for system in bench.systems if system.name == name)
    for title, target, stream in (
        ("whole answers", system.whole, False),
        ("streams of 64 events in a burst", system.burst, True),
    ):
        requests = uvloop.run(_under_load(system.pid, target, stream, path))
        _wait_for(path)
        print(f"\n{title}: {requests} requests under the profiler, microseconds a request")
        _print_top(path, requests, functions)
        path.unlink()


async def _under_load(pid: int, target: Target, stream: bool, path: Path) -> int:
    signals = iter((signal.SIGUSR1, signal.SIGUSR2))

    def at_edge() -> None:
        os.kill(pid, next(signals))

    window = await saturate(target, stream=stream, connections=32, warm_s=1, window_s=_WINDOW_S, at_edge=at_edge)
    return window.answers


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway wrote no profile")
        time.sleep(0.05)


def _print_top(path: Path, requests: int, functions: int) -> None:
    """Functions by their own time, the event loop's wait left out. Small functions look dearer than they are."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]  # a documented attribute that the stubs lack
    rows = [(own_s, calls, where) for where, (_, calls, own_s, _, _) in stats.items() if where[2] not in _WAITS]
    total_us = sum(own_s for own_s, _, _ in rows) * 1e6 / requests
    print(f"{'own us':>8}{'calls':>8}  function   (all functions together: {total_us:.0f} us)")
    for own_s, calls, (file, line, name) in sorted(rows, reverse=True)[:functions]:
        place = "" if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} "
        print(f"{own_s * 1e6 / requests:8.1f}{calls / requests:8.1f}  {place}{name}")


_WAITS = frozenset({"<method 'run_until_complete' of 'uvloop.loop.Loop' objects>", "<method 'run' of '_asyncio.Task'>"})
