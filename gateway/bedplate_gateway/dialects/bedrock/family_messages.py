"""Anthropic's messages body inside InvokeModel.

Source: the AWS user guide, "Anthropic Claude Messages API" (`model-parameters-anthropic-claude-messages`), compared
November 2026: the body of `POST /v1/messages` without `model` and `stream`, with `anthropic_version` and, in place of
the header of that name, `anthropic_beta`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.events import Batch
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.anthropic.messages_reply import message_reply
from bedplate_gateway.dialects.anthropic.messages_request import decode_messages_body
from bedplate_gateway.dialects.anthropic.messages_stream import MessageEvents
from bedplate_gateway.dialects.anthropic.messages_wire import BODY_FIELDS
from bedplate_gateway.dialects.bedrock.invoke_native import NativeStream
from bedplate_gateway.dialects.decoding import clip

VERSION: Final = "bedrock-2023-05-31"

MESSAGES_FIELDS: Final = msgspec.structs.replace(
    BODY_FIELDS,
    ignored=MappingProxyType(
        {
            **BODY_FIELDS.ignored,
            "anthropic_version": "checked to be the one version that there is",
            "anthropic_beta": "announces fields; each field is served or refused by its own name",
            "model": "checked to be the call's model",
            "stream": "checked to be what the operation says",
        }
    ),
)


class MessagesNative(msgspec.Struct, frozen=True, kw_only=True):
    """One messages body and its answer; see `Native`."""

    request: Request
    omit_thinking: bool

    @classmethod
    def decode(
        cls, body: bytes, fields: dict[str, msgspec.Raw], *, model: str, stream: bool, continues: bool
    ) -> MessagesNative:
        """Decode a body; `fields` are its raw fields. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        version = bytes(fields["anthropic_version"])
        if version != b'"%b"' % VERSION.encode():
            shown = clip(version.decode("utf-8", "replace"), 64)
            raise InvalidRequest(f"anthropic_version: must be {VERSION!r}, got {shown}", param="anthropic_version")
        decoded = decode_messages_body(body, model=model, stream=stream, continues=continues, rules=MESSAGES_FIELDS)
        return cls(request=decoded.request, omit_thinking=decoded.omit_thinking)

    def whole(self, response: Response) -> bytes:
        """See `Native.whole`."""
        return msgspec.json.encode(message_reply(response, self.request.model, omit_thinking=self.omit_thinking))

    def events(self) -> NativeStream:
        """See `Native.events`."""
        return MessagesStream(MessageEvents(self.request.model, omit_thinking=self.omit_thinking))


class MessagesStream:
    """The events of a message without their names, which their `type` repeats; see `NativeStream`."""

    __slots__ = ("_events",)

    def __init__(self, events: MessageEvents) -> None:
        self._events = events

    def payloads(self, batch: Batch) -> list[bytes]:
        """See `NativeStream.payloads`."""
        return [payload for _, payload in self._events.events(batch)]

    def close(self) -> list[bytes]:
        """See `NativeStream.close`."""
        return [payload for _, payload in self._events.close()]


__all__ = ["MESSAGES_FIELDS", "VERSION", "MessagesNative"]
