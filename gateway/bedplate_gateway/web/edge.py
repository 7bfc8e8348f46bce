"""What is true of bytes: a request id and an identity for every request, before any route is looked at.

Authentication is on for every path that is not on `PUBLIC_PATHS`, whether a route has it or not. Header names that the
gateway itself uses towards upstreams need no stripping: no header of a client is ever forwarded.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from bedplate_core.errors import GatewayError, StoreUnavailable
from bedplate_core.ids import CallId, new_call_id
from bedplate_gateway.access.credentials import authenticate
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.dialects.base import ErrorRenderer, WireReply
from bedplate_gateway.records.metrics import Metrics

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
        catalogue: Catalogue,
        keyring: Keyring,
        error_reply: ErrorRenderer,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._catalogue = catalogue
        self._keyring = keyring
        self._error_reply = error_reply
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
        path = scope["path"]
        if path not in PUBLIC_PATHS:
            try:
                state[PRINCIPAL] = self._principal(scope)
            except GatewayError as error:
                self._metrics.rejected.labels(error.code).inc()
                await send_reply(send, self._rejection(error, path), call_id)
                return
        await self._app(scope, receive, _with_request_id(send, call_id))

    def _principal(self, scope: Scope) -> Principal:
        if not self._catalogue.loaded:
            raise StoreUnavailable("the gateway is starting and cannot check keys yet", retry_after_s=1)
        return authenticate(scope["headers"], self._catalogue.snapshot.keys, self._keyring)

    def _rejection(self, error: GatewayError, path: str) -> WireReply:
        reply = self._error_reply(error)
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


def header_of(scope: Scope, name: str) -> str | None:
    """The value of a request's header (the first, if it came twice), or None. `name` is in lower case."""
    wanted = name.encode("latin-1")
    for found, value in scope["headers"]:
        if found == wanted:
            return value.decode("latin-1")
    return None


async def send_reply(send: Send, reply: WireReply, call_id: str) -> None:
    """Send a whole answer."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers += [(b"content-length", str(len(reply.body)).encode()), (b"x-request-id", call_id.encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _with_request_id(send: Send, call_id: str) -> Send:
    """`send` that adds the request id to answers that do not have it."""

    def send_with_id(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if not any(name == b"x-request-id" for name, _ in headers):
                headers.append((b"x-request-id", call_id.encode()))
                message["headers"] = headers
        return send(message)

    return send_with_id


__all__ = ["PUBLIC_PATHS", "Edge", "call_id_of", "header_of", "principal_of", "send_reply", "started_s_of"]
