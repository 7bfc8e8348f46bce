"""AWS KMS, spoken to by boto3 and played by a server that keeps its rules."""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.kms_keys import KmsKeys
from bedplate_sessions.keys.provider import WrappedKey
from bedplate_sessions.keys.setting_error import KeySettingError

pytestmark = pytest.mark.anyio

ACCOUNT = "arn:aws:kms:eu-west-1:111122223333"
KEY_1 = f"{ACCOUNT}:key/11111111-12ab-34cd-56ef-1234567890ab"
KEY_2 = f"{ACCOUNT}:key/22222222-12ab-34cd-56ef-1234567890ab"
STRANGER = "arn:aws:kms:eu-west-1:999988887777:key/33333333-12ab-34cd-56ef-1234567890ab"
SECRET = "canary-secret-access-key"
PROJECT = ProjectId("proj_a")
DATA_KEY = secrets.token_bytes(32)


class Kms(ThreadingHTTPServer):
    """Two keys of an account, one of another's, and an alias. `error`: what every request is answered with instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = {arn: secrets.token_bytes(32) for arn in (KEY_1, KEY_2, STRANGER)}
        self.alias = KEY_1
        self.error: tuple[int, str] | None = None
        self.answer: bytes | None = None
        self.silent = threading.Event()
        self.requests: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def encrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        arn, key = self._key(body)
        nonce = os.urandom(12)
        blob = nonce + key.encrypt(nonce, base64.b64decode(body["Plaintext"]), _context(body))
        return {"CiphertextBlob": base64.b64encode(blob).decode(), "KeyId": arn}

    def decrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        arn, key = self._key(body)
        blob = base64.b64decode(body["CiphertextBlob"])
        try:
            plain = key.decrypt(blob[:12], blob[12:], _context(body))
        except (InvalidTag, ValueError):
            raise LookupError("InvalidCiphertextException") from None
        return {"Plaintext": base64.b64encode(plain).decode(), "KeyId": arn}

    def _key(self, body: dict[str, Any]) -> tuple[str, AESGCM]:
        arn = self.alias if "alias/bedplate" in body["KeyId"] else body["KeyId"]
        if arn not in self.keys:
            raise LookupError("NotFoundException")
        return arn, AESGCM(self.keys[arn])


def _context(body: dict[str, Any]) -> bytes:
    return json.dumps(body["EncryptionContext"], sort_keys=True).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Kms
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        target = self.headers["X-Amz-Target"]
        self.server.requests.append((target, body))
        if self.server.silent.is_set():
            while self.server.silent.is_set():
                time.sleep(0.01)
            self.close_connection = True
            return
        if self.server.answer is not None:
            self._send(200, self.server.answer)
            return
        if self.server.error is not None:
            status, code = self.server.error
            self._send(status, json.dumps({"__type": code, "message": f"of {self.server.url}, {SECRET}"}).encode())
            return
        work = {"TrentService.Encrypt": self.server.encrypt, "TrentService.Decrypt": self.server.decrypt}[target]
        try:
            self._send(200, json.dumps(work(body)).encode())
        except LookupError as error:
            self._send(400, json.dumps({"__type": error.args[0]}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = Kms()
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    yield server
    server.silent.clear()
    server.shutdown()
    server.server_close()
    thread.join()


def keys_at(kms: Kms, key: str = KEY_1, *, deadline_s: float = 3.0) -> KmsKeys:
    return KmsKeys(key, region="eu-west-1", endpoint_url=kms.url, deadline_s=deadline_s)


@pytest.fixture
async def keys(kms: Kms) -> AsyncIterator[KmsKeys]:
    made = keys_at(kms)
    yield made
    await made.aclose()
    await made.aclose()


async def test_the_wire(kms: Kms, keys: KmsKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert wrapped.key_id == keys.key_id == f"kms:{KEY_1}"
    assert await keys.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    (target, sent), (target_2, sent_2) = kms.requests
    assert (target, target_2) == ("TrentService.Encrypt", "TrentService.Decrypt")
    context = {"bedplate:project": "proj_a", "bedplate:owner": "sess_1"}
    assert sent == {
        "KeyId": KEY_1, "Plaintext": base64.b64encode(DATA_KEY).decode(), "EncryptionContext": context
    }  # fmt: skip
    assert sent_2["EncryptionContext"] == context
    assert sent_2["KeyId"] == KEY_1
    assert base64.b64decode(sent_2["CiphertextBlob"]) == wrapped.wrapped


async def test_a_wrapped_key_unwraps_for_its_project_and_owner_only(keys: KmsKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    for project, owner in ((ProjectId("proj_b"), "sess_1"), (PROJECT, "sess_2")):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(project, owner, wrapped)
    for changed in (wrapped.wrapped[:-1], wrapped.wrapped[:-1] + bytes([wrapped.wrapped[-1] ^ 1]), b"x"):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=wrapped.key_id, wrapped=changed))


async def test_an_alias_that_is_moved_leaves_all_readable(kms: Kms) -> None:
    for alias in ("alias/bedplate", f"{ACCOUNT}:alias/bedplate"):
        kms.alias = KEY_1
        keys = keys_at(kms, alias)
        assert keys.key_id == f"kms:{alias}"
        old = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
        assert old.key_id == f"kms:{KEY_1}"
        kms.alias = KEY_2
        assert (await keys.wrap(PROJECT, "sess_1", DATA_KEY)).key_id == f"kms:{KEY_2}"
        assert await keys.unwrap(PROJECT, "sess_1", old) == DATA_KEY
        again = keys_at(kms, alias)
        assert await again.unwrap(PROJECT, "sess_1", old) == DATA_KEY  # before it wrapped anything
        await keys.aclose()
        await again.aclose()


@pytest.mark.parametrize("key", [KEY_1, "alias/bedplate"])
async def test_a_strangers_key_is_not_asked(kms: Kms, key: str) -> None:
    """Somebody who can write the table puts a data key there that a key of theirs wrapped for this very owner."""
    theirs = await keys_at(kms, STRANGER).wrap(PROJECT, "sess_1", DATA_KEY)
    keys = keys_at(kms, key)
    kms.requests.clear()
    for key_id in (theirs.key_id, f"kms:{STRANGER} ", "kms:alias/bedplate", "kms:", "file:1"):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=key_id, wrapped=theirs.wrapped))
    assert "TrentService.Decrypt" not in [target for target, _ in kms.requests]
    await keys.aclose()


async def test_a_key_that_was_deleted(kms: Kms, keys: KmsKeys) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    del kms.keys[KEY_1]
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", wrapped)
    with pytest.raises(StoreUnavailable):
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "AccessDeniedException"),
        (400, "DisabledException"),
        (400, "KMSInvalidStateException"),
        (400, "ThrottlingException"),
        (400, "UnrecognizedClientException"),
        (500, "KMSInternalException"),
        (503, "KeyUnavailableException"),
    ],
)
async def test_what_can_be_mended_is_an_outage_that_tells_nothing(
    kms: Kms, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = keys_at(kms)
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    kms.error = (status, code)
    with pytest.raises(StoreUnavailable) as raised:
        await keys.unwrap(PROJECT, "sess_1", wrapped)
    tells_nothing(kms, raised.value, caplog.text)
    kms.requests.clear()
    with pytest.raises(StoreUnavailable) as raised:
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    tells_nothing(kms, raised.value, caplog.text)
    assert len(kms.requests) <= 2
    assert "KMS does not wrap" in caplog.text
    await keys.aclose()


@pytest.mark.parametrize("answer", [b"{}", b'{"KeyId": "x", "CiphertextBlob": "AAAA", "Plaintext": "AAAA"}'])
async def test_an_answer_of_another_form(kms: Kms, keys: KmsKeys, answer: bytes) -> None:
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    kms.answer = answer
    with pytest.raises(StoreUnavailable):
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", wrapped)


async def test_a_kms_that_hangs_or_is_not_there_is_an_outage_in_bounded_time(
    kms: Kms, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keys_at(kms, deadline_s=0.3)
    kms.silent.set()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as raised:
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert time.monotonic() - began < 3.0
    tells_nothing(kms, raised.value, caplog.text)
    kms.silent.clear()
    await keys.aclose()
    nowhere = KmsKeys(KEY_1, endpoint_url="http://127.0.0.1:1", deadline_s=0.3)
    with pytest.raises(StoreUnavailable) as raised:
        await nowhere.unwrap(PROJECT, "sess_1", WrappedKey(key_id=f"kms:{KEY_1}", wrapped=b"x"))
    tells_nothing(kms, raised.value, caplog.text)
    await nowhere.aclose()


async def test_without_credentials_it_is_an_outage(
    kms: Kms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = keys_at(kms)
    with pytest.raises(StoreUnavailable):
        await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert "NoCredentialsError" in caplog.text
    assert kms.requests == []
    await keys.aclose()


async def test_a_profile_that_is_not_there_is_said_at_once(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(KeySettingError, match="ProfileNotFound") as raised:
        keys_at(kms)
    assert raised.value.__context__ is None


def tells_nothing(kms: Kms, error: StoreUnavailable, logged: str) -> None:
    chain: list[str] = [logged, error.message]
    one: BaseException | None = error
    while one is not None:
        chain += [repr(one), str(one)]
        one = one.__cause__ or one.__context__
    for secret in (SECRET, kms.url, "127.0.0.1", DATA_KEY.hex(), base64.b64encode(DATA_KEY).decode()[:20]):
        assert all(secret not in text for text in chain), secret


async def test_its_representation_holds_no_secret(keys: KmsKeys) -> None:
    assert repr(keys) == f"KmsKeys({KEY_1!r})"
