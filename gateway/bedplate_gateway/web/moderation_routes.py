"""OpenAI's moderations, on the content filters of guardrails."""

from __future__ import annotations

from litestar import post
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.moderation import FILTERS, ModerationExchange
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.moderation import moderate
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import decoded
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.outcome import with_headers
from bedplate_gateway.web.services import Services


@post(
    "/v1/moderations",
    status_code=200,
    opt={ACTION: Action.APPLY_GUARDRAIL, BODY: Body(request="OpenAIModerationRequest", reply="OpenAIModeration")},
    summary="Moderation",
    description=(
        "How much hatred, harassment, sexual content, violence and misconduct is in texts, by the local content "
        "model. A text is flagged from medium confidence on, or when a guardrail that holds for the call would block "
        "it. Categories that no filter evaluates have no input type in `category_applied_input_types`."
    ),
    tags=["OpenAI"],
    operation_id="createModeration",
    sync_to_thread=False,
)
def create_moderation() -> ASGIApp:
    """Moderations."""
    return _MODERATION


async def _moderation(services: Services, call: Call, incoming: Incoming, /) -> WireReply:
    exchange = await decoded(services, call, ModerationExchange.decode, incoming.body)
    moderated, answer = await moderate(services.engine, call, exchange.texts, FILTERS)
    return with_headers(exchange.reply(call.id, moderated.scores, moderated.blocked), answer.headers)


_MODERATION = CallRoute(dialect="openai", operation="moderation", serve=_moderation, error_reply=error_reply)

MODERATION_ROUTES = (create_moderation,)

__all__ = ["MODERATION_ROUTES"]
