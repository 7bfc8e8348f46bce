"""What goes wrong at any upstream over HTTP, as errors of ours.

Each kind of upstream classifies its own statuses and bodies; what a broken exchange means, how a message is
cleaned before a client may see it and how long a client should wait are the same for all.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from bedplate_core.errors import (
    GatewayError,
    UpstreamLost,
    UpstreamProtocolError,
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

MESSAGE_LIMIT = 500
_LONGEST_WAIT_S = 3600.0
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
    """The connection to one upstream could not be made: it is not well, and the request was not sent."""


class ReplicaLost(ReplicaUnreachable, UpstreamLost):
    """The connection was lost with the request sent, before an answer began."""


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
            return ReplicaUnreachable("The model could not be reached.", retry_after_s=1.0)
        case HttpClosed(begun=False) if not started:
            return ReplicaLost("The model's upstream closed the connection before it answered.")
        case HttpClosed():
            return broke_off()
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


def retry_after_s(header: str | None, otherwise_s: float | None = None) -> float | None:
    """A `Retry-After` header (RFC 9110, section 10.2.3: seconds or a date) in seconds from 0 to an hour;
    `otherwise_s` where it is missing or neither.
    """
    text = (header or "").strip()
    if not text or len(text) > 64:
        return otherwise_s
    try:
        seconds = float(text) if text[0].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return otherwise_s
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)


def broke_off() -> UpstreamProtocolError:
    """The answer ended before its end."""
    return UpstreamProtocolError("The model's answer broke off.")


def not_protocol() -> UpstreamProtocolError:
    """What came does not decode."""
    return UpstreamProtocolError("The model's upstream sent something that is not its protocol.")


def failed_midway() -> UpstreamProtocolError:
    """The upstream said in the middle of an answer that it failed."""
    return UpstreamProtocolError("The model failed while it answered.")


__all__ = [
    "MESSAGE_LIMIT",
    "ReplicaLost",
    "ReplicaUnreachable",
    "broke_off",
    "clean_message",
    "failed_midway",
    "from_http",
    "not_protocol",
    "retry_after_s",
]
