"""Errors of the control plane's guardrail operations: those of the runtime, and two of their own.

Source: botocore 1.44.8's model of `bedrock` (2023-04-20), compared November 2026. A conflict has the status 400 here,
as in the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_gateway.catalogue.guardrail_store import GuardrailInUse, TooManyTags
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.errors import ERROR_TYPE_HEADER
from bedplate_gateway.dialects.bedrock.errors import error_reply as runtime_error_reply

GUARDRAIL_ERROR_STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "400": (
            "The request is wrong, over a quota, or at odds with what there is (a name, a token, a use of the "
            "guardrail); `x-amzn-errortype` says which"
        ),
        "403": "The credential is missing, not valid, or does not permit this",
        "404": "There is no such guardrail, version or configuration in your project",
        "429": "Too many requests; `x-amz-retry-after` says when to try again, in milliseconds",
        "500": "The gateway failed",
        "503": "The database is away",
    }
)
"""What the statuses of these operations mean."""


class TooManyTagsBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a TooManyTagsException."""

    message: str
    resource_name: str


def error_reply(error: GatewayError) -> WireReply:
    """The whole answer for `error`."""
    reply = runtime_error_reply(error)
    if isinstance(error, TooManyTags):
        body = msgspec.json.encode(TooManyTagsBody(message=error.message, resource_name=error.resource))
        return _named(reply, "TooManyTagsException", body)
    if isinstance(error, GuardrailInUse):
        return _named(reply, "ResourceInUseException", reply.body)
    return reply


def _named(reply: WireReply, name: str, body: bytes) -> WireReply:
    return WireReply(status=400, body=body, headers={**reply.headers, ERROR_TYPE_HEADER: name})


__all__ = ["GUARDRAIL_ERROR_STATUSES", "TooManyTagsBody", "error_reply"]
