"""The routes of Bedrock's control plane about models."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.connection import Request
from litestar.response import Response

from bedplate_gateway.access.principal import Action
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.dialects.bedrock.foundation_models import (
    ModelFacts,
    ModelFilter,
    check_project,
    details_body,
    list_body,
    no_such_model,
)
from bedplate_gateway.dialects.bedrock.model_ids import model_name
from bedplate_gateway.dialects.bedrock.openapi import ERROR_STATUSES
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.services import services_of


@get(
    "/foundation-models",
    opt={
        ACTION: Action.LIST_MODELS,
        BODY: Body(
            reply="BedrockListFoundationModelsResponse", error="BedrockExceptionBody", error_statuses=ERROR_STATUSES
        ),
    },
    summary="List models",
    description=(
        "The models of the catalogue; `byProvider`, `byOutputModality`, `byInferenceType` and `byCustomizationType` "
        "narrow the list."
    ),
    tags=["Bedrock"],
    operation_id="ListFoundationModels",
    sync_to_thread=False,
)
def list_foundation_models(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All models, by name."""
    check_project(request.query_params.get)
    wanted = ModelFilter.decode(request.query_params.get)
    routes = services_of(request).catalogue.snapshot.routes
    body = list_body([_facts(routes[name]) for name in sorted(routes)], wanted)
    return Response(body, media_type="application/json")


@get(
    "/foundation-models/{model_identifier:str}",
    opt={
        ACTION: Action.LIST_MODELS,
        BODY: Body(
            reply="BedrockGetFoundationModelResponse", error="BedrockExceptionBody", error_statuses=ERROR_STATUSES
        ),
    },
    summary="Describe a model",
    description="One model, by its name or its ARN.",
    tags=["Bedrock"],
    operation_id="GetFoundationModel",
    sync_to_thread=False,
)
def get_foundation_model(request: Request[Any, Any, Any]) -> Response[bytes]:
    """One model."""
    check_project(request.query_params.get)
    identifier = Incoming(request.scope, b"").segment(1)
    route = services_of(request).catalogue.snapshot.routes.get(model_name(identifier))
    if route is None:
        raise no_such_model(identifier)
    return Response(details_body(_facts(route)), media_type="application/json")


def _facts(route: Route) -> ModelFacts:
    profile = route.profile
    return ModelFacts(
        name=route.name,
        provider=route.provider.name,
        generates=profile.generation,
        embeds=profile.embeddings,
        sees=profile.vision,
    )


BEDROCK_MODEL_ROUTES = (list_foundation_models, get_foundation_model)

__all__ = ["BEDROCK_MODEL_ROUTES"]
