"""Bedrock's ApplyGuardrail: content by itself, evaluated by a guardrail."""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.types import ASGIApp

from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.apply_guardrail import ApplyGuardrailExchange
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_gateway.dialects.bedrock.openapi import ERROR_STATUSES
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import decoded
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.outcome import with_headers
from bedplate_gateway.web.services import Services
from bedplate_guardrails.content_check import ContentText

_IDENTIFIER = 1
_VERSION = 3
"""Of `/guardrail/{guardrailIdentifier}/version/{guardrailVersion}/apply`."""


@post(
    "/guardrail/{guardrail_identifier:str}/version/{guardrail_version:str}/apply",
    status_code=200,
    opt={
        ACTION: Action.APPLY_GUARDRAIL,
        BODY: Body(
            request="BedrockApplyGuardrailRequest",
            reply="BedrockApplyGuardrailResponse",
            error="BedrockExceptionBody",
            error_statuses=ERROR_STATUSES,
        ),
    },
    summary="Apply a guardrail",
    description=(
        "Texts evaluated by a guardrail without a model. The assessment holds what was matched, on both sides: the "
        "content is the caller's own."
    ),
    tags=["Bedrock"],
    operation_id="ApplyGuardrail",
    sync_to_thread=False,
)
def apply_guardrail() -> ASGIApp:
    """ApplyGuardrail."""
    return _APPLY


async def _apply(services: Services, call: Call, incoming: Incoming, /) -> WireReply:
    decode = partial(
        ApplyGuardrailExchange.decode,
        identifier=incoming.segment(_IDENTIFIER),
        version=incoming.segment(_VERSION),
    )
    exchange = await decoded(services, call, decode, incoming.body)
    texts = [ContentText(text=each.text, qualifiers=each.qualifiers) for each in exchange.texts]
    check, answer = await services.engine.apply_guardrail(
        call, exchange.choice, exchange.side, texts, full=exchange.full
    )
    return with_headers(exchange.reply(check.blocked_message, check.texts, check.assessment), answer.headers)


_APPLY = CallRoute(dialect="bedrock", operation="apply_guardrail", serve=_apply, error_reply=error_reply)

APPLY_GUARDRAIL_ROUTES = (apply_guardrail,)

__all__ = ["APPLY_GUARDRAIL_ROUTES"]
