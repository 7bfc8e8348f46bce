"""Durable conversations while the gateway, Postgres and the engine are killed at marked points of a turn.

The long version is `tests/long/test_sessions.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bedplate_migrations.runner import upgrade
from tests.faults.session_suite.marked_run import Run
from tests.faults.session_suite.plans import EVERY
from tests.faults.session_suite.points import Point, Victim
from tests.fixtures.postgres import PostgresServer, start_server

TWO_PROCESSES = tuple((point, Victim.GATEWAY) for point in (Point.INPUT_STORED, Point.BEFORE_END, Point.AFTER_END))
"""Of two processes one goes on while the other is dead; the long version kills everything there as well."""


@pytest.fixture
def killed_server() -> Iterator[PostgresServer]:
    """A server to kill. What it wrote before SIGKILL is with the kernel, whether it was synced to the disk or not."""
    with tempfile.TemporaryDirectory(prefix="bedplate-tests-") as folder:
        Path(folder).chmod(0o755)
        server = start_server(Path(folder) / "postgres", {"fsync": "off", "full_page_writes": "off"})
        try:
            upgrade(server.url("postgres"))
            yield server
        finally:
            server.embedded.destroy()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("workers", "plan", "turns"), [(1, EVERY, 50), (2, TWO_PROCESSES, 20)], ids=["one-process", "two-processes"]
)
def test_acknowledged_turns_are_there_once_and_in_order_whatever_is_killed(
    killed_server: PostgresServer, tmp_path: Path, workers: int, plan: Sequence[tuple[Point, Victim]], turns: int
) -> None:
    run = Run(killed_server, tmp_path, workers=workers)
    outcome = run.carry_out(plan, clients=8, unkeyed=2, turns=turns)
    print(outcome.table())
    assert outcome.faults == [], "\n".join(map(str, outcome.faults))
    assert sum(outcome.kills.values()) == len(plan)
    assert outcome.asked_again
