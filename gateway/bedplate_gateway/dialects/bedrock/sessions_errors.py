"""Errors of `bedrock-agent-runtime`: those of the runtime, but for a conflict, which has the status 409 here.

Source: botocore 1.44.8's model of `bedrock-agent-runtime` (2023-07-26), compared November 2026. A database that is away
is 503 as in the runtime, although this service declares no exception of that status: the SDKs try again either way, and
wait as long as the header says.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.errors import error_reply as runtime_error_reply

SESSION_ERROR_STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "400": "The request is wrong, or over a limit; `x-amzn-errortype` says which",
        "403": "The credential is missing, not valid, or does not permit this",
        "404": "There is no such session, invocation or step in your project",
        "409": "The id is taken, or the session has not the status for this",
        "429": "Too many requests; `x-amz-retry-after` says when to try again, in milliseconds",
        "500": "The gateway failed",
        "503": "The database is away",
    }
)
"""What the statuses of these operations mean."""


def error_reply(error: GatewayError) -> WireReply:
    """The whole answer for `error`."""
    reply = runtime_error_reply(error)
    if error.code != "conflict":
        return reply
    return WireReply(status=409, body=reply.body, headers=reply.headers)


__all__ = ["SESSION_ERROR_STATUSES", "error_reply"]
