"""Chat completions: one request and its answer, whole or streamed."""

from __future__ import annotations

import msgspec

from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import StreamEncoder, WireReply
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS, STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.openai.chat_reply import chat_completion
from bedplate_gateway.dialects.openai.chat_request import decode_chat
from bedplate_gateway.dialects.openai.chat_stream import ChatStream


class ChatExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /v1/chat/completions`.

    Answers name the model as the client did, whatever the upstream calls it.
    """

    request: Request
    include_usage: bool = False

    @classmethod
    def decode(cls, body: bytes, *, continues: bool = False) -> ChatExchange:
        """Decode a request's body.

        `continues` says that the messages go on from a stored conversation, so that they may begin with the
        results of tool calls stored there. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else.
        """
        decoded = decode_chat(body, continues=continues)
        return cls(request=decoded.request, include_usage=decoded.include_usage)

    @property
    def stream_media_type(self) -> str:
        """Server-sent events."""
        return STREAM_MEDIA_TYPE

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        completion = chat_completion(response, self.request.model, token_ids=self._token_ids)
        return WireReply(status=200, body=msgspec.json.encode(completion), headers=JSON_HEADERS)

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return ChatStream(self.request.model, include_usage=self.include_usage, token_ids=self._token_ids)

    @property
    def _token_ids(self) -> bool:
        """vLLM's `return_token_ids`, which a provider forwards as an extension."""
        return self.request.extensions.get("return_token_ids") is True


__all__ = ["ChatExchange"]
