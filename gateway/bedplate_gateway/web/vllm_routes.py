"""The routes of vLLM's own operations, with OpenAI's errors: tokens, reranking and scoring."""

from __future__ import annotations

from litestar import post
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.ranking import RerankExchange, ScoreExchange
from bedplate_gateway.dialects.openai.tokens import DetokenizeExchange, TokenizeExchange
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
    "/tokenize",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAITokenizeBody", reply="OpenAITokenizeReply"),
    },
    summary="Cut a text into tokens",
    description="vLLM's operation: the tokens of a prompt, or of messages in the model's own chat template.",
    tags=["vLLM"],
    operation_id="tokenize",
    sync_to_thread=False,
)
def tokenize() -> ASGIApp:
    """Text to tokens."""
    return _TOKENIZE


@post(
    "/detokenize",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAIDetokenizeBody", reply="OpenAIDetokenizeReply"),
    },
    summary="Turn tokens into text",
    description="vLLM's operation. The project's guardrail on answers judges the text.",
    tags=["vLLM"],
    operation_id="detokenize",
    sync_to_thread=False,
)
def detokenize() -> ASGIApp:
    """Tokens to text."""
    return _DETOKENIZE


@post(
    "/v1/rerank",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAIRerankBody", reply="OpenAIRerankReply"),
    },
    summary="Rerank documents",
    description="vLLM's operation: documents in the order of their relevance to a query, the best first.",
    tags=["vLLM"],
    operation_id="rerank",
    sync_to_thread=False,
)
def rerank() -> ASGIApp:
    """Documents by relevance."""
    return _RERANK


@post(
    "/v2/rerank",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAIRerankBody", reply="OpenAIRerankReply"),
    },
    summary="Rerank documents (v2)",
    description="The same as `/v1/rerank`, for clients of Cohere's second version.",
    tags=["vLLM"],
    operation_id="rerankV2",
    sync_to_thread=False,
)
def rerank_v2() -> ASGIApp:
    """Documents by relevance, at the other path."""
    return _RERANK


@post(
    "/v1/score",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAIScoreBody", reply="OpenAIScoreReply"),
    },
    summary="Score pairs of texts",
    description="vLLM's operation: a number for how well each pair of texts goes together.",
    tags=["vLLM"],
    operation_id="score",
    sync_to_thread=False,
)
def score() -> ASGIApp:
    """Scores of pairs."""
    return _SCORE


async def _tokenize(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, TokenizeExchange.decode, incoming.body)
    tokens, answer = await abilities.tokenize(services.engine, call, exchange.request)
    return with_headers(exchange.reply(tokens), answer.headers)


async def _detokenize(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, DetokenizeExchange.decode, incoming.body)
    text, answer = await abilities.detokenize(services.engine, call, exchange.request)
    return with_headers(exchange.reply(text), answer.headers)


async def _rerank(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, RerankExchange.decode, incoming.body)
    ranked, answer = await abilities.rerank(services.engine, call, exchange.request)
    return with_headers(exchange.reply(ranked.ranking, ranked.texts), answer.headers)


async def _score(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, ScoreExchange.decode, incoming.body)
    scores, answer = await abilities.score(services.engine, call, exchange.request)
    return with_headers(exchange.reply(scores), answer.headers)


_TOKENIZE = CallRoute(dialect=DIALECT, operation="tokenize", serve=_tokenize, error_reply=error_reply)
_DETOKENIZE = CallRoute(dialect=DIALECT, operation="detokenize", serve=_detokenize, error_reply=error_reply)
_RERANK = CallRoute(dialect=DIALECT, operation="rerank", serve=_rerank, error_reply=error_reply)
_SCORE = CallRoute(dialect=DIALECT, operation="score", serve=_score, error_reply=error_reply)

VLLM_ROUTES = (tokenize, detokenize, rerank, rerank_v2, score)

__all__ = ["VLLM_ROUTES"]
