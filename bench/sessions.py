"""What a durable conversation costs: the time that it adds to a call, turns a second, and where the time goes.

    python -m bench.sessions [--quick]

The gateway is on one core; the load, the mock vLLM server and a durable Postgres are on another. A turn and the same
call without a session, which brings the whole history itself, take turns in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from bench.load import Target
from bench.path_systems import LOAD_CORE, Bench
from bench.session_timing import TIMES_VARIABLE, Spent

_SAID = "The tracking page has said 'in transit' for three days now, and we leave for the mountains on Saturday. "
_TURNS_EACH = 10
"""Turns of a conversation in the test of throughput, before a new one begins: histories stay short."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure. `samples` for each length of history."""

    histories: tuple[int, ...] = (2, 20, 200)
    samples: int = 300
    at_once: tuple[int, ...] = (1, 8, 32)
    window_s: float = 5.0


QUICK = Plan(samples=40, window_s=1.5)


class Took(msgspec.Struct, frozen=True):
    """Milliseconds until the first byte of the body and until its end."""

    first_ms: float
    end_ms: float


class Caller:
    """One connection with keep-alive. Reads no more than it must: the head, and the end of a chunked or sized body."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Caller:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._target.port, limit=1 << 20)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def call(self, messages: Sequence[str], *, stream: bool, session: str | None) -> tuple[Took, str | None]:
        """Send a chat whose messages alternate between user and assistant; the session that the answer names."""
        assert self._reader is not None
        assert self._writer is not None
        request = self._request(messages, stream=stream, session=session)
        began_s = time.perf_counter()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if not head[0].startswith("HTTP/1.1 200"):
            raise RuntimeError(f"{head[0]}: {await self._reader.read(1000)!r}")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        first_s = await self._body(fields)
        ended_s = time.perf_counter()
        took = Took((first_s - began_s) * 1000, (ended_s - began_s) * 1000)
        return took, fields.get("x-bedplate-session")

    async def _body(self, fields: dict[str, str]) -> float:
        """Read the body; when its first byte was there."""
        assert self._reader is not None
        if "content-length" in fields:
            await self._reader.readexactly(int(fields["content-length"]))
            return time.perf_counter()
        first_s = 0.0
        while size := int(await self._reader.readline(), 16):
            first_s = first_s or time.perf_counter()
            await self._reader.readexactly(size + 2)
        await self._reader.readexactly(2)
        return first_s

    def _request(self, messages: Sequence[str], *, stream: bool, session: str | None) -> bytes:
        told = [
            {"role": "user" if number % 2 == 0 else "assistant", "content": text}
            for number, text in enumerate(messages)
        ]
        body = json.dumps({"model": self._target.model, "stream": stream, "messages": told}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._target.port}\r\n"
            f"Authorization: Bearer {self._target.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
        )
        if session is not None:
            head += f"x-bedplate-session: {session}\r\n"
        return f"{head}\r\n".encode() + body


async def added(target: Target, plan: Plan) -> None:
    """Print what a session adds to the time of a streamed call, for each length of history."""
    print(f"{'history':>8}{'':4}{'without':>18}{'in a session':>22}{'added':>20}")
    print(f"{'items':>8}{'':4}{'p50 ms':>9}{'p99 ms':>9}{'p50 ms':>13}{'p99 ms':>9}{'p50 ms':>11}{'p99 ms':>9}")
    for length in plan.histories:
        history = [_SAID] * length
        plain: list[Took] = []
        turns: list[Took] = []
        async with Caller(target) as caller:
            for number in range(plan.samples + 5):
                # One call stores a history of this length: its messages and the answer.
                _, session = await caller.call(history[:-1], stream=False, session="auto")
                without, _ = await caller.call([*history, _SAID], stream=True, session=None)
                within, _ = await caller.call([_SAID], stream=True, session=session)
                if number >= 5:
                    plain.append(without)
                    turns.append(within)
        _show(length, "first byte", [took.first_ms for took in plain], [took.first_ms for took in turns])
        _show(length, "end", [took.end_ms for took in plain], [took.end_ms for took in turns])


def _show(length: int, what: str, plain: Sequence[float], turns: Sequence[float]) -> None:
    without, within = (_percentiles(values) for values in (plain, turns))
    print(
        f"{length:8}  {what:10}{without[0]:9.2f}{without[1]:9.2f}{within[0]:13.2f}{within[1]:9.2f}"
        f"{within[0] - without[0]:11.2f}{within[1] - without[1]:9.2f}",
        flush=True,
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]


async def sustained(target: Target, at_once: int, window_s: float, *, sessions: bool) -> float:
    """Whole answers a second while `at_once` conversations go on, each turn when the one before it is answered."""
    ends_s = time.perf_counter() + window_s
    count = 0

    async def converse() -> None:
        nonlocal count
        async with Caller(target) as caller:
            session: str | None = None
            said = 0
            while time.perf_counter() < ends_s:
                if said % _TURNS_EACH == 0:
                    session = "auto" if sessions else None
                messages = [_SAID] if sessions else [_SAID] * (2 * (said % _TURNS_EACH) + 1)
                _, named = await caller.call(messages, stream=False, session=session)
                session = named
                said += 1
                count += 1

    await asyncio.gather(*(converse() for _ in range(at_once)))
    return count / window_s


async def throughput(target: Target, plan: Plan) -> None:
    """Print turns a second."""
    print(f"\n{'at once':>8}{'calls/s without':>18}{'turns/s':>10}")
    for at_once in plan.at_once:
        without = await sustained(target, at_once, plan.window_s, sessions=False)
        turns = await sustained(target, at_once, plan.window_s, sessions=True)
        print(f"{at_once:8}{without:18.0f}{turns:10.0f}", flush=True)


def breakdown(bench: Bench, database_url: str, folder: Path, plan: Plan) -> None:
    """Print where the time of turns goes, one conversation and eight at once."""
    for at_once in (1, 8):
        path = folder / f"times-{at_once}.json"
        os.environ[TIMES_VARIABLE] = str(path)
        before = len(bench.systems)
        bench.add_gateway(database_url, app="bench.session_timing:application")
        system = next(each for each in bench.systems[before:] if each.name == "no-guardrail")
        uvloop.run(sustained(system.whole, at_once, plan.window_s, sessions=True))
        bench.stop(system.pid)
        spent = msgspec.json.decode(path.read_bytes(), type=dict[str, Spent])
        turns = spent["the whole call"].count
        print(f"\n{at_once} at once: milliseconds a turn, mean of {turns} turns with up to {2 * _TURNS_EACH} items")
        for name, step in spent.items():
            print(f"{name:22}{step.seconds / turns * 1000:8.3f}  ({step.count / turns:.1f} times)")


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples, shorter windows")
    plan = QUICK if parser.parse_args().quick else Plan()
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench.sessions needs two cores: one for the gateway, one for the rest")
    os.sched_setaffinity(0, {LOAD_CORE})
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Bench(folder) as bench:
            bench.start_upstream()
            database_url = bench.start_postgres()
            bench.add_gateway(database_url)
            system = next(system for system in bench.systems if system.name == "no-guardrail")
            uvloop.run(added(system.burst, plan))
            uvloop.run(throughput(system.whole, plan))
            bench.stop(system.pid)
            breakdown(bench, database_url, folder, plan)
    print(f"\nload average {load_before:.2f} before, {os.getloadavg()[0]:.2f} after")


if __name__ == "__main__":
    main()
