"""For whoever runs the gateway: is it alive, can it serve, what does it count."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import get
from litestar.connection import Request
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

from bedplate_core.errors import StoreUnavailable
from bedplate_gateway.access.principal import Action
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.services import services_of

_PING_TIMEOUT_S = 2.0


class Liveness(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this replica should get traffic.

    `status` is `ready` or `starting`. `database` is `ok` or `unavailable`: without it sessions answer 503
    while other calls go on, so the replica stays ready. `providers` says which upstreams have a healthy replica.
    """

    status: str
    database: str
    providers: dict[str, bool]


@get("/healthz", summary="Liveness", tags=["Operations"], operation_id="getLiveness", sync_to_thread=False)
def liveness() -> Liveness:
    """The process is alive."""
    return Liveness()


@get("/readyz", summary="Readiness", tags=["Operations"], operation_id="getReadiness")
async def readiness(request: Request[Any, Any, Any]) -> Response[Readiness]:
    """Whether calls can be served."""
    services = services_of(request)
    snapshot = services.catalogue.snapshot
    providers = {route.provider.name: route.provider for route in snapshot.routes.values()}
    healthy = {name: (await provider.health()).ok for name, provider in sorted(providers.items())}
    try:
        async with asyncio.timeout(_PING_TIMEOUT_S):
            await services.database.ping()
        database = "ok"
    except (StoreUnavailable, TimeoutError):
        database = "unavailable"
    ready = services.catalogue.loaded
    body = Readiness(status="ready" if ready else "starting", database=database, providers=healthy)
    return Response(body, status_code=200 if ready else 503)


@get(
    "/metrics",
    opt={ACTION: Action.READ_METRICS},
    summary="Metrics",
    description="Prometheus metrics of all workers of this replica.",
    tags=["Operations"],
    operation_id="getMetrics",
    media_type="text/plain",
    sync_to_thread=False,
)
def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Prometheus metrics."""
    services = services_of(request)
    registry = services.metrics.registry
    if services.settings.workers > 1:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


OPERATIONS_ROUTES = (liveness, readiness, metrics)

__all__ = ["OPERATIONS_ROUTES"]
