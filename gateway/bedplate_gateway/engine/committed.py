"""An upstream stream that has proved itself by its first batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

from bedplate_core.errors import UpstreamProtocolError
from bedplate_core.events import Batch, EventStream


class Committed:
    """`events` with its first batch put back in front. Closing it closes `events`, read or not."""

    def __init__(self, first: Batch, events: EventStream) -> None:
        self._first: Batch | None = first
        self._events = events

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    def __anext__(self) -> Awaitable[Batch]:
        first, self._first = self._first, None
        return self._events.__anext__() if first is None else _given(first)

    def aclose(self) -> Awaitable[None]:
        self._first = None
        return self._events.aclose()


async def _given(batch: Batch) -> Batch:
    return batch


async def commit(events: EventStream) -> Committed:
    """Pull the first batch, so that an upstream's failure is still an HTTP status and not a broken stream.

    Raises what the stream raises. `events` stays the caller's to close when this raises.
    """
    try:
        first = await anext(events)
    except StopAsyncIteration:
        raise UpstreamProtocolError("the upstream ended its answer before it began") from None
    return Committed(first, events)


__all__ = ["Committed", "commit"]
