"""What every provider promises, checked on every provider: the scripted one, vLLM's wire, and a real vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    UnsupportedFeature,
    UpstreamRejected,
)
from bedplate_core.events import Delta, Finish, Start, StopReason
from bedplate_core.messages import Message, Role, Text, ToolCall, ToolResult
from bedplate_core.requests import JsonSchemaFormat, NamedTool, Request, Sampling, ToolMode
from bedplate_core.response import collect
from bedplate_providers.base import Provider
from bedplate_providers.endpoints import FakeEndpoint, VllmEndpoint
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fleet import VllmFleet
from bedplate_providers.registry import build_provider
from tests.providers.drive import DISPATCH, WEATHER, Run, run, user
from tests.providers.mini_vllm import MODEL, mini_vllm
from tests.providers.wire_server import WireServer

pytestmark = pytest.mark.anyio


class Subject:
    """A provider under test with the model to ask for."""

    def __init__(self, provider: Provider, model: str, *, strict: bool) -> None:
        self.provider = provider
        self.model = model
        self.strict = strict
        """Whether the upstream checks limits such as its context length."""

    def request(self, text: str = "Count: one two three four five six", **fields: Any) -> Request:
        fields.setdefault("sampling", Sampling(max_tokens=24, temperature=0))
        return Request(model=self.model, messages=(user(text),), **fields)

    async def run(self, request: Request) -> Run:
        result = await run(self.provider.generate(request, DISPATCH))
        self.assert_idle()
        return result

    async def answer(self, request: Request) -> Run:
        result = await self.run(request)
        assert result.error is None
        return result

    def assert_idle(self) -> None:
        """No call holds anything of the upstream."""
        if isinstance(self.provider, FakeProvider):
            assert self.provider.open_streams == 0
        if isinstance(self.provider, VllmFleet):
            assert all(replica.in_flight == 0 for replica in self.provider.replicas)

    async def assert_released(self) -> None:
        """`assert_idle`, and every connection that is left may be used again."""
        self.assert_idle()
        if isinstance(self.provider, VllmFleet):
            await asyncio.sleep(0.05)
            for replica in self.provider.replicas:
                assert replica.server.pool.open_connections == replica.server.pool.idle_connections
                assert replica.server.pool.connecting == 0


Open = Callable[[], AbstractAsyncContextManager[Subject]]


@pytest.fixture(params=["fake", "wire", pytest.param("engine", marks=pytest.mark.engine)])
def open_subject(request: pytest.FixtureRequest) -> Open:
    """Opens the provider that this run is about."""
    kind = cast("str", request.param)
    engine = cast("tuple[str, str, str]", request.getfixturevalue("engine_endpoint")) if kind == "engine" else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[Subject]:
        if kind == "fake":
            provider = build_provider("fake", FakeEndpoint())
            yield Subject(provider, "fake/echo", strict=False)
            await provider.aclose()
        elif engine is not None:
            url, key, model = engine
            provider = build_provider("engine", VllmEndpoint(urls=(url,), api_key=key))
            yield Subject(provider, model, strict=True)
            await provider.aclose()
        else:
            async with WireServer(mini_vllm) as server:
                provider = build_provider("wire", VllmEndpoint(urls=(server.url,)))
                yield Subject(provider, MODEL, strict=True)
                await provider.aclose()
                await server.idle()

    return opened


async def test_an_answer_has_its_parts_its_stop_and_its_usage(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request())
        assert isinstance(result.events[0], Start)
        assert isinstance(result.events[-1], Finish)
        (choice,) = result.response.choices
        assert choice.message.text
        assert choice.stop.reason in (StopReason.END, StopReason.LENGTH)
        assert result.response.usage.input_tokens > 0
        assert 0 < result.response.usage.output_tokens <= 24


async def test_it_streams(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request())
        assert len(result.batches) > 2


async def test_the_fold_is_the_answer(open_subject: Open) -> None:
    async with open_subject() as subject:
        folded = await collect(subject.provider.generate(subject.request(), DISPATCH))
        streamed = (await subject.answer(subject.request())).response
        assert folded.choices == streamed.choices
        assert folded.usage.output_tokens == streamed.usage.output_tokens


async def test_max_tokens_is_kept(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request(sampling=Sampling(max_tokens=3, temperature=0)))
        assert result.response.choices[0].stop.reason is StopReason.LENGTH
        assert result.response.usage.output_tokens == 3


async def test_several_choices(open_subject: Open) -> None:
    async with open_subject() as subject:
        request = subject.request(choices=3, sampling=Sampling(max_tokens=6, temperature=0.8))
        response = (await subject.answer(request)).response
        assert len(response.choices) == 3
        assert all(choice.message.text for choice in response.choices)


async def test_a_stop_text_ends_the_answer_and_is_not_in_it(open_subject: Open) -> None:
    async with open_subject() as subject:
        text = (await subject.answer(subject.request())).response.choices[0].message.text
        stop = text[len(text) // 2 : len(text) // 2 + 3]
        request = subject.request(sampling=Sampling(max_tokens=24, temperature=0, stop=(stop,)))
        choice = (await subject.answer(request)).response.choices[0]
        assert choice.stop.reason is StopReason.STOP_SEQUENCE
        assert choice.stop.sequence == stop
        assert stop not in choice.message.text
        assert text.startswith(choice.message.text)


async def test_log_probabilities_belong_to_the_text(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request(top_logprobs=2, sampling=Sampling(max_tokens=5, temperature=0)))
        choice = result.response.choices[0]
        assert choice.logprobs
        assert all(each.logprob <= 0 and len(each.alternatives) == 2 for each in choice.logprobs)
        said = b"".join(bytes(each.bytes or ()) for each in choice.logprobs).decode()
        assert said.startswith(choice.message.text)


@pytest.mark.parametrize("choice", [ToolMode.REQUIRED, NamedTool("weather")])
async def test_a_forced_tool_is_called_with_arguments_that_its_schema_allows(
    open_subject: Open, choice: ToolMode | NamedTool
) -> None:
    async with open_subject() as subject:
        request = subject.request(
            "What is the weather in Paris?",
            tools=(WEATHER,),
            tool_choice=choice,
            sampling=Sampling(max_tokens=120, temperature=0),
        )
        (answer,) = (await subject.answer(request)).response.choices
        (call,) = [part for part in answer.parts if isinstance(part, ToolCall)]
        assert call.name == "weather"
        assert call.id
        assert answer.stop.reason is StopReason.TOOL
        assert msgspec.json.decode(call.arguments)["city"] in ("Paris", "Rome")


async def test_with_tool_choice_none_no_tool_is_called(open_subject: Open) -> None:
    async with open_subject() as subject:
        request = subject.request(tools=(WEATHER,), tool_choice=ToolMode.NONE)
        (answer,) = (await subject.answer(request)).response.choices
        assert not any(isinstance(part, ToolCall) for part in answer.parts)


async def test_a_tool_result_is_taken(open_subject: Open) -> None:
    async with open_subject() as subject:
        call = ToolCall(id="call_1", name="weather", arguments='{"city": "Paris"}')
        request = Request(
            model=subject.model,
            messages=(
                user("What is the weather in Paris?"),
                Message(role=Role.ASSISTANT, parts=(call,)),
                Message(role=Role.TOOL, parts=(ToolResult(call_id="call_1", parts=(Text(text="sunny, 20 C"),)),)),
            ),
            tools=(WEATHER,),
            sampling=Sampling(max_tokens=12, temperature=0),
        )
        assert (await subject.answer(request)).response.choices[0].message.text


async def test_an_answer_to_a_schema_is_valid(open_subject: Open) -> None:
    async with open_subject() as subject:
        form = JsonSchemaFormat(name="weather", schema=WEATHER.parameters or {}, strict=True)
        request = subject.request(response_format=form, sampling=Sampling(max_tokens=80, temperature=0))
        text = (await subject.answer(request)).response.choices[0].message.text
        assert msgspec.json.decode(text)["city"] in ("Paris", "Rome")


async def test_a_second_turn_costs_more_input(open_subject: Open) -> None:
    async with open_subject() as subject:
        first = (await subject.answer(subject.request())).response
        again = Request(
            model=subject.model,
            messages=(user("Count: one two three four five six"), first.choices[0].message, user("And again.")),
            sampling=Sampling(max_tokens=4, temperature=0),
        )
        assert (await subject.answer(again)).response.usage.input_tokens > first.usage.input_tokens


async def test_text_completions_of_several_prompts(open_subject: Open) -> None:
    async with open_subject() as subject:
        request = Request(
            model=subject.model,
            prompts=("one two three", "red green blue"),
            echo=True,
            sampling=Sampling(max_tokens=4, temperature=0),
        )
        response = (await subject.answer(request)).response
        texts = [choice.message.text for choice in response.choices]
        assert texts[0].startswith("one two three")
        assert texts[1].startswith("red green blue")
        assert response.usage.input_tokens >= 6


async def test_usage_is_told_before_the_end(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request())
        told = [event for event in result.events if not isinstance(event, Delta | Finish) and hasattr(event, "usage")]
        assert told


async def test_a_model_that_is_not_there_is_our_mistake(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.run(Request(model="no/such-model", messages=(user("hi"),)))
        assert type(result.error) is UpstreamRejected
        assert result.events == []


async def test_a_field_that_is_not_forwarded_is_refused_by_name(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.run(subject.request(extensions={"priority": -100}))
        assert type(result.error) is UnsupportedFeature
        assert result.error.param == "priority"


async def test_what_the_upstream_finds_wrong_is_the_clients_error(open_subject: Open) -> None:
    async with open_subject() as subject:
        if not subject.strict:
            assert subject.model.startswith("fake/")
            return
        result = await subject.run(subject.request(sampling=Sampling(temperature=-1)))
        assert type(result.error) is InvalidRequest
        assert result.error.param == "temperature"


async def test_an_input_that_is_too_long(open_subject: Open) -> None:
    async with open_subject() as subject:
        if not subject.strict:
            subject.model = "fake/context-length"
        result = await subject.run(subject.request("word " * 6000))
        assert type(result.error) is ContextLengthExceeded
        assert result.events == []


LONG = Sampling(max_tokens=400, temperature=0)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_leaving_releases_the_upstream(open_subject: Open, after: int, how: str) -> None:
    async with open_subject() as subject:
        request = subject.request(sampling=LONG, extensions={"ignore_eos": True})
        stream = subject.provider.generate(request, DISPATCH)
        for _ in range(after):
            await stream.__anext__()
        reading = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0)
        if how == "cancel":
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()
        await subject.assert_released()
        await asyncio.gather(reading, return_exceptions=True)
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()


async def _next(stream: Any) -> Any:
    return await stream.__anext__()


async def test_a_stream_that_was_never_read_is_closed(open_subject: Open) -> None:
    async with open_subject() as subject:
        stream = subject.provider.generate(subject.request(), DISPATCH)
        await stream.aclose()
        await stream.aclose()
        await subject.assert_released()


async def test_calls_at_once_do_not_mix(open_subject: Open) -> None:
    async with open_subject() as subject:
        requests = [subject.request(sampling=Sampling(max_tokens=number, temperature=0)) for number in (2, 3, 4, 5)]
        results = await asyncio.gather(*(run(subject.provider.generate(request, DISPATCH)) for request in requests))
        assert [result.response.usage.output_tokens for result in results] == [2, 3, 4, 5]
        await subject.assert_released()


async def test_health_is_told_without_waiting(open_subject: Open) -> None:
    async with open_subject() as subject:
        await subject.provider.start()
        await asyncio.sleep(0.1)
        assert (await subject.provider.health()).ok


async def test_after_aclose_calls_fail_with_an_error_of_ours(open_subject: Open) -> None:
    async with open_subject() as subject:
        await subject.provider.aclose()
        await subject.provider.aclose()
        result = await subject.run(subject.request())
        assert isinstance(result.error, GatewayError)
        assert not (await subject.provider.health()).ok
