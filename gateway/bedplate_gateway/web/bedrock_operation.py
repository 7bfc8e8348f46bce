"""What the routes of Bedrock's management operations share: one body in, one JSON body out, errors in AWS's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from litestar.connection import Request
from litestar.response import Response

from bedplate_core.errors import GatewayError
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.request_body import ClientLeft, read_body
from bedplate_gateway.web.services import services_of

AnyRequest: TypeAlias = Request[Any, Any, Any]


def error_handlers(error_reply: Callable[[GatewayError], WireReply]) -> Any:
    """The handlers that answer a service's errors by `error_reply`; a client that left is answered nothing."""

    def answer(_: AnyRequest, error: Exception) -> Response[bytes]:
        if isinstance(error, ClientLeft):
            return Response(b"", status_code=400)
        if not isinstance(error, GatewayError):
            raise error
        wire = error_reply(error)
        return Response(wire.body, status_code=wire.status, headers=dict(wire.headers))

    return {GatewayError: answer, ClientLeft: answer}


def documented(
    action: Action, error_statuses: Mapping[str, str], *, request: str | None, answer: str | None, status: int
) -> dict[str, Any]:
    """A route's options: what it needs, and its bodies by their names in the OpenAPI document less "Bedrock"."""
    body = Body(
        status=status,
        request=None if request is None else f"Bedrock{request}",
        reply=None if answer is None else f"Bedrock{answer}",
        error="BedrockExceptionBody",
        error_statuses=error_statuses,
    )
    return {ACTION: action, BODY: body}


async def body_of(request: AnyRequest) -> bytes:
    """The request's whole body; raises what `read_body` does."""
    return await read_body(request.scope, request.receive, services_of(request).settings.max_body_bytes)


def json_answer(body: bytes, status: int = 200, *, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A body that is JSON already."""
    return Response(body, status_code=status, media_type="application/json", headers=headers)


__all__ = ["AnyRequest", "body_of", "documented", "error_handlers", "json_answer"]
