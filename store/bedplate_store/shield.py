"""Work that must run to its end even when whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end and return its result or raise its error.

    A cancellation that arrives meanwhile, from a task or from an anyio scope, is delivered once `work` has
    ended; its result, or its error, is then dropped. `work` therefore bounds its own time and does its own
    bookkeeping.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    # Two kinds of cancellation reach a task: the scope holds back anyio's, the loop outlasts asyncio's own.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # marks it as seen: it has no one left to be told to
        raise cancelled
    return task.result()


__all__ = ["uninterrupted"]
