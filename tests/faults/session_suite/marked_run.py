"""One run: a gateway, its Postgres and its engine under conversations, and a plan of what is killed where."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from bedplate_gateway.settings import environment_of
from bedplate_store.child_process import die_with_parent
from tests.faults.session_suite.checker import Fault, SentTurn, check
from tests.faults.session_suite.conversation import Conversation, Tally
from tests.faults.session_suite.engine import MODEL
from tests.faults.session_suite.marked_gateway import ORDERS_VARIABLE
from tests.faults.session_suite.points import Order, Orders, Point, Victim
from tests.faults.session_suite.stored_rows import read_stored
from tests.fixtures.gateway import START_TIMEOUT_S, RunningGateway
from tests.fixtures.postgres import PostgresServer

ROOT = Path(__file__).parents[3]
TAKEN_WITHIN_S = 20.0
"""A point that no turn reaches in this time is one that is no longer there."""

GOES_ON_WITHIN_S = 60.0
BETWEEN_KILLS = 3
"""Turns that are acknowledged between two kills."""

SETTLED_WITHIN_S = 10.0
"""What clients left behind them ends by itself within it, and records that were spooled are stored."""


class EngineProcess:
    """The scripted engine on a port of its own. Started from the main thread, whose death ends it."""

    def __init__(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, again after it was killed."""
        self.stop()
        command = [sys.executable, "-m", "tests.faults.session_suite.engine", "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, preexec_fn=die_with_parent(signal.SIGKILL))

    def stop(self) -> None:
        """End it, if it is there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class MarkedGateway(RunningGateway):
    """A gateway that carries out orders at the marked points."""

    def __init__(self, home: Path, database_url: str, *, orders: Path, workers: int) -> None:
        super().__init__(home, database_url, workers=workers)
        self._orders = orders

    def start(self) -> None:
        """Start it and return when it is ready; also after it was killed."""
        if self.process is None:
            command = [sys.executable, "-m", "tests.faults.session_suite.marked_gateway"]
            environ = dict(os.environ) | environment_of(self.settings)
            environ |= {"BEDPLATE_LOG_FORMAT": "json", ORDERS_VARIABLE: str(self._orders)}
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    command, env=environ, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log
                )
        assert self.process.stdin is not None
        self.process.stdin.write(b"start\n")
        self.process.stdin.flush()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self.ready:
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the gateway did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        process, self.process = self.process, None
        if process is not None:
            process.communicate()

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self._is_ready()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `faults` is what the checker says."""

    turns: int
    given_up: int
    retries: int
    left: int
    asked_again: int
    kills: dict[tuple[Point, Victim], int]
    statuses: dict[int, int]
    seconds: float
    faults: list[Fault]

    def table(self) -> str:
        """Points, victims and kills, one a line, and the counts of all."""
        lines = [f"{'point':14}{'victim':10}{'kills':>6}"]
        lines += [f"{point.value:14}{victim.value:10}{count:6}" for (point, victim), count in self.kills.items()]
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        lines.append(
            f"{sum(self.kills.values())} kills, {self.turns} turns acknowledged, {self.given_up} given up, "
            f"{self.retries} retries, {self.left} left, {self.asked_again} replies asked for again, "
            f"{self.seconds:.1f} s; {statuses}"
        )
        return "\n".join(lines)


class Run:
    """Conversations under way on a gateway with `workers` processes. For the main thread: Postgres dies with it."""

    def __init__(self, server: PostgresServer, folder: Path, *, workers: int) -> None:
        self._server = server
        self._orders_folder = folder / "orders"
        self._orders_folder.mkdir()
        self._orders = Orders(self._orders_folder)
        self._workers = workers
        self._engine = EngineProcess()
        self._gateway = MarkedGateway(folder, server.url("postgres"), orders=self._orders_folder, workers=workers)
        self._gateway.apply_text(
            f"kind: Provider\nname: engine\nspec: {{kind: vllm, urls: ['http://127.0.0.1:{self._engine.port}'], "
            f"health_interval_s: 0.2}}\n---\nkind: Model\nname: {MODEL}\nspec: {{provider: engine}}\n"
        )
        self._kills: Counter[tuple[Point, Victim]] = Counter()
        self._tally = Tally()
        self._conversations: list[Conversation] = []
        self._over = threading.Event()

    def carry_out(self, plan: Sequence[tuple[Point, Victim]], *, clients: int, unkeyed: int, turns: int) -> Outcome:
        """Hold `clients` conversations, `unkeyed` of them without keys, until the whole plan is done and `turns` turns
        are acknowledged; then let them end and compare. Raises `AssertionError` for a point that is not reached.
        """
        began_s = time.monotonic()
        with self._running(clients, unkeyed) as talking:
            for number, (point, victim) in enumerate(plan):
                self._kill(number, point, victim, talking)
                self._until(self._tally.acknowledged + BETWEEN_KILLS, talking)
            self._until(turns, talking)
            self._over.set()
            talking.result()
            sent = [turn for conversation in self._conversations for turn in conversation.turns]
            faults = self._settled(sent)
        return Outcome(
            turns=self._tally.acknowledged,
            given_up=sum(not turn.keyed and not turn.acknowledged for turn in sent),
            retries=self._tally.retries,
            left=self._tally.left,
            asked_again=self._tally.asked_again,
            kills=dict(self._kills),
            statuses=self._tally.statuses,
            seconds=time.monotonic() - began_s,
            faults=faults,
        )

    @contextmanager
    def _running(self, clients: int, unkeyed: int) -> Iterator[Future[None]]:
        try:
            self._engine.start()
            self._gateway.start()
            with ThreadPoolExecutor(1) as thread:
                try:
                    yield thread.submit(lambda: asyncio.run(self._converse(clients, unkeyed)))
                finally:
                    self._over.set()
        finally:
            self._gateway.kill()
            self._engine.stop()

    async def _converse(self, clients: int, unkeyed: int) -> None:
        limits = httpx.Limits(max_connections=clients * 2)
        async with httpx.AsyncClient(
            base_url=self._gateway.base_url, timeout=20, trust_env=False, limits=limits
        ) as client:
            self._conversations = [
                Conversation(number, client, self._gateway.key, self._tally, keyed=number >= unkeyed)
                for number in range(clients)
            ]
            async with asyncio.TaskGroup() as group:
                for conversation in self._conversations:
                    group.create_task(conversation.run(lambda: not self._over.is_set()))

    def _until(self, acknowledged: int, talking: Future[None]) -> None:
        """Wait until so many turns are acknowledged."""
        deadline_s = time.monotonic() + GOES_ON_WITHIN_S
        while self._tally.acknowledged < acknowledged and not talking.done():
            assert time.monotonic() < deadline_s, f"no turn is acknowledged any more: {self._tally}"
            time.sleep(0.005)

    def _kill(self, number: int, point: Point, victim: Victim, talking: Future[None]) -> None:
        pids: tuple[int, ...] = ()
        match victim:
            case Victim.GATEWAY:
                pass
            case Victim.POSTGRES:
                pids = (self._postmaster(),)
            case Victim.ENGINE:
                pids = (self._engine.pid,)
        order = Order(number=number, point=point, victim=victim, pids=pids)
        self._orders.give(order)
        deadline_s = time.monotonic() + TAKEN_WITHIN_S
        while not self._orders.taken(order):
            if talking.done():
                talking.result()
            assert time.monotonic() < deadline_s, f"no turn comes to the point {point.value}: {self._tally}"
            time.sleep(0.005)
        self._kills[point, victim] += 1
        match victim:
            case Victim.GATEWAY:
                self._restart_gateway()
            case Victim.POSTGRES:
                self._server.restart()
            case Victim.ENGINE:
                self._engine.start()

    def _postmaster(self) -> int:
        recorded = msgspec.json.decode((self._server.embedded.root / "server.json").read_bytes())
        return int(recorded["process"]["pid"])

    def _restart_gateway(self) -> None:
        """With several workers their supervisor does it."""
        if self._workers == 1:
            self._gateway.start()
        else:
            time.sleep(0.5)
            while not self._gateway.ready:
                time.sleep(0.05)

    def _settled(self, sent: Sequence[SentTurn]) -> list[Fault]:
        deadline_s = time.monotonic() + SETTLED_WITHIN_S
        while True:
            faults = check(sent, asyncio.run(read_stored(self._gateway.settings)))
            if not faults or time.monotonic() > deadline_s:
                return faults
            time.sleep(0.3)


__all__ = ["Outcome", "Run"]
