"""The routes of OpenAI's speech to text."""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.form import MEDIA_TYPE
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.transcription import TranscriptionExchange
from bedplate_gateway.engine import abilities
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_response import Streamed, with_headers
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import decoded
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.services import Services

DIALECT = "openai"


@post(
    "/v1/audio/transcriptions",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAITranscriptionForm", request_type=MEDIA_TYPE, reply="OpenAITranscription"),
    },
    summary="Write down speech",
    description="OpenAI's transcriptions. `verbose_json` adds segments with their times; `text` is the bare text.",
    tags=["OpenAI"],
    operation_id="createTranscription",
    sync_to_thread=False,
)
def create_transcription() -> ASGIApp:
    """Speech to text."""
    return _TRANSCRIPTION


@post(
    "/v1/audio/translations",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAITranslationForm", request_type=MEDIA_TYPE, reply="OpenAITranscription"),
    },
    summary="Write down speech in English",
    description="OpenAI's translations: speech of any language as English text.",
    tags=["OpenAI"],
    operation_id="createTranslation",
    sync_to_thread=False,
)
def create_translation() -> ASGIApp:
    """Speech to English text."""
    return _TRANSLATION


async def _transcribe(services: Services, call: Call, incoming: Incoming, *, translate: bool) -> WireReply | Streamed:
    content_type = incoming.header("content-type")
    decode = partial(TranscriptionExchange.decode, content_type=content_type, translate=translate)
    exchange = await decoded(services, call, decode, incoming.body)
    transcript, answer = await abilities.transcribe(services.engine, call, exchange.request)
    return with_headers(exchange.reply(transcript), answer.headers)


_TRANSCRIPTION = CallRoute(
    dialect=DIALECT,
    operation="transcription",
    serve=partial(_transcribe, translate=False),
    error_reply=error_reply,
)
_TRANSLATION = CallRoute(
    dialect=DIALECT,
    operation="translation",
    serve=partial(_transcribe, translate=True),
    error_reply=error_reply,
)

AUDIO_ROUTES = (create_transcription, create_translation)

__all__ = ["AUDIO_ROUTES"]
