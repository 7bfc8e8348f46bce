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
from bedplate_providers.http_connection import (
    HttpAborted,
    HttpBusy,
    HttpClosed,
    HttpConnectError,
    HttpError,
    HttpTimeout,
)
from bedplate_providers.vllm_wire import ErrorBody, ErrorInfo

MESSAGE_LIMIT = 500
_BODY = msgspec.json.Decoder(ErrorBody)
_CONTEXT = re.compile(r"maximum (?:context|model|input) length|max_model_len|longer than the maximum", re.I)
_TOOLS_OFF = re.compile(r"tool.choice.{0,80} requires", re.IGNORECASE | re.DOTALL)
_INTERNAL = re.compile(
    r"[a-z][a-z0-9+.-]*://\S+"  # addresses
    r"|(?<![\w.])(?:/[\w.@+-]+){2,}/?"  # paths
    r"|[A-Za-z]:\\\S+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\b0x[0-9a-fA-F]{4,}\b"
    r"|(?<!\w)--[a-z][a-z0-9-]+"  # flags of the server
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class ReplicaUnreachable(UpstreamUnavailable):
    """The connection to one replica could not be made, or was lost before an answer began: it is not well.

    `sent` says whether the request had been sent when it was lost.
    """

    def __init__(self, message: str, *, sent: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.sent = sent


def from_status(status: int, body: bytes, retry_after: str | None) -> GatewayError:
    """The error for an answer whose status is not 200. `body` may be anything; `retry_after` is that
    header.
    """
    info = _info(body)
    if status == 429:
        return RateLimited("The model has too much to do at the moment.", retry_after_s=_seconds(retry_after, 1.0))
    if status == 503:
        return UpstreamUnavailable(
            "The model is not available at the moment.", retry_after_s=_seconds(retry_after, 1.0)
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
        return UpstreamProtocolError("The model failed while it answered.")
    code = info.code if isinstance(info.code, int) else 500
    if code in (400, 422):
        return _client_error(info)
    return from_status(code if code >= 400 else 500, b"", None)


def from_http(error: HttpError, *, started: bool) -> GatewayError:
    """The error for a failed exchange: `started` says whether an event of the answer came before it."""
    match error:
        case HttpTimeout():
            if started:
                return UpstreamTimeout("The model went silent while it answered.")
            return UpstreamTimeout("The model did not begin to answer in time.")
        case HttpBusy():
            return UpstreamUnavailable("The model has too many calls under way.", retry_after_s=1.0)
        case HttpConnectError():
            return ReplicaUnreachable("The model could not be reached.", sent=False, retry_after_s=1.0)
        case HttpClosed(begun=False) if not started:
            return ReplicaUnreachable("The model's upstream closed the connection before it answered.", sent=True)
        case HttpClosed():
            return UpstreamProtocolError("The model's answer broke off.")
        case HttpAborted():
            return UpstreamUnavailable("The call was closed.")
        case _:
            return UpstreamProtocolError("The model's upstream gave an answer that is not its protocol.")


def clean_message(message: str) -> str:
    """`message` without control characters, paths, addresses and server flags, at most 500 characters."""
    text = _INTERNAL.sub("...", _CONTROL.sub(" ", message)).strip()
    if len(text) > MESSAGE_LIMIT:
        text = f"{text[: MESSAGE_LIMIT - 3]}..."
    return text


def _client_error(info: ErrorInfo) -> GatewayError:
    param = None if info.param is None else clean_message(info.param)[:100] or None
    if _TOOLS_OFF.search(info.message):
        return UnsupportedFeature("This model is not set up for this tool_choice.", param="tool_choice")
    message = clean_message(info.message) or "The model's upstream found the request invalid."
    if _CONTEXT.search(info.message):
        return ContextLengthExceeded(message, param=param)
    return InvalidRequest(message, param=param)


def _info(body: bytes) -> ErrorInfo | None:
    try:
        return _BODY.decode(body).error
    except msgspec.MsgspecError:
        return None


def _seconds(header: str | None, otherwise: float) -> float:
    """A `Retry-After` in seconds, from 0 to an hour; vLLM and its routers send no dates."""
    if header is None or not header.strip().isdigit() or len(header) > 9:
        return otherwise
    return float(min(int(header), 3600))


__all__ = ["MESSAGE_LIMIT", "ReplicaUnreachable", "clean_message", "from_event", "from_http", "from_status"]
