"""What a dialect is to the rest of the gateway.

A dialect is pure: bytes in, values out, and back. It knows no provider, no guardrail and no HTTP framework,
so the same guarded, remembered and recorded events reach every client whichever SDK it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.events import Batch
from bedplate_core.requests import Request
from bedplate_core.response import Response


class WireReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole HTTP answer: status, headers (lower-case names) and body bytes."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class StreamEncoder(Protocol):
    """Turns one answer's batches into bytes. Holds the state of one stream; not shared.

    An encoder closes what it opened. The bytes of any prefix of calls are complete frames.
    """

    def encode(self, batch: Batch) -> bytes:
        """The frames for one batch, in one piece; empty when the batch means nothing to this wire."""
        ...

    def end(self) -> bytes:
        """What follows the frames of `Finish`: the wire's end mark, or nothing."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """The frames that end a stream in failure after its first byte has left. `end` is not called then."""
        ...

    def keep_alive(self) -> bytes:
        """A frame that clients ignore, sent while the upstream is silent; empty where the wire has none."""
        ...


class Exchange(Protocol):
    """One decoded request with what its answer needs to know of it (such as whether usage was asked for)."""

    @property
    def request(self) -> Request:
        """The canonical request."""
        ...

    @property
    def stream_media_type(self) -> str:
        """The content type of a streamed answer."""
        ...

    def reply(self, response: Response) -> WireReply:
        """The whole answer, when it is not streamed."""
        ...

    def stream(self) -> StreamEncoder:
        """A fresh encoder for the streamed answer."""
        ...


class ErrorRenderer(Protocol):
    """How a dialect says that something went wrong before an answer began."""

    def __call__(self, error: GatewayError) -> WireReply: ...


__all__ = ["ErrorRenderer", "Exchange", "StreamEncoder", "WireReply"]
