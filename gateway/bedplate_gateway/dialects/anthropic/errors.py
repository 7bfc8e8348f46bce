"""Anthropic's error body, and the one table from our errors to it.

The body is `{"type": "error", "error": {"type", "message", "details"}}`; the stream's last frame is the same. The
shape, the types and `details.error_code` ("a stable code that names the cause") are those of anthropic-python 2.13
(`anthropic.types.shared`, `anthropic._exceptions`), compared November 2026; `request_too_large` is the type that
Anthropic's guide gives for 413. The official SDKs choose their exception by the status, which stays ours, so that
the record of a call and its answer agree. An unknown `error_code` reads as its bare type in the SDKs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.base import WireReply


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a program may branch on: our own code, and the field at fault as a path."""

    error_code: str
    param: str | UnsetType = UNSET


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    type: str
    message: str
    details: ErrorDetails


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not 2xx, and of the frame that ends a broken stream.

    The request's id is in the header `request-id`, where the SDKs look for it.
    """

    type: Literal["error"] = "error"
    error: ErrorObject


class Kind(msgspec.Struct, frozen=True):
    """How one of our codes reads on this wire. `retry` is for the SDKs, which by themselves retry every 409, 429
    and 5xx: None leaves it to them."""

    type: str
    retry: bool | None = None


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "internal": Kind("api_error"),
        "invalid_request": Kind("invalid_request_error"),
        "unsupported_feature": Kind("invalid_request_error"),
        "context_length_exceeded": Kind("invalid_request_error"),
        "unauthenticated": Kind("authentication_error"),
        "credential_missing": Kind("authentication_error"),
        "credential_expired": Kind("authentication_error"),
        "signature_mismatch": Kind("authentication_error"),
        "incomplete_signature": Kind("authentication_error"),
        "permission_denied": Kind("permission_error"),
        "not_found": Kind("not_found_error"),
        "model_not_found": Kind("not_found_error"),
        "conflict": Kind("conflict_error"),
        "payload_too_large": Kind("request_too_large"),
        "idempotency_mismatch": Kind("invalid_request_error"),
        "quota_exceeded": Kind("rate_limit_error", retry=False),
        "rate_limited": Kind("rate_limit_error"),
        "upstream_rejected": Kind("api_error", retry=False),
        "upstream_protocol": Kind("api_error"),
        "upstream_unavailable": Kind("overloaded_error"),
        "upstream_timeout": Kind("timeout_error"),
        "guardrail_unavailable": Kind("api_error"),
        "store_unavailable": Kind("api_error"),
    }
)


def error_body(error: GatewayError) -> bytes:
    """The JSON body for `error`."""
    details = ErrorDetails(error_code=error.code, param=UNSET if error.param is None else error.param)
    said = ErrorObject(type=_kind(error).type, message=error.message, details=details)
    return msgspec.json.encode(ErrorBody(error=said))


def error_reply(error: GatewayError) -> WireReply:
    """The whole answer for `error`, before an answer began.

    `retry-after` is in whole seconds, rounded up. `x-should-retry` is the header by which the official SDKs
    are told not to retry a 429 or 5xx that cannot succeed.
    """
    headers = {"content-type": "application/json"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(error.retry_after_s)))
    retry = _kind(error).retry
    if retry is not None:
        headers["x-should-retry"] = "true" if retry else "false"
    return WireReply(status=error.status, body=error_body(error), headers=headers)


def _kind(error: GatewayError) -> Kind:
    """The error's kind; what the table does not know reads as an error of the server, never as a crash."""
    return KINDS.get(error.code, KINDS["internal"])


__all__ = ["KINDS", "ErrorBody", "ErrorDetails", "ErrorObject", "Kind", "error_body", "error_reply"]
