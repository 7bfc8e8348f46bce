"""Vault's transit engine, spoken to by its own client and played by a server that keeps its rules."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bedplate_core.errors import GatewayError, StoreUnavailable
from bedplate_core.ids import ProjectId, new_project_id
from bedplate_sessions.keys.bounded_calls import THREADS
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.provider import WrappedKey
from bedplate_sessions.keys.vault_keys import VaultKeys
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

pytestmark = pytest.mark.anyio

TOKEN = "hvs.canary-token"
PROJECT = ProjectId("proj_a")
DATA_KEY = secrets.token_bytes(32)


class Vault(ThreadingHTTPServer):
    """A transit mount `keys/transit` with the key `bedplate`.

    `derived`: whether the key was made with it. `associated`: whether this Vault is new enough to know that parameter.
    `status`: what every request is answered with instead; `silent`: it is not answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.versions = {1: secrets.token_bytes(32)}
        self.oldest = 1
        self.derived = True
        self.associated = True
        self.status: int | None = None
        self.location: str | None = None
        self.answer: bytes | None = None
        self.silent = threading.Event()
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def rotate(self) -> None:
        self.versions[max(self.versions) + 1] = secrets.token_bytes(32)

    def encrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        version = max(self.versions)
        nonce = os.urandom(12)
        cipher, associated = self._cipher(version, body), self._associated(body)
        sealed = nonce + cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), associated)
        return {"ciphertext": f"vault:v{version}:{base64.b64encode(sealed).decode()}", "key_version": version}

    def decrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        found = re.fullmatch(r"vault:v(\d+):(.+)", body["ciphertext"])
        assert found is not None
        version = int(found[1])
        if version < self.oldest or version not in self.versions:
            raise ValueError("ciphertext or signature version is disallowed by policy (too old)")
        sealed = base64.b64decode(found[2])
        try:
            plain = self._cipher(version, body).decrypt(sealed[:12], sealed[12:], self._associated(body))
        except InvalidTag:
            raise ValueError("cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(plain).decode()}

    def _cipher(self, version: int, body: dict[str, Any]) -> AESGCM:
        key = self.versions[version]
        if self.derived:
            key = HKDF(hashes.SHA256(), 32, salt=None, info=base64.b64decode(body["context"])).derive(key)
        return AESGCM(key)

    def _associated(self, body: dict[str, Any]) -> bytes | None:
        return base64.b64decode(body["associated_data"]) if self.associated else None


class _Handler(BaseHTTPRequestHandler):
    server: Vault
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.silent.is_set():
            while self.server.silent.is_set():
                time.sleep(0.01)
            self.close_connection = True
            return
        if self.server.answer is not None:
            self._send(200, self.server.answer)
            return
        if self.server.status is not None:
            said = {"errors": [f"said with {TOKEN} by {self.server.url}"]}
            self._send(self.server.status, json.dumps(said).encode())
            return
        if self.headers["X-Vault-Token"] != TOKEN:
            self._send(403, b'{"errors":["permission denied"]}')
            return
        work = {"/v1/keys/transit/encrypt/bedplate": self.server.encrypt}
        work["/v1/keys/transit/decrypt/bedplate"] = self.server.decrypt
        if self.path not in work:
            self._send(404, b'{"errors":["no handler for route"]}')
            return
        try:
            self._send(200, json.dumps({"request_id": "1", "data": work[self.path](body)}).encode())
        except ValueError as error:
            self._send(400, json.dumps({"errors": [str(error)]}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if self.server.location is not None:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def served() -> Iterator[Vault]:
    server = Vault()
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silent.clear()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def vault() -> Iterator[Vault]:
    with served() as server:
        yield server


def keys_at(vault: Vault, *, token: str = TOKEN, mount: str = "keys/transit", deadline_s: float = 3.0) -> VaultKeys:
    return VaultKeys(url=vault.url, mount=mount, name="bedplate", token=token, deadline_s=deadline_s)


@pytest.fixture
async def keys(vault: Vault) -> AsyncIterator[VaultKeys]:
    made = keys_at(vault)
    yield made
    await made.aclose()
    await made.aclose()


async def test_the_wire(vault: Vault, keys: VaultKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert keys.key_id == "vault:keys/transit/bedplate"
    assert wrapped.key_id == "vault:keys/transit/bedplate:1"
    assert await keys.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    (path, headers, sent), (path_2, _, sent_2) = vault.requests
    assert (path, path_2) == ("/v1/keys/transit/encrypt/bedplate", "/v1/keys/transit/decrypt/bedplate")
    assert headers["X-Vault-Token"] == TOKEN
    assert headers["X-Vault-Request"] == "true"
    assert base64.b64decode(sent["context"]) == base64.b64decode(sent_2["context"]) == b"proj_a"
    assert base64.b64decode(sent["plaintext"]).endswith(DATA_KEY)
    assert sent_2["ciphertext"] == wrapped.wrapped.decode()
    assert set(sent) == {"plaintext", "context", "associated_data"}
    assert set(sent_2) == {"ciphertext", "context", "associated_data"}


@pytest.mark.parametrize(("derived", "associated"), [(True, True), (True, False), (False, True), (False, False)])
async def test_a_wrapped_key_unwraps_for_its_project_and_owner_only(
    vault: Vault, keys: VaultKeys, derived: bool, associated: bool
) -> None:
    """Also with a key that was made without derivation, and with a Vault that knows no associated data."""
    vault.derived, vault.associated = derived, associated
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert await keys.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    for project, owner in ((ProjectId("proj_b"), "sess_1"), (PROJECT, "sess_2")):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(project, owner, wrapped)


async def test_changed_bytes_and_other_keys_do_not_unwrap(vault: Vault, keys: VaultKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    asked = len(vault.requests)
    for key_id in ("vault:keys/transit/other:1", "vault:other/bedplate:1", "file:1", ""):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=key_id, wrapped=wrapped.wrapped))
    for text in (b"", b"\xff", b"vault:v1:", wrapped.wrapped + b"\n", b"vault:v1:../../x?y"):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=wrapped.key_id, wrapped=text))
    assert len(vault.requests) == asked  # none of these is Vault's business
    flipped = wrapped.wrapped[:20] + (b"A" if wrapped.wrapped[20:21] != b"A" else b"B") + wrapped.wrapped[21:]
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=wrapped.key_id, wrapped=flipped))


async def test_a_version_that_may_no_longer_decrypt(vault: Vault, keys: VaultKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    vault.rotate()
    assert await keys.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    assert (await keys.wrap(PROJECT, "sess_1", DATA_KEY)).key_id == "vault:keys/transit/bedplate:2"
    vault.oldest = 2
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", wrapped)


async def test_a_rotation_in_vault_is_followed_by_one_here(vault: Vault, keys: VaultKeys, database_url: str) -> None:
    database = Database(DatabaseConfig(url=database_url, pool_size=2))
    project = new_project_id()
    data_keys = DataKeys(database, keys)
    cipher, write = await data_keys.create(project, "sess_1")
    assert write is not None
    async with database.transaction(project) as connection:
        await write(connection)
    assert await data_keys.rewrap(project, limit=5) == 0
    vault.rotate()
    assert await data_keys.stale(project) == 1
    assert await data_keys.rewrap(project, limit=5) == 1
    vault.oldest = 2
    opened = await DataKeys(database, keys).cipher(project, "sess_1")
    assert opened.open(cipher.seal(b"said", "place"), "place") == b"said"
    await database.aclose()


@pytest.mark.parametrize("status", [307, 401, 403, 404, 412, 429, 472, 500, 501, 502, 503])
async def test_what_can_be_mended_is_an_outage_that_tells_nothing(
    vault: Vault, keys: VaultKeys, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    vault.status = status
    for work in (keys.wrap(PROJECT, "sess_1", DATA_KEY), keys.unwrap(PROJECT, "sess_1", wrapped)):
        with pytest.raises(StoreUnavailable) as raised:
            await work
        tells_nothing(vault, raised.value, caplog.text)
    assert "Vault does not wrap" in caplog.text


async def test_a_wrong_token_and_a_wrong_mount(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    for keys, reason in ((keys_at(vault, token="other"), "Forbidden"), (keys_at(vault, mount="else"), "InvalidPath")):
        with pytest.raises(StoreUnavailable):
            await keys.wrap(PROJECT, "sess_1", DATA_KEY)
        assert reason in caplog.text
        await keys.aclose()


async def test_a_request_that_vault_refuses_is_an_outage_when_wrapping(vault: Vault, keys: VaultKeys) -> None:
    vault.status = 400
    with pytest.raises(StoreUnavailable):
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b"no json", b'{"data": null}', b'{"data": {"ciphertext": 1, "plaintext": 1}}']
)
async def test_an_answer_that_is_none_of_vaults(vault: Vault, keys: VaultKeys, answer: bytes) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    vault.answer = answer
    for work in (keys.wrap(PROJECT, "sess_1", DATA_KEY), keys.unwrap(PROJECT, "sess_1", wrapped)):
        with pytest.raises(StoreUnavailable):
            await work


@pytest.mark.parametrize("plaintext", ["", "%", base64.b64encode(bytes(64)).decode(), base64.b64encode(b"x").decode()])
async def test_a_plaintext_that_is_not_what_was_wrapped(vault: Vault, keys: VaultKeys, plaintext: str) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    vault.answer = json.dumps({"data": {"plaintext": plaintext}}).encode()
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", wrapped)


async def test_a_redirect_is_not_followed(vault: Vault, keys: VaultKeys) -> None:
    with served() as elsewhere:
        vault.status, vault.location = 307, f"{elsewhere.url}/v1/keys/transit/encrypt/bedplate"
        with pytest.raises(StoreUnavailable):
            await keys.wrap(PROJECT, "sess_1", DATA_KEY)
        assert elsewhere.requests == []
    assert len(vault.requests) == 1


async def test_nothing_is_taken_from_the_environment(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("VAULT_TOKEN", "another")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = keys_at(vault)
    await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert "Authorization" not in vault.requests[0][1]
    await keys.aclose()


async def test_a_vault_that_hangs_or_is_not_there_is_an_outage_in_bounded_time(
    vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    keys, patient = keys_at(vault, deadline_s=0.3), keys_at(vault)
    wrapped = await patient.wrap(PROJECT, "sess_1", DATA_KEY)
    vault.silent.set()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as raised:
        await keys.unwrap(PROJECT, "sess_1", wrapped)
    assert time.monotonic() - began < 3.0
    tells_nothing(vault, raised.value, caplog.text)
    # More than there are threads: none waits longer, and no thread of the loop's own is taken.
    calls = [asyncio.create_task(keys.unwrap(PROJECT, "sess_1", wrapped)) for _ in range(200)]
    await asyncio.sleep(0.05)
    assert (
        1 <= len([thread for thread in threading.enumerate() if thread.name.startswith("vault")]) <= THREADS + 1
    )  # one is the patient's
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert time.monotonic() - began < 5.0
    vault.silent.clear()
    assert await patient.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    await keys.aclose()
    await patient.aclose()
    nowhere = VaultKeys(url="http://127.0.0.1:1", mount="transit", name="bedplate", token=TOKEN)
    with pytest.raises(StoreUnavailable) as raised:
        await nowhere.unwrap(PROJECT, "sess_1", WrappedKey(key_id=f"{nowhere.key_id}:1", wrapped=wrapped.wrapped))
    tells_nothing(vault, raised.value, caplog.text)
    await nowhere.aclose()


def tells_nothing(vault: Vault, error: GatewayError, logged: str) -> None:
    chain: list[str] = [logged, error.message]
    one: BaseException | None = error
    while one is not None:
        chain += [repr(one), str(one)]
        one = one.__cause__ or one.__context__
    for secret in (TOKEN, vault.url, "127.0.0.1", DATA_KEY.hex(), base64.b64encode(DATA_KEY).decode()[:20]):
        assert all(secret not in text for text in chain), secret


async def test_its_representation_holds_no_token(keys: VaultKeys) -> None:
    assert repr(keys) == "VaultKeys('vault:keys/transit/bedplate')"
