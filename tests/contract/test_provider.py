"""What every provider promises, checked on every provider.

Each kind of provider is run against the upstreams there are for it: the scripted provider against none, vLLM against a
small server that speaks its wire and against a real engine, an OpenAI-compatible one against the same engine and
against transcripts, Anthropic and Bedrock against transcripts (see `tests/wire/upstream/README.md`). What a provider
cannot do is declared in `LACKS`, and then the suite checks that asking for it is refused by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
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
from bedplate_core.events import Finish, Progress, Start, StopReason
from bedplate_core.messages import Message, Role, Text, ToolCall, ToolResult
from bedplate_core.requests import JsonObjectFormat, JsonSchemaFormat, NamedTool, Request, Sampling, ToolMode
from bedplate_core.response import collect
from bedplate_providers.base import CountsTokens, Embeds, Provider, Reranks, ScoresPairs, Tokenizes, Transcribes
from bedplate_providers.endpoints import (
    AnthropicEndpoint,
    BedrockEndpoint,
    Endpoint,
    FakeEndpoint,
    OpenAIEndpoint,
    VllmEndpoint,
)
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fleet import VllmFleet
from bedplate_providers.registry import build_provider
from bedplate_providers.single_upstream import SingleUpstream
from tests.providers.drive import DISPATCH, WEATHER, Run, run, user
from tests.providers.mini_vllm import MODEL, mini_vllm
from tests.providers.recorded import Replay
from tests.providers.wire_server import Script, WireServer

pytestmark = pytest.mark.anyio

BEDROCK_MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


class Can(StrEnum):
    """What a provider may be able to do; the value of the first ones is the field that asks for it."""

    CHOICES = "n"
    LOGPROBS = "logprobs"
    COMPLETIONS = "prompt"
    SEED = "seed"
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    LOGIT_BIAS = "logit_bias"
    TOP_K = "top_k"
    JSON_OBJECT = "response_format"
    IGNORE_EOS = "ignore_eos"
    NAME_THE_STOP = "names the stop text that was met"
    TELL_PROGRESS = "tells the usage while it answers"
    CHECK = "checks the values of a request"
    EMBED = "embeds"
    COUNT = "counts tokens"
    TOKENIZE = "tokenizes"
    RERANK = "reranks"
    SCORE = "scores pairs"
    TRANSCRIBE = "transcribes"


_SHORT = Sampling(max_tokens=6)
ASKS: Mapping[Can, dict[str, Any]] = {
    Can.CHOICES: {"choices": 2, "sampling": _SHORT},
    Can.LOGPROBS: {"top_logprobs": 0, "sampling": _SHORT},
    Can.COMPLETIONS: {"messages": (), "prompts": ("one two three",), "sampling": Sampling(max_tokens=4)},
    Can.SEED: {"sampling": Sampling(max_tokens=6, seed=7)},
    Can.PRESENCE_PENALTY: {"sampling": Sampling(max_tokens=6, presence_penalty=0.5)},
    Can.FREQUENCY_PENALTY: {"sampling": Sampling(max_tokens=6, frequency_penalty=0.5)},
    Can.LOGIT_BIAS: {"sampling": Sampling(max_tokens=6, logit_bias={"50": -10})},
    Can.TOP_K: {"sampling": Sampling(max_tokens=6, top_k=5)},
    Can.JSON_OBJECT: {"response_format": JsonObjectFormat(), "sampling": _SHORT},
    Can.IGNORE_EOS: {"extensions": {"ignore_eos": True}, "sampling": _SHORT},
}
"""How each is asked for; a provider that lacks it refuses the field that `Can` names."""

ABILITIES: Mapping[Can, type] = {
    Can.EMBED: Embeds,
    Can.COUNT: CountsTokens,
    Can.TOKENIZE: Tokenizes,
    Can.RERANK: Reranks,
    Can.SCORE: ScoresPairs,
    Can.TRANSCRIBE: Transcribes,
}
"""What is an interface of its own, which a provider implements or not."""

_BESIDE = frozenset(ABILITIES)
LACKS: Mapping[str, frozenset[Can]] = {
    "fake": frozenset({Can.CHECK}),
    "wire": _BESIDE - {Can.COUNT, Can.TOKENIZE},
    "engine": _BESIDE - {Can.COUNT, Can.TOKENIZE},
    "openai": frozenset({Can.TOP_K, Can.IGNORE_EOS, Can.NAME_THE_STOP, Can.TELL_PROGRESS, *_BESIDE}) - {Can.EMBED},
    "openai-engine": frozenset({Can.TELL_PROGRESS, *_BESIDE}),
    "anthropic": frozenset(
        {Can.CHOICES, Can.LOGPROBS, Can.COMPLETIONS, Can.SEED, Can.PRESENCE_PENALTY, Can.FREQUENCY_PENALTY,
         Can.LOGIT_BIAS, Can.JSON_OBJECT, Can.IGNORE_EOS, *_BESIDE}
    )
    - {Can.COUNT},
    "bedrock": frozenset(
        {Can.CHOICES, Can.LOGPROBS, Can.COMPLETIONS, Can.SEED, Can.PRESENCE_PENALTY, Can.FREQUENCY_PENALTY,
         Can.LOGIT_BIAS, Can.JSON_OBJECT, Can.IGNORE_EOS, Can.TELL_PROGRESS, *_BESIDE}
    )
    - {Can.COUNT},
}  # fmt: skip
"""What each provider does not do. A capability that is missing and not listed here fails the suite, and so does one
that is listed and there.
"""


class Subject:
    """A provider under test with the model to ask for."""

    def __init__(self, kind: str, provider: Provider, model: str) -> None:
        self.kind = kind
        self.provider = provider
        self.model = model
        self.tool = WEATHER
        self.long_input = "word " * 6000
        if kind == "fake":
            self.long_input = "word"
        if kind == "openai-engine":
            self.tool = msgspec.structs.replace(WEATHER, strict=True)  # arguments are free without it
        if kind in ("openai", "anthropic", "bedrock"):
            self.long_input = "word " * 60  # the transcript is of a model with a small context

    def can(self, what: Can) -> bool:
        return what not in LACKS[self.kind]

    def request(self, text: str = "Count: one two three four five six", **fields: Any) -> Request:
        fields.setdefault("sampling", Sampling(max_tokens=24, temperature=0))
        fields.setdefault("messages", (user(text),))
        return Request(model=self.model, **fields)

    async def run(self, request: Request) -> Run:
        result = await run(self.provider.generate(request, DISPATCH))
        self.assert_idle()
        return result

    async def answer(self, request: Request) -> Run:
        result = await self.run(request)
        assert result.error is None
        return result

    async def refuses(self, what: Can, request: Request) -> bool:
        """Whether `what` is declared as lacking; then asking for it must be refused by name."""
        if self.can(what):
            return False
        result = await self.run(request)
        assert type(result.error) is UnsupportedFeature
        assert result.error.param == what.value
        assert what.value in result.error.message
        assert result.events == []
        return True

    def assert_idle(self) -> None:
        """No call holds anything of the upstream."""
        if isinstance(self.provider, FakeProvider):
            assert self.provider.open_streams == 0
        if isinstance(self.provider, VllmFleet):
            assert all(replica.in_flight == 0 for replica in self.provider.replicas)

    async def assert_released(self) -> None:
        """`assert_idle`, and every connection that is left may be used again."""
        self.assert_idle()
        pools = []
        if isinstance(self.provider, VllmFleet):
            pools = [replica.server.pool for replica in self.provider.replicas]
        if isinstance(self.provider, SingleUpstream):
            pools = [self.provider.upstream.pool]
        await asyncio.sleep(0.05)
        for pool in pools:
            assert pool.open_connections == pool.idle_connections
            assert pool.connecting == 0


Open = Callable[[], AbstractAsyncContextManager[Subject]]
_ENGINE = pytest.mark.engine


@pytest.fixture(
    params=[
        "fake",
        "wire",
        "openai",
        "anthropic",
        "bedrock",
        pytest.param("engine", marks=_ENGINE),
        pytest.param("openai-engine", marks=_ENGINE),
    ]
)
def open_subject(request: pytest.FixtureRequest) -> Open:
    """Opens the provider that this run is about."""
    kind = cast("str", request.param)
    url, key, model = "", "", ""
    if kind.endswith("engine"):
        url, key, model = cast("tuple[str, str, str]", request.getfixturevalue("engine_endpoint"))

    def endpoint(at: str) -> tuple[Endpoint, str]:
        match kind:
            case "fake":
                return FakeEndpoint(), "fake/echo"
            case "wire":
                return VllmEndpoint(urls=(at,)), MODEL
            case "engine":
                return VllmEndpoint(urls=(at,), api_key=key), model
            case "openai":
                return OpenAIEndpoint(base_url=f"{at}/v1", api_key="sk-test", embeddings=True), "gpt-4.1-mini"
            case "openai-engine":
                extra = ("ignore_eos", "top_k")
                return OpenAIEndpoint(base_url=f"{at}/v1", api_key=key, extra_fields=extra), model
            case "bedrock":
                return BedrockEndpoint(region="eu-central-1", base_url=at, api_key="key"), BEDROCK_MODEL
            case _:
                return AnthropicEndpoint(base_url=at, api_key="sk-ant-test"), "claude-sonnet-4-5"

    scripts: dict[str, Callable[[], Script]] = {
        "wire": lambda: mini_vllm,
        "openai": lambda: Replay("openai"),
        "anthropic": lambda: Replay("anthropic"),
        "bedrock": lambda: Replay("bedrock"),
    }

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Subject]:
        if kind not in scripts:
            made, name = endpoint(url)
            provider = build_provider(kind, made)
            yield Subject(kind, provider, name)
            await provider.aclose()
            return
        async with WireServer(scripts[kind]()) as server:
            made, name = endpoint(server.url)
            provider = build_provider(kind, made)
            yield Subject(kind, provider, name)
            await provider.aclose()
            await server.idle()

    return opened


@pytest.mark.parametrize("what", ASKS)
async def test_what_is_asked_for_is_done_or_refused_by_name(open_subject: Open, what: Can) -> None:
    async with open_subject() as subject:
        request = subject.request(**ASKS[what])
        if not await subject.refuses(what, request):
            await subject.answer(request)


async def test_abilities_beside_generation_are_those_declared(open_subject: Open) -> None:
    async with open_subject() as subject:
        for what, ability in ABILITIES.items():
            assert isinstance(subject.provider, ability) is subject.can(what), what


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
        if await subject.refuses(Can.CHOICES, request):
            return
        response = (await subject.answer(request)).response
        assert len(response.choices) == 3
        assert all(choice.message.text for choice in response.choices)


async def test_a_stop_text_ends_the_answer_and_is_not_in_it(open_subject: Open) -> None:
    async with open_subject() as subject:
        text = (await subject.answer(subject.request())).response.choices[0].message.text
        stop = text[len(text) // 2 : len(text) // 2 + 3]
        request = subject.request(sampling=Sampling(max_tokens=24, temperature=0, stop=(stop,)))
        choice = (await subject.answer(request)).response.choices[0]
        if subject.can(Can.NAME_THE_STOP):
            assert choice.stop.reason is StopReason.STOP_SEQUENCE
            assert choice.stop.sequence == stop
        else:
            assert (choice.stop.reason, choice.stop.sequence) == (StopReason.END, None)
        assert stop not in choice.message.text
        assert text.startswith(choice.message.text)


async def test_log_probabilities_belong_to_the_text(open_subject: Open) -> None:
    async with open_subject() as subject:
        request = subject.request(top_logprobs=2, sampling=Sampling(max_tokens=5, temperature=0))
        if await subject.refuses(Can.LOGPROBS, request):
            return
        result = await subject.answer(request)
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
            tools=(subject.tool,),
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
        request = subject.request(tools=(subject.tool,), tool_choice=ToolMode.NONE)
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
            tools=(subject.tool,),
            sampling=Sampling(max_tokens=12, temperature=0),
        )
        assert (await subject.answer(request)).response.choices[0].message.text


async def test_an_answer_to_a_schema_is_valid(open_subject: Open) -> None:
    async with open_subject() as subject:
        form = JsonSchemaFormat(name="weather", schema=subject.tool.parameters or {}, strict=True)
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
        if await subject.refuses(Can.COMPLETIONS, request):
            return
        response = (await subject.answer(request)).response
        texts = [choice.message.text for choice in response.choices]
        assert texts[0].startswith("one two three")
        assert texts[1].startswith("red green blue")
        assert response.usage.input_tokens >= 6


async def test_usage_is_told_before_the_end(open_subject: Open) -> None:
    async with open_subject() as subject:
        result = await subject.answer(subject.request())
        told = any(isinstance(event, Progress) for event in result.events)
        assert told is subject.can(Can.TELL_PROGRESS)


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
        result = await subject.run(subject.request(sampling=Sampling(temperature=-1)))
        if not subject.can(Can.CHECK):
            assert result.error is None
            return
        assert type(result.error) is InvalidRequest
        assert result.error.param == "temperature"


async def test_an_input_that_is_too_long(open_subject: Open) -> None:
    async with open_subject() as subject:
        if not subject.can(Can.CHECK):
            subject.model = "fake/context-length"
        result = await subject.run(subject.request(subject.long_input))
        assert type(result.error) is ContextLengthExceeded
        assert result.events == []


LONG = Sampling(max_tokens=400, temperature=0)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_leaving_releases_the_upstream(open_subject: Open, after: int, how: str) -> None:
    async with open_subject() as subject:
        endless = {"ignore_eos": True} if subject.can(Can.IGNORE_EOS) else {}
        request = subject.request(sampling=LONG, extensions=endless)
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
