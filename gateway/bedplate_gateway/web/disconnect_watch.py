"""Waiting for a client to leave, at the price of a callback and not of a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from litestar.types import Receive


class DisconnectWatch:
    """Calls `left` once when `receive` gives the server's disconnect event, unless it was stopped before.

    It begins at once. A task for every call, made and cancelled in vain, would cost more than anything else that is
    done to watch it; so `receive` is driven here as a task would drive it: it waits for a future, whose callback
    drives it on. It must not ask for the current task. What it raises ends the watch and goes to the event loop's
    exception handler.
    """

    __slots__ = ("_left", "_pending", "_receive", "_receiving")

    def __init__(self, receive: Receive, left: Callable[[], None]) -> None:
        self._receive = receive
        self._left = left
        self._receiving: Coroutine[Any, None, Any] | None = self._begin()
        self._pending: asyncio.Future[Any] | None = None
        self._step()

    def stop(self) -> None:
        """Wait no more. Idempotent."""
        receiving, self._receiving = self._receiving, None
        if self._pending is not None:
            self._pending.remove_done_callback(self._step)
            self._pending = None
        if receiving is not None:
            receiving.close()

    def _begin(self) -> Coroutine[Any, None, Any]:
        return cast("Coroutine[Any, None, Any]", self._receive())

    def _step(self, _: object = None) -> None:
        """Drive `receive` until it waits again."""
        while self._receiving is not None:
            try:
                pending = self._receiving.send(None)
            except StopIteration as ended:
                if ended.value["type"] == "http.disconnect":
                    self._receiving = None
                    self._left()
                    return
                self._receiving = self._begin()
                continue
            except BaseException:
                self._receiving = None
                raise
            if pending is None:  # it lets others run and goes on
                asyncio.get_running_loop().call_soon(self._step)
                return
            self._pending = cast("asyncio.Future[Any]", pending)
            self._pending._asyncio_future_blocking = False  # whoever drives a coroutine takes its future over so
            self._pending.add_done_callback(self._step)
            return


__all__ = ["DisconnectWatch"]
