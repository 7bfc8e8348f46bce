"""`bedplate serve` whose processes kill something at the marked points of a turn when there is an order for it.

    ORDERS=folder python -m tests.faults.session_suite.marked_gateway

Each line on its standard input starts the gateway, once the one before is dead; the end of the input kills it. All
that a gateway imports is imported before the first line, so that starting one again takes half a second.

The product has no hooks for this: the places are wrapped from outside, in every worker process. A place that is no
longer there ends the process at its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from bedplate_core.events import Batch, Finish
from bedplate_gateway import asgi
from bedplate_gateway.cli.main import main as bedplate
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.records.recorder import Recorder
from bedplate_gateway.web.call_response import CallResponse
from bedplate_sessions.turn import Turn
from bedplate_store.database import Database
from tests.faults.session_suite.points import Orders, Point, Victim, carry_out

ORDERS_VARIABLE = "ORDERS"
MIDDLE = 4
"""The batch that counts as the middle of an answer."""

COMMIT_S = 0.002
"""A commit takes about that long: within it Postgres dies while it commits."""

WORKER_STARTS_WITHIN_S = 60
"""On a busy machine a worker's imports take longer than the five seconds after which it would be killed."""

_ending: contextvars.ContextVar[bool] = contextvars.ContextVar("ending", default=False)


def application() -> Any:
    """The product's own application, marked."""
    mark(Orders(Path(os.environ[ORDERS_VARIABLE])))
    return asgi.application()


PLACES: tuple[tuple[type, str], ...] = (
    (Recorder, "admit"),
    (Turn, "begin"),
    (Turn, "ending"),
    (Answer, "first_event"),
    (Answer, "__anext__"),
    (CallResponse, "__call__"),
    (Database, "_commit"),
)


def require_places() -> None:
    """Raise `AttributeError` for a place that is gone."""
    for owner, name in PLACES:
        if name not in owner.__dict__:
            raise AttributeError(f"{owner.__name__}.{name} is a marked point of this suite: say where it is now")


def mark(orders: Orders) -> None:
    """Wrap the places."""
    require_places()

    def reached(point: Point) -> None:
        order = orders.take(point)
        if order is not None:
            carry_out(order)

    _after(Recorder, "admit", lambda *_: reached(Point.ADMITTED))
    _after_await(Turn, "begin", lambda *_: reached(Point.INPUT_STORED))
    _after(Answer, "first_event", lambda *_: reached(Point.FIRST_EVENT))
    _after_await(CallResponse, "__call__", lambda *_: reached(Point.SENT))

    def ends(*_: Any) -> None:
        _ending.set(True)
        reached(Point.BEFORE_END)

    _after(Turn, "ending", ends)

    batches: dict[int, int] = {}

    def came(answer: Answer, batch: Batch) -> None:
        if type(batch[-1]) is Finish:
            batches.pop(id(answer), None)
            reached(Point.AFTER_END)
            return
        batches[id(answer)] = batches.get(id(answer), 0) + 1
        if batches[id(answer)] == MIDDLE:
            reached(Point.MIDSTREAM)

    _after_await(Answer, "__anext__", came)
    _mark_commit(orders)


def _after(owner: type, name: str, then: Callable[[Any, Any], None]) -> None:
    original = owner.__dict__[name]

    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        then(self, result)
        return result

    setattr(owner, name, wrapped)


def _after_await(owner: type, name: str, then: Callable[[Any, Any], None]) -> None:
    original = owner.__dict__[name]

    async def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        result = await original(self, *arguments, **named)
        then(self, result)
        return result

    setattr(owner, name, wrapped)


def _mark_commit(orders: Orders) -> None:
    """Kill while the commit of a turn's end is on its way, at a moment that differs from time to time."""
    original = Database.__dict__["_commit"]

    async def wrapped(self: Any, connection: Any) -> None:
        order = orders.take(Point.COMMITTING) if _ending.get() else None
        if order is None:
            await original(self, connection)
            return
        if order.victim is Victim.ENGINE:
            raise ValueError("the engine has nothing to do with a commit")
        under_way = asyncio.ensure_future(original(self, connection))
        await asyncio.sleep(random.uniform(0, COMMIT_S))
        carry_out(order)
        await under_way

    Database._commit = wrapped  # type: ignore[method-assign]  # the one place that is wrapped around


def serve() -> None:
    """The product's command, with the marked application in place of its own. Does not return."""
    run = uvicorn.run

    def run_marked(app: str, **options: Any) -> None:
        if app != "bedplate_gateway.asgi:application":
            raise ValueError(f"the gateway serves another application now: {app}")
        options.setdefault("timeout_worker_healthcheck", WORKER_STARTS_WITHIN_S)
        run("tests.faults.session_suite.marked_gateway:application", **options)

    uvicorn.run = run_marked
    os.setsid()
    sys.argv = ["bedplate", "serve"]
    try:
        bedplate()
    finally:
        os._exit(1)  # what the parent has set up is not the child's to clean up


def main() -> None:
    """Start a gateway for each line."""
    require_places()
    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            serve()
    if child:
        for group in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                group(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()

__all__ = ["ORDERS_VARIABLE", "application", "main", "mark", "require_places", "serve"]
