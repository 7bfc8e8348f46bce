"""The routes of Bedrock's runtime whose bodies are the model vendors' own, and of its token count."""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.types import ASGIApp

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.converse_stream import STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.bedrock.count_tokens import CountTokensExchange
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_gateway.dialects.bedrock.guardrail_headers import IDENTIFIER_HEADER, VERSION_HEADER
from bedplate_gateway.dialects.bedrock.invoke_exchange import InvokeEmbedding, decode_invoke
from bedplate_gateway.dialects.bedrock.invoke_request import GUARDRAIL_CONFIG
from bedplate_gateway.dialects.bedrock.openapi import ERROR_STATUSES
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_response import Streamed, with_headers
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import chosen, decoded, generated, require_no_session, session_memory
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.services import Services

DIALECT = "bedrock"

_MODEL_SEGMENT = 1
"""Of `/model/{modelId}/...`."""

_FAMILIES_DOC = (
    "The body decides whose it is: Anthropic messages (`anthropic_version`), OpenAI chat (`messages`), Llama "
    "(`prompt`, `max_gen_len`) or Mistral (`prompt`, `max_tokens`)"
)


@post(
    "/model/{model_id:str}/invoke",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="BedrockInvokeModelBody",
            reply="BedrockInvokeModelAnswer",
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
            session_header=True,
        ),
    },
    summary="Invoke a model with its vendor's body",
    description=f"{_FAMILIES_DOC}, and for vectors Titan (`inputText`) or Cohere (`texts`, `input_type`).",
    tags=["Bedrock"],
    operation_id="InvokeModel",
    sync_to_thread=False,
)
def invoke_model() -> ASGIApp:
    """InvokeModel."""
    return _INVOKE


@post(
    "/model/{model_id:str}/invoke-with-response-stream",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="BedrockInvokeModelBody",
            event="BedrockInvokeModelChunk",
            event_media_type=STREAM_MEDIA_TYPE,
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
            session_header=True,
        ),
    },
    summary="Invoke a model with its vendor's body and stream the answer",
    description=(
        f"{_FAMILIES_DOC}. The answer is AWS's event stream: each frame `chunk` holds one JSON event of the vendor's "
        "own stream, the last one with `amazon-bedrock-invocationMetrics`."
    ),
    tags=["Bedrock"],
    operation_id="InvokeModelWithResponseStream",
    sync_to_thread=False,
)
def invoke_model_with_response_stream() -> ASGIApp:
    """InvokeModelWithResponseStream."""
    return _INVOKE_STREAM


@post(
    "/model/{model_id:str}/count-tokens",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="BedrockCountTokensRequest",
            reply="BedrockCountTokensResponse",
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
        ),
    },
    summary="Count input tokens",
    description="The input tokens that a Converse or InvokeModel call would have, if its provider can count.",
    tags=["Bedrock"],
    operation_id="CountTokens",
    sync_to_thread=False,
)
def count_tokens() -> ASGIApp:
    """CountTokens."""
    return _COUNT_TOKENS


async def _invoke(services: Services, call: Call, incoming: Incoming, *, stream: bool) -> WireReply | Streamed:
    decode = partial(
        decode_invoke,
        model_id=incoming.segment(_MODEL_SEGMENT),
        header=incoming.header,
        stream=stream,
        continues=incoming.session is not None,
        started_s=call.started_s,
    )
    exchange = await decoded(services, call, decode, incoming.body)
    call = await chosen(services, call, lambda: exchange.guardrail)
    await _require_named(services, call)
    if isinstance(exchange, InvokeEmbedding):
        await require_no_session(services, call, incoming)
        embeddings, answer = await services.engine.embed(call, exchange.request)
        return with_headers(exchange.reply(embeddings), answer.headers)
    outcome = await generated(services, call, exchange, await session_memory(services, call, incoming))
    if isinstance(outcome, Streamed):
        outcome.headers = exchange.stream_headers
    return outcome


async def _require_named(services: Services, call: Call) -> None:
    """Refuse what a body says about a guardrail where the request names none, as AWS does; on record."""
    choice = call.guardrail
    if choice is None or choice.identifier is not None or not (choice.tag_suffix or choice.releases_first):
        return
    error = InvalidRequest(
        f"{GUARDRAIL_CONFIG}: the request names no guardrail; send {IDENTIFIER_HEADER} and {VERSION_HEADER} as well",
        param=GUARDRAIL_CONFIG,
    )
    await services.engine.refuse(call, error)
    raise error


async def _count_tokens(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    decode = partial(CountTokensExchange.decode, model_id=incoming.segment(_MODEL_SEGMENT))
    exchange = await decoded(services, call, decode, incoming.body)
    input_tokens, answer = await services.engine.count_tokens(call, exchange.request)
    return with_headers(exchange.reply(input_tokens), answer.headers)


_INVOKE = CallRoute(
    dialect=DIALECT,
    operation="invoke_model",
    serve=partial(_invoke, stream=False),
    error_reply=error_reply,
    remembers=True,
)
_INVOKE_STREAM = CallRoute(
    dialect=DIALECT,
    operation="invoke_model_stream",
    serve=partial(_invoke, stream=True),
    error_reply=error_reply,
    remembers=True,
)
_COUNT_TOKENS = CallRoute(dialect=DIALECT, operation="count_tokens", serve=_count_tokens, error_reply=error_reply)

BEDROCK_INVOKE_ROUTES = (invoke_model, invoke_model_with_response_stream, count_tokens)

__all__ = ["BEDROCK_INVOKE_ROUTES"]
