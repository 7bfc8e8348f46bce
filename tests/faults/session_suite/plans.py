"""What is killed where."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.faults.session_suite.points import Point, Victim

GATEWAY_POINTS = tuple(point for point in Point if point is not Point.COMMITTING)
"""A gateway that dies while Postgres commits is one that dies before the end or after it."""

POSTGRES_POINTS = (
    Point.ADMITTED,
    Point.INPUT_STORED,
    Point.MIDSTREAM,
    Point.BEFORE_END,
    Point.COMMITTING,
    Point.AFTER_END,
)
ENGINE_POINTS = (Point.INPUT_STORED, Point.FIRST_EVENT, Point.MIDSTREAM)
"""Before and behind them no turn waits for the engine."""

EVERY = (
    *((point, Victim.GATEWAY) for point in GATEWAY_POINTS),
    *((point, Victim.POSTGRES) for point in POSTGRES_POINTS),
    *((point, Victim.ENGINE) for point in ENGINE_POINTS),
)


def long_plan(times: int, seed: int) -> Sequence[tuple[Point, Victim]]:
    """Everything `times` times, in random order."""
    plan = [*EVERY] * times
    random.Random(seed).shuffle(plan)
    return plan


__all__ = ["ENGINE_POINTS", "EVERY", "GATEWAY_POINTS", "POSTGRES_POINTS", "long_plan"]
