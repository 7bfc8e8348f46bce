"""The steps that calls of every dialect share between the bytes of a request and its reply."""

from __future__ import annotations

from typing import Protocol, TypeVar

from bedplate_core.errors import UnsupportedFeature
from bedplate_gateway.dialects.base import Exchange, WireReply
from bedplate_gateway.engine.answer import Call
from bedplate_gateway.engine.memory import Memory, SessionMemory
from bedplate_gateway.web.call_response import Streamed, whole_or_streamed
from bedplate_gateway.web.incoming import SESSION_HEADER, Incoming
from bedplate_gateway.web.services import Services

E = TypeVar("E", covariant=True)


class Decode(Protocol[E]):
    """Turns a body into an exchange; raises `GatewayError`."""

    def __call__(self, body: bytes, /) -> E: ...


async def decoded(services: Services, call: Call, decode: Decode[E], body: bytes) -> E:
    """The decoded body. One that cannot be decoded is on record when this raises."""
    try:
        return decode(body)
    except BaseException as error:
        await services.engine.refuse(call, error)
        raise


async def generated(services: Services, call: Call, exchange: Exchange, memory: Memory | None) -> WireReply | Streamed:
    """The answer to a decoded request, whole or under way; see `Engine.generate` and `whole_or_streamed`."""
    return await whole_or_streamed(await services.engine.generate(call, exchange.request, memory), exchange)


def session_memory(services: Services, incoming: Incoming) -> Memory | None:
    """The durable conversation that the request's header names; None without that header."""
    session = incoming.session
    if session is None:
        return None
    return SessionMemory(services.sessions, session, services.settings.session_wait_s)


async def require_no_session(services: Services, call: Call, incoming: Incoming) -> None:
    """Raise `UnsupportedFeature`, on record, when the header names a session that the operation cannot be a turn of."""
    if incoming.session is not None:
        error = UnsupportedFeature(
            f"{SESSION_HEADER}: this operation is no turn of a conversation; leave the header out", param=SESSION_HEADER
        )
        await services.engine.refuse(call, error)
        raise error


__all__ = ["Decode", "decoded", "generated", "require_no_session", "session_memory"]
