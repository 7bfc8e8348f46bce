"""The composition root: the only module that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from bedplate_core.errors import GatewayError, StoreUnavailable
from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.catalogue.catalogue import CHANGE_CHANNEL, Catalogue
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.database import database_config
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.engine.engine import Engine
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.recorder import Recorder
from bedplate_gateway.settings import Settings
from bedplate_gateway.version import VERSION
from bedplate_gateway.web.authorization import authorization
from bedplate_gateway.web.documentation import DOCUMENTATION_ROUTES
from bedplate_gateway.web.edge import Edge
from bedplate_gateway.web.openai_routes import OPENAI_ROUTES
from bedplate_gateway.web.operations_routes import OPERATIONS_ROUTES
from bedplate_gateway.web.problems import gateway_error, http_error, internal_error
from bedplate_gateway.web.services import SERVICES, Services
from bedplate_gateway.web.session_routes import SESSION_ROUTES
from bedplate_sessions.store import Sessions
from bedplate_store.database import Database
from bedplate_store.listener import Listener
from bedplate_store.locks import KeyedLocks
from bedplate_store.row_writer import RowWriter

_FIRST_LOAD_ATTEMPTS = 30
_FIRST_LOAD_PAUSE_S = 1.0


class Application:
    """One gateway process's parts, and the ASGI application made of them."""

    def __init__(self, settings: Settings) -> None:
        config = database_config(settings)
        self._settings = settings
        self._database = Database(config)
        self._locks = KeyedLocks(config)
        self._writer = RowWriter(config, table="invocation", spool=settings.spool_path)
        self._catalogue = Catalogue(self._database, Secrets(settings.secrets_path), settings.response_timeout_s)
        self._listener = Listener(config, CHANGE_CHANNEL, self._catalogue.reload)
        metrics = Metrics(CollectorRegistry())
        keyring = read_keyring(settings.master_key_path)
        sessions = Sessions(self._database, self._locks)
        self._engine = Engine(
            catalogue=self._catalogue,
            recorder=Recorder(self._writer, metrics),
            keyring=keyring,
        )
        self.services = Services(
            settings=settings,
            catalogue=self._catalogue,
            database=self._database,
            sessions=sessions,
            engine=self._engine,
            metrics=metrics,
        )
        self.litestar = Litestar(
            route_handlers=[*OPENAI_ROUTES, *SESSION_ROUTES, *OPERATIONS_ROUTES, *DOCUMENTATION_ROUTES],
            middleware=[authorization],
            exception_handlers={
                GatewayError: gateway_error,
                HTTPException: http_error,
                Exception: internal_error,
            },
            lifespan=[self.lifespan],
            openapi_config=OpenAPIConfig(title="Bedplate", version=VERSION, render_plugins=[]),
            logging_config=None,
            request_max_body_size=settings.max_body_bytes,
            state=State({SERVICES: self.services}),
        )
        self.asgi: ASGIApp = Edge(
            self.litestar, catalogue=self._catalogue, keyring=keyring, error_reply=error_reply, metrics=metrics
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar | None = None) -> AsyncGenerator[None, None]:
        """Everything that runs beside requests: started before the first, ended after the last, in reverse order."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._database.aclose)
            stack.push_async_callback(self._locks.aclose)
            await self._writer.start()
            stack.push_async_callback(self._writer.aclose)
            stack.push_async_callback(self._catalogue.aclose)
            await self._first_load()
            await self._listener.start()
            stack.push_async_callback(self._listener.aclose)
            yield
            await self._engine.aclose(self._settings.drain_timeout_s)

    async def _first_load(self) -> None:
        """Wait for Postgres, then load; without a catalogue there is nothing to serve."""
        for attempt in range(_FIRST_LOAD_ATTEMPTS):
            try:
                await self._catalogue.load()
                return
            except StoreUnavailable:
                if attempt == _FIRST_LOAD_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_FIRST_LOAD_PAUSE_S)


def create_app(settings: Settings) -> ASGIApp:
    """The gateway as an ASGI application. Raises when the settings lack a database or a master key."""
    return Application(settings).asgi


__all__ = ["Application", "create_app"]
