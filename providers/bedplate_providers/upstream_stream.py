"""A generation over HTTP, whatever its wire: the phases of a call and what bounds them.

An upstream kind gives three things of its own: how a request is spelt (`Render`), how bytes are cut into
payloads (`Framing`: server-sent events, event-stream frames), and what payloads mean (`EventReader`). Time-outs,
the release of the socket, and which failure is which error are here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Batch, Event
from bedplate_providers.base import Timeouts
from bedplate_providers.http import HttpPool
from bedplate_providers.http_connection import HttpError, HttpExchange
from bedplate_providers.sse import EventTooLarge
from bedplate_providers.upstream_errors import ReplicaUnreachable, from_http, not_protocol

ERROR_BODY_BYTES = 64 * 1024
PROBE_S = 3.0
"""How long the body of a refusal, and the answer to a health check, may take."""

Payload = TypeVar("Payload")
PayloadIn = TypeVar("PayloadIn", contravariant=True)
PayloadOut = TypeVar("PayloadOut", covariant=True)


class Reach:
    """What the last call met: whether the upstream could be reached, in a word for operators."""

    __slots__ = ("detail", "ok")

    def __init__(self) -> None:
        self.ok = True
        self.detail = "not called yet"

    def answered(self) -> None:
        """An answer of whatever status has begun to come."""
        self.ok = True
        self.detail = "well"

    def failed(self, error: GatewayError) -> None:
        """A call failed on the way; only one that says the upstream is not well counts."""
        if isinstance(error, ReplicaUnreachable):
            self.ok = False
            self.detail = error.message


class WireCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request as bytes. `path` goes behind the origin's prefix; `headers` are beside the credential's."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


Render = Callable[[], WireCall]
"""Spells the call when it is about to be sent (a signature may carry the time). Raises `GatewayError` for
what the upstream cannot do; that error is the stream's.
"""

Refusal = Callable[[int, bytes, Mapping[str, str]], GatewayError]
"""The error for an answer whose status is not 200: status, body (anything, perhaps empty or cut), headers
by their names in lower case.
"""


class Framing(Protocol[PayloadOut]):
    """Cuts one stream of bytes into payloads. How the bytes come in pieces makes no difference."""

    @property
    def too_large(self) -> bool:
        """Set once it is known that nothing further can come of the stream; `feed` then raises."""
        ...

    def feed(self, chunk: bytes, /) -> Sequence[PayloadOut]:
        """The payloads that `chunk` completes, in order.

        Raises `EventTooLarge` for one over the limit and any other `ValueError` for bytes that are not the
        format. Payloads that are whole before such a place are returned first and the next call raises.
        """
        ...


class EventReader(Protocol[PayloadIn]):
    """Turns the payloads of one call into events."""

    started: bool
    """Whether `Start` was among the events."""
    done: bool
    """Whether `Finish` was."""
    failure: GatewayError | None
    """What is wrong with the stream; set instead of raised, so that the events before it are delivered."""

    def read(self, payloads: Sequence[PayloadIn], /) -> list[Event]:
        """The events that `payloads` make, perhaps none. Never raises. Once `done`, nothing further is read."""
        ...

    def end(self) -> GatewayError:
        """The error for a body that ended although `done` is not set."""
        ...


class UpstreamStream(Generic[Payload]):
    """One generation; see `ProviderStream`.

    Phases and what bounds them: connecting (`connect_s`), waiting for the first event (`first_event_s` from
    the request sent), between events (`idle_s`; bytes that complete no event do not count), and the whole
    (`total_s`). Nothing is rendered or sent before the first `__anext__`.
    """

    __slots__ = (
        "_closed", "_content_type", "_exchange", "_framing", "_pool", "_reach", "_reader", "_refusal",
        "_render", "_timeouts", "_total_s", "replica",
    )  # fmt: skip

    def __init__(
        self,
        pool: HttpPool,
        timeouts: Timeouts,
        render: Render,
        reader: EventReader[Payload],
        framing: Framing[Payload],
        refusal: Refusal,
        reach: Reach,
        *,
        replica: str | None = None,
        content_type: str = "text/event-stream",
    ) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._render = render
        self._reader = reader
        self._framing = framing
        self._refusal = refusal
        self._reach = reach
        self._content_type = content_type
        self._exchange: HttpExchange | None = None
        self._total_s = 0.0
        self._closed = False
        self.replica = replica

    def __aiter__(self) -> UpstreamStream[Payload]:
        return self

    async def __anext__(self) -> Batch:
        if self._closed:
            raise StopAsyncIteration
        try:
            exchange = self._exchange
            if exchange is None:
                exchange = await self._begin()
            else:
                exchange.deadline_s = min(exchange.now_s() + self._timeouts.idle_s, self._total_s)
            while True:
                batch = self._read(exchange, await exchange.chunk() if self._more else b"")
                if batch:
                    return batch
        except HttpError as error:
            if self._closed:
                raise StopAsyncIteration from None
            self._release()
            failure = from_http(error, started=self._reader.started)
            self._reach.failed(failure)
            raise failure from error
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        """Close the upstream's socket unless the answer came whole; see `EventStream.aclose`."""
        self._release()

    def _release(self) -> None:
        self._closed = True
        if self._exchange is not None:
            self._exchange.abort()

    @property
    def _more(self) -> bool:
        """Whether anything may still come of the body. Raises what is known to be wrong with the stream."""
        if self._reader.failure is not None:
            raise self._reader.failure
        return not self._framing.too_large

    def _read(self, exchange: HttpExchange, piece: bytes) -> list[Event]:
        """The events of one piece of the body; an empty piece is its end."""
        reader, framing = self._reader, self._framing
        try:
            payloads = framing.feed(piece)
        except EventTooLarge as error:
            raise UpstreamProtocolError("The model's upstream sent an event that is too large.") from error
        except ValueError as error:
            raise not_protocol() from error
        if not piece:
            raise reader.end()
        batch = reader.read(payloads)
        if reader.done:
            self._closed = True
            self._exchange = None
            exchange.detach()
        elif reader.failure is not None or framing.too_large:
            exchange.abort()  # what is wrong is known; nothing further is wanted
        return batch

    async def _begin(self) -> HttpExchange:
        """Send the request; return once a stream has begun to come."""
        call = self._render()
        exchange = self._pool.exchange(call.method, call.path, call.headers, call.body)
        self._exchange = exchange
        self._total_s = exchange.now_s() + self._timeouts.total_s
        await exchange.start(self._timeouts.connect_s, min(self._timeouts.first_event_s, self._timeouts.total_s))
        self._reach.answered()
        if exchange.status != 200:
            raise await refused(exchange, self._refusal)
        if not exchange.headers.get("content-type", "").startswith(self._content_type):
            raise UpstreamProtocolError("The model's upstream did not stream its answer.")
        return exchange


async def refused(exchange: HttpExchange, refusal: Refusal) -> GatewayError:
    """The error that an answer with another status than 200 is. Its body counts as empty when it does not
    come whole, within 3 s and 64 KiB.
    """
    exchange.renew_deadline(PROBE_S)
    try:
        body = await exchange.read(ERROR_BODY_BYTES)
    except HttpError:
        body = b""
    return refusal(exchange.status, body, exchange.headers)


__all__ = [
    "ERROR_BODY_BYTES",
    "PROBE_S",
    "EventReader",
    "Framing",
    "Reach",
    "Refusal",
    "Render",
    "UpstreamStream",
    "WireCall",
    "refused",
]
