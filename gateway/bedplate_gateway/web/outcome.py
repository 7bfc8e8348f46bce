"""What serving a call comes to: a whole reply, or an answer under way with the encoder for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bedplate_core.response import collect
from bedplate_gateway.dialects.base import Exchange, StreamEncoder, WireReply
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.running_reply import RunningReply


class Streamed:
    """An answer under way with the encoder for it. `headers` (lower-case names) are sent beside the answer's own."""

    __slots__ = ("answer", "encoder", "headers", "media_type")

    def __init__(self, answer: Answer, encoder: StreamEncoder, media_type: str) -> None:
        self.answer = answer
        self.encoder = encoder
        self.media_type = media_type
        self.headers: Mapping[str, str] = {}

    @property
    def sent_headers(self) -> dict[str, str]:
        """All headers of the answer."""
        return {
            "content-type": self.media_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **self.headers,
            **self.answer.headers,
        }


class Serve(Protocol):
    """Decodes a request and runs the call: returns a whole reply, a stream, or an answer that runs by itself."""

    async def __call__(self, call: Call, incoming: Incoming, /) -> WireReply | Streamed | RunningReply: ...


async def whole_or_streamed(answer: Answer, exchange: Exchange) -> WireReply | Streamed:
    """The reply for an answer: read to its end unless the client asked for a stream. Raising, it has closed it."""
    try:
        if exchange.request.stream:
            return Streamed(answer, exchange.stream(), exchange.stream_media_type)
        response = await collect(answer)
        reply = exchange.reply(response)
    except BaseException as error:
        await answer.fail(error)
        raise
    return with_headers(reply, answer.headers)


def with_headers(reply: WireReply, headers: Mapping[str, str]) -> WireReply:
    """The reply with more headers; the request id is left to whoever sends it."""
    extra = {name: value for name, value in headers.items() if name != "x-request-id"}
    if not extra:
        return reply
    return WireReply(status=reply.status, body=reply.body, headers={**reply.headers, **extra})


__all__ = ["Serve", "Streamed", "whole_or_streamed", "with_headers"]
