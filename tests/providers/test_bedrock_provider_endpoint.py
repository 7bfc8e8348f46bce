"""Bedrock's endpoint decodes from resources, refuses what is wrong, shows no secret, and signs as AWS asks."""

from __future__ import annotations

import datetime
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from rich.console import Console

from bedplate_gateway.catalogue.compile import with_secrets
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_providers import bedrock
from bedplate_providers.base import CountsTokens, Embeds
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.endpoints import BedrockEndpoint, Endpoint
from bedplate_providers.registry import build_provider
from tests.fixtures.aws import REGION, signed_request
from tests.providers.drive import DISPATCH, chat, run
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio
KEY, SECRET, TOKEN = "AKIDEXAMPLE0000000", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "dG9rZW4/very+secret=="
PAIR = {"access_key_id": KEY, "secret_access_key": SECRET}
ARN = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/ab12cd34ef56"


def decode(**fields: Any) -> BedrockEndpoint:
    made = msgspec.convert({"kind": "bedrock", "region": REGION, **fields}, Endpoint)  # type: ignore[arg-type]  # a union is no class to the type checker
    assert isinstance(made, BedrockEndpoint)
    return made


async def test_it_has_its_provider() -> None:
    provider = build_provider("b", decode(api_key="k3y"))
    assert isinstance(provider, BedrockProvider)
    assert (provider.name, provider.upstream.url) == ("b", f"https://bedrock-runtime.{REGION}.amazonaws.com")
    assert (isinstance(provider, CountsTokens), isinstance(provider, Embeds)) == (True, False)
    await provider.start()
    assert (await provider.health()).ok
    await provider.aclose()
    await provider.aclose()
    assert not (await provider.health()).ok


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"api_key": SECRET, **PAIR},
        {"access_key_id": KEY},
        {"secret_access_key": SECRET},
        {"api_key": "k3y", "session_token": TOKEN},
        {"session_token": TOKEN},
        {"api_key": ""},
        {"api_key": f"{SECRET}\r\nX: y"},
        {**PAIR, "secret_access_key": f"{SECRET}\u00e9"},
        {**PAIR, "session_token": f"{TOKEN} x"},
        {**PAIR, "access_key_id": "AK/ID"},
        {**PAIR, "access_key_id": "AKID, Signature=x"},
        {**PAIR, "region": ""},
        {**PAIR, "region": "evil.example/"},
        {**PAIR, "region": "eu-central-1.evil.example"},
        {**PAIR, "base_url": "ftp://h"},
        {**PAIR, "base_url": f"https://u:{SECRET}@h"},
        {**PAIR, "base_url": f"https://h?key={SECRET}"},
        {**PAIR, "max_connections": 0},
        {**PAIR, "timeouts": {"total_s": 0}},
        {**PAIR, "extra_fields": ["top_k"]},
        {**PAIR, "extra_fields": ["thinking"]},
        {**PAIR, "unknown": 1},
    ],
)
def test_what_is_wrong_is_refused_without_quoting_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(**wrong)
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("fields", [{"api_key": SECRET}, {**PAIR, "session_token": TOKEN}])
def test_secrets_do_not_show(fields: dict[str, Any]) -> None:
    endpoint = decode(**fields)
    out = StringIO()
    Console(file=out).print(endpoint, endpoint.key_pair)
    shown = (
        repr(endpoint),
        f"{endpoint}",
        repr(endpoint.key_pair),
        out.getvalue(),
        repr(build_provider("p", endpoint)),
    )
    for text in shown:
        assert SECRET not in text
        assert TOKEN not in text
    assert REGION in repr(endpoint)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"api_key": "file:key"}, {"api_key": "k3y"}),
        (
            {"access_key_id": KEY, "secret_access_key": "file:secret", "session_token": "file:token"},
            {**PAIR, "session_token": TOKEN},
        ),
    ],
)
def test_references_are_resolved(tmp_path: Path, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in (("key", "k3y\n"), ("secret", SECRET), ("token", f" {TOKEN}\n")):
        (tmp_path / name).write_text(value)
    assert with_secrets(decode(**fields), Secrets(tmp_path)) == decode(**expected)


@pytest.mark.parametrize(
    "fields", [{"api_key": SECRET}, PAIR, {**PAIR, "secret_access_key": "file:s", "session_token": TOKEN}]
)
def test_a_secret_in_a_resource_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    (tmp_path / "s").write_text(SECRET)
    with pytest.raises(SecretError) as caught:
        with_secrets(decode(**fields), Secrets(tmp_path))
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "/gateway/bedrock"])
@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("model", ["m", ARN, "eu.meta.llama3-3-70b-instruct-v1:0"])
async def test_what_is_sent_is_signed_as_botocore_signs_it(model: str, token: str | None, prefix: str) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("403 No", {})

    async with WireServer(script) as server:
        provider = BedrockProvider("b", decode(base_url=f"{server.url}{prefix}", session_token=token, **PAIR))
        await run(provider.generate(chat(model=model), DISPATCH))
        await provider.aclose()
        (sent,) = server.requests
        date = sent.headers["x-amz-date"]
        expected = signed_request(
            "POST",
            f"{server.url}{sent.path}",
            sent.body,
            key=KEY,
            secret=SECRET,
            headers={"content-type": "application/json"},
            token=token,
            at=datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC),
        )
        assert sent.headers["authorization"].encode() == expected.header("authorization")
        assert sent.headers.get("x-amz-security-token") == token
        age = datetime.datetime.now(datetime.UTC).timestamp() - expected_time(date)
        assert 0 <= age < 5


def expected_time(date: str) -> float:
    return datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()


async def test_the_time_of_a_signature_is_that_of_sending() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("403 No", {})

    async with WireServer(script) as server:
        provider = BedrockProvider("b", decode(base_url=server.url, **PAIR))
        stream = provider.generate(chat(), DISPATCH)
        later = (2030, 1, 2, 3, 4, 5, 2, 2, 0)
        with mock.patch.object(bedrock.time, "gmtime", return_value=later):
            await run(stream)
        await provider.aclose()
        (sent,) = server.requests
        assert sent.headers["x-amz-date"] == "20300102T030405Z"
        assert f"{KEY}/20300102/{REGION}/bedrock/aws4_request" in sent.headers["authorization"]
