"""What a body family is to InvokeModel: the vendor's own JSON, without AWS around it.

OpenAI's dialect frames its streams as server-sent events; AWS frames the same JSON documents in its event stream.
`ServerSentNative` takes them out of the one framing, so that the dialect has one encoder.
"""

from __future__ import annotations

from typing import Final, Protocol

from bedplate_core.embeddings import Embeddings
from bedplate_core.events import Batch, Finish
from bedplate_core.requests import EmbedRequest, Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import Exchange, StreamEncoder

_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
"""OpenAI's end mark, which is no JSON; on AWS the stream's own end says it."""


class NativeStream(Protocol):
    """Turns one answer's batches into the vendor's JSON documents. Holds the state of one stream."""

    def payloads(self, batch: Batch) -> list[bytes]:
        """The JSON documents (objects) for one batch, in order; those for `Finish` are the last of the stream."""
        ...

    def close(self) -> list[bytes]:
        """What closes that which is open, when the stream breaks off. `payloads` is not called afterwards."""
        ...


class Native(Protocol):
    """One decoded body of a family that generates, and its answer in the vendor's JSON."""

    @property
    def request(self) -> Request:
        """The canonical request."""
        ...

    def whole(self, response: Response) -> bytes:
        """The JSON object of the whole answer."""
        ...

    def events(self) -> NativeStream:
        """A fresh encoder for the streamed answer."""
        ...


class NativeEmbedding(Protocol):
    """One decoded body of a family that embeds, and its answer in the vendor's JSON."""

    @property
    def request(self) -> EmbedRequest:
        """The canonical request."""
        ...

    def whole(self, embeddings: Embeddings) -> bytes:
        """The JSON object of the answer. Raises `UpstreamProtocolError` for vectors that cannot be said."""
        ...


class ServerSentNative:
    """A dialect's exchange as a family."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def request(self) -> Request:
        """See `Native.request`."""
        return self._exchange.request

    def whole(self, response: Response) -> bytes:
        """See `Native.whole`."""
        return self._exchange.reply(response).body

    def events(self) -> NativeStream:
        """See `Native.events`."""
        return ServerSentStream(self._exchange.stream())


class ServerSentStream:
    """The JSON documents of an encoder that writes server-sent events; see `NativeStream`."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder

    def payloads(self, batch: Batch) -> list[bytes]:
        """See `NativeStream.payloads`."""
        frames = self._encoder.encode(batch)
        if type(batch[-1]) is Finish:
            frames += self._encoder.end()
        return server_sent_payloads(frames)

    def close(self) -> list[bytes]:
        """Nothing: OpenAI's chunks open nothing that has an end."""
        return []


def server_sent_payloads(frames: bytes) -> list[bytes]:
    """The JSON documents of whole server-sent events, in order, without OpenAI's end mark.

    Encoders write each document on one line, since JSON escapes line feeds: a line that begins with `data: ` is one
    document, and every other line (event names, comments) is framing.
    """
    return [
        line[len(_DATA) :] for line in frames.split(b"\n") if line.startswith(_DATA) and line[len(_DATA) :] != _DONE
    ]


__all__ = ["Native", "NativeEmbedding", "NativeStream", "ServerSentNative", "ServerSentStream", "server_sent_payloads"]
