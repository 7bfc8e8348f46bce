"""What went wrong at Anthropic's API, as errors of ours.

By the status and the error's `type` (https://platform.claude.com/docs/en/api/errors); the words of a message decide
only between kinds of 400, and only here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_providers.anthropic_wire import ErrorBody, ErrorInfo
from bedplate_providers.upstream_errors import clean_message, failed_midway, retry_after_s

_BODY = msgspec.json.Decoder(ErrorBody)
_STATUS_OF: Mapping[str, int] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)
"""The status that an error event stands for."""

_CONTEXT = re.compile(r"prompt is too long|exceed(?:s)? (?:the )?context (?:limit|window)", re.IGNORECASE)
_ACCOUNT = re.compile(r"credit balance|usage limits|spend limit", re.IGNORECASE)
_PARAM = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*): ")


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
    """The error for an answer whose status is not 200; see `Refusal`."""
    try:
        info = _BODY.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        info = None
    return _classified(status, info, headers.get("retry-after"))


def from_event(info: ErrorInfo, *, started: bool) -> GatewayError:
    """The error for an error event in a stream: `started` says whether an event of the answer came before it."""
    if started:
        return failed_midway()
    return _classified(_STATUS_OF.get(info.type, 500), info, None)


def _classified(status: int, info: ErrorInfo | None, retry_after: str | None) -> GatewayError:
    kind = "" if info is None else info.type
    if status == 429:
        return RateLimited("The model has too much to do at the moment.", retry_after_s=retry_after_s(retry_after, 1.0))
    if status in (503, 529) or kind == "overloaded_error":
        return UpstreamUnavailable(
            "The model has too much to do at the moment.", retry_after_s=retry_after_s(retry_after, 1.0)
        )
    if status in (408, 504):
        return UpstreamTimeout("The model did not answer in time.")
    if status >= 500:
        return UpstreamUnavailable("The model failed.", retry_after_s=retry_after_s(retry_after))
    if status == 413:
        return PayloadTooLarge("The request is too large for the model's upstream.")
    if status in (400, 422) and info is not None and kind == "invalid_request_error":
        return _client_error(info.message)
    if 300 <= status < 400 or status < 200:
        return UpstreamProtocolError("The model's upstream gave an answer that is not its protocol.")
    if status == 404:
        return UpstreamRejected("The model's upstream does not serve it.")
    return UpstreamRejected("The model's upstream refused the request.")


def _client_error(said: str) -> GatewayError:
    if _ACCOUNT.search(said):
        return UpstreamRejected("The model's upstream takes no more calls on this gateway's account.")
    message = clean_message(said) or "The model's upstream found the request invalid."
    if _CONTEXT.search(said):
        return ContextLengthExceeded(message)
    named = _PARAM.match(said)
    return InvalidRequest(message, param=named[1][:100] if named is not None else None)


__all__ = ["from_event", "refusal"]
