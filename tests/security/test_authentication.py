"""What the gateway does for a signed request before it knows the signature is right: as little as possible."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bedplate_core.errors import GatewayError, RateLimited
from bedplate_core.ids import KeyId, ProjectId
from bedplate_gateway.access.credentials import KeyPair
from bedplate_gateway.access.keyring import Keyring, new_access_key
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.catalogue.snapshot import Snapshot
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.web import authentication
from bedplate_gateway.web.authentication import REFUSALS_PER_S, Allowance, Authentication, UnverifiedBodies
from bedplate_gateway.web.edge import PRINCIPAL, Edge
from bedplate_providers.credential import Credential
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.aws import WireRequest, signed_request

pytestmark = pytest.mark.anyio

KEY, SECRET = new_access_key()
PRINCIPAL_OF_KEY = Principal(key_id=KeyId("key_1"), project=ProjectId("proj_1"), role=Role.SERVICE)
LIMIT_BYTES = 1000
NOW_S = datetime.datetime.now(datetime.UTC).timestamp()


class Gateway:
    """An edge without an application: what reaches the application is remembered."""

    def __init__(self) -> None:
        database = Database(DatabaseConfig(url="postgresql://nobody@/nothing?host=/nowhere"))
        keyring = Keyring(bytes(32))
        catalogue = Catalogue(database, Secrets(Path("/nowhere")), keyring, 1.0)
        pair = KeyPair(principal=PRINCIPAL_OF_KEY, secret=Credential(SECRET))
        catalogue.snapshot = Snapshot(keys={}, key_pairs={KEY: pair}, routes={}, projects={})
        catalogue._loaded = True  # pyright: ignore[reportPrivateUsage]  # as after its first load
        self.bodies: list[bytes] = []
        self.disconnects = 0
        self.refused: list[tuple[Principal, str]] = []
        self.read = 0
        self.authentication = Authentication(
            catalogue=catalogue, keyring=keyring, max_body_bytes=LIMIT_BYTES, refuse=self._refuse
        )
        self._edge = Edge(self._app, authentication=self.authentication, metrics=Metrics(CollectorRegistry()))  # type: ignore[arg-type]

    @property
    def free_bytes(self) -> int:
        return self.authentication._bodies._free_bytes  # pyright: ignore[reportPrivateUsage]

    async def ask(self, request: WireRequest, *, pieces: list[Any] | None = None, length: int | None = None) -> int:
        """The status of the answer, 0 for none. `pieces` are events (or awaitables) instead of the whole body."""
        sent: list[Any] = []
        events = list(pieces or [{"type": "http.request", "body": request.body, "more_body": False}])

        async def receive() -> Any:
            self.read += 1
            event = events.pop(0) if events else {"type": "http.disconnect"}
            return await event if asyncio.iscoroutine(event) else event

        async def send(message: Any) -> None:
            sent.append(message)

        size = len(request.body) if length is None else length
        scope: Any = {
            "type": "http",
            "scheme": "http",
            "method": request.method,
            "path": request.path.decode(),
            "raw_path": request.path,
            "query_string": request.query,
            "headers": [*request.headers, (b"content-length", str(size).encode())],
        }
        await self._edge(scope, receive, send)
        return sent[0]["status"] if sent else 0

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope[PRINCIPAL] is PRINCIPAL_OF_KEY
        message = await receive()
        assert not message["more_body"]
        self.bodies.append(message["body"])
        self.disconnects += (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def _refuse(self, scope: Any, principal: Principal, error: GatewayError) -> None:
        self.refused.append((principal, error.code))


def signed(body: bytes = b"body", **more: Any) -> WireRequest:
    return signed_request("POST", "http://h/v1/models", body, **({"key": KEY, "secret": SECRET} | more))


async def test_the_application_gets_the_body_once_and_then_the_disconnect() -> None:
    gateway = Gateway()
    pieces = [
        {"type": "http.request", "body": b"bo", "more_body": True},
        {"type": "http.request", "body": b"dy", "more_body": False},
    ]
    assert await gateway.ask(signed(), pieces=pieces) == 200
    assert (gateway.bodies, gateway.disconnects) == ([b"body"], 1)
    assert gateway.refused == []


@pytest.mark.parametrize(
    "request_",
    [
        signed(key="BPAKAAAAAAAAAAAAAAAA"),
        signed(at=datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)),
        signed(service="s3"),
        signed().with_header("x-amz-date", None),
        signed().with_header("authorization", "AWS4-HMAC-SHA256 nonsense"),
        signed().with_header("x-amz-added", "x"),
    ],
    ids=["unknown key", "old", "other service", "no date", "malformed", "header added"],
)
async def test_no_body_is_read_for_a_request_that_cannot_be_right(request_: WireRequest) -> None:
    gateway = Gateway()
    assert await gateway.ask(request_) in (400, 401)
    assert gateway.read == 0
    assert gateway.bodies == []


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    gateway = Gateway()
    assert await gateway.ask(signed(b"x" * (LIMIT_BYTES + 1))) == 413
    assert gateway.read == 0
    assert gateway.refused == [(PRINCIPAL_OF_KEY, "payload_too_large")]


async def test_waiting_bodies_share_a_budget_which_comes_back() -> None:
    gateway = Gateway()
    capacity = gateway.free_bytes
    arrival = asyncio.Event()

    async def late() -> Any:
        await arrival.wait()
        return {"type": "http.request", "body": b"body", "more_body": False}

    waiting = [asyncio.create_task(gateway.ask(signed(), pieces=[late()], length=LIMIT_BYTES)) for _ in range(8)]
    await asyncio.sleep(0.05)
    assert gateway.free_bytes == 0
    assert await gateway.ask(signed()) == 429
    assert gateway.refused == [], "whoever overloads the gateway does not write records as well"
    waiting.pop().cancel()
    await asyncio.sleep(0.05)
    assert gateway.free_bytes == LIMIT_BYTES
    assert await gateway.ask(signed()) == 200
    arrival.set()
    assert await asyncio.gather(*waiting) == [200] * 7
    assert gateway.free_bytes == capacity


async def test_a_body_that_does_not_come_and_a_client_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway()
    capacity = gateway.free_bytes
    assert await gateway.ask(signed(), pieces=[{"type": "http.disconnect"}]) == 0
    monkeypatch.setattr(authentication, "BODY_TIMEOUT_S", 0.05)
    assert await gateway.ask(signed(), pieces=[asyncio.sleep(30)]) == 400
    assert gateway.free_bytes == capacity
    assert gateway.bodies == []


async def test_refusals_are_recorded_but_not_without_end() -> None:
    gateway = Gateway()
    for _ in range(int(REFUSALS_PER_S) + 30):
        assert await gateway.ask(signed(secret="wrong")) == 401
    assert set(gateway.refused) == {(PRINCIPAL_OF_KEY, "signature_mismatch")}
    assert REFUSALS_PER_S <= len(gateway.refused) < REFUSALS_PER_S + 30


def test_an_allowance_comes_back_with_time() -> None:
    now_s = 0.0
    allowance = Allowance(2, clock=lambda: now_s)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now_s = 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now_s = 100.0
    assert [allowance.take() for _ in range(3)] == [True, True, False]


def test_a_hold_is_released_when_its_block_fails() -> None:
    bodies = UnverifiedBodies(10)
    with contextlib.suppress(KeyError), bodies.hold(10):
        with pytest.raises(RateLimited), bodies.hold(1):
            pass
        raise KeyError
    with bodies.hold(10):
        pass
