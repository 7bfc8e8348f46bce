"""Bedrock runtime's errors, and the one table from ours to them.

An error before the first byte is a JSON body `{"message"}` with its name in `x-amzn-errortype`; one after it is an
exception frame of the stream. Names and statuses are those of botocore 1.44.8's model of `bedrock-runtime`
(2023-09-30), compared November 2026; names for failed authentication are AWS's common errors.

The SDKs decide from the status whether they send a request again: 429 and every 5xx up to three times, 400, 403, 404,
408 and 424 never. So what cannot succeed on a second try has none of the former here, although its status in
`bedplate_core.errors` may be one: an upstream's refusal is 424, a spent budget 400. An upstream that timed out is 408,
because the same long wait three times over helps nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.base import WireReply
from bedplate_providers.event_stream import encode_frame

ERROR_TYPE_HEADER: Final = "x-amzn-errortype"
RETRY_AFTER_HEADER: Final = "x-amz-retry-after"

CONVERSE_STREAM_EXCEPTIONS: Final = frozenset(
    {
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    }
)
"""The exceptions that `ConverseStreamOutput` declares."""

RESPONSE_STREAM_EXCEPTIONS: Final = CONVERSE_STREAM_EXCEPTIONS | {"modelTimeoutException"}
"""The exceptions that `ResponseStream` (InvokeModelWithResponseStream) declares."""


class ExceptionBody(msgspec.Struct, frozen=True):
    """The body of an error and the payload of an exception frame. The key is in lower case on this wire."""

    message: str


class Kind(msgspec.Struct, frozen=True):
    """How one of our codes reads on this wire.

    `frame` is the exception in a stream, the first of them that the stream declares.
    """

    status: int
    name: str
    frame: tuple[str, ...]


_VALIDATION: Final = Kind(400, "ValidationException", ("validationException",))
_INTERNAL: Final = Kind(500, "InternalServerException", ("internalServerException",))
_UNAVAILABLE: Final = Kind(503, "ServiceUnavailableException", ("serviceUnavailableException",))
_NOT_FOUND: Final = Kind(404, "ResourceNotFoundException", ("validationException",))
_MODEL_ERROR: Final = Kind(424, "ModelErrorException", ("modelStreamErrorException",))

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "internal": _INTERNAL,
        "invalid_request": _VALIDATION,
        "unsupported_feature": _VALIDATION,
        "context_length_exceeded": _VALIDATION,
        "unauthenticated": Kind(403, "UnrecognizedClientException", ("validationException",)),
        "credential_missing": Kind(403, "MissingAuthenticationTokenException", ("validationException",)),
        "credential_expired": Kind(403, "ExpiredTokenException", ("validationException",)),
        "signature_mismatch": Kind(403, "InvalidSignatureException", ("validationException",)),
        "incomplete_signature": Kind(400, "IncompleteSignature", ("validationException",)),
        "permission_denied": Kind(403, "AccessDeniedException", ("validationException",)),
        "not_found": _NOT_FOUND,
        "model_not_found": _NOT_FOUND,
        "conflict": Kind(400, "ConflictException", ("validationException",)),
        "payload_too_large": _VALIDATION,
        "idempotency_mismatch": Kind(400, "ConflictException", ("validationException",)),
        "quota_exceeded": Kind(400, "ServiceQuotaExceededException", ("validationException",)),
        "rate_limited": Kind(429, "ThrottlingException", ("throttlingException",)),
        "upstream_rejected": _MODEL_ERROR,
        "upstream_protocol": _MODEL_ERROR,
        "upstream_unavailable": _UNAVAILABLE,
        "upstream_timeout": Kind(408, "ModelTimeoutException", ("modelTimeoutException", "modelStreamErrorException")),
        "guardrail_unavailable": _UNAVAILABLE,
        "store_unavailable": _UNAVAILABLE,
    }
)


def error_reply(error: GatewayError) -> WireReply:
    """The whole answer for `error`, before an answer began.

    `x-amz-retry-after` is in milliseconds, rounded up; the SDKs wait at least so long before they try again.
    """
    kind = _kind(error)
    headers = {"content-type": "application/json", ERROR_TYPE_HEADER: kind.name}
    if error.retry_after_s is not None:
        headers[RETRY_AFTER_HEADER] = str(max(0, math.ceil(error.retry_after_s * 1000)))
    return WireReply(status=kind.status, body=_body(error), headers=headers)


def exception_frame(error: GatewayError, allowed: frozenset[str]) -> bytes:
    """The frame that ends a stream in failure; `allowed` are the exceptions that the stream declares.

    The SDKs show an exception that a stream does not declare without its name and message, so none is sent.
    """
    name = next((name for name in _kind(error).frame if name in allowed), "internalServerException")
    headers = (
        (":exception-type", name),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    )
    return encode_frame(headers, _body(error))


def _body(error: GatewayError) -> bytes:
    return msgspec.json.encode(ExceptionBody(error.message))


def _kind(error: GatewayError) -> Kind:
    """The error's kind; what the table does not know reads as an error of the server, never as a crash."""
    return KINDS.get(error.code, _INTERNAL)


__all__ = [
    "CONVERSE_STREAM_EXCEPTIONS",
    "ERROR_TYPE_HEADER",
    "KINDS",
    "RESPONSE_STREAM_EXCEPTIONS",
    "RETRY_AFTER_HEADER",
    "ExceptionBody",
    "Kind",
    "error_reply",
    "exception_frame",
]
