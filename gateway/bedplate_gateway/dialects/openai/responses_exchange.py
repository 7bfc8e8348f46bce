"""Responses: one request and its answer, whole or streamed, and what is shown of a stored one."""

from __future__ import annotations

from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.ids import CallId
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import StreamEncoder, WireReply
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS, STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.openai.responses_reply import Settings, settings_of, whole_response
from bedplate_gateway.dialects.openai.responses_request import Labels, decode_responses
from bedplate_gateway.dialects.openai.responses_stream import ResponsesStream

RESPONSE_ID_PREFIX: Final = "resp_"


def response_id_of(call: CallId) -> str:
    """The id of the response that the call makes; calls have ids of their own, so responses have."""
    return f"{RESPONSE_ID_PREFIX}{call.removeprefix('req_')}"


class ResponsesExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /v1/responses`.

    Answers name the model as the client did, whatever the upstream calls it, and have `response_id` whatever id the
    upstream gave. `instructions` is how many of the request's first messages are its instructions (1 or 0). `store`
    says whether the response is to be kept.
    """

    request: Request
    response_id: str
    instructions: int = 0
    previous_response_id: str | None = None
    store: bool = False
    labels: Labels = Labels()

    @classmethod
    def decode(cls, body: bytes, *, response_id: str, in_session: bool = False) -> ResponsesExchange:
        """Decode a request's body.

        `in_session` says that the request is a turn of a session: the session keeps it, and nothing is stored as a
        response. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else.
        """
        decoded = decode_responses(body, continues=in_session)
        if in_session:
            if decoded.previous_response_id is not None:
                raise InvalidRequest(
                    "previous_response_id: cannot be sent with the header x-bedplate-session; a turn continues one "
                    "or the other",
                    param="previous_response_id",
                )
            if decoded.store:
                raise InvalidRequest(
                    "store: a turn of a session is kept in the session; with the header x-bedplate-session, leave "
                    "store out or send false",
                    param="store",
                )
        return cls(
            request=decoded.request,
            response_id=response_id,
            instructions=decoded.instructions,
            previous_response_id=decoded.previous_response_id,
            store=not in_session and decoded.store is not False,
            labels=decoded.labels,
        )

    @property
    def stream_media_type(self) -> str:
        """Server-sent events."""
        return STREAM_MEDIA_TYPE

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        whole = whole_response(self.response_id, self.request.model, self._settings(self.request), response)
        return WireReply(status=200, body=msgspec.json.encode(whole), headers=JSON_HEADERS)

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return ResponsesStream(self.response_id, self.request.model, self._settings(self.request))

    def stored_settings(self, request: Request) -> bytes:
        """What is kept beside a stored answer to `request`, which is this one as the policy let it through."""
        return msgspec.json.encode(self._settings(request))

    def _settings(self, request: Request) -> Settings:
        return settings_of(
            request, instructions=self.instructions, previous=self.previous_response_id, labels=self.labels
        )


__all__ = ["RESPONSE_ID_PREFIX", "ResponsesExchange", "response_id_of"]
