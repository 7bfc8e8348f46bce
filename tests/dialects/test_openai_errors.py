"""Errors, models and schemas of the OpenAI dialect, and the official SDK as the client that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import openai
import pytest

from bedplate_core import errors
from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.openai import (
    ChatExchange,
    ModelEntry,
    error_reply,
    model_body,
    model_list,
    openapi_schemas,
)
from bedplate_gateway.dialects.openai.errors import KINDS

ERRORS: list[type[GatewayError]] = [GatewayError]
for kind in ERRORS:
    ERRORS.extend(kind.__subclasses__())
CORE_ERRORS = [kind for kind in ERRORS if kind.__module__ == errors.__name__]

SDK_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
}


def client(answer: Callable[[httpx.Request], httpx.Response]) -> openai.OpenAI:
    transport = httpx.Client(transport=httpx.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="https://gateway.example/v1", http_client=transport, max_retries=1)


def test_the_table_names_every_error_and_nothing_else() -> None:
    assert {kind.code for kind in CORE_ERRORS} == set(KINDS)


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
def test_the_sdk_raises_its_exception_for_each_error(kind: type[GatewayError]) -> None:
    reply = error_reply(kind("what and where", param="messages[0]"))
    calls: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(reply.status, headers={**reply.headers, "retry-after-ms": "1"}, content=reply.body)

    with pytest.raises(SDK_ERRORS.get(kind.status, openai.InternalServerError)) as caught:
        client(answer).models.list()
    assert caught.value.status_code == kind.status
    assert (caught.value.code, caught.value.type) == (KINDS[kind.code].code, KINDS[kind.code].type)
    assert caught.value.param == "messages[0]"
    assert "what and where" in caught.value.message
    if kind in (errors.QuotaExceeded, errors.UpstreamRejected):
        assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.Unauthenticated, "invalid_api_key"),
        (errors.ModelNotFound, "model_not_found"),
        (errors.ContextLengthExceeded, "context_length_exceeded"),
        (errors.RateLimited, "rate_limit_exceeded"),
        (errors.QuotaExceeded, "insufficient_quota"),
        (errors.GuardrailUnavailable, "guardrail_unavailable"),
    ],
)
def test_codes_that_clients_branch_on(kind: type[GatewayError], said: str) -> None:
    assert json.loads(error_reply(kind("x")).body)["error"]["code"] == said


def test_retry_after_is_whole_seconds_rounded_up() -> None:
    for seconds, header in ((0.2, "1"), (1.0, "1"), (1.2, "2"), (0, "0")):
        assert error_reply(errors.RateLimited("x", retry_after_s=seconds)).headers["retry-after"] == header
    assert "retry-after" not in error_reply(errors.RateLimited("x")).headers


def test_an_error_outside_the_table_reads_as_a_server_error() -> None:
    class Other(GatewayError):
        code = "other"

    assert json.loads(error_reply(Other("x")).body)["error"]["type"] == "server_error"


def test_the_sdk_raises_on_an_error_frame() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'
    encoder = ChatExchange.decode(body).stream()
    frames = encoder.keep_alive() + encoder.error(errors.UpstreamTimeout("The upstream went silent."))
    headers = {"content-type": "text/event-stream"}
    stream = client(lambda request: httpx.Response(200, headers=headers, content=frames)).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(openai.APIError, match="went silent"):
        list(stream)


def test_the_sdk_lists_models() -> None:
    entries = [ModelEntry(id="chat", created_s=5, context_tokens=4096), ModelEntry(id="embed", created_s=6)]
    headers = {"content-type": "application/json"}
    listed = client(lambda request: httpx.Response(200, headers=headers, content=model_list(entries))).models.list()
    assert [(model.id, model.created, model.owned_by) for model in listed.data] == [
        ("chat", 5, "bedplate"),
        ("embed", 6, "bedplate"),
    ]
    assert json.loads(model_body(entries[0])) == {
        "id": "chat",
        "object": "model",
        "created": 5,
        "owned_by": "bedplate",
        "max_model_len": 4096,
    }


def test_schemas_are_prefixed_and_closed() -> None:
    schemas = openapi_schemas()
    text = json.dumps(schemas)
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    assert all(name.startswith("OpenAI") for name in schemas)
    assert {"OpenAIChatCompletionRequest", "OpenAIChatCompletionChunk", "OpenAIErrorBody"} <= set(schemas)
    assert "(?!" not in text
