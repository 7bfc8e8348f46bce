"""What went wrong at a vLLM server, as errors of ours.

Classified by the status and the structured body first; the words of a message decide only between kinds of
400, and only here. A message is passed on to the client where vLLM wrote it for the client (400 and 422),
stripped of anything that looks like a path, an address or a server flag, and bounded.
"""

from __future__ import annotations

import re

import msgspec

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_providers.upstream_errors import (
    MESSAGE_LIMIT,
    ReplicaUnreachable,
    clean_message,
    failed_midway,
    from_http,
    retry_after_s,
)
from bedplate_providers.vllm_wire import ErrorBody, ErrorInfo

_BODY = msgspec.json.Decoder(ErrorBody)
_CONTEXT = re.compile(r"maximum (?:context|model|input) length|max_model_len|longer than the maximum", re.I)
_TOOLS_OFF = re.compile(r"tool.choice.{0,80} requires", re.IGNORECASE | re.DOTALL)


def from_status(status: int, body: bytes, retry_after: str | None) -> GatewayError:
    """The error for an answer whose status is not 200. `body` may be anything; `retry_after` is that
    header.
    """
    info = error_info(body)
    if status == 429:
        return RateLimited("The model has too much to do at the moment.", retry_after_s=retry_after_s(retry_after, 1.0))
    if status == 503:
        return UpstreamUnavailable(
            "The model is not available at the moment.", retry_after_s=retry_after_s(retry_after, 1.0)
        )
    if status in (408, 504):
        return UpstreamTimeout("The model did not answer in time.")
    if status == 501:
        return UnsupportedFeature("The model's upstream does not support this request.")
    if status >= 500:
        return UpstreamUnavailable("The model failed.")
    if status == 413:
        return PayloadTooLarge("The request is too large for the model's upstream.")
    if status in (400, 422) and info is not None:
        return _client_error(info)
    if 300 <= status < 400 or status < 200:
        return UpstreamProtocolError("The model's upstream gave an answer that is not its protocol.")
    if status == 404:
        return UpstreamRejected("The model's upstream does not serve it.")
    return UpstreamRejected("The model's upstream refused the request.")


def from_event(info: ErrorInfo, *, started: bool) -> GatewayError:
    """The error for an error event in a stream: `started` says whether an event of the answer came before
    it.
    """
    if started:
        return failed_midway()
    code = info.code if isinstance(info.code, int) else 500
    if code in (400, 422):
        return _client_error(info)
    return from_status(code if code >= 400 else 500, b"", None)


def _client_error(info: ErrorInfo) -> GatewayError:
    param = None if info.param is None else clean_message(info.param)[:100] or None
    if _TOOLS_OFF.search(info.message):
        return UnsupportedFeature("This model is not set up for this tool_choice.", param="tool_choice")
    message = clean_message(info.message) or "The model's upstream found the request invalid."
    if _CONTEXT.search(info.message):
        return ContextLengthExceeded(message, param=param)
    return InvalidRequest(message, param=param)


def error_info(body: bytes) -> ErrorInfo | None:
    """`error` of the body of a refusal, where it has one."""
    try:
        return _BODY.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


__all__ = [
    "MESSAGE_LIMIT",
    "ReplicaUnreachable",
    "clean_message",
    "error_info",
    "from_event",
    "from_http",
    "from_status",
]
