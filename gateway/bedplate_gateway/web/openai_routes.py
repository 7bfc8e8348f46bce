"""The routes of the OpenAI dialect."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import get, post
from litestar.connection import Request
from litestar.params import FromPath
from litestar.response import Response
from litestar.types import ASGIApp

from bedplate_core.errors import ModelNotFound
from bedplate_gateway.access.principal import Action
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.guardrail_headers import choice_of_headers
from bedplate_gateway.dialects.openai.chat import ChatExchange
from bedplate_gateway.dialects.openai.completion import CompletionExchange
from bedplate_gateway.dialects.openai.embeddings import EmbeddingsExchange
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.models import ModelEntry, model_body, model_list
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.anthropic_routes import anthropic_model, anthropic_model_list, wants_anthropic
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_response import Streamed, with_headers
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import chosen, decoded, generated, session_memory
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.remembering import decoded_turn
from bedplate_gateway.web.services import Services, services_of

DIALECT = "openai"

_SESSION_DOC = (
    "Send the header `x-bedplate-session: auto` to begin a durable conversation; the answer's header of the same name "
    "is its id. Send that id, with only the new messages in the body, to go on."
)


@post(
    "/v1/chat/completions",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="OpenAIChatCompletionRequest",
            reply="OpenAIChatCompletion",
            event="OpenAIChatCompletionChunk",
            session_header=True,
        ),
    },
    summary="Create a chat completion",
    description=f"OpenAI's chat completions, streamed or not. {_SESSION_DOC}",
    tags=["OpenAI"],
    operation_id="createChatCompletion",
    sync_to_thread=False,
)
def create_chat_completion() -> ASGIApp:
    """Chat completions."""
    return _CHAT


@post(
    "/v1/completions",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAICompletionRequest", reply="OpenAICompletion", event="OpenAICompletion"),
    },
    summary="Create a text completion",
    description="OpenAI's legacy completions: the text goes to the model without a chat template.",
    tags=["OpenAI"],
    operation_id="createCompletion",
    sync_to_thread=False,
)
def create_completion() -> ASGIApp:
    """Text completions."""
    return _COMPLETION


@post(
    "/v1/embeddings",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(request="OpenAIEmbeddingsRequest", reply="OpenAICreateEmbeddingResponse"),
    },
    summary="Create embeddings",
    description="Vectors for texts, where the model's provider has them.",
    tags=["OpenAI"],
    operation_id="createEmbedding",
    sync_to_thread=False,
)
def create_embedding() -> ASGIApp:
    """Embeddings."""
    return _EMBEDDINGS


@get(
    "/v1/models",
    opt={ACTION: Action.LIST_MODELS, BODY: Body(reply="OpenAIModelList")},
    summary="List models",
    description=(
        "The model names that this key may use. With the header `anthropic-version`, Anthropic's list: newest first, "
        "in pages (`limit`, `after_id`, `before_id`)."
    ),
    tags=["OpenAI"],
    operation_id="listModels",
    sync_to_thread=False,
)
def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All models."""
    if wants_anthropic(request):
        return anthropic_model_list(request)
    routes = services_of(request).catalogue.snapshot.routes
    body = model_list([_entry(routes[name]) for name in sorted(routes)])
    return Response(body, media_type="application/json")


@get(
    "/v1/models/{model_id:path}",
    opt={ACTION: Action.LIST_MODELS, BODY: Body(reply="OpenAIModel")},
    summary="Describe a model",
    description="One model name. Names may contain slashes. With the header `anthropic-version`, Anthropic's form.",
    tags=["OpenAI"],
    operation_id="retrieveModel",
    sync_to_thread=False,
)
def retrieve_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> Response[bytes]:
    """One model."""
    name = model_id.removeprefix("/")
    if wants_anthropic(request):
        return anthropic_model(request, name)
    route = services_of(request).catalogue.snapshot.routes.get(name)
    if route is None:
        raise ModelNotFound(f"the model {name[:128]!r} does not exist or you do not have access to it", param="model")
    return Response(model_body(_entry(route)), media_type="application/json")


def _entry(route: Route) -> ModelEntry:
    return ModelEntry(id=route.name, created_s=route.created_s, context_tokens=route.profile.context_tokens)


async def _chat(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    if incoming.from_amazon:
        call = await chosen(services, call, partial(choice_of_headers, incoming.header))
    exchange, memory = await decoded_turn(services, call, ChatExchange.decode, incoming)
    return await generated(services, call, exchange, memory)


async def _completion(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, CompletionExchange.decode, incoming.body)
    return await generated(services, call, exchange, await session_memory(services, call, incoming))


async def _embeddings(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, EmbeddingsExchange.decode, incoming.body)
    embeddings, answer = await services.engine.embed(call, exchange.request)
    return with_headers(exchange.reply(embeddings), answer.headers)


_CHAT = CallRoute(dialect=DIALECT, operation="chat", serve=_chat, error_reply=error_reply, remembers=True)
_COMPLETION = CallRoute(
    dialect=DIALECT, operation="completion", serve=_completion, error_reply=error_reply, remembers=True
)
_EMBEDDINGS = CallRoute(dialect=DIALECT, operation="embeddings", serve=_embeddings, error_reply=error_reply)

OPENAI_ROUTES = (create_chat_completion, create_completion, create_embedding, list_models, retrieve_model)

__all__ = ["OPENAI_ROUTES"]
