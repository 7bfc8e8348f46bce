"""What the routes work with; made by the composition root."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.connection import Request
from litestar.types import Scope

from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.dialects.bedrock.sessions_tokens import PageTokens
from bedplate_gateway.engine.engine import Engine
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.recorder import Recorder
from bedplate_gateway.settings import Settings
from bedplate_gateway.web.kept_calls import KeptCalls
from bedplate_providers.deadlines import Deadlines
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.store import Sessions
from bedplate_sessions.stored_replies import StoredReplies
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_store.database import Database
from bedplate_store.locks import KeyedLocks


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """One process's parts."""

    settings: Settings
    catalogue: Catalogue
    database: Database
    sessions: Sessions
    stored_responses: StoredResponses
    keys: DataKeys
    page_tokens: PageTokens
    locks: KeyedLocks
    stored_replies: StoredReplies
    kept_calls: KeptCalls
    recorder: Recorder
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
