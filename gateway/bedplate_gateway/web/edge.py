"""What is true of bytes: a request id, a dialect and an identity for every request, before any route is looked at.

Authentication is on for every path that is not on `PUBLIC_PATHS`, whether a route has it or not. Header names that the
gateway itself uses towards upstreams need no stripping: no header of a client is ever forwarded.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from bedplate_core.errors import GatewayError
from bedplate_core.ids import CallId, new_call_id
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.web.authentication import Authentication
from bedplate_gateway.web.dialect_of import BEDROCK, Dialect, dialect_of, path_by_segments
from bedplate_gateway.web.request_body import ClientLeft

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
"""Every path that needs no principal. Compared with the decoded path, whole; nothing matches by prefix."""

_BROWSER_PATHS = ("/docs", "/openapi.json")

CALL_ID = "bedplate.call_id"
PRINCIPAL = "bedplate.principal"
STARTED_S = "bedplate.started_s"


class Edge:
    """The outermost ASGI application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authentication: Authentication,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event. Websockets are refused: no route has one."""
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]  # servers send it to the outermost app
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "not supported"})
            return
        call_id = new_call_id()
        state = cast("dict[str, object]", scope)
        state[STARTED_S] = self._clock()
        state[CALL_ID] = call_id
        dialect = dialect_of(scope["path"], scope["headers"])
        if dialect is BEDROCK:
            # Before anything is decided by the path: what is checked here is what is routed.
            scope["path"] = path_by_segments(scope["raw_path"])
        send = _with_request_id(send, call_id, dialect.request_id_header)
        if scope["path"] not in PUBLIC_PATHS:
            try:
                found = self._authentication.credential(scope)
                if type(found) is not Principal:
                    found, receive = await self._authentication.verified(scope, receive, found)
                state[PRINCIPAL] = found
            except GatewayError as error:
                self._metrics.rejected.labels(error.code).inc()
                await send_reply(send, _rejection(error, scope["path"], dialect), call_id)
                return
            except ClientLeft:
                return
        await self._app(scope, receive, send)


def _rejection(error: GatewayError, path: str, dialect: Dialect) -> WireReply:
    reply = dialect.error_reply(error)
    if error.status == 401 and path.startswith(_BROWSER_PATHS):
        headers = {**reply.headers, "www-authenticate": 'Basic realm="Bedplate: any name, API key as password"'}
        return WireReply(status=reply.status, body=reply.body, headers=headers)
    return reply


def principal_of(scope: Scope) -> Principal:
    """The principal of a request that passed the edge. A public route has none and must not ask."""
    return cast("Principal", cast("dict[str, object]", scope)[PRINCIPAL])


def call_id_of(scope: Scope) -> CallId:
    """The id that the edge gave this request."""
    return cast("CallId", cast("dict[str, object]", scope)[CALL_ID])


def started_s_of(scope: Scope) -> float:
    """`time.perf_counter()` when this request's headers had arrived."""
    return cast("float", cast("dict[str, object]", scope)[STARTED_S])


async def send_reply(send: Send, reply: WireReply, call_id: str) -> None:
    """Send a whole answer."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers += [(b"content-length", str(len(reply.body)).encode()), (b"x-request-id", call_id.encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _with_request_id(send: Send, call_id: str, dialect_header: bytes | None) -> Send:
    """`send` that adds the request id to answers that do not have it, also under the dialect's own name."""
    value = call_id.encode()

    def send_with_id(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if (b"x-request-id", value) not in headers:
                headers.append((b"x-request-id", value))
            if dialect_header is not None:
                headers.append((dialect_header, value))
            message["headers"] = headers
        return send(message)

    return send_with_id


__all__ = ["PUBLIC_PATHS", "Edge", "call_id_of", "principal_of", "send_reply", "started_s_of"]
