"""What the routes work with; made by the composition root."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.connection import Request
from litestar.types import Scope

from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.engine.engine import Engine
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.settings import Settings
from bedplate_providers.deadlines import Deadlines
from bedplate_sessions.store import Sessions
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_store.database import Database


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """One process's parts."""

    settings: Settings
    catalogue: Catalogue
    database: Database
    sessions: Sessions
    stored_responses: StoredResponses
    engine: Engine
    metrics: Metrics
    deadlines: Deadlines


SERVICES = "services"


def services_of(request: Request[Any, Any, Any]) -> Services:
    """The services of the application that serves `request`."""
    return services_in(request.scope)


def services_in(scope: Scope) -> Services:
    """The services of the application that `scope` belongs to."""
    app = cast("Litestar", cast("dict[str, object]", scope)["litestar_app"])
    return cast("Services", app.state[SERVICES])


__all__ = ["SERVICES", "Services", "services_in", "services_of"]
