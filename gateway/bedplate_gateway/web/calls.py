"""The steps that calls of every dialect share between the bytes of a request and its reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from bedplate_core.errors import GatewayError, UnsupportedFeature
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_gateway.dialects.base import Exchange, WireReply
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Memory
from bedplate_gateway.web.guardrail_choice import with_guardrail
from bedplate_gateway.web.incoming import SESSION_HEADER, Incoming
from bedplate_gateway.web.kept_answer import KeptCall, kept_whole
from bedplate_gateway.web.outcome import Streamed, whole_or_streamed
from bedplate_gateway.web.services import Services
from bedplate_gateway.web.session_choice import choice_of_header

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


async def chosen(services: Services, call: Call, choice: Callable[[], GuardrailChoice | None]) -> Call:
    """The call with what its request says about guardrails. Raises `InvalidRequest`, on record."""
    try:
        return with_guardrail(call, choice())
    except GatewayError as error:
        await services.engine.refuse(call, error)
        raise


async def generated(services: Services, call: Call, exchange: Exchange, memory: Memory | None) -> WireReply | Streamed:
    """The answer to a decoded request, whole or under way; see `Engine.generate` and `whole_or_streamed`.

    The whole answer to a call that is kept is durable when this returns.
    """
    if isinstance(call, KeptCall):
        kept = None if memory is None else call.remembering(memory)
        answer = await services.engine.generate(call, exchange.request, kept)
        if not exchange.request.stream:
            return await kept_whole(call, answer, exchange)
        return await whole_or_streamed(answer, exchange)
    return await whole_or_streamed(await services.engine.generate(call, exchange.request, memory), exchange)


async def session_memory(services: Services, call: Call, incoming: Incoming) -> Memory | None:
    """The durable conversation that the request's header names; None without it. Raising, the error is on record."""
    session = incoming.session
    if session is None:
        return None
    try:
        return choice_of_header(session).memory(services, call.principal.project)
    except GatewayError as error:
        await services.engine.refuse(call, error)
        raise


async def require_no_session(services: Services, call: Call, incoming: Incoming) -> None:
    """Raise `UnsupportedFeature`, on record, for headers of operations that generate.

    They name a session, which this operation cannot be a turn of, or an idempotency key, under which nothing is kept.
    """
    error: UnsupportedFeature | None = None
    if incoming.session is not None:
        error = UnsupportedFeature(
            f"{SESSION_HEADER}: this operation is no turn of a conversation; leave the header out", param=SESSION_HEADER
        )
    elif incoming.idempotency_key is not None:
        error = UnsupportedFeature(
            "Idempotency-Key: only operations that generate have one; this one can be sent again, leave the header out",
            param="Idempotency-Key",
        )
    if error is not None:
        await services.engine.refuse(call, error)
        raise error


__all__ = ["Decode", "chosen", "decoded", "generated", "require_no_session", "session_memory"]
