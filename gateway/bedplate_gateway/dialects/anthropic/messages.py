"""Messages: one request and its answer, whole or streamed."""

from __future__ import annotations

from typing import Final

import msgspec

from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.anthropic.messages_reply import message_reply
from bedplate_gateway.dialects.anthropic.messages_request import decode_count_tokens, decode_messages
from bedplate_gateway.dialects.anthropic.messages_stream import STREAM_MEDIA_TYPE, MessageStream
from bedplate_gateway.dialects.base import StreamEncoder, WireReply

_JSON_HEADERS: Final = {"content-type": "application/json"}


class MessagesExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /v1/messages`.

    Answers name the model as the client did, whatever the upstream calls it. `omit_thinking` leaves the text of
    thoughts out and their signatures in (`thinking.display`).
    """

    request: Request
    omit_thinking: bool = False

    @classmethod
    def decode(cls, body: bytes, *, continues: bool = False) -> MessagesExchange:
        """Decode a request's body.

        `continues` says that the messages go on from a stored conversation, so that they may begin with the
        results of tool calls stored there. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else.
        """
        decoded = decode_messages(body, continues=continues)
        return cls(request=decoded.request, omit_thinking=decoded.omit_thinking)

    @property
    def stream_media_type(self) -> str:
        """Server-sent events."""
        return STREAM_MEDIA_TYPE

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        message = message_reply(response, self.request.model, omit_thinking=self.omit_thinking)
        return WireReply(status=200, body=msgspec.json.encode(message), headers=_JSON_HEADERS)

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return MessageStream(self.request.model, omit_thinking=self.omit_thinking)


class MessageTokensCount(msgspec.Struct, frozen=True):
    """The body of a token count's answer."""

    input_tokens: int


class CountTokensExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `POST /v1/messages/count_tokens` and its answer."""

    request: Request

    @classmethod
    def decode(cls, body: bytes) -> CountTokensExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        return cls(request=decode_count_tokens(body))

    def reply(self, input_tokens: int) -> WireReply:
        """The answer."""
        body = msgspec.json.encode(MessageTokensCount(input_tokens))
        return WireReply(status=200, body=body, headers=_JSON_HEADERS)


__all__ = ["CountTokensExchange", "MessageTokensCount", "MessagesExchange"]
