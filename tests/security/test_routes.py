"""No route is reachable by accident: an inventory of all of them, and every way of asking for one differently."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from litestar.types import Receive, Scope, Send

from bedplate_core.errors import GatewayError
from bedplate_core.ids import KeyId, ProjectId
from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.access.principal import PERMITTED, Action, Principal, Role
from bedplate_gateway.app import Application
from bedplate_gateway.settings import Settings
from bedplate_gateway.web.authorization import ACTION, authorization
from bedplate_gateway.web.edge import PRINCIPAL
from bedplate_gateway.web.problems import gateway_error
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import http, raw_exchange

PUBLIC = {("GET", "/healthz"), ("GET", "/readyz")}
FRAMEWORKS_OWN = "/schema"
"""Litestar registers pages here whether they are wanted or not. They declare nothing."""


def _application(folder: Path) -> Application:
    """An application that is never started; it knows its routes all the same."""
    made = Settings(home=folder, cache=folder, database_url="postgresql://nobody@/nothing?host=/nowhere")
    ensure_master_key(made.master_key_path)
    return Application(made)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    return _application(tmp_path_factory.mktemp("routes"))


def _routes(application: Application) -> list[tuple[str, str, Action | None]]:
    found: list[tuple[str, str, Action | None]] = []
    for route in application.litestar.routes:
        assert isinstance(route, HTTPRoute), f"{route.path}: only HTTP routes are known to the authorisation tests"
        for handler in route.route_handlers:
            for method in handler.http_methods:
                if method != "OPTIONS":  # Litestar's own, which declares nothing and is refused
                    found.append((str(method), route.path_format, handler.opt.get(ACTION)))
    return found


def test_every_route_declares_what_it_does(application: Application) -> None:
    routes = _routes(application)
    assert len(routes) >= 11
    undeclared = {(method, path) for method, path, action in routes if not isinstance(action, Action)}
    assert undeclared - PUBLIC == {route for route in undeclared if route[1].startswith(FRAMEWORKS_OWN)}
    assert undeclared >= PUBLIC


def test_the_frameworks_own_pages_are_refused_to_everyone(gateway: RunningGateway, application: Application) -> None:
    own = [path for _, path, _ in _routes(application) if path.startswith(FRAMEWORKS_OWN)]
    assert own, "Litestar adds none any more: remove this exception from the inventory"
    with http(gateway, gateway.admin_key) as client:
        assert {client.get(_concrete(path)).status_code for path in own} == {403}


def test_a_service_may_not_do_what_only_an_administrator_may() -> None:
    assert PERMITTED[Role.ADMINISTRATOR] == set(Action)
    assert PERMITTED[Role.SERVICE] < PERMITTED[Role.ADMINISTRATOR]
    assert Action.READ_METRICS not in PERMITTED[Role.SERVICE]


def _concrete(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


def _variants(path: str) -> list[str]:
    first = path[1]
    return [
        path,
        f"{path}/",
        f"/{path}",
        f"/.{path}",
        f"/x/..{path}",
        f"/healthz/..{path}",
        f"/healthz;{path}",
        f"/healthz%2f..{path}",
        f"/healthz?{path}",
        f"{path};x",
        f"{path}%00",
        f"{path}?/healthz",
        f"{path}#/healthz",
        f"/%{ord(first):02x}{path[2:]}",
        f"/%2e{path}",
        f"{path}/%2e%2e/healthz",
        path.upper(),
        f"{path}%2f",
        f"http://other.example{path}",
        f"\\{path[1:]}",
    ]


def _status(answer: bytes) -> int:
    """The status; 400 when the server hung up on something that is no HTTP."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 400


def test_without_a_key_nothing_answers(gateway: RunningGateway, application: Application) -> None:
    answered: list[tuple[str, str, int]] = []
    for method, path, _ in _routes(application):
        if (method, path) in PUBLIC:
            continue
        for target in _variants(_concrete(path)):
            for verb in {method, "HEAD", "OPTIONS", "TRACE", "PROPFIND"} if target == _concrete(path) else {method}:
                answer = raw_exchange(
                    gateway, f"{verb} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
                )
                status = _status(answer)
                # `/healthz?...` is `/healthz`, which anyone may ask.
                public = target.startswith("/healthz?") and status in (200, 405)
                # AWS's SDKs know a missing credential by its name and the status 403.
                missing = status == 403 and b"MissingAuthenticationTokenException" in answer
                if status not in (400, 401) and not public and not missing:
                    answered.append((verb, target, status))
    assert answered == []


def test_with_a_key_the_variants_reach_nothing_that_the_role_does_not_permit(gateway: RunningGateway) -> None:
    answered: list[tuple[str, int]] = []
    for target in _variants("/metrics"):
        for verb in ("GET", "HEAD", "OPTIONS"):
            answer = raw_exchange(
                gateway,
                f"{verb} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
                "connection: close\r\n\r\n".encode(),
            )
            if b"bedplate_calls" in answer or (_status(answer) == 200 and "healthz?" not in target):
                answered.append((f"{verb} {target}", _status(answer)))
    assert answered == []


def test_each_role_gets_what_its_actions_say(gateway: RunningGateway, application: Application) -> None:
    for method, path, action in _routes(application):
        if action is None:
            continue
        for key, role in ((gateway.key, Role.SERVICE), (gateway.admin_key, Role.ADMINISTRATOR)):
            with http(gateway, key) as client:
                status = client.request(method, _concrete(path)).status_code
            assert (status == 403) == (action not in PERMITTED[role]), (method, path, role, status)
            assert status != 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_the_exact_public_paths_are_public(gateway: RunningGateway, path: str) -> None:
    with http(gateway) as client:
        assert client.get(path).status_code == 200
        for variant in (f"{path}/", f"/{path}", path.upper(), f"{path};x", f"{path}x", f"{path}/x"):
            assert client.get(variant).status_code == 401, variant
        for method in ("POST", "PUT", "DELETE"):
            assert client.request(method, path).status_code == 405
        assert client.options(path).content == b""


HOSTS = ["x", "x/healthz", "/healthz", "?", "#", "@", "x/healthz?", "healthz", "", "[::1", "x\x7f", "127.0.0.1:1"]
MISLEADING = [
    "x-forwarded-host: x/healthz",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-proto: https",
    "x-forwarded-prefix: /healthz",
    "x-original-url: /healthz",
    "x-rewrite-url: /healthz",
    "x-http-method-override: OPTIONS",
    "forwarded: for=127.0.0.1;host=localhost",
    "x-real-ip: 127.0.0.1",
    "x-bedplate-project: proj_1",
    "x-gateway-role: administrator",
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
]


@pytest.mark.parametrize(("key", "expected"), [(None, 401), ("service", 403)])
def test_host_and_forwarding_headers_change_no_decision(
    gateway: RunningGateway, key: str | None, expected: int
) -> None:
    credential = f"authorization: Bearer {gateway.key}\r\n" if key else ""
    heads = [f"host: {host}\r\n" for host in HOSTS] + ["", "host: a\r\nhost: b/healthz\r\n"]
    heads += [f"host: x\r\n{line}\r\n" for line in MISLEADING]
    for target in ("/metrics", "http://healthz/metrics", "http://x/healthz/../metrics"):
        for head in heads:
            answer = raw_exchange(
                gateway, f"GET {target} HTTP/1.1\r\n{head}{credential}connection: close\r\n\r\n".encode("latin-1")
            )
            refused_upgrade = (403,) if "upgrade" in head else ()
            permitted = (400, expected, *refused_upgrade) if "/.." not in target else (400, 401, 403, 404)
            assert _status(answer) in permitted, (target, head, answer[:200])
            assert b"bedplate_calls" not in answer


def test_a_websocket_is_refused(gateway: RunningGateway) -> None:
    upgrade = (
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"authorization: Bearer {gateway.key}\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "sec-websocket-version: 13\r\n\r\n"
    )
    assert not raw_exchange(gateway, upgrade.encode()).startswith(b"HTTP/1.1 101")


@get("/forgotten", sync_to_thread=False)
def forgotten() -> str:
    return "reached"


@get("/declared", opt={ACTION: Action.READ_METRICS}, sync_to_thread=False)
def declared() -> str:
    return "reached"


@get("/mistaken", opt={ACTION: "bedplate:ReadMetrics"}, sync_to_thread=False)
def mistaken() -> str:
    return "reached"


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        ("/forgotten", Role.ADMINISTRATOR, 403),
        ("/mistaken", Role.ADMINISTRATOR, 403),
        ("/declared", Role.SERVICE, 403),
        ("/declared", Role.ADMINISTRATOR, 200),
    ],
)
def test_a_route_that_declares_no_action_is_refused_to_everyone(path: str, role: Role, status: int) -> None:
    app = Litestar(
        [forgotten, declared, mistaken],
        middleware=[authorization],
        exception_handlers={GatewayError: gateway_error},
        openapi_config=None,
    )

    async def identified(scope: Scope, receive: Receive, send: Send) -> None:
        principal = Principal(key_id=KeyId("key_1"), project=ProjectId("proj_1"), role=role)
        await app({**scope, PRINCIPAL: principal}, receive, send)  # type: ignore[typeddict-unknown-key]

    async def ask() -> httpx.Response:
        transport: Any = httpx.ASGITransport(identified)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path)

    response = asyncio.run(ask())
    assert response.status_code == status
    assert ("reached" in response.text) == (status == 200)


@settings(max_examples=150, deadline=None)
@given(path=st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=30).map(lambda text: f"/{text}"))
def test_any_other_path_needs_a_key(application: Application, path: str) -> None:
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope: Any = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "client": None, "server": None, "scheme": "http", "root_path": "", "http_version": "1.1"}
    if path not in ("/healthz", "/readyz"):
        asyncio.run(application.asgi(scope, receive, send))
        assert statuses in ([401], [503])
