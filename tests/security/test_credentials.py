"""Keys: how they travel, what is stored of them, and how fast they stop working."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.errors import StoreUnavailable, Unauthenticated
from bedplate_core.ids import KeyId, ProjectId
from bedplate_gateway.access.credentials import KeyEntry, Signed, presented_credential, principal_of_token
from bedplate_gateway.access.keyring import Keyring, KeyringError, ensure_master_key, new_token, read_keyring
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.web.authentication import Authentication
from bedplate_gateway.web.edge import Edge
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import CHAT, MESSAGES, eventually, http, own_gateway

KEYRING = Keyring(bytes(32))
TOKEN = new_token()
PRINCIPAL = Principal(key_id=KeyId("key_1"), project=ProjectId("proj_1"), role=Role.SERVICE)
KEYS = {KEYRING.token_hash(TOKEN): KeyEntry(principal=PRINCIPAL)}


def authenticate(headers: list[tuple[bytes, bytes]], keys: dict[bytes, KeyEntry], keyring: Keyring) -> Principal:
    found = presented_credential(headers)
    assert not isinstance(found, Signed)
    return principal_of_token(found, keys, keyring)


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def _carriers(token: str) -> dict[str, tuple[bytes, bytes]]:
    return {
        "bearer": (b"authorization", f"Bearer {token}".encode()),
        "bearer in lower case": (b"authorization", f"bearer   {token} ".encode()),
        "x-api-key": (b"x-api-key", token.encode()),
        "api-key": (b"api-key", token.encode()),
        "basic": (b"authorization", _basic("anyone", token)),
        "basic without a name": (b"authorization", _basic("", token)),
    }


@pytest.mark.parametrize("carrier", _carriers(""))
def test_every_carrier_gives_the_same_principal(carrier: str) -> None:
    assert authenticate([_carriers(TOKEN)[carrier]], KEYS, KEYRING) is PRINCIPAL
    with pytest.raises(Unauthenticated):
        authenticate([_carriers(TOKEN[:-1])[carrier]], KEYS, KEYRING)


@pytest.mark.parametrize("second", _carriers(""))
@pytest.mark.parametrize("first", _carriers(""))
def test_two_carriers_must_agree(first: str, second: str) -> None:
    headers = [_carriers(TOKEN)[first], _carriers(TOKEN)[second]]
    assert authenticate(headers, KEYS, KEYRING) is PRINCIPAL
    other = new_token()
    keys = KEYS | {KEYRING.token_hash(other): KeyEntry(principal=PRINCIPAL)}
    with pytest.raises(Unauthenticated, match="two different"):
        authenticate([_carriers(TOKEN)[first], _carriers(other)[second]], keys, KEYRING)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        TOKEN.encode(),
        b"Digest " + TOKEN.encode(),
        b"Basic !!!",
        b"Basic /w==",
        b"Bearer\t" + TOKEN.encode(),
    ],
)
def test_an_authorization_header_that_cannot_be_read_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate([(b"authorization", value)], KEYS, KEYRING)
    assert TOKEN not in str(caught.value)


_NAMES = st.sampled_from(
    [
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"cookie",
        b"x-forwarded-user",
        b"x-bedplate-project",
        b"proxy-authorization",
    ]
)
_VALUES = st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=60).map(lambda raw: b"Bearer " + raw),
    st.binary(max_size=60).map(lambda raw: b"Basic " + base64.b64encode(raw)),
    st.sampled_from(
        [b"Bearer " + TOKEN.encode(), TOKEN.encode(), _basic("a", TOKEN), b"Bearer null", b"Bearer undefined"]
    ),
)


@given(headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=5))
def test_any_headers_give_the_keys_own_principal_or_none(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        principal = authenticate(headers, KEYS, KEYRING)
    except Unauthenticated:
        return
    assert principal is PRINCIPAL
    assert principal.project
    assert any(TOKEN.encode() in value or _basic("a", TOKEN) == value for _, value in headers)


def test_a_stored_hash_is_no_credential() -> None:
    stored = KEYRING.token_hash(TOKEN)
    for presented in (stored.hex(), base64.b64encode(stored).decode(), stored.decode("latin-1")):
        with pytest.raises(Unauthenticated):
            authenticate([(b"authorization", b"Bearer " + presented.encode("latin-1"))], KEYS, KEYRING)


def test_the_whole_token_is_hashed_under_the_installations_own_key() -> None:
    other = Keyring(b"\1" * 32)
    assert KEYRING.token_hash(TOKEN) != other.token_hash(TOKEN)
    assert KEYRING.token_hash(TOKEN) != hashlib.sha256(TOKEN.encode()).digest()
    assert KEYRING.token_hash(TOKEN) != hmac.digest(bytes(32), TOKEN.encode(), "sha256")
    assert len({KEYRING.token_hash(TOKEN[:end]) for end in range(len(TOKEN) + 1)}) == len(TOKEN) + 1


def test_each_purpose_has_its_own_key() -> None:
    assert KEYRING.cache_salt("proj_1") != KEYRING.token_hash("proj_1").hex()
    assert KEYRING.cache_salt("proj_1") != KEYRING.cache_salt("proj_2")
    assert KEYRING.cache_salt("proj_1") == Keyring(bytes(32)).cache_salt("proj_1")


def test_a_projects_cache_salt_never_changes() -> None:
    """Engines hold cached prefixes under it: a release that changed it would empty them all."""
    assert KEYRING.cache_salt("proj_1") == "8e0412d0ab3596f02f0c450f3653757e807fc16088c05ce6ce0499db938981b8"


@given(st.lists(st.tuples(st.text(max_size=4), st.none() | st.text(max_size=4)), min_size=2, max_size=8, unique=True))
def test_no_two_projects_or_sessions_share_a_cache_salt(names: list[tuple[str, str | None]]) -> None:
    salts = [KEYRING.cache_salt(project, session) for project, session in names]
    assert len(set(salts)) == len(names)
    assert all(re.fullmatch(r"[0-9a-f]{64}", salt) for salt in salts)


def test_a_sessions_cache_salt_has_no_other_reading() -> None:
    assert KEYRING.cache_salt("a", "bc") != KEYRING.cache_salt("ab", "c")
    assert KEYRING.cache_salt("a", "") != KEYRING.cache_salt("a")
    framed = b"".join(len(name).to_bytes(8, "big") + name for name in (b"a", b"b")).decode()
    assert KEYRING.cache_salt("a", "b") != KEYRING.cache_salt(framed)
    assert KEYRING.cache_salt("a", "b") != Keyring(b"\1" * 32).cache_salt("a", "b")
    assert KEYRING.cache_salt("a", "b") == Keyring(bytes(32)).cache_salt("a", "b")


def test_keys_are_unguessable_and_recognisable() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"bp_[A-Za-z0-9_-]{43}", token) for token in tokens)


def test_the_master_key_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "home" / "master.key"
    ensure_master_key(path)
    first = path.read_bytes()
    ensure_master_key(path)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]
    path.chmod(0o644)
    with pytest.raises(KeyringError, match="chmod 600"):
        read_keyring(path)
    path.chmod(0o600)
    for content in ("", "zz" * 32, "00" * 31):
        path.write_text(content)
        with pytest.raises(KeyringError) as caught:
            read_keyring(path)
        assert content.strip("0") == "" or content not in str(caught.value)


@pytest.mark.anyio
async def test_before_the_catalogue_is_there_every_key_is_503() -> None:
    from prometheus_client import CollectorRegistry

    async def reached(*_: Any) -> None:
        raise AssertionError("the application was reached")

    database = Database(DatabaseConfig(url="postgresql://nobody@/nothing?host=/nowhere"))
    catalogue = Catalogue(database, Secrets(Path("/nowhere")), KEYRING, 1.0)
    metrics = Metrics(CollectorRegistry())
    authentication = Authentication(catalogue=catalogue, keyring=KEYRING, max_body_bytes=1, refuse=reached)
    edge = Edge(reached, authentication=authentication, metrics=metrics)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for headers in ([], [(b"authorization", b"Bearer " + TOKEN.encode())]):
        sent.clear()
        scope: Any = {"type": "http", "path": "/v1/models", "headers": headers}
        await edge(scope, reached, send)
        assert sent[0]["status"] == StoreUnavailable.status
        assert b"store_unavailable" in sent[1]["body"]


@pytest.mark.parametrize("carrier", _carriers(""))
def test_carriers_are_equal_on_a_running_gateway(gateway: RunningGateway, carrier: str) -> None:
    for key, metrics in ((gateway.key, 403), (gateway.admin_key, 200), ("bp_wrong", 401)):
        name, value = _carriers(key)[carrier]
        with http(gateway) as client:
            headers = {name.decode(): value.decode().strip()}
            assert client.get("/metrics", headers=headers).status_code == metrics
            called = client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES}, headers=headers)
            assert called.status_code == (401 if metrics == 401 else 200)


def test_a_cookie_or_query_parameter_is_no_carrier(gateway: RunningGateway) -> None:
    with http(gateway, cookie=f"api_key={gateway.key}; authorization=Bearer {gateway.key}") as client:
        assert client.get("/v1/models").status_code == 401
        for name in ("api_key", "key", "api-key", "access_token"):
            assert client.get("/v1/models", params={name: gateway.key}).status_code == 401


def test_what_the_database_holds_of_a_key_is_no_credential(gateway: RunningGateway) -> None:
    for row in gateway.query("select * from api_key"):
        values = [value for value in row.values() if isinstance(value, str | bytes)]
        for value in values:
            raw = value.encode() if isinstance(value, str) else value
            assert gateway.key.encode() not in raw
            for presented in (raw.hex(), base64.b64encode(raw).decode()):
                with http(gateway, presented) as client:
                    assert client.get("/v1/models").status_code == 401


def test_a_revoked_key_stops_within_a_second_on_every_gateway(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    with contextlib.ExitStack() as stack:
        stack.callback(postgres_server.drop_database, database)
        first = stack.enter_context(own_gateway(postgres_server, database=database))
        key = first.key
        second = stack.enter_context(own_gateway(postgres_server, database=database))
        # One installation has one master key; the second process gets the first one's.
        second.stop()
        second.settings.master_key_path.write_bytes(first.settings.master_key_path.read_bytes())
        second.start()
        clients = [stack.enter_context(http(running, key)) for running in (first, second)]
        statuses = [client.get("/v1/models").status_code for client in clients]
        assert statuses == [200, 200]
        time.sleep(0.2)
        first.query("update api_key set revoked_at = now() where hint = $1", key[-4:])
        eventually(lambda: all(client.get("/v1/models").status_code == 401 for client in clients), within_s=1.0)


def test_a_key_expires_on_time_without_any_change(gateway: RunningGateway) -> None:
    key = gateway.create_key("default", Role.SERVICE)
    gateway.query("update api_key set expires_at = now() + interval '2 seconds' where hint = $1", key[-4:])
    with http(gateway, key) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200, within_s=1.5)
        eventually(lambda: client.get("/v1/models").status_code == 401, within_s=3)
