"""What went wrong at an OpenAI-compatible server, as errors of ours.

By the status, then by OpenAI's `code` (its guide to error codes, November 2026), then as at vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    UnsupportedFeature,
    UpstreamRejected,
)
from bedplate_providers.upstream_errors import clean_message
from bedplate_providers.vllm_errors import error_info, from_status

_TOO_LONG = frozenset({"context_length_exceeded"})
_NOT_ABLE = frozenset({"unsupported_parameter", "unsupported_value"})
_ACCOUNT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
    """The error for an answer whose status is not 200; see `Refusal`."""
    info = error_info(body)
    if info is not None and status in (400, 403, 422, 429):
        words = {word for word in (info.code, info.type) if isinstance(word, str)}
        param = None if info.param is None else clean_message(info.param)[:100] or None
        message = clean_message(info.message) or "The model's upstream found the request invalid."
        if words & _ACCOUNT:
            return UpstreamRejected("The model's upstream takes no more calls on this gateway's account.")
        if status in (400, 422) and words & _TOO_LONG:
            return ContextLengthExceeded(message, param=param)
        if status in (400, 422) and words & _NOT_ABLE:
            return UnsupportedFeature(message, param=param)
    return from_status(status, body, headers.get("retry-after"))


__all__ = ["refusal"]
