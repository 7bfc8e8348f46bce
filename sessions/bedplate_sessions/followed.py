"""An answer whose last event waits until what it said is durable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from bedplate_core.events import Batch, EventStream, Finish
from bedplate_core.response import Fold
from bedplate_store.shield import uninterrupted


class Followed:
    """The events of `events`, with `Finish` held back until `store` has returned.

    `store` gets the whole answer and runs to its end whatever a cancellation wants meanwhile; when it raises, its
    error takes the place of `Finish`. After an error, or when closed before the end, nothing is stored. `close` is
    called when the stream raises and when it is closed; it is idempotent.
    """

    def __init__(
        self,
        events: EventStream,
        *,
        store: Callable[[Fold], Coroutine[Any, Any, None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._events = events
        self._store = store
        self._close = close
        self._fold = Fold()
        self._finish: Finish | None = None
        self._ended = False

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._finish is None:
                batch = await anext(self._events)
                for event in batch:
                    self._fold.add(event)
                last = batch[-1]
                if not isinstance(last, Finish):
                    return batch
                self._finish = last
                if len(batch) > 1:
                    return batch[:-1]
            self._ended = True
            await uninterrupted(self._store(self._fold))
            return (self._finish,)
        except BaseException:
            self._ended = True
            await self._close()
            raise

    async def aclose(self) -> None:
        """Close the answer and let go of what `close` releases. Idempotent."""
        self._ended = True
        try:
            await self._events.aclose()
        finally:
            await self._close()


__all__ = ["Followed"]
