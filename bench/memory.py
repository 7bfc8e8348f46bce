"""The memory of one gateway process: when it is ready, after its first answers, with many streams open, and after.

    python -m bench.memory [--streams 1000]

The gateway has a guardrail of 20 words on input and output and keeps records; each stream has a connection of a client
and one to the mock vLLM server, which sends two pieces a second. Resident memory counts the pages shared with other
processes in full; proportional memory counts a page once among those who have it.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
from pathlib import Path

from bench.load import Window, saturate
from bench.path_systems import Bench, System, process_tree

PACE_S = 0.5
_OPEN_S = 15.0
_HELD_S = 20.0  # the first answers end in it: 64 pieces take 32 s
_AFTER_S = 5.0


def memory_mb(root: int) -> tuple[float, float]:
    """Resident and proportional memory of a process tree, in MB (10^6 bytes)."""
    resident, proportional = 0, 0
    for pid in process_tree(root):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        resident += kib["Rss"]
        proportional += kib["Pss"]
    return resident * 1024 / 1e6, proportional * 1024 / 1e6


def show(name: str, system: System) -> None:
    """Print one line of the table."""
    resident, proportional = memory_mb(system.pid)
    print(f"{name:32} {resident:6.1f} MB resident {proportional:6.1f} MB proportional", flush=True)


async def measure(system: System, streams: int) -> None:
    """Measure one system with everything on. Raises `LoadError` when an answer fails."""
    show("ready", system)
    await saturate(system.whole, stream=False, connections=8, warm_s=0, window_s=2)
    show("after some hundred answers", system)
    if system.paced is None:
        raise ValueError(f"{system.name} has no paced streams")

    async def opened() -> Window:
        assert system.paced is not None
        return await saturate(
            system.paced, stream=True, connections=streams, warm_s=0, window_s=_HELD_S, stagger_s=_OPEN_S
        )

    under_way = asyncio.create_task(opened())
    await asyncio.sleep(_OPEN_S + _HELD_S / 2)
    show(f"{streams:,} streams under way", system)
    await under_way
    await asyncio.sleep(_AFTER_S)
    show("after they were left", system)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    streams = parser.parse_args().streams
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as folder, Bench(Path(folder)) as bench:
        bench.start_upstream(PACE_S)
        bench.add_gateway(bench.start_postgres())
        guarded = next(system for system in bench.systems if system.name == "bedplate")
        asyncio.run(measure(guarded, streams))


if __name__ == "__main__":
    main()
