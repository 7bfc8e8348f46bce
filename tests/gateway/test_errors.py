"""What can go wrong with a call of OpenAI's dialect beside its input; bad input is in `test_bad_input.py`."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openai
import pytest

from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.cli.keys import create_key
from bedplate_store.database import Database
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, count_records, eventually, http, raw_exchange, record_of, sdk

MALFORMED: dict[str, tuple[bytes, str | None, str]] = {
    "no model": (b'{"messages": [{"role": "user", "content": "x"}]}', "model", "missing"),
    "no messages": (b'{"model": "fake/echo"}', "messages", "missing"),
    "messages are text": (b'{"model": "fake/echo", "messages": "x"}', "messages", "array"),
    "stream is text": (
        b'{"model": "fake/echo", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
        "stream",
        "boolean",
    ),
    "huge number": (b'{"model": "fake/echo", "seed": ' + b"9" * 5000 + b', "messages": []}', None, ""),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_body_that_is_not_a_request(gateway: RunningGateway, name: str) -> None:
    body, param, said = MALFORMED[name]
    with http(gateway, gateway.key, **{"content-type": "application/json"}) as client:
        response = client.post(CHAT, content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]
    if param is not None:
        assert error["param"] == param
        assert param in error["message"]
    assert record_of(gateway, response.headers["x-request-id"])["outcome"] == "invalid_request"


@pytest.mark.parametrize(
    ("model", "code"), [("fake/error-midstream", "upstream_unavailable"), ("fake/cut", "upstream_protocol")]
)
def test_an_answer_that_fails_under_way_ends_in_an_error_frame(gateway: RunningGateway, model: str, code: str) -> None:
    stream = sdk(gateway).chat.completions.create(
        model=model, messages=[{"role": "user", "content": "one two three four five"}], stream=True
    )
    call_id = stream.response.headers["x-request-id"]
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    text = "".join(pieces)
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == code
    assert text
    assert "one two three four five".startswith(text)
    assert len(text) < len("one two three four five")
    record = record_of(gateway, call_id)
    assert (record["outcome"], record["stream"]) == (code, True)

    with http(gateway, gateway.key) as client:
        response = client.post(CHAT, json={"model": model, "messages": MESSAGES, "stream": True})
    frames = [line for line in response.text.split("\n\n") if line]
    assert "[DONE]" not in response.text
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == code


@pytest.mark.parametrize(
    ("model", "code", "status"),
    [("fake/error-midstream", "upstream_unavailable", 503), ("fake/cut", "upstream_protocol", 502)],
)
def test_a_whole_answer_that_fails_under_way_is_an_error(
    gateway: RunningGateway, model: str, code: str, status: int
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        sdk(gateway).chat.completions.create(
            model=model, messages=[{"role": "user", "content": "one two three four five"}]
        )
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.request_id is not None
    assert record_of(gateway, caught.value.request_id)["outcome"] == code


def _expired_key(gateway: RunningGateway) -> str:
    keyring = read_keyring(gateway.settings.master_key_path)

    async def make(database: Database) -> str:
        async with database.installation() as connection:
            past = datetime.now(UTC) - timedelta(seconds=1)
            _, token = await create_key(
                connection, keyring, name="old", role=Role.SERVICE, project="default", expires_at=past
            )
            return token

    return gateway.with_database(make)


def _revoked_key(gateway: RunningGateway) -> str:
    token = gateway.create_key("default", Role.SERVICE)
    eventually(lambda: _accepted(gateway, token), within_s=2)
    gateway.query("update api_key set revoked_at = now() where hint = $1", token[-4:])
    eventually(lambda: not _accepted(gateway, token), within_s=2)
    return token


def _accepted(gateway: RunningGateway, token: str) -> bool:
    with http(gateway, token) as client:
        return client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["revoked", "expired", "too long", "not ASCII"])
def test_a_key_that_is_not_valid(gateway: RunningGateway, kind: str, stream: bool) -> None:
    key = {
        "revoked": lambda: _revoked_key(gateway),
        "expired": lambda: _expired_key(gateway),
        "too long": lambda: "bp_" + "x" * 4000,
        "not ASCII": lambda: "bp_é",
    }[kind]()
    before = count_records(gateway)
    client = sdk(gateway, "placeholder")
    headers: Any = {"authorization": f"Bearer {key}".encode("latin-1")}
    if kind != "not ASCII":
        headers = {"authorization": f"Bearer {key}"}
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="fake/echo", messages=MESSAGES, stream=stream, extra_headers=headers)
        status, error = caught.value.status_code, caught.value.response.json()["error"]
    else:
        response = httpx.post(
            f"{gateway.base_url}{CHAT}", json={"model": "fake/echo"}, headers=headers, trust_env=False
        )
        status, error = response.status_code, response.json()["error"]
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert key not in error["message"]
    assert count_records(gateway) == before


def test_a_role_that_does_not_permit(gateway: RunningGateway) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sdk(gateway, path="").get("/metrics", cast_to=httpx.Response)
    assert caught.value.code == "permission_denied"
    assert "bedplate:ReadMetrics" in caught.value.message


def test_a_body_over_the_limit_without_a_length(gateway: RunningGateway) -> None:
    piece = b"x" * 1_000_000

    def pieces() -> Any:
        for _ in range(gateway.settings.max_body_bytes // len(piece) + 2):
            yield piece

    with http(gateway, gateway.key) as client:
        response = client.post(CHAT, content=pieces())
    assert response.status_code == 413
    assert record_of(gateway, response.headers["x-request-id"])["outcome"] == "payload_too_large"


def test_an_announced_length_over_the_limit_is_refused_before_the_body_comes(gateway: RunningGateway) -> None:
    answer = raw_exchange(
        gateway,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
        + gateway.key.encode()
        + b"\r\ncontent-length: 99999999999\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_while_it_sends_is_on_record_as_gone(gateway: RunningGateway) -> None:
    before = count_records(gateway)
    with socket.create_connection(("127.0.0.1", gateway.settings.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            + gateway.key.encode()
            + b'\r\ncontent-length: 1000\r\n\r\n{"model": '
        )
    eventually(lambda: count_records(gateway) == before + 1, within_s=3)
    record = gateway.records()[-1]
    assert (record["outcome"], record["http_status"]) == ("cancelled", 499)


def test_another_projects_session_looks_like_none(gateway: RunningGateway) -> None:
    began = sdk(gateway).chat.completions.with_raw_response.create(
        model="fake/echo", messages=MESSAGES, extra_headers={"x-bedplate-session": "auto"}
    )
    session = began.headers["x-bedplate-session"]
    bodies: list[Any] = []
    for key, name in ((gateway.other_key, session), (gateway.key, session[:-4] + "0000")):
        with pytest.raises(openai.NotFoundError) as caught:
            sdk(gateway, key).chat.completions.create(
                model="fake/echo", messages=MESSAGES, extra_headers={"x-bedplate-session": name}
            )
        bodies.append(caught.value.response.json())
        assert caught.value.request_id is not None
        record = record_of(gateway, caught.value.request_id)
        assert (record["outcome"], record["session_id"]) == ("not_found", None)
    assert bodies[0] == bodies[1]
    assert session not in json.dumps(bodies)


@pytest.mark.parametrize("name", ["\0", "a\0b", "\U0001f600" * 200, "x" * 1_000_000, "'; drop table invocation; --"])
def test_a_strange_model_name_is_unknown_and_on_record(gateway: RunningGateway, name: str) -> None:
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as caught:
        sdk(gateway).chat.completions.create(model=name, messages=MESSAGES)
    assert caught.value.request_id is not None
    record = record_of(gateway, caught.value.request_id)
    assert record["outcome"] in ("model_not_found", "invalid_request")
    assert len(record["model"] or "") <= 1024
