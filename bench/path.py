"""What a request costs on its way through the gateway, on one core, beside the least that a proxy can cost.

Run `python -m bench.path` from the repository's root; `--quick` for one short round, `--profile` for where the time
goes. See `bench/README.md` for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from bench.load import saturate, steady
from bench.path_profile import print_profile
from bench.path_systems import LOAD_CORE, Bench, System, tree_cpu_s

_BASELINE = "bare"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure. `connections` are kept busy at saturation: enough that waiting for the disk's commit does
    not leave the core idle."""

    rounds: int = 3
    connections: int = 64
    warm_s: float = 0.3
    window_s: float = 1.5
    paced_streams: int = 64
    paced_window_s: float = 2.6
    rates_per_s: tuple[float, ...] = (200.0, 1000.0)
    steady_window_s: float = 3.0


FULL = Plan()
QUICK = Plan(rounds=1, warm_s=0.3, window_s=0.8, paced_window_s=1.3, steady_window_s=1.0)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds at a fixed rate: until a whole answer is there, and until a stream's first byte is."""

    per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    first_p50_ms: float
    first_p99_ms: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one system in one round. Times in microseconds unless the name says milliseconds."""

    per_s: float
    request_us: float
    folded_us: float
    burst_event_us: float
    burst_per_s: float
    paced_event_us: float | None
    postgres_us: float
    load_busy: float
    loaded_mb: float
    latencies: tuple[Latency, ...]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The medians of one system over all rounds; `ratio` is CPU a request relative to the bare proxy."""

    name: str
    about: str
    memory_mb: float
    ratio: float | None
    sample: Sample
    rounds: tuple[Sample, ...]


class Meter:
    """CPU time of a system, of Postgres and of this side between the two edges of a window."""

    def __init__(self, system: System, bench: Bench) -> None:
        self._sources: list[Callable[[], float]] = [system.cpu_s, self._postgres, self._load]
        self._postgres_pid = bench.postgres_pid
        self._readings: list[list[float]] = []

    def __call__(self) -> None:
        """Take a reading."""
        self._readings.append([source() for source in self._sources])

    @property
    def spent_s(self) -> tuple[float, float, float]:
        """Between the first and the last reading: the system, Postgres, and the load generator."""
        first, last = self._readings[0], self._readings[-1]
        system, postgres, load = (after - before for before, after in zip(first, last, strict=True))
        return system, postgres, load

    def _postgres(self) -> float:
        return 0.0 if self._postgres_pid is None else tree_cpu_s(self._postgres_pid)

    @staticmethod
    def _load() -> float:
        times = os.times()
        return times.user + times.system


async def measure(bench: Bench, system: System, plan: Plan) -> Sample:
    """One round of one system."""
    whole, request_us, postgres_us, load_busy = await _saturated(bench, system, plan, stream=False, burst=False)
    _, folded_us, _, _ = await _saturated(bench, system, plan, stream=False, burst=True)
    burst, burst_us, _, _ = await _saturated(bench, system, plan, stream=True, burst=True)
    loaded_mb = system.memory_mb()
    latencies = [await _latency(system, plan, per_s) for per_s in plan.rates_per_s]
    paced_event_us = None
    if system.paced is not None:
        paced_us = await _paced_us(bench, system, plan)
        paced_event_us = (paced_us - request_us) / system.chunks
    return Sample(
        per_s=whole,
        request_us=request_us,
        folded_us=folded_us,
        burst_event_us=(burst_us - request_us) / system.chunks,
        burst_per_s=burst,
        paced_event_us=paced_event_us,
        postgres_us=postgres_us,
        load_busy=load_busy,
        loaded_mb=loaded_mb,
        latencies=tuple(latencies),
    )


async def _latency(system: System, plan: Plan, per_s: float) -> Latency:
    """An open loop: requests come whether earlier ones are answered or not, and count from when they were due."""
    whole = await steady(system.whole, stream=False, per_s=per_s, warm_s=plan.warm_s, window_s=plan.steady_window_s)
    streamed = await steady(
        system.burst, stream=True, per_s=per_s / 2, warm_s=plan.warm_s, window_s=plan.steady_window_s
    )
    return Latency(
        per_s=per_s,
        p50_ms=whole.percentile_ms(0.5),
        p99_ms=whole.percentile_ms(0.99),
        p999_ms=whole.percentile_ms(0.999),
        first_p50_ms=streamed.first_percentile_ms(0.5),
        first_p99_ms=streamed.first_percentile_ms(0.99),
    )


async def _saturated(
    bench: Bench, system: System, plan: Plan, *, stream: bool, burst: bool
) -> tuple[float, float, float, float]:
    """Requests a second, CPU microseconds a request of the system and of Postgres, and how busy the generator was."""
    meter = Meter(system, bench)
    window = await saturate(
        system.burst if burst else system.whole,
        stream=stream,
        connections=plan.connections,
        warm_s=plan.warm_s,
        window_s=plan.window_s,
        at_edge=meter,
    )
    spent_s, postgres_s, load_s = meter.spent_s
    per_request = 1e6 / window.answers
    return window.per_s, spent_s * per_request, postgres_s * per_request, load_s / window.seconds


async def _paced_us(bench: Bench, system: System, plan: Plan) -> float:
    """CPU microseconds of a paced stream while `paced_streams` are held, begun one after another."""
    assert system.paced is not None
    meter = Meter(system, bench)
    window = await saturate(
        system.paced,
        stream=True,
        connections=plan.paced_streams,
        warm_s=0,
        window_s=plan.paced_window_s,
        stagger_s=1.3,
        at_edge=meter,
    )
    return meter.spent_s[0] * 1e6 / window.answers


async def measure_all(bench: Bench, systems: Sequence[System], plan: Plan) -> list[Figures]:
    """All rounds; the systems take turns, in alternating order."""
    memory = {system.name: system.memory_mb() for system in systems}
    samples: dict[str, list[Sample]] = {system.name: [] for system in systems}
    for number in range(plan.rounds):
        for system in systems if number % 2 == 0 else reversed(systems):
            samples[system.name].append(await measure(bench, system, plan))
    medians = {name: _median(taken) for name, taken in samples.items()}
    floor = medians.get(_BASELINE)
    return [
        Figures(
            name=system.name,
            about=system.about,
            memory_mb=memory[system.name],
            ratio=None if floor is None else medians[system.name].request_us / floor.request_us,
            sample=medians[system.name],
            rounds=tuple(samples[system.name]),
        )
        for system in systems
    ]


def _median(samples: Sequence[Sample]) -> Sample:
    values: dict[str, object] = dict(
        _medians(samples, [name for name in Sample.__struct_fields__ if name != "latencies"])
    )
    values["latencies"] = [
        _medians(at_rate, Latency.__struct_fields__) for at_rate in zip(*(s.latencies for s in samples), strict=True)
    ]
    return msgspec.convert(values, Sample)


def _medians(values: Sequence[object], names: Sequence[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in names:
        taken = [value for each in values if (value := getattr(each, name)) is not None]
        found[name] = statistics.median(taken) if taken else None
    return found


def print_table(figures: Sequence[Figures], direct: Sample) -> None:
    """The medians, one system a line: what it takes, then how long it makes clients wait beside the upstream alone."""
    print(
        f"{'system':18}{'req/s':>8}{'us/req':>8}{'x bare':>8}{'us/req':>9}{'us/event':>10}{'us/event':>10}"
        f"{'postgres':>10}{'load':>7}{'idle':>8}{'loaded':>8}"
    )
    print(
        f"{'':18}{'':8}{'whole':>8}{'':8}{'64->1':>9}{'burst':>10}{'paced':>10}{'us/req':>10}{'busy':>7}{'MB':>8}{'MB':>8}"
    )
    for figure in figures:
        sample = figure.sample
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        paced = "-" if sample.paced_event_us is None else f"{sample.paced_event_us:.1f}"
        print(
            f"{figure.name:18}{sample.per_s:8.0f}{sample.request_us:8.0f}{ratio:>8}{sample.folded_us:9.0f}"
            f"{sample.burst_event_us:10.2f}{paced:>10}{sample.postgres_us:10.0f}{sample.load_busy:7.0%}"
            f"{figure.memory_mb:8.0f}{sample.loaded_mb:8.0f}"
        )
    print(f"\n{'added ms':18}{'at':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}{'first p50':>11}{'first p99':>11}")
    for figure in figures:
        for own, alone in zip(figure.sample.latencies, direct.latencies, strict=True):
            print(
                f"{figure.name:18}{own.per_s:7.0f}/s{own.p50_ms - alone.p50_ms:9.2f}{own.p99_ms - alone.p99_ms:9.2f}"
                f"{own.p999_ms - alone.p999_ms:9.2f}{own.first_p50_ms - alone.first_p50_ms:11.2f}"
                f"{own.first_p99_ms - alone.first_p99_ms:11.2f}"
            )


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="rounds to take medians of (default 3)")
    parser.add_argument("--only", nargs="*", help="measure these systems only")
    parser.add_argument("--servers", action="store_true", help="compare uvicorn and granian, route and @asgi handler")
    parser.add_argument("--profile", action="store_true", help="where the gateway's time goes, instead of figures")
    parser.add_argument("--functions", type=int, default=10, help="how many functions a profile lists")
    parser.add_argument("--held", type=int, nargs="*", help="hold so many paced streams at once, instead of the table")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench.path needs two cores: one for the system, one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = msgspec.structs.replace(plan, rounds=arguments.rounds)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Bench(folder) as bench:
            bench.start_upstream()
            if arguments.profile:
                print_profile(bench, folder, (arguments.only or ["bedplate"])[0], arguments.functions)
                return
            _start_systems(bench, servers=arguments.servers)
            systems = [system for system in bench.systems if not arguments.only or system.name in arguments.only]
            if arguments.held:
                uvloop.run(_hold(systems, arguments.held))
                return
            direct, figures = uvloop.run(_run(bench, systems, plan))
    for line in bench.skipped:
        print(f"skipped {line}")
    print_table(figures, direct)
    print(f"load average {load_before:.2f} before, {os.getloadavg()[0]:.2f} after; medians of {plan.rounds} rounds")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode({"direct": direct, "systems": figures})))


async def _run(bench: Bench, systems: Sequence[System], plan: Plan) -> tuple[Sample, list[Figures]]:
    direct = await measure(bench, msgspec.structs.replace(bench.direct(), paced=None), plan)
    # An idle pool of connections is part of an idle gateway: let each serve before its memory is read.
    await asyncio.sleep(0.2)
    return direct, await measure_all(bench, systems, plan)


async def _hold(systems: Sequence[System], counts: Sequence[int]) -> None:
    """How long paced streams take while so many are held; what is over the pace of the upstream was a stall."""
    print(f"{'system':18}{'streams':>9}{'p50 s':>9}{'p99 s':>9}{'longest s':>11}")
    for system in systems:
        for count in counts if system.paced is not None else ():
            window = await saturate(system.paced, stream=True, connections=count, warm_s=2, window_s=6, stagger_s=1.3)
            times = [window.percentile_ms(share) / 1000 for share in (0.5, 0.99, 1.0)]
            print(f"{system.name:18}{count:9}{times[0]:9.2f}{times[1]:9.2f}{times[2]:11.2f}")


def _start_systems(bench: Bench, *, servers: bool) -> None:
    bench.add_proxy(_BASELINE, "plain")
    if servers:
        bench.add_proxy("litestar-asgi", "litestar_asgi")
        bench.add_proxy("litestar-route", "litestar_route")
        bench.add_proxy("litestar-request", "litestar_request")
        bench.add_proxy("bare-granian", "plain", "granian")
        bench.add_proxy("asgi-granian", "litestar_asgi", "granian")
        bench.add_proxy("route-granian", "litestar_route", "granian")
    bench.add_nginx()
    url = bench.start_postgres()
    bench.add_gateway(url)
    bench.add_granian_gateway(url)


if __name__ == "__main__":
    main()
