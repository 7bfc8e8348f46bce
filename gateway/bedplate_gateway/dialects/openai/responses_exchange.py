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
from bedplate_gateway.dialects.openai.responses_reply import Settings, response_object, settings_of, whole_response
from bedplate_gateway.dialects.openai.responses_request import Labels, decode_responses
from bedplate_gateway.dialects.openai.responses_stream import ResponsesStream
from bedplate_sessions.face_ids import conversation_id, session_of

RESPONSE_ID_PREFIX: Final = "resp_"


def response_id_of(call: CallId) -> str:
    """The id of the response that the call makes; calls have ids of their own, so responses have."""
    return f"{RESPONSE_ID_PREFIX}{call.removeprefix('req_')}"


class ResponsesExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /v1/responses`.

    Answers name the model as the client did, whatever the upstream calls it, and have `response_id` whatever id the
    upstream gave. `instructions` is how many of the request's first messages are its instructions (1 or 0). `store`
    says whether the response is to be kept. `conversation` is the id of the conversation that it is part of, in the
    form `conv_...` if it can be the id of one. `background` says that nobody waits for it.
    """

    request: Request
    response_id: str
    instructions: int = 0
    previous_response_id: str | None = None
    conversation: str | None = None
    store: bool = False
    background: bool = False
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
            if decoded.conversation is not None:
                raise InvalidRequest(
                    "conversation: cannot be sent with the header x-bedplate-session; a request is a turn of one "
                    "conversation",
                    param="conversation",
                )
            if decoded.background:
                raise InvalidRequest(
                    "background: a turn of a session is not stored as a response; with the header x-bedplate-session, "
                    "leave background out",
                    param="background",
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
            conversation=_canonical(decoded.conversation),
            store=not in_session and decoded.store is not False,
            background=decoded.background,
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

    def in_progress(self, created_s: int) -> WireReply:
        """The response before anything of it is there. `created_s`: seconds since 1970."""
        shown = response_object(
            self.response_id,
            self.request.model,
            self._settings(self.request),
            created_s=created_s,
            status="in_progress",
        )
        return WireReply(status=200, body=msgspec.json.encode(shown), headers=JSON_HEADERS)

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return ResponsesStream(self.response_id, self.request.model, self._settings(self.request))

    def stored_settings(self, request: Request) -> bytes:
        """What is kept beside a stored answer to `request`, which is this one as the policy let it through."""
        return msgspec.json.encode(self._settings(request))

    def _settings(self, request: Request) -> Settings:
        return settings_of(
            request,
            instructions=self.instructions,
            previous=self.previous_response_id,
            labels=self.labels,
            conversation=self.conversation,
            background=self.background,
        )


def _canonical(conversation: str | None) -> str | None:
    session = None if conversation is None else session_of(conversation)
    return conversation if session is None else conversation_id(session)


__all__ = ["RESPONSE_ID_PREFIX", "ResponsesExchange", "response_id_of"]
