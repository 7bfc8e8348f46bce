"""A signed request gets through exactly when its key's owner signed it just so, just now."""

from __future__ import annotations

import base64
import datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.errors import (
    CredentialExpired,
    GatewayError,
    IncompleteSignature,
    SignatureMismatch,
    Unauthenticated,
)
from bedplate_core.ids import KeyId, ProjectId
from bedplate_gateway.access.credentials import KeyPair, Signed, presented_credential
from bedplate_gateway.access.keyring import Keyring, KeyringError, new_access_key
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.access.short_term_key import MAX_LIFETIME_S, read_short_term_key
from bedplate_gateway.access.signature import MAX_SKEW_S, read_signature
from bedplate_providers.credential import Credential
from bedplate_providers.sigv4 import UNSIGNED_PAYLOAD, SigningScope, body_hash, canonical_request, signature
from tests.fixtures.aws import WireRequest, short_term_key, signed_request
from tests.providers.test_sigv4 import BODIES, HEADERS, METHODS, PATHS, QUERIES

KEY, SECRET = new_access_key()
PRINCIPAL = Principal(key_id=KeyId("key_1"), project=ProjectId("proj_1"), role=Role.SERVICE)
PAIR = KeyPair(principal=PRINCIPAL, secret=Credential(SECRET))
NOW = datetime.datetime(2026, 11, 24, 13, 43, 35, tzinfo=datetime.UTC)
NOW_S = NOW.timestamp()
URL = "http://127.0.0.1:8080"
ARN = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Aapplication-inference-profile%2Fab12/converse"
CONTENT = "x-amz-content-sha256"


def accepted(
    request: WireRequest, *, pair: KeyPair | None = PAIR, now_s: float = NOW_S, secure: bool = False
) -> Principal:
    """Who sent this, decided in the order in which the gateway does it."""
    found = presented_credential(request.headers)
    assert isinstance(found, Signed)
    signature = read_signature(found.value, request.headers, secure=secure)
    assert signature.access_key_id == KEY
    live = signature.check(pair, request.headers, now_s)
    signature.verify(
        live,
        method=request.method,
        raw_path=request.path,
        raw_query=request.query,
        headers=request.headers,
        body_hash=UNSIGNED_PAYLOAD if signature.payload == UNSIGNED_PAYLOAD else body_hash(request.body),
    )
    return live.principal


def signed(
    method: str = "POST",
    target: str = ARN,
    body: bytes = b'{"a": 1}',
    *,
    headers: dict[str, str] | None = None,
    at: datetime.datetime = NOW,
    secret: str = SECRET,
    service: str = "bedrock",
    token: str | None = None,
) -> WireRequest:
    return signed_request(
        method, URL + target, body, key=KEY, secret=secret, headers=headers, at=at, service=service, token=token
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("target", [ARN, "/sessions/", "/tags/arn%3Aaws?tagKeys=b&tagKeys=a", "/x?a&b=&a=%2F"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1}', '{"text": "é\U0001f600"}'.encode()])
def test_what_botocore_signs_is_accepted(method: str, target: str, body: bytes) -> None:
    headers = {"content-type": "application/json", "x-amzn-bedrock-accept": "application/json"}
    assert accepted(signed(method, target, body, headers=headers)) is PRINCIPAL


@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES, change=st.data())
def test_no_single_change_survives(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, change: st.DataObject
) -> None:
    request = signed(method, path + (f"?{query}" if query else ""), body, headers=headers)
    assert accepted(request) is PRINCIPAL
    changed = change.draw(st.sampled_from(_changes(request)))
    with pytest.raises(Unauthenticated):
        accepted(changed)


def test_every_single_change_of_one_request_is_refused() -> None:
    headers = {"content-type": "application/json", "x-amzn-bedrock-accept": "application/json"}
    request = signed(target=f"{ARN}?tagKeys=b&tagKeys=a", headers=headers)
    assert accepted(request) is PRINCIPAL
    for changed in _changes(request):
        with pytest.raises(Unauthenticated):
            accepted(changed)


def test_the_key_of_one_day_signs_for_that_day_only() -> None:
    """SDKs hand out keys derived for a day; one that got away must not sign for another."""
    request = signed()
    scope = SigningScope(date="20261123", region="r")
    canonical = canonical_request(
        method=request.method,
        raw_path=request.path,
        raw_query=request.query,
        headers=request.headers,
        signed=(b"host", b"x-amz-date"),
        payload=body_hash(request.body),
    )
    digits = signature(Credential(SECRET), scope, "20261124T134335Z", canonical)
    header = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=host;x-amz-date, Signature={digits}"
    assert "date" in _refused(request.with_header("authorization", header), SignatureMismatch)


def _changes(request: WireRequest) -> list[WireRequest]:
    authorization = request.header("authorization").decode()
    last = authorization[-1]
    changes = [
        request._replace(method="GET" if request.method != "GET" else "POST"),
        request._replace(path=request.path + b"x"),
        request._replace(path=b"/" + request.path),
        request._replace(path=b"/x/.." + request.path),
        request._replace(query=(request.query + b"&" if request.query else b"") + b"z=1"),
        request._replace(body=request.body + b"\0"),
        request.with_header("host", "elsewhere:8080"),
        request.with_header("host", None),
        request.with_header("x-amz-date", "20261124T134336Z"),
        request.with_header("x-amz-date", None),
        request.with_header("x-amz-target-2", "added"),
        request.with_header("x-amzn-bedrock-guardrailidentifier", "added"),
        request.with_header(CONTENT, body_hash(b"another")),
        request.with_header("authorization", authorization[:-1] + ("0" if last != "0" else "1")),
        request.with_header("authorization", authorization[:-1]),
        request.with_header("authorization", authorization.replace("/eu-central-1/", "/eu-central-2/")),
        request.with_header("authorization", authorization.replace("=host;", "=").replace(";host;", ";")),
        request._replace(headers=[*request.headers, (b"host", b"127.0.0.1:8080")]),
        request._replace(headers=[*request.headers, (b"x-amz-date", request.header("x-amz-date"))]),
        request._replace(headers=[*request.headers, (b"authorization", request.header("authorization"))]),
        request._replace(headers=[*request.headers, (b"x-api-key", b"bp_another")]),
    ]
    if request.body:
        changes.append(request._replace(body=b""))
    if request.query:
        changes.append(request._replace(query=b""))
    changes += [
        request.with_header(name.decode(), value + b"x")
        for name, value in request.headers
        if name not in (b"authorization", b"host", b"x-amz-date")
    ]
    return changes


def _refused(request: WireRequest, error: type[GatewayError], **given: object) -> str:
    with pytest.raises(GatewayError) as caught:
        accepted(request, **given)  # type: ignore[arg-type]
    assert type(caught.value) is error
    assert SECRET not in caught.value.message
    return caught.value.message


def test_another_secret() -> None:
    assert "secret access key" in _refused(signed(secret=SECRET[:-1]), SignatureMismatch)


def test_a_body_that_was_changed_on_the_way() -> None:
    _refused(signed()._replace(body=b'{"a": 2}'), SignatureMismatch)
    declared = signed(headers={CONTENT: body_hash(b'{"a": 1}')})
    assert accepted(declared) is PRINCIPAL
    assert "X-Amz-Content-SHA256" in _refused(declared._replace(body=b'{"a": 2}'), SignatureMismatch)


@pytest.mark.parametrize("signed_body", [b"good", b"evil"])
def test_the_declared_hash_and_the_body_must_be_one(signed_body: bytes) -> None:
    """The signature alone covers whichever of the two was hashed; neither may differ from what came."""
    request = signed(body=signed_body, headers={CONTENT: body_hash(b"good")})._replace(body=b"evil")
    _refused(request, SignatureMismatch)


def test_an_unsigned_body_only_over_tls() -> None:
    request = signed(headers={CONTENT: UNSIGNED_PAYLOAD})
    assert "TLS" in _refused(request, IncompleteSignature)
    assert accepted(request._replace(body=b"anything"), secure=True) is PRINCIPAL
    _refused(request.with_header("x-amz-date", "20261124T134336Z"), SignatureMismatch, secure=True)


@pytest.mark.parametrize("off_s", [-MAX_SKEW_S - 1, MAX_SKEW_S + 1, 86_400, -86_400])
def test_a_date_that_is_off(off_s: int) -> None:
    request = signed(at=NOW + datetime.timedelta(seconds=off_s))
    assert "minutes" in _refused(request, SignatureMismatch)
    assert accepted(request, now_s=NOW_S + off_s) is PRINCIPAL


@pytest.mark.parametrize("off_s", [-MAX_SKEW_S, MAX_SKEW_S])
def test_a_date_that_is_off_a_little(off_s: int) -> None:
    assert accepted(signed(at=NOW + datetime.timedelta(seconds=off_s))) is PRINCIPAL


def test_keys_that_do_not_work() -> None:
    _refused(signed(), Unauthenticated, pair=None)
    expired = KeyPair(principal=PRINCIPAL, secret=Credential(SECRET), expires_s=NOW_S)
    _refused(signed(), CredentialExpired, pair=expired)
    live = KeyPair(principal=PRINCIPAL, secret=Credential(SECRET), expires_s=NOW_S + 1)
    assert accepted(signed(), pair=live) is PRINCIPAL


def test_a_signature_must_cover_the_host() -> None:
    """A request captured on its way to one host cannot be played to another."""
    request = signed()
    canonical = canonical_request(
        method=request.method,
        raw_path=request.path,
        raw_query=request.query,
        headers=request.headers,
        signed=(b"x-amz-date",),
        payload=body_hash(request.body),
    )
    scope = SigningScope(date="20261124", region="r")
    digits = signature(Credential(SECRET), scope, "20261124T134335Z", canonical)
    header = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=x-amz-date, Signature={digits}"
    assert "host" in _refused(request.with_header("authorization", header), SignatureMismatch)


def test_another_service_and_a_session_token() -> None:
    assert "'s3'" in _refused(signed(service="s3"), SignatureMismatch)
    assert "session token" in _refused(signed(token="a-token"), Unauthenticated)


@pytest.mark.parametrize(
    "header",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=x",
        "AWS4-HMAC-SHA256 Credential={key}/2026/r/bedrock/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=Host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=host;host, Signature="
        + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=x;host, Signature="
        + "0" * 64,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=host, Signature=" + "0" * 63,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=host, Signature=" + "0" * 65,
        "AWS4-HMAC-SHA256 Credential={key}/20261124/r/bedrock/aws4_request, SignedHeaders=host, Signature="
        + "0" * 64 + ", X=1",
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_read(header: str) -> None:
    _refused(signed().with_header("authorization", header.format(key=KEY)), IncompleteSignature)


@pytest.mark.parametrize(
    "date", ["", "20261324T134335Z", "20261124T134335", "2026-11-24T13:43:35Z", "٢0261124T134335Z"]
)
def test_a_date_that_cannot_be_read(date: str) -> None:
    _refused(signed().with_header("x-amz-date", date.encode()), IncompleteSignature)


@given(value=st.binary(max_size=200).map(lambda raw: b"AWS4-HMAC-SHA256 " + raw))
def test_any_header_is_refused_in_our_own_words(value: bytes) -> None:
    with pytest.raises(IncompleteSignature):
        read_signature(value, [(b"x-amz-date", b"20261124T134335Z")], secure=False)


def _valid(token: str, *, now_s: float = NOW_S, pair: KeyPair | None = PAIR) -> Principal:
    key = read_short_term_key(token)
    assert key.access_key_id == KEY
    return key.verify(pair, now_s).principal


def test_a_short_term_key_works_until_it_ends() -> None:
    token = short_term_key(key=KEY, secret=SECRET, at=NOW, expires_s=3600)
    for now_s in (NOW_S - MAX_SKEW_S, NOW_S, NOW_S + 3599):
        assert _valid(token, now_s=now_s) is PRINCIPAL
    for now_s in (NOW_S + 3600, NOW_S + 1e6):
        with pytest.raises(CredentialExpired):
            _valid(token, now_s=now_s)
    with pytest.raises(SignatureMismatch, match="future"):
        _valid(token, now_s=NOW_S - MAX_SKEW_S - 1)


def test_a_short_term_key_ends_with_its_pair() -> None:
    token = short_term_key(key=KEY, secret=SECRET, at=NOW)
    with pytest.raises(Unauthenticated, match="revoked"):
        _valid(token, pair=None)
    with pytest.raises(CredentialExpired):
        _valid(token, pair=KeyPair(principal=PRINCIPAL, secret=Credential(SECRET), expires_s=NOW_S))


@pytest.mark.parametrize("lifetime_s", [1, MAX_LIFETIME_S, MAX_LIFETIME_S + 1, 604_800, 0, -1])
def test_a_short_term_key_is_short(lifetime_s: int) -> None:
    token = short_term_key(key=KEY, secret=SECRET, at=NOW, expires_s=lifetime_s)
    if 0 < lifetime_s <= MAX_LIFETIME_S:
        assert _valid(token) is PRINCIPAL
    else:
        with pytest.raises(Unauthenticated):
            _valid(token)


@pytest.mark.parametrize(
    ("made", "error"),
    [
        ({"secret": SECRET + "x"}, SignatureMismatch),
        ({"host": "s3.amazonaws.com"}, Unauthenticated),
        ({"action": "Other"}, Unauthenticated),
        ({"service": "s3"}, Unauthenticated),
        ({"token": "session"}, Unauthenticated),
    ],
)
def test_a_presigned_request_for_something_else_is_no_key(made: dict[str, str], error: type[GatewayError]) -> None:
    with pytest.raises(GatewayError) as caught:
        _valid(short_term_key(**({"key": KEY, "secret": SECRET} | made), at=NOW))  # type: ignore[arg-type]
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Expires=3600", "Expires=3601"),
        ("20261124T134335Z", "20261124T134336Z"),
        ("eu-central-1", "eu-central-2"),
        ("&Version=1", "&Version=2"),
        ("&Version=1", "&Version=1&Extra=1"),
        ("&Version=1", "&Version=1&X-Amz-Expires=3600"),
        ("/?", "/x?"),
    ],
)
def test_a_short_term_key_that_was_changed(old: str, new: str) -> None:
    token = short_term_key(key=KEY, secret=SECRET, at=NOW, expires_s=3600)
    text = base64.b64decode(token.removeprefix("bedrock-api-key-")).decode()
    assert old in text
    changed = base64.b64encode(text.replace(old, new).encode()).decode()
    with pytest.raises(Unauthenticated):
        _valid(f"bedrock-api-key-{changed}")
    with pytest.raises(Unauthenticated):
        _valid(token[:-1])


@given(text=st.text(max_size=100))
def test_any_text_is_no_short_term_key(text: str) -> None:
    for token in (text, base64.b64encode(text.encode()).decode(), quote(text)):
        with pytest.raises(Unauthenticated):
            read_short_term_key(f"bedrock-api-key-{token}")


def test_a_secret_is_sealed_for_its_own_pair_under_the_installations_key() -> None:
    keyring = Keyring(bytes(32))
    sealed = keyring.seal_secret(KEY, SECRET)
    assert keyring.open_secret(KEY, sealed) == SECRET
    assert SECRET.encode() not in sealed
    assert keyring.seal_secret(KEY, SECRET) != sealed
    other = new_access_key()[0]
    for opened_by, key, text in (
        (Keyring(b"\1" * 32), KEY, sealed),
        (keyring, other, sealed),
        (keyring, KEY, sealed[:-1]),
        (keyring, KEY, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (keyring, KEY, b"\2" + sealed[1:]),
        (keyring, KEY, b""),
    ):
        with pytest.raises(KeyringError) as caught:
            opened_by.open_secret(key, text)
        assert SECRET not in str(caught.value)


def test_a_pair_does_not_show_its_secret() -> None:
    assert SECRET not in repr(PAIR)
    assert SECRET not in repr({KEY: PAIR})
    assert SECRET not in f"{PAIR}"
