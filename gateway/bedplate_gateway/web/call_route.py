"""What the routes that serve calls return."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Protocol

from litestar.types import Receive, Scope, Send

from bedplate_gateway.dialects.base import ErrorRenderer, WireReply
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.call_response import CallResponse, Streamed
from bedplate_gateway.web.calls import require_no_session
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services, services_in


class ServeCall(Protocol):
    """Decodes a request and runs the call."""

    async def __call__(
        self, services: Services, call: Call, incoming: Incoming, /
    ) -> WireReply | Streamed | RunningReply: ...


class CallRoute:
    """An ASGI application that serves every call of one operation.

    It is made once and handed to Litestar as the route's answer. The route's function takes no arguments: Litestar
    then reads no headers, cookies or query for it, which would cost more than the whole of a call's admission.
    """

    def __init__(
        self,
        *,
        dialect: str,
        operation: str,
        serve: ServeCall,
        error_reply: ErrorRenderer,
        remembers: bool = False,
    ) -> None:
        """`remembers` says that the operation generates: it can be a turn of a session, and is answered once for every
        idempotency key. Others refuse the headers that ask for either.
        """
        self._dialect = dialect
        self._operation = operation
        self._serve = serve if remembers else partial(_stateless, serve)
        self._keyed = remembers
        self._error_reply = error_reply

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve the call that `scope` begins; see `CallResponse`."""
        services = services_in(scope)
        response = CallResponse(
            scope,
            services,
            dialect=self._dialect,
            operation=self._operation,
            serve=partial(self._serve, services),
            error_reply=self._error_reply,
            keyed=self._keyed,
        )
        return response(scope, receive, send)


async def _stateless(
    serve: ServeCall, services: Services, call: Call, incoming: Incoming, /
) -> WireReply | Streamed | RunningReply:
    await require_no_session(services, call, incoming)
    return await serve(services, call, incoming)


__all__ = ["CallRoute", "ServeCall"]
