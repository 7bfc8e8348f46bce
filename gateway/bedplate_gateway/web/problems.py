"""Errors that no call response rendered: those of other routes, and the framework's own."""

from __future__ import annotations

from typing import Any, cast

import structlog
from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response

from bedplate_core.errors import GatewayError, InvalidRequest, NotFound, PayloadTooLarge
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.web.dialect_of import dialect_in

_log = structlog.stdlib.get_logger("bedplate.web")


def gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """One of ours: its message is for the client."""
    return _response(dialect_in(request.scope).error_reply(error))


def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """One of the framework's: unknown path, wrong method, a parameter that does not fit."""
    if error.status_code == 404:
        known: GatewayError = NotFound(f"there is no {request.method} {request.scope['path'][:200]}")
    elif error.status_code == 413:
        known = PayloadTooLarge("the request's body is too large")
    elif isinstance(error, ValidationException):
        known = InvalidRequest(_validation_message(error))
    elif error.status_code < 500:
        known = InvalidRequest(error.detail)
    else:
        return internal_error(request, error)
    reply = dialect_in(request.scope).error_reply(known)
    status = error.status_code if error.status_code in (404, 405, 413) else reply.status
    return _response(WireReply(status=status, body=reply.body, headers={**reply.headers, **(error.headers or {})}))


def internal_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Anything else: logged in full, told to nobody."""
    _log.error("request_failed", path=request.scope["path"], exc_info=error)
    return _response(dialect_in(request.scope).error_reply(GatewayError("the gateway failed to serve this request")))


def _validation_message(error: ValidationException) -> str:
    if isinstance(error.extra, list):
        problems = [cast("dict[str, object]", item) for item in error.extra if isinstance(item, dict)]
        return "; ".join(f"{problem.get('key')}: {problem.get('message')}" for problem in problems)
    return error.detail


def _response(reply: WireReply) -> Response[bytes]:
    return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))


__all__ = ["gateway_error", "http_error", "internal_error"]
