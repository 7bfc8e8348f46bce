"""Key pairs on a running gateway: every credential is the same caller, and every refusal is in the SDK's own words."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.cli.keys import NewKey, make_key
from bedplate_gateway.settings import environment_of
from bedplate_store.database import Database
from tests.fixtures.aws import WireRequest, short_term_key, signed_request
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, count_records, eventually, http, raw_exchange, record_of

BODY = json.dumps(
    {"model": "fake/echo", "messages": [{"role": "user", "content": "one é two"}]}, ensure_ascii=False
).encode()
CONVERSE = "/model/fake%2Fecho/converse"
CONVERSE_BODY = b'{"messages": [{"role": "user", "content": [{"text": "one two"}]}]}'


class Caller(NamedTuple):
    """A key with its pair."""

    id: str
    token: str
    key: str
    secret: str


def make_caller(gateway: RunningGateway, role: Role = Role.SERVICE, project: str = "default") -> Caller:
    keyring = read_keyring(gateway.settings.master_key_path)

    async def make(database: Database) -> NewKey:
        async with database.installation() as connection:
            return await make_key(connection, keyring, name="test", role=role, project=project, pair=True)

    made = gateway.with_database(make)
    assert made.access_key_id is not None
    assert made.secret is not None
    caller = Caller(made.id, made.token.reveal(), made.access_key_id, made.secret.reveal())
    with http(gateway, caller.token) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200, within_s=2)
    return caller


@pytest.fixture(scope="module")
def caller(gateway: RunningGateway) -> Caller:
    return make_caller(gateway)


def command(gateway: RunningGateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `bedplate` beside the gateway."""
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "200", "HOME": "/nonexistent"} | environment_of(gateway.settings)
    return subprocess.run(
        [sys.executable, "-m", "bedplate_gateway", *arguments],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(gateway: RunningGateway, request: WireRequest | bytes) -> Reply:
    head, _, body = raw_exchange(gateway, request if isinstance(request, bytes) else request.raw()).partition(
        b"\r\n\r\n"
    )
    status, *lines = head.decode("latin-1").split("\r\n")
    return Reply(int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body)


def signed(
    gateway: RunningGateway, caller: Caller, method: str = "POST", target: str = CHAT, body: bytes = BODY, **more: Any
) -> WireRequest:
    return signed_request(
        method, gateway.base_url + target, body, **({"key": caller.key, "secret": caller.secret} | more)
    )


def test_the_command_prints_a_pair_once_and_lists_its_id(gateway: RunningGateway) -> None:
    ran = command(gateway, "keys", "create", "--name", "pair", "--project", "from-cli", "--sigv4")
    assert ran.returncode == 0, ran.stderr
    token, key, secret = ran.stdout.splitlines()
    assert re.fullmatch(r"bp_[\w-]{43}", token)
    assert re.fullmatch(r"AWS_ACCESS_KEY_ID=BPAK[A-Z2-7]{16}", key)
    assert re.fullmatch(r"AWS_SECRET_ACCESS_KEY=bps_[\w-]{43}", secret)
    listed = command(gateway, "keys", "list").stdout
    assert key.partition("=")[2] in listed
    assert secret.partition("=")[2] not in listed
    made = Caller(ran.stderr.split()[0], token, key.partition("=")[2], secret.partition("=")[2])
    eventually(lambda: send(gateway, signed(gateway, made)).status == 200, within_s=1)
    stored = str(gateway.query("select * from api_key where id = $1", made.id))
    assert made.key in stored
    assert made.secret not in stored
    assert made.secret not in gateway.log.read_text()


def test_one_principal_whichever_way_the_credential_comes(gateway: RunningGateway, caller: Caller) -> None:
    carriers = {
        "bearer": f"authorization: Bearer {caller.token}",
        "x-api-key": f"x-api-key: {caller.token}",
        "api-key": f"api-key: {caller.token}",
        "short-term": f"authorization: Bearer {short_term_key(key=caller.key, secret=caller.secret)}",
    }
    replies = [send(gateway, signed(gateway, caller))]
    for line in carriers.values():
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{line}\r\nconnection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
        replies.append(send(gateway, head.encode() + BODY))
    for reply in replies:
        assert reply.status == 200, reply
        record = record_of(gateway, reply.headers["x-request-id"])
        assert (record["key_id"], record["outcome"]) == (caller.id, "completed")
    assert len({record_of(gateway, reply.headers["x-request-id"])["project_id"] for reply in replies}) == 1


@pytest.mark.parametrize("role", list(Role))
def test_a_signature_permits_what_the_role_does(gateway: RunningGateway, role: Role) -> None:
    made = make_caller(gateway, role)
    status = send(gateway, signed(gateway, made, "GET", "/metrics", b"")).status
    assert status == (200 if role is Role.ADMINISTRATOR else 403)


@pytest.mark.parametrize("line", ["x-api-key: {token}", "api-key: bp_other", "authorization: Bearer {token}"])
def test_two_credentials_are_refused(gateway: RunningGateway, caller: Caller, line: str) -> None:
    name, value = line.format(token=caller.token).split(": ")
    request = signed(gateway, caller)
    both = request._replace(headers=[*request.headers, (name.encode(), value.encode())])
    assert send(gateway, both).status == 401


def _boto(gateway: RunningGateway, caller: Caller, service: str = "bedrock-runtime", **config: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=gateway.base_url,
        region_name="eu-central-1",
        aws_access_key_id=caller.key,
        aws_secret_access_key=caller.secret,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, **config),
    )


def test_boto3_signs_and_is_served(gateway: RunningGateway, caller: Caller) -> None:
    said = _boto(gateway, caller).converse(
        modelId="fake/echo", messages=[{"role": "user", "content": [{"text": "one é two"}]}]
    )
    assert said["output"]["message"]["content"][0]["text"] == "one é two"
    request_id = said["ResponseMetadata"]["RequestId"]
    record = record_of(gateway, request_id)
    assert (record["key_id"], record["dialect"], record["http_status"]) == (caller.id, "bedrock", 200)


def test_boto3_finds_every_kind_of_request_signed(gateway: RunningGateway, caller: Caller) -> None:
    """GET, POST, PUT and DELETE, with identifiers and repeated query keys: whatever is not served is not an
    authentication failure."""
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/ab12cd34ef56"
    session = "12345678-1234-1234-1234-123456789012"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("bedrock", "list_foundation_models", {"byOutputModality": "TEXT"}),
        ("bedrock", "get_foundation_model", {"modelIdentifier": arn}),
        ("bedrock", "delete_guardrail", {"guardrailIdentifier": "abc", "guardrailVersion": "1"}),
        ("bedrock", "put_use_case_for_model_access", {"formData": b"\xff\x00"}),
        ("bedrock-runtime", "invoke_model", {"modelId": arn, "body": "é".encode()}),
        ("bedrock-agent", "untag_resource", {"resourceArn": arn.replace("application-", ""), "tagKeys": ["b c", "a/"]}),
        ("bedrock-agent-runtime", "create_session", {}),
        ("bedrock-agent-runtime", "get_session", {"sessionIdentifier": session}),
        ("bedrock-agent-runtime", "list_sessions", {}),
    ]  # fmt: skip
    for service, operation, arguments in calls:
        said = _answer(_boto(gateway, caller, service, parameter_validation=False), operation, arguments)
        assert said.get("Error", {}).get("Code") not in AUTHENTICATION_ERRORS, (operation, said)
        assert said["ResponseMetadata"]["RequestId"].startswith("req_"), operation
        assert said["ResponseMetadata"]["HTTPStatusCode"] != 401, operation


def _answer(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
    try:
        return getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response


AUTHENTICATION_ERRORS = {
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
    "IncompleteSignature",
}


def test_what_boto3_catches(gateway: RunningGateway, caller: Caller) -> None:
    def refused(**changed: str) -> tuple[str, int]:
        with pytest.raises(ClientError) as caught:
            _boto(gateway, caller._replace(**changed)).converse(
                modelId="fake/echo", messages=[{"role": "user", "content": [{"text": "x"}]}]
            )
        said = caught.value.response
        assert said["ResponseMetadata"]["RequestId"].startswith("req_")
        assert said["Error"]["Message"]
        return said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"]

    assert refused(secret=caller.secret[:-1]) == ("InvalidSignatureException", 403)
    assert refused(key="BPAKAAAAAAAAAAAAAAAA") == ("UnrecognizedClientException", 403)


class Refusal(NamedTuple):
    """A request to a Bedrock path, what is said about it, and the outcome on record (None: no record)."""

    request: WireRequest
    error: str
    status: int
    outcome: str | None


def _refusals(gateway: RunningGateway, caller: Caller) -> Iterator[tuple[str, Refusal]]:
    whole = signed(gateway, caller, target=CONVERSE, body=CONVERSE_BODY)
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=6)
    mismatch, incomplete = "InvalidSignatureException", "IncompleteSignature"
    wrong = signed(gateway, caller, target=CONVERSE, body=CONVERSE_BODY, secret="x" * 40)
    replayed = signed(gateway, caller, target=CONVERSE, body=CONVERSE_BODY, at=old)
    unknown = signed(gateway, caller, target=CONVERSE, body=CONVERSE_BODY, key="BPAK" + "A" * 16)
    yield "wrong secret", Refusal(wrong, mismatch, 403, "signature_mismatch")
    yield (
        "body",
        Refusal(whole._replace(body=CONVERSE_BODY.replace(b"one", b"two")), mismatch, 403, "signature_mismatch"),
    )
    yield "query", Refusal(whole._replace(query=b"a=b"), mismatch, 403, "signature_mismatch")
    yield "host", Refusal(whole.with_header("host", "other.example"), mismatch, 403, "signature_mismatch")
    yield "clock", Refusal(replayed, mismatch, 403, "signature_mismatch")
    yield "unknown key", Refusal(unknown, "UnrecognizedClientException", 403, None)
    yield "malformed", Refusal(whole.with_header("authorization", "AWS4-HMAC-SHA256 x"), incomplete, 400, None)
    yield "no date", Refusal(whole.with_header("x-amz-date", None), incomplete, 400, None)
    yield "none", Refusal(whole.with_header("authorization", None), "MissingAuthenticationTokenException", 403, None)
    yield "bearer", Refusal(whole.with_header("authorization", "Bearer bp_x"), "UnrecognizedClientException", 403, None)
    ended = short_term_key(key=caller.key, secret=caller.secret, expires_s=60, at=old)
    forged = short_term_key(key=caller.key, secret="x" * 40)
    expired = "ExpiredTokenException"
    yield "ended", Refusal(whole.with_header("authorization", f"Bearer {ended}"), expired, 403, "credential_expired")
    yield "forged", Refusal(whole.with_header("authorization", f"Bearer {forged}"), mismatch, 403, "signature_mismatch")


def test_refusals_have_aws_names_and_a_record_where_the_key_is_known(gateway: RunningGateway, caller: Caller) -> None:
    for name, (request, error, status, outcome) in _refusals(gateway, caller):
        before = count_records(gateway)
        reply = send(gateway, request)
        assert (reply.status, reply.headers.get("x-amzn-errortype")) == (status, error.lower()), name
        assert set(reply.json) == {"message"}, name
        assert reply.headers["x-amzn-requestid"] == reply.headers["x-request-id"], name
        assert count_records(gateway) == before + (outcome is not None), name
        if outcome is not None:
            record = record_of(gateway, reply.headers["x-request-id"])
            assert (record["outcome"], record["error_code"], record["key_id"]) == (outcome, outcome, caller.id), name
            assert (record["operation"], record["dialect"]) == ("authenticate", "bedrock"), name
    said = gateway.log.read_text()
    assert caller.secret not in said
    assert "bedrock-api-key-" not in said


def test_a_refusal_is_on_record_in_the_keys_own_project(gateway: RunningGateway) -> None:
    made = make_caller(gateway, project="signing-project")
    reply = send(gateway, signed(gateway, made)._replace(body=BODY + b" "))
    assert reply.status == 401
    assert reply.json["error"]["code"] == "invalid_api_key"
    record = record_of(gateway, reply.headers["x-request-id"])
    (project,) = gateway.query("select id from project where name = 'signing-project'")
    assert (record["project_id"], record["http_status"]) == (project["id"], 401)


def test_a_revoked_pair_stops_within_a_second_and_so_do_its_short_term_keys(gateway: RunningGateway) -> None:
    made = make_caller(gateway)
    short = signed(gateway, made, "GET", "/v1/models", b"").with_header(
        "authorization", f"Bearer {short_term_key(key=made.key, secret=made.secret)}"
    )
    assert send(gateway, signed(gateway, made)).status == 200
    assert send(gateway, short).status == 200
    time.sleep(0.2)
    gateway.query("update api_key set revoked_at = now() where id = $1", made.id)
    eventually(lambda: send(gateway, signed(gateway, made)).status == 401, within_s=1)
    assert send(gateway, short).status == 401


def test_an_expired_pair_says_so(gateway: RunningGateway) -> None:
    made = make_caller(gateway)
    gateway.query("update api_key set expires_at = now() + interval '1 second' where id = $1", made.id)
    request = signed(gateway, made, target=CONVERSE, body=CONVERSE_BODY)
    eventually(lambda: send(gateway, request).headers.get("x-amzn-errortype") == "expiredtokenexception", within_s=3)
    gateway.query("update api_key set name = 'a change, so that all is loaded again' where id = $1", made.id)
    time.sleep(0.5)
    assert send(gateway, request).headers["x-amzn-errortype"] == "expiredtokenexception"


def test_a_body_over_the_limit_and_one_without_end(gateway: RunningGateway, caller: Caller) -> None:
    request = signed(gateway, caller)
    limit = gateway.settings.max_body_bytes
    head = request._replace(body=b"").raw().replace(b"content-length: 0", f"content-length: {limit + 1}".encode())
    assert send(gateway, head).status == 413
    chunked = request.raw().replace(
        f"content-length: {len(BODY)}".encode(), b"transfer-encoding: chunked"
    ).removesuffix(BODY) + f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"  # fmt: skip
    assert send(gateway, chunked).status == 200


def test_a_large_signed_body_arrives_whole(gateway: RunningGateway, caller: Caller) -> None:
    text = "x" * 600_000
    body = json.dumps({"model": "fake/echo", "messages": [{"role": "user", "content": text}]}).encode()
    reply = send(gateway, signed(gateway, caller, body=body))
    assert reply.status == 200
    assert text.encode() in reply.body


def test_a_signed_callers_leaving_is_noticed(gateway: RunningGateway, caller: Caller) -> None:
    messages = [{"role": "user", "content": "word " * 1000}]
    body = json.dumps({"model": "fake/echo", "messages": messages, "stream": True}).encode()
    before = count_records(gateway)
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=5) as connection:
        connection.sendall(signed(gateway, caller, body=body).raw())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: count_records(gateway) == before + 1, within_s=2)
    (record,) = gateway.query("select outcome from invocation order by started_at desc limit 1")
    assert record["outcome"] == "cancelled"


# Which dialect an error is in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "form"),
    [
        ("/v1/chat/completions", "", "openai"),
        ("/v1/models", "", "openai"),
        ("/nothing", "", "openai"),
        ("/v1/messagesx", "", "openai"),
        ("/v1/messages", "", "anthropic"),
        ("/v1/messages/count_tokens", "", "anthropic"),
        ("/v1/models", "anthropic-version: 2023-06-01\r\n", "anthropic"),
        ("/v1/models/x", "anthropic-version: 2023-06-01\r\n", "anthropic"),
        ("/model/x/converse", "", "bedrock"),
        ("/model/arn%3Aaws%2Fx/nothing", "", "bedrock"),
        ("/foundation-models", "", "bedrock"),
        ("/guardrail/x/version/1/apply", "", "bedrock"),
        ("/sessions/", "", "bedrock"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_errors_are_in_the_paths_own_dialect(
    gateway: RunningGateway, path: str, headers: str, form: str, known: bool
) -> None:
    """401 from the edge without a key; with one, 405 or 404 from the framework."""
    key = f"x-api-key: {gateway.key}\r\n" if known else ""
    reply = send(gateway, f"TRACE {path} HTTP/1.1\r\nhost: x\r\n{headers}{key}connection: close\r\n\r\n".encode())
    assert reply.status in ((404, 405, 403) if known else (401, 403))
    request_id = reply.headers["x-request-id"]
    assert request_id.startswith("req_")
    own = {name: reply.headers[name] for name in ("request-id", "x-amzn-requestid") if name in reply.headers}
    match form:
        case "openai":
            assert set(reply.json) == {"error"}
            assert set(reply.json["error"]) == {"message", "type", "param", "code"}
            assert own == {}
        case "anthropic":
            assert reply.json["type"] == "error"
            assert own == {"request-id": request_id}
        case _:
            assert set(reply.json) == {"message"}
            assert reply.headers["x-amzn-errortype"]
            assert own == {"x-amzn-requestid": request_id}


def test_anthropics_sdk_catches_its_own_exception(gateway: RunningGateway) -> None:
    client = anthropic.Anthropic(base_url=gateway.base_url, api_key="bp_wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.messages.create(model="fake/echo", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


# Paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/%68ealthz",
        "//healthz",
        "/healthz/",
        "/model/..%2f..%2fhealthz",
        "/model%2f..%2fhealthz",
        "/%6dodel/x/converse",
        "/model/../healthz",
        "/sessions%2f..%2fhealthz",
    ],
)
def test_encoding_opens_nothing(gateway: RunningGateway, path: str) -> None:
    for method in ("GET", "POST"):
        reply = send(gateway, f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        # `/%68ealthz` is `/healthz` to HTTP itself.
        assert reply.status in ((200, 405) if path == "/%68ealthz" else (401, 403)), (method, path)


def test_encoding_reaches_no_route_that_the_role_may_not_use(gateway: RunningGateway) -> None:
    for path in ("/model/..%2f..%2fmetrics", "/model%2f..%2fmetrics", "/%6detrics", "//metrics", "/model/../metrics"):
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.key}\r\nconnection: close\r\n\r\n"
        reply = send(gateway, head.encode())
        assert reply.status in (403, 404, 405), path
        assert b"bedplate_calls" not in reply.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/model/fake%2Fecho/converse", 200),
        ("/model/fake%2fecho/converse", 200),
        ("/model/fake%2Fecho/converse/", 200),
        ("//model/fake%2Fecho/converse", 200),
        ("/%6dodel/fake%2Fecho/converse", 200),
        ("/model/fake/echo/converse", 404),
        ("/model%2Ffake%2Fecho%2Fconverse", 404),
        ("/model/fake%2Fecho%2Fconverse", 404),
        ("/%2Fmodel/fake%2Fecho/converse", 404),
        ("/model/fake%252Fecho/converse", 404),
        ("/model/%2F/converse", 404),
        ("/model/..%2F..%2Fhealthz/converse", 404),
    ],
)
def test_a_segment_is_one_identifier_however_it_is_written(gateway: RunningGateway, path: str, status: int) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\nconnection: close\r\n"
    reply = send(gateway, f"{head}content-length: {len(CONVERSE_BODY)}\r\n\r\n".encode() + CONVERSE_BODY)
    assert reply.status == status, reply
