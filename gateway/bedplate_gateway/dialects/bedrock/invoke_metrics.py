"""What an InvokeModel answer says about itself beside the vendor's JSON: token counts and times.

Whole answers have headers, streams a member of their last chunk. Source: the AWS user guide's examples and what
clients read (LangChain, LiteLLM), compared November 2026. As everywhere on Bedrock, the input count leaves out what
the cache gave or took.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from bedplate_core.usage import Usage

METRICS_MEMBER: Final = b"amazon-bedrock-invocationMetrics"
GUARDRAIL_MEMBER: Final = b"amazon-bedrock-guardrailAction"
TRACE_MEMBER: Final = b"amazon-bedrock-trace"
INTERVENED: Final = b'"INTERVENED"'
NOT_INTERVENED: Final = b'"NONE"'

_HEADER: Final = "x-amzn-bedrock-"


class InvocationMetrics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Counts of tokens, and milliseconds from the request's arrival to its first and its last byte."""

    input_token_count: int
    output_token_count: int
    invocation_latency: int
    first_byte_latency: int
    cache_read_input_token_count: int | UnsetType = UNSET
    cache_write_input_token_count: int | UnsetType = UNSET


def invocation_metrics(usage: Usage, *, latency_ms: int, first_byte_ms: int) -> InvocationMetrics:
    """The metrics of a streamed answer. Cache counts are there only when the cache had a part in it."""
    return InvocationMetrics(
        input_token_count=_uncached(usage),
        output_token_count=usage.output_tokens,
        invocation_latency=latency_ms,
        first_byte_latency=first_byte_ms,
        cache_read_input_token_count=usage.cached_input_tokens or UNSET,
        cache_write_input_token_count=usage.cache_write_input_tokens or UNSET,
    )


def metrics_headers(usage: Usage, *, latency_ms: int) -> dict[str, str]:
    """The headers of a whole answer; the same counts as `invocation_metrics`."""
    headers = {
        f"{_HEADER}input-token-count": str(_uncached(usage)),
        f"{_HEADER}output-token-count": str(usage.output_tokens),
        f"{_HEADER}invocation-latency": str(latency_ms),
    }
    if usage.cached_input_tokens:
        headers[f"{_HEADER}cache-read-input-token-count"] = str(usage.cached_input_tokens)
    if usage.cache_write_input_tokens:
        headers[f"{_HEADER}cache-write-input-token-count"] = str(usage.cache_write_input_tokens)
    return headers


def with_member(document: bytes, name: bytes, value: bytes) -> bytes:
    """The JSON object `document` with one more member at its end. `name` needs no escaping, `value` is JSON."""
    head = document.rstrip()[:-1]
    comma = b"" if head.strip() == b"{" else b","
    return b"".join((head, comma, b'"', name, b'":', value, b"}"))


def _uncached(usage: Usage) -> int:
    return max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_input_tokens)


__all__ = [
    "GUARDRAIL_MEMBER",
    "INTERVENED",
    "METRICS_MEMBER",
    "NOT_INTERVENED",
    "TRACE_MEMBER",
    "InvocationMetrics",
    "invocation_metrics",
    "metrics_headers",
    "with_member",
]
