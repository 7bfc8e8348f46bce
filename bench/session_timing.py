"""The gateway with a clock around the steps of a turn, for `bench.sessions`: uvicorn's factory `application`.

Writes the sums when the process ends. The places are wrapped from outside; one that is gone ends the process at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from bedplate_gateway import asgi
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.engine import Engine
from bedplate_sessions.keys.cipher import DataKeyCipher
from bedplate_sessions.store import Sessions
from bedplate_sessions.turn import Turn
from bedplate_store.locks import HeldLock, KeyedLocks

TIMES_VARIABLE = "BENCH_TIMES"


class Spent(msgspec.Struct):
    """How often a step was done, and the seconds in it altogether."""

    count: int = 0
    seconds: float = 0.0


STEPS: dict[str, tuple[type, str]] = {
    "the whole call": (Engine, "generate"),
    "lock": (KeyedLocks, "acquire"),
    "load": (Sessions, "_past"),
    "begin commit": (Turn, "begin"),
    "model's first event": (Engine, "_first_event"),
    "end commit": (Answer, "_commit"),
    "unlock": (HeldLock, "release"),
}
"""Each a coroutine; `load` holds the decryption."""


def application() -> Any:
    """The product's application, with clocks."""
    spent: dict[str, Spent] = {name: Spent() for name in (*STEPS, "decrypt")}
    for name, (owner, attribute) in STEPS.items():
        setattr(owner, attribute, _clocked(owner.__dict__[attribute], spent[name]))
    DataKeyCipher.open = _clocked_call(DataKeyCipher.__dict__["open"], spent["decrypt"])  # type: ignore[method-assign]
    gateway = asgi.application()
    path = Path(os.environ[TIMES_VARIABLE])

    async def clocked(scope: Scope, receive: Receive, send: Send) -> None:
        await gateway(scope, receive, send)
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]  # servers send it to the outermost app
            path.write_bytes(msgspec.json.encode(spent))  # noqa: ASYNC240 - nothing else runs any more

    return clocked


def _clocked(step: Callable[..., Any], spent: Spent) -> Callable[..., Any]:
    async def clocked(*arguments: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return await step(*arguments, **named)
        finally:
            spent.count += 1
            spent.seconds += time.perf_counter() - began_s

    return clocked


def _clocked_call(step: Callable[..., Any], spent: Spent) -> Callable[..., Any]:
    def clocked(*arguments: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return step(*arguments, **named)
        finally:
            spent.count += 1
            spent.seconds += time.perf_counter() - began_s

    return clocked


__all__ = ["TIMES_VARIABLE", "Spent", "application"]
