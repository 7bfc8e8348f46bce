"""The header `x-bedplate-guardrail`, mandatory and default guardrails, and moderations on the running application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio


def guardrail(name: str, word: str) -> str:
    spec = {
        "blockedInputMessaging": f"{name} stopped it.",
        "blockedOutputsMessaging": f"{name} stopped the answer.",
        "wordPolicyConfig": {"wordsConfig": [{"text": word}]},
    }
    return json.dumps({"kind": "Guardrail", "name": name, "spec": spec}) + "\n"


RESOURCES = "---\n".join(
    [
        guardrail("always", "alpha"),
        guardrail("usual", "beta"),
        guardrail("chosen", "gamma"),
        guardrail("house", "delta"),
        '{"kind": "Project", "name": "default", "spec": {"guardrail": "always", "default_guardrail": "usual"}}\n',
        '{"kind": "Installation", "spec": {"guardrail": {"project": "default", "name": "house"}}}\n',
    ]
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> AsyncIterator[InProcess]:
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    async with in_process(tmp_path_factory.mktemp("header"), url, resources=RESOURCES) as running:
        yield running
    postgres_server.drop_database(name)


def body(exchange: Exchange) -> Any:
    return json.loads(
        b"".join(message.get("body", b"") for message in exchange.sent if message["type"] == "http.response.body")
    )


async def asked(app: InProcess, text: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status, and what was said: the answer, or the error's message."""
    sent = {"model": "fake/echo", "messages": [{"role": "user", "content": text}]}
    exchange = await app.post("/v1/chat/completions", sent, headers)
    said = body(exchange)
    return exchange.status, said["choices"][0]["message"]["content"] if "choices" in said else said["error"]["message"]


@pytest.mark.parametrize(
    ("text", "headers", "stopped_by"),
    [
        ("delta", {}, "house"),
        ("alpha", {}, "always"),
        ("beta", {}, "usual"),
        ("gamma", {}, None),
        ("gamma", {"x-bedplate-guardrail": "chosen"}, "chosen"),
        ("gamma", {"x-bedplate-guardrail": "chosen:DRAFT"}, "chosen"),
        ("beta", {"x-bedplate-guardrail": "chosen"}, None),
        ("alpha", {"x-bedplate-guardrail": "chosen"}, "always"),
        ("delta", {"x-bedplate-guardrail": "chosen"}, "house"),
        (
            "gamma",
            {"x-amzn-bedrock-guardrailidentifier": "chosen", "x-amzn-bedrock-guardrailversion": "DRAFT"},
            "chosen",
        ),
    ],
)
async def test_which_guardrails_hold(
    app: InProcess, text: str, headers: dict[str, str], stopped_by: str | None
) -> None:
    status, said = await asked(app, f"about {text} then", headers)
    assert status == 200
    assert said == (f"about {text} then" if stopped_by is None else f"{stopped_by} stopped it.")
    record = (await app.records())[-1]
    assert record["stop_reason"] == ("end" if stopped_by is None else "guardrail")
    assert json.loads(record["versions"])["guardrail"].startswith("house:DRAFT.1, always:DRAFT.1, ")


@pytest.mark.parametrize(
    ("headers", "status", "names"),
    [
        ({"x-bedplate-guardrail": "nobody"}, 404, "x-bedplate-guardrail"),
        ({"x-bedplate-guardrail": "chosen:7"}, 404, "x-bedplate-guardrail"),
        ({"x-bedplate-guardrail": " "}, 400, "x-bedplate-guardrail"),
        ({"x-bedplate-guardrail": "caf\u00e9"}, 400, "x-bedplate-guardrail"),
        ({"x-amzn-bedrock-guardrailidentifier": "chosen"}, 400, "guardrailversion"),
        (
            {
                "x-bedplate-guardrail": "chosen",
                "x-amzn-bedrock-guardrailidentifier": "chosen",
                "x-amzn-bedrock-guardrailversion": "DRAFT",
            },
            400,
            "x-bedplate-guardrail",
        ),
    ],
)
async def test_a_choice_that_cannot_be_is_refused_by_name_and_on_record(
    app: InProcess, headers: dict[str, str], status: int, names: str
) -> None:
    before = len(await app.records())
    found, said = await asked(app, "hello", headers)
    assert found == status
    assert names in said
    assert len(await app.records()) == before + 1


async def test_the_header_holds_for_what_is_no_chat(app: InProcess) -> None:
    sent = {"model": "fake/embed", "input": "about gamma"}
    assert (await app.post("/v1/embeddings", sent)).status == 200
    refused = await app.post("/v1/embeddings", sent, {"x-bedplate-guardrail": "chosen"})
    assert refused.status == 400
    assert "chosen stopped it." in body(refused)["error"]["message"]


async def test_a_text_that_a_guardrail_would_block_is_flagged(app: InProcess) -> None:
    texts = ["about alpha", "a quiet walk in the park"]
    answer = await app.post("/v1/moderations", {"input": texts})
    assert answer.status == 200
    assert [result["flagged"] for result in body(answer)["results"]] == [True, False]
    assert (await app.records())[-1]["operation"] == "moderation"
