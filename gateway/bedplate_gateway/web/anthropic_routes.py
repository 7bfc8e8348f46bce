"""The routes of the Anthropic dialect.

The lists of models share their paths with OpenAI's: a request with the header `anthropic-version`, which every SDK of
Anthropic's sends, gets Anthropic's form (`web.openai_routes` asks `wants_anthropic`).
"""

from __future__ import annotations

from typing import Any

from litestar import post
from litestar.connection import Request
from litestar.response import Response
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.dialects.anthropic.errors import error_reply
from bedplate_gateway.dialects.anthropic.messages import CountTokensExchange, MessagesExchange
from bedplate_gateway.dialects.anthropic.models import ModelEntry, PageQuery, model_body, model_page
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_response import Streamed, with_headers
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import decoded, generated
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.remembering import decoded_turn
from bedplate_gateway.web.services import Services, services_of

DIALECT = "anthropic"
VERSION_HEADER = "anthropic-version"


@post(
    "/v1/messages",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="AnthropicMessagesRequest",
            reply="AnthropicMessageReply",
            event="AnthropicMessageStreamEvent",
            error="AnthropicErrorBody",
            session_header=True,
        ),
    },
    summary="Create a message",
    description=(
        "Anthropic's messages, streamed or not. Send the header `x-bedplate-session: auto` to begin a durable "
        "conversation; the answer's header of the same name is its id. Send that id, with only the new messages in "
        "the body, to go on."
    ),
    tags=["Anthropic"],
    operation_id="createMessage",
    sync_to_thread=False,
)
def create_message() -> ASGIApp:
    """Messages."""
    return _MESSAGES


@post(
    "/v1/messages/count_tokens",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="AnthropicCountTokensRequest", reply="AnthropicMessageTokensCount", error="AnthropicErrorBody"
        ),
    },
    summary="Count a message's input tokens",
    description="The input tokens that a message would have, where the model's provider can count them.",
    tags=["Anthropic"],
    operation_id="countMessageTokens",
    sync_to_thread=False,
)
def count_message_tokens() -> ASGIApp:
    """Token counts."""
    return _COUNT_TOKENS


def wants_anthropic(request: Request[Any, Any, Any]) -> bool:
    """Whether a request on a path that both dialects have is Anthropic's."""
    return VERSION_HEADER in request.headers


def anthropic_model_list(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A page of the model names that this key may use. Raises `InvalidRequest` for a page that there cannot be."""
    routes = services_of(request).catalogue.snapshot.routes
    query = PageQuery.parse(list(request.query_params.multi_items()))
    body = model_page([_entry(route) for route in routes.values()], query)
    return Response(body, media_type="application/json")


def anthropic_model(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """One model name. Raises `ModelNotFound`."""
    route = services_of(request).catalogue.snapshot.route(name)
    return Response(model_body(_entry(route)), media_type="application/json")


def _entry(route: Route) -> ModelEntry:
    profile = route.profile
    return ModelEntry(
        id=route.name,
        created_s=route.created_s,
        context_tokens=profile.context_tokens,
        max_output_tokens=profile.max_output_tokens,
    )


async def _messages(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange, memory = await decoded_turn(services, call, MessagesExchange.decode, incoming)
    return await generated(services, call, exchange, memory)


async def _count_tokens(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed:
    exchange = await decoded(services, call, CountTokensExchange.decode, incoming.body)
    tokens, answer = await services.engine.count_tokens(call, exchange.request)
    return with_headers(exchange.reply(tokens), answer.headers)


_MESSAGES = CallRoute(dialect=DIALECT, operation="messages", serve=_messages, error_reply=error_reply, remembers=True)
_COUNT_TOKENS = CallRoute(dialect=DIALECT, operation="count_tokens", serve=_count_tokens, error_reply=error_reply)

ANTHROPIC_ROUTES = (create_message, count_message_tokens)

__all__ = ["ANTHROPIC_ROUTES", "anthropic_model", "anthropic_model_list", "wants_anthropic"]
