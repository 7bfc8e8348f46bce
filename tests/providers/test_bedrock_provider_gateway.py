"""Bedplate as the Bedrock of Bedplate: the provider against a running gateway, signed and with a bearer key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bedplate_core.events import Delta, Finish, Progress, Start, StopReason
from bedplate_core.messages import (
    CachePoint,
    Document,
    Image,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_core.requests import JsonSchemaFormat, ReasoningControl, Request, Sampling, ToolMode
from bedplate_core.usage import Usage
from bedplate_gateway.cli.keys import NewKey
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.endpoints import BedrockEndpoint
from bedplate_providers.registry import build_provider
from tests.fixtures.gateway import RunningGateway
from tests.providers.drive import DISPATCH, WEATHER, Run, chat, run, user

pytestmark = pytest.mark.anyio
REGION = "eu-central-1"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def pair(gateway: RunningGateway) -> NewKey:
    return gateway.create_access_key("default")


@pytest.fixture(params=["signed", "bearer"])
def endpoint(request: pytest.FixtureRequest, gateway: RunningGateway, pair: NewKey) -> BedrockEndpoint:
    if request.param == "bearer":
        return BedrockEndpoint(region=REGION, base_url=gateway.base_url, api_key=gateway.key)
    assert pair.access_key_id is not None
    assert pair.secret is not None
    return BedrockEndpoint(
        region=REGION,
        base_url=gateway.base_url,
        access_key_id=pair.access_key_id,
        secret_access_key=pair.secret.reveal(),
    )


@asynccontextmanager
async def provided(endpoint: BedrockEndpoint) -> AsyncGenerator[BedrockProvider]:
    """The provider; every connection that is left at the end may be used again."""
    provider = build_provider("aws", endpoint)
    assert isinstance(provider, BedrockProvider)
    yield provider
    await asyncio.sleep(0.05)
    pool = provider.upstream.pool
    assert (pool.open_connections, pool.connecting) == (pool.idle_connections, 0)
    await provider.aclose()


async def asked(endpoint: BedrockEndpoint, request: Request) -> Run:
    async with provided(endpoint) as provider:
        return await run(provider.generate(request, DISPATCH))


async def answered(endpoint: BedrockEndpoint, request: Request) -> Run:
    result = await asked(endpoint, request)
    assert result.error is None
    return result


def said(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


async def test_text(endpoint: BedrockEndpoint) -> None:
    result = await answered(endpoint, chat("Say h\u00e9llo to the world", model="fake/slow"))
    assert isinstance(result.events[0], Start)
    assert isinstance(result.events[-1], Finish)
    assert len(result.batches) > 2
    (choice,) = result.response.choices
    assert choice.message.text == "Say h\u00e9llo to the world"
    assert choice.stop.reason is StopReason.END
    assert result.response.usage == Usage(input_tokens=5, output_tokens=5)


async def test_everything_a_message_may_hold(endpoint: BedrockEndpoint) -> None:
    request = Request(
        model="fake/echo",
        messages=(
            said(Role.SYSTEM, Text(text="Be brief."), CachePoint(ttl="1h")),
            user(
                "Look:",
                Image(media=MediaBytes(PIXEL, "image/png")),
                Document(media=MediaBytes(b"a,b\n", "text/csv"), name="table.csv"),
            ),
        ),
        sampling=Sampling(max_tokens=50, temperature=0.5, top_p=0.9, top_k=3),
        reasoning=ReasoningControl(effort="low"),
    )
    result = await answered(endpoint, request)
    assert result.response.choices[0].message.text == "Look:"


async def test_tools_and_their_results(endpoint: BedrockEndpoint) -> None:
    question = user("What is the weather in Paris?")
    request = Request(
        model="fake/split-tool-call", messages=(question,), tools=(WEATHER,), tool_choice=ToolMode.REQUIRED
    )
    result = await answered(endpoint, request)
    (choice,) = result.response.choices
    (call,) = choice.parts
    assert isinstance(call, ToolCall)
    assert call.name == "weather"
    assert msgspec.json.decode(call.arguments)["city"] in ("Paris", "Rome")
    assert sum(isinstance(event, Delta) for event in result.events) > 3
    assert choice.stop.reason is StopReason.TOOL
    answer = said(Role.TOOL, ToolResult(call_id=call.id, parts=(Text(text="sunny, 20 C"),)))
    again = Request(model="fake/echo", messages=(question, choice.message, answer), tools=(WEATHER,))
    assert (await answered(endpoint, again)).response.choices[0].message.text == "sunny, 20 C"


async def test_parallel_tools_and_bad_arguments(endpoint: BedrockEndpoint) -> None:
    request = chat("Both!", model="fake/parallel-tools", tools=(WEATHER,))
    calls = (await answered(endpoint, request)).response.choices[0].parts
    assert [type(call) for call in calls] == [ToolCall, ToolCall]
    request = chat("Call!", model="fake/bad-tool-arguments", tools=(WEATHER,))
    (choice,) = (await answered(endpoint, request)).response.choices
    (call,) = choice.parts
    assert isinstance(call, ToolCall)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(call.arguments)
    assert choice.stop.reason is StopReason.TOOL


async def test_reasoning_with_its_signature_goes_back(endpoint: BedrockEndpoint) -> None:
    first = (await answered(endpoint, chat("Hello you", model="fake/reasoning"))).response.choices[0]
    thought, text = first.parts
    assert isinstance(thought, Reasoning)
    assert thought.text
    assert thought.signature is not None
    assert thought.signature.origin == "aws"
    assert text == Text(text="Hello you")
    again = Request(model="fake/echo", messages=(user("Hello you"), first.message, user("And again.")))
    without = Request(model="fake/echo", messages=(user("Hello you"), said(Role.ASSISTANT, text), user("And again.")))
    used = [(await answered(endpoint, each)).response.usage.input_tokens for each in (again, without)]
    assert used[0] - used[1] == len(thought.text.split())


@pytest.mark.parametrize(
    ("model", "fields", "reason", "text"),
    [
        ("fake/long", {"sampling": Sampling(max_tokens=3)}, StopReason.LENGTH, " word"),
        ("fake/refusal", {}, StopReason.CONTENT_FILTER, "I cannot help with that."),
        ("fake/empty", {}, StopReason.END, ""),
    ],
)
async def test_stops(
    endpoint: BedrockEndpoint, model: str, fields: dict[str, Any], reason: StopReason, text: str
) -> None:
    (choice,) = (await answered(endpoint, chat("hi", model=model, **fields))).response.choices
    assert choice.stop.reason is reason
    assert text in choice.message.text


async def test_a_stop_text(endpoint: BedrockEndpoint) -> None:
    request = chat("one two three", model="fake/echo", sampling=Sampling(stop=("two",)))
    (choice,) = (await answered(endpoint, request)).response.choices
    assert (choice.stop.reason, choice.stop.sequence) == (StopReason.STOP_SEQUENCE, "two")
    assert choice.message.text == "one "


async def test_an_answer_to_a_schema(endpoint: BedrockEndpoint) -> None:
    form = JsonSchemaFormat(name="weather", schema=WEATHER.parameters or {})
    text = (await answered(endpoint, chat(model="fake/echo", response_format=form))).response.choices[0].message.text
    assert msgspec.json.decode(text)["city"] in ("Paris", "Rome")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fake/error", UpstreamUnavailable),
        ("fake/rate-limited", RateLimited),
        ("fake/context-length", ContextLengthExceeded),
        ("no/such-model", UpstreamRejected),
    ],
)
async def test_errors_before_the_answer(endpoint: BedrockEndpoint, model: str, expected: type[GatewayError]) -> None:
    result = await asked(endpoint, chat("hi", model=model))
    assert type(result.error) is expected
    assert result.events == []
    if expected is RateLimited:
        assert result.error is not None
        assert result.error.retry_after_s == 2


async def test_what_the_client_did_wrong(endpoint: BedrockEndpoint) -> None:
    result = await asked(endpoint, chat("hi", model="fake/echo", sampling=Sampling(temperature=-1)))
    assert type(result.error) is InvalidRequest
    assert result.error.param == "temperature"


@pytest.mark.parametrize("model", ["fake/error-midstream", "fake/cut"])
async def test_an_answer_that_breaks_off_is_an_error_and_never_a_finish(endpoint: BedrockEndpoint, model: str) -> None:
    result = await asked(endpoint, chat("one two three four five six", model=model))
    assert type(result.error) is UpstreamProtocolError
    assert any(isinstance(event, Delta) for event in result.events)
    assert not any(isinstance(event, Finish) for event in result.events)


async def test_tokens_are_counted(endpoint: BedrockEndpoint) -> None:
    request = chat("one two three", model="fake/echo", tools=(WEATHER,))
    async with provided(endpoint) as provider:
        counted = await provider.count_tokens(request, DISPATCH)
    assert counted == (await answered(endpoint, request)).response.usage.input_tokens


async def test_leaving_ends_the_call_there(endpoint: BedrockEndpoint, gateway: RunningGateway) -> None:
    before = await asyncio.to_thread(left, gateway)
    async with provided(endpoint) as provider:
        stream = provider.generate(chat("word " * 400, model="fake/slow"), DISPATCH)
        while not any(isinstance(event, Delta) for event in await stream.__anext__()):
            pass
        await stream.aclose()
        assert provider.upstream.pool.open_connections == 0
    deadline = time.monotonic() + 5
    while await asyncio.to_thread(left, gateway) != before + 1:
        assert time.monotonic() < deadline, "the gateway's call goes on"
        await asyncio.sleep(0.05)


def left(gateway: RunningGateway) -> int:
    """How many calls the gateway knows whose client left."""
    return sum(record["outcome"] == "cancelled" for record in gateway.records())


async def test_calls_at_once_do_not_mix(endpoint: BedrockEndpoint) -> None:
    async with provided(endpoint) as provider:
        texts = [f"call number {number} of eight" for number in range(8)]
        runs = await asyncio.gather(
            *(run(provider.generate(chat(text, model="fake/slow"), DISPATCH)) for text in texts)
        )
        assert [result.response.choices[0].message.text for result in runs] == texts
        assert not any(isinstance(event, Progress) for result in runs for event in result.events)


@pytest.mark.parametrize(
    "wrong",
    [{"api_key": "bp-not-a-key"}, {"secret_access_key": "x" * 40}, {"access_key_id": "BPAKUNKNOWN0000000000"}],
)
async def test_credentials_that_are_wrong_there_are_not_the_clients_affair(
    gateway: RunningGateway, pair: NewKey, wrong: dict[str, str]
) -> None:
    fields: dict[str, Any] = {"region": REGION, "base_url": gateway.base_url, **wrong}
    if "api_key" not in wrong:
        assert pair.access_key_id is not None
        assert pair.secret is not None
        signing = {"access_key_id": pair.access_key_id, "secret_access_key": pair.secret.reveal()}
        fields = {**signing, **fields}
    result = await asked(BedrockEndpoint(**fields), chat("hi", model="fake/echo"))
    assert type(result.error) is UpstreamRejected
    assert result.error.message == "The model's upstream refused the request."
