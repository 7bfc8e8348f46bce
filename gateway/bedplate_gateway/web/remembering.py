"""Decoding a call that may be a turn of a conversation."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.requests import Request
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Memory
from bedplate_gateway.web.calls import decoded
from bedplate_gateway.web.incoming import SESSION_HEADER, Incoming
from bedplate_gateway.web.services import Services
from bedplate_gateway.web.session_choice import SESSION_FIELD, choice_of_field, choice_of_header

_MENTIONED = f'"{SESSION_FIELD}"'.encode()


class Holds(Protocol):
    """A decoded request of any dialect; a frozen struct."""

    @property
    def request(self) -> Request: ...


E = TypeVar("E", bound=Holds)
E_co = TypeVar("E_co", bound=Holds, covariant=True)


class DecodeTurn(Protocol[E_co]):
    """Turns a body into an exchange; `continues` says that its messages go on from a stored conversation.

    Raises `GatewayError`.
    """

    def __call__(self, body: bytes, /, *, continues: bool) -> E_co: ...


async def decoded_turn(
    services: Services, call: Call, decode: DecodeTurn[E], incoming: Incoming
) -> tuple[E, Memory | None]:
    """The decoded body, and the conversation that the header or the body's field names; None where neither does.

    What cannot be decoded is on record when this raises.
    """

    project = call.principal.project

    def both(body: bytes) -> tuple[E, Memory | None]:
        header = incoming.session
        if header is not None:
            memory = choice_of_header(header).memory(services, project)
            exchange = decode(body, continues=True)
            if SESSION_FIELD in exchange.request.extensions:
                raise InvalidRequest(
                    f"{SESSION_FIELD}: the header {SESSION_HEADER} names the session already", param=SESSION_FIELD
                )
            return exchange, memory
        if _MENTIONED not in body:
            return decode(body, continues=False), None
        exchange = decode(body, continues=True)
        extensions = dict(exchange.request.extensions)
        if SESSION_FIELD not in extensions:
            return decode(body, continues=False), None  # the word stands elsewhere
        memory = choice_of_field(extensions.pop(SESSION_FIELD)).memory(services, project)
        request = msgspec.structs.replace(exchange.request, extensions=extensions)
        return _with_request(exchange, request), memory

    return await decoded(services, call, both, incoming.body)


def _with_request(exchange: E, request: Request) -> E:
    return msgspec.structs.replace(exchange, request=request)  # type: ignore[type-var]  # every exchange is a struct


__all__ = ["DecodeTurn", "decoded_turn"]
