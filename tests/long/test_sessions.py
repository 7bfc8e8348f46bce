"""A thousand turns and more than a hundred kills at marked points; prints what was killed where.

python -m pytest tests/long/test_sessions.py -m long -s
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.session_suite.marked_run import Run
from tests.faults.session_suite.plans import EVERY, long_plan
from tests.fixtures.postgres import PostgresServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

TIMES = {1: 5, 2: 2}
TURNS = {1: 700, 2: 300}
"""For one and for two gateway processes: how often everything is killed everywhere, and how many turns at least."""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_turns_and_a_hundred_kills(own_server: PostgresServer, tmp_path: Path, workers: int) -> None:
    plan = long_plan(TIMES[workers], seed=workers)
    outcome = Run(own_server, tmp_path, workers=workers).carry_out(plan, clients=12, unkeyed=3, turns=TURNS[workers])
    print(f"\n{workers} gateway processes\n{outcome.table()}")
    assert outcome.faults == [], "\n".join(map(str, outcome.faults))
    assert set(outcome.kills) == set(EVERY)
    assert sum(outcome.kills.values()) == len(plan)
    assert outcome.turns >= TURNS[workers]


def test_the_two_runs_are_as_long_as_they_promise() -> None:
    assert len(EVERY) * sum(TIMES.values()) >= 100
    assert sum(TURNS.values()) >= 1000
