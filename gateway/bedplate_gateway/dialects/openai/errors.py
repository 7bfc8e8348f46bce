"""OpenAI's error body, and the one table from our errors to it.

The body is `{"error": {"message", "type", "param", "code"}}`. The shape is `ErrorObject` of
openai-python 2.54, compared November 2026; types and codes are the ones that OpenAI's guide
(platform.openai.com/docs/guides/error-codes) and its servers use. Where OpenAI has no code for what happened,
ours stands in its place. The official SDKs choose their exception by the status.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.base import WireReply


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong. `param` is the field at fault, as a path."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not 2xx, and of the frame that ends a broken stream."""

    error: ErrorObject


class Kind(msgspec.Struct, frozen=True):
    """How one of our codes reads on this wire. `retry` is for the SDKs, which by themselves retry every 429
    and 5xx: None leaves it to them."""

    type: str
    code: str | None
    retry: bool | None = None


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "internal": Kind("server_error", "internal"),
        "invalid_request": Kind("invalid_request_error", None),
        "unsupported_feature": Kind("invalid_request_error", "unsupported_parameter"),
        "context_length_exceeded": Kind("invalid_request_error", "context_length_exceeded"),
        "unauthenticated": Kind("invalid_request_error", "invalid_api_key"),
        "credential_missing": Kind("invalid_request_error", "invalid_api_key"),
        "credential_expired": Kind("invalid_request_error", "invalid_api_key"),
        "signature_mismatch": Kind("invalid_request_error", "invalid_api_key"),
        "incomplete_signature": Kind("invalid_request_error", "invalid_api_key"),
        "permission_denied": Kind("permission_denied", "permission_denied"),
        "not_found": Kind("invalid_request_error", "not_found"),
        "model_not_found": Kind("invalid_request_error", "model_not_found"),
        "conflict": Kind("invalid_request_error", "conflict"),
        "payload_too_large": Kind("invalid_request_error", "payload_too_large"),
        "idempotency_mismatch": Kind("invalid_request_error", "idempotency_mismatch"),
        "quota_exceeded": Kind("insufficient_quota", "insufficient_quota", retry=False),
        "rate_limited": Kind("rate_limit_exceeded", "rate_limit_exceeded"),
        "upstream_rejected": Kind("server_error", "upstream_rejected", retry=False),
        "upstream_protocol": Kind("server_error", "upstream_protocol"),
        "upstream_unavailable": Kind("server_error", "upstream_unavailable"),
        "upstream_timeout": Kind("server_error", "upstream_timeout"),
        "guardrail_unavailable": Kind("server_error", "guardrail_unavailable"),
        "store_unavailable": Kind("server_error", "store_unavailable"),
    }
)


def error_body(error: GatewayError) -> bytes:
    """The JSON body for `error`."""
    kind = _kind(error)
    said = ErrorObject(message=error.message, type=kind.type, param=error.param, code=kind.code)
    return msgspec.json.encode(ErrorBody(said))


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


__all__ = ["KINDS", "ErrorBody", "ErrorObject", "Kind", "error_body", "error_reply"]
