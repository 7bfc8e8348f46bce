"""The attempts to get a first event: at the model asked for, again after a pause, then at its fallbacks in order.

Only an error whose class says that another attempt may succeed leads to one, and only before the first event; once
there is one, the answer is committed to its upstream. A policy's decision is never an error here: a blocked input
does not come this far, and an upstream's own filter or refusal is an answer. After a time-out, or when a connection
broke with the request already sent, the same route is not tried again: the time is spent, or the request itself may
be what breaks the engine. A fallback may still be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog

from bedplate_core.errors import GatewayError, UpstreamLost, UpstreamTimeout
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.committed import Committed

_log = structlog.stdlib.get_logger("bedplate.engine")

FIRST_PAUSE_S = 0.2
"""The longest pause before the second attempt at a route; each further one may be twice as long."""

LONGEST_PAUSE_S = 1.5
"""The longest pause at all. An upstream that asks for more is left to its fallbacks, or to the client's own retry."""

Attempt = Callable[[Route], Awaitable[Committed]]
"""One attempt at a route. Raising, it has released the upstream it tried."""


async def first_event(call: Call, chain: Sequence[Route], attempt: Attempt) -> Committed:
    """The first answer that begins, from the routes of `chain` (at least one) in order.

    Raises the error of the first route when none succeeds, so that the client hears about the model that it asked
    for; its `retry_after_s` is passed on. Any error that is not retryable is raised at once. Pauses never outlast the
    call's own time.
    """
    first: GatewayError | None = None
    for route in chain:
        for number in range(route.attempts):
            try:
                return await attempt(route)
            except GatewayError as error:
                if not error.retryable:
                    raise
                first = first or error
                pause_s = _pause_s(error, number)
                again = number + 1 < route.attempts and pause_s is not None and pause_s < call.left_s
                _log.warning(
                    "attempt_failed",
                    call_id=call.id,
                    model=route.name,
                    attempt=number + 1,
                    code=error.code,
                    again=again,
                )
                if not again or pause_s is None:
                    break
            await asyncio.sleep(pause_s)
        if call.overdue:
            break
    if first is None:
        raise ValueError("a chain has at least one route with at least one attempt")
    raise first


def _pause_s(error: GatewayError, number: int) -> float | None:
    """How long to wait before the next attempt at the same route; None when it makes no sense to try it again.

    Half of the pause is random, so that calls that failed together do not come back together.
    """
    if isinstance(error, UpstreamTimeout | UpstreamLost):
        return None
    longest_s = min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
    pause_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
    if error.retry_after_s is None:
        return pause_s
    return max(pause_s, error.retry_after_s) if error.retry_after_s <= LONGEST_PAUSE_S else None


__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "Attempt", "first_event"]
