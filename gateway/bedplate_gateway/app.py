"""The composition root: the only module that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp, Scope
from prometheus_client import CollectorRegistry

from bedplate_core.errors import GatewayError, StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.catalogue.catalogue import CHANGE_CHANNEL, Catalogue
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.database import database_config
from bedplate_gateway.dialects.bedrock.sessions_tokens import PageTokens
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.engine import Engine
from bedplate_gateway.engine.guarded_fetch import GuardedFetch
from bedplate_gateway.engine.judge import Judge
from bedplate_gateway.engine.media import MediaGuard
from bedplate_gateway.guardrail_settings import guardrail_pool, prepare
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.pool_metrics import PoolMetrics
from bedplate_gateway.records.recorder import Recorder
from bedplate_gateway.session_settings import key_database, session_key_provider, session_limits
from bedplate_gateway.settings import Settings
from bedplate_gateway.version import VERSION
from bedplate_gateway.web.anthropic_routes import ANTHROPIC_ROUTES
from bedplate_gateway.web.apply_guardrail_routes import APPLY_GUARDRAIL_ROUTES
from bedplate_gateway.web.audio_routes import AUDIO_ROUTES
from bedplate_gateway.web.authentication import Authentication
from bedplate_gateway.web.authorization import authorization
from bedplate_gateway.web.bedrock_guardrail_routes import BEDROCK_GUARDRAIL_ROUTES
from bedplate_gateway.web.bedrock_invoke_routes import BEDROCK_INVOKE_ROUTES
from bedplate_gateway.web.bedrock_model_routes import BEDROCK_MODEL_ROUTES
from bedplate_gateway.web.bedrock_routes import BEDROCK_ROUTES
from bedplate_gateway.web.bedrock_session_routes import BEDROCK_SESSION_ROUTES
from bedplate_gateway.web.conversation_routes import CONVERSATION_ROUTES
from bedplate_gateway.web.dialect_of import dialect_in
from bedplate_gateway.web.documentation import DOCUMENTATION_ROUTES
from bedplate_gateway.web.edge import Edge, call_id_of, started_s_of
from bedplate_gateway.web.kept_calls import KeptCalls
from bedplate_gateway.web.moderation_routes import MODERATION_ROUTES
from bedplate_gateway.web.openai_routes import OPENAI_ROUTES
from bedplate_gateway.web.operations_routes import OPERATIONS_ROUTES
from bedplate_gateway.web.problems import gateway_error, http_error, internal_error
from bedplate_gateway.web.responses_routes import RESPONSES_ROUTES
from bedplate_gateway.web.services import SERVICES, Services
from bedplate_gateway.web.session_archive_routes import SESSION_ARCHIVE_ROUTES
from bedplate_gateway.web.session_routes import SESSION_ROUTES
from bedplate_gateway.web.vllm_routes import VLLM_ROUTES
from bedplate_guardrails.evaluation import Evaluators
from bedplate_providers.deadlines import Deadlines
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.store import Sessions
from bedplate_sessions.stored_replies import StoredReplies
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_store.database import Database
from bedplate_store.listener import Listener
from bedplate_store.locks import KeyedLocks
from bedplate_store.row_writer import RowWriter

_FIRST_LOAD_ATTEMPTS = 30
_FIRST_LOAD_PAUSE_S = 1.0


class LeanLitestar(Litestar):
    """Litestar without the plugins it adds for whatever is installed beside it.

    Pydantic's, whose two versions of models no handler of ours takes or returns, imports 9 MB of modules.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


class Application:
    """One gateway process's parts, and the ASGI application made of them."""

    def __init__(self, settings: Settings) -> None:
        config = database_config(settings)
        self._settings = settings
        self._database = Database(config)
        self._locks = KeyedLocks(config)
        self._writer = RowWriter(config, table="invocation", spool=settings.spool_path)
        keyring = read_keyring(settings.master_key_path)
        self._pool = guardrail_pool(settings)
        self._catalogue = Catalogue(
            self._database,
            Secrets(settings.secrets_path),
            keyring,
            settings.response_timeout_s,
            able=self._pool.capabilities,
            prepare=partial(prepare, self._pool),
        )
        self._listener = Listener(config, CHANGE_CHANNEL, self._catalogue.reload)
        metrics = Metrics(CollectorRegistry())
        self._pool_metrics = PoolMetrics(metrics.registry, self._pool)
        self._key_provider = session_key_provider(settings, keyring)
        self._key_database = key_database(settings)
        self._keys = DataKeys(
            self._key_database or self._database, self._key_provider, apart=self._key_database is not None
        )
        sessions = Sessions(self._database, self._locks, self._keys, limits=session_limits(settings))
        self._media = MediaGuard(GuardedFetch() if settings.media_fetch else None)
        recorder = Recorder(self._writer, metrics)
        self._kept_calls = KeptCalls()
        self._engine = Engine(
            catalogue=self._catalogue,
            recorder=recorder,
            keyring=keyring,
            media=self._media,
            durable=sessions.durable,
            evaluators=Evaluators(
                local=self._pool,
                judge=Judge(
                    lambda: self._catalogue.snapshot.judge,
                    lambda model: self._catalogue.snapshot.route(model),
                    keyring.cache_salt,
                ),
            ),
        )
        self.services = Services(
            settings=settings,
            catalogue=self._catalogue,
            database=self._database,
            sessions=sessions,
            stored_responses=StoredResponses(self._database, self._keys, retention_s=self._retention_s),
            keys=self._keys,
            locks=self._locks,
            stored_replies=StoredReplies(self._database, self._keys, limits=sessions.limits),
            kept_calls=self._kept_calls,
            recorder=recorder,
            page_tokens=PageTokens(keyring.page_token_key),
            engine=self._engine,
            metrics=metrics,
            deadlines=Deadlines(),
        )
        self.litestar = LeanLitestar(
            route_handlers=[
                *OPENAI_ROUTES,
                *AUDIO_ROUTES,
                *VLLM_ROUTES,
                *RESPONSES_ROUTES,
                *ANTHROPIC_ROUTES,
                *BEDROCK_ROUTES,
                *BEDROCK_INVOKE_ROUTES,
                *BEDROCK_MODEL_ROUTES,
                *BEDROCK_GUARDRAIL_ROUTES,
                *APPLY_GUARDRAIL_ROUTES,
                *SESSION_ROUTES,
                *BEDROCK_SESSION_ROUTES,
                *CONVERSATION_ROUTES,
                *SESSION_ARCHIVE_ROUTES,
                *MODERATION_ROUTES,
                *OPERATIONS_ROUTES,
                *DOCUMENTATION_ROUTES,
            ],
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
        authentication = Authentication(
            catalogue=self._catalogue,
            keyring=keyring,
            max_body_bytes=settings.max_body_bytes,
            refuse=self._refuse,
        )
        self.asgi: ASGIApp = Edge(self.litestar, authentication=authentication, metrics=metrics)

    def _retention_s(self, project: ProjectId) -> float:
        """How long the project's responses are kept."""
        return self._catalogue.snapshot.sessions(project).retention_s or self._settings.session_retention_s

    async def _refuse(self, scope: Scope, principal: Principal, error: GatewayError) -> None:
        """Put a refused signature on record."""
        call = Call(
            id=call_id_of(scope),
            principal=principal,
            dialect=dialect_in(scope).name,
            operation="authenticate",
            started_s=started_s_of(scope),
            timeout_s=self._settings.response_timeout_s,
        )
        await self._engine.refuse(call, error)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar | None = None) -> AsyncGenerator[None, None]:
        """Everything that runs beside requests: started before the first, ended after the last, in reverse order."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._database.aclose)
            if self._key_database is not None:
                stack.push_async_callback(self._key_database.aclose)
            if self._key_provider is not None:
                stack.push_async_callback(self._key_provider.aclose)
            stack.push_async_callback(self._locks.aclose)
            stack.callback(self.services.deadlines.close)
            stack.callback(self._media.close)
            stack.push_async_callback(self._pool.aclose)
            await self._writer.start()
            stack.push_async_callback(self._writer.aclose)
            stack.push_async_callback(self._catalogue.aclose)
            await self._first_load()
            await self._listener.start()
            stack.push_async_callback(self._listener.aclose)
            observing = asyncio.create_task(self._pool_metrics.run())
            stack.callback(observing.cancel)
            yield
            await self._kept_calls.aclose(self._settings.drain_timeout_s)
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
