"""The routes of Bedrock's Converse and ConverseStream.

The model is in the path, one segment in which the SDKs encode slashes and colons.
"""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.converse_stream import STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_gateway.dialects.bedrock.model_ids import model_name
from bedplate_gateway.dialects.bedrock.openapi import ERROR_STATUSES
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_response import Streamed
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import chosen, generated
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.remembering import decoded_turn
from bedplate_gateway.web.services import Services

DIALECT = "bedrock"
MODEL_SEGMENT = 1

_MODEL_DOC = (
    "`model_id` is a model's name here, or the ARN of a foundation model, inference profile, provisioned, imported or "
    "custom model whose name is one. "
    "Send the header `x-bedplate-session: auto` to begin a durable conversation; the answer's header of the same name "
    "is its id. Send that id, with only the new messages in the body, to go on."
)


@post(
    "/model/{model_id:str}/converse",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="BedrockConverseRequest",
            reply="BedrockConverseResponse",
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
            session_header=True,
        ),
    },
    summary="Converse",
    description=f"Bedrock's Converse. {_MODEL_DOC}",
    tags=["Bedrock"],
    operation_id="converse",
    sync_to_thread=False,
)
def converse() -> ASGIApp:
    """Converse."""
    return _CONVERSE


@post(
    "/model/{model_id:str}/converse-stream",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="BedrockConverseRequest",
            event="BedrockConverseStreamEvent",
            event_media_type=STREAM_MEDIA_TYPE,
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
            session_header=True,
        ),
    },
    summary="Converse, streamed",
    description=f"Bedrock's ConverseStream, in AWS's binary event stream. {_MODEL_DOC}",
    tags=["Bedrock"],
    operation_id="converseStream",
    sync_to_thread=False,
)
def converse_stream() -> ASGIApp:
    """ConverseStream."""
    return _CONVERSE_STREAM


async def _serve(services: Services, call: Call, incoming: Incoming, /, *, stream: bool) -> WireReply | Streamed:
    def decode(body: bytes, /, *, continues: bool) -> ConverseExchange:
        return ConverseExchange.decode(
            body,
            model=model_name(incoming.segment(MODEL_SEGMENT)),
            stream=stream,
            started_s=call.started_s,
            continues=continues,
        )

    exchange, memory = await decoded_turn(services, call, decode, incoming)
    call = await chosen(services, call, lambda: exchange.guardrail)
    return await generated(services, call, exchange, memory)


_CONVERSE = CallRoute(
    dialect=DIALECT, operation="converse", serve=partial(_serve, stream=False), error_reply=error_reply, remembers=True
)
_CONVERSE_STREAM = CallRoute(
    dialect=DIALECT,
    operation="converse_stream",
    serve=partial(_serve, stream=True),
    error_reply=error_reply,
    remembers=True,
)

BEDROCK_ROUTES = (converse, converse_stream)

__all__ = ["BEDROCK_ROUTES", "DIALECT", "MODEL_SEGMENT"]
