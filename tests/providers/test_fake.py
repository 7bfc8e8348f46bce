"""The scripted provider: every behaviour keeps the promises of a provider."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from bedplate_core.events import Delta, StopReason
from bedplate_core.messages import Message, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from bedplate_core.requests import (
    EmbedRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    Request,
    Sampling,
    ToolMode,
)
from bedplate_core.response import Choice
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fake_script import BEHAVIOURS, Pace
from bedplate_providers.schema_instance import minimal_instance
from tests.providers.drive import DISPATCH, WEATHER, Run, chat, run, user

pytestmark = pytest.mark.anyio


async def play(request: Request) -> Run:
    provider = FakeProvider(pace=Pace(delay_s=0.001, first_delay_s=0.01))
    result = await run(provider.generate(request, DISPATCH))
    assert provider.open_streams == 0
    return result


async def first(request: Request) -> Choice:
    result = await play(request)
    assert result.error is None
    return result.response.choices[0]


@pytest.mark.parametrize("model", sorted(set(BEHAVIOURS) - {"fake/hang"}))
@pytest.mark.parametrize("choices", [1, 3])
async def test_every_behaviour_keeps_the_order_of_events(model: str, choices: int) -> None:
    request = chat(
        "say: one two three", model=model, choices=choices, tools=(WEATHER,), sampling=Sampling(max_tokens=20)
    )
    result = await play(request)
    if result.error is None:
        assert len(result.response.choices) == choices
    assert BEHAVIOURS[model].description


@pytest.mark.parametrize(
    ("model", "kind", "streams"),
    [
        ("fake/error", UpstreamUnavailable, False),
        ("fake/error-midstream", UpstreamUnavailable, True),
        ("fake/cut", UpstreamProtocolError, True),
        ("fake/rate-limited", RateLimited, False),
        ("fake/context-length", ContextLengthExceeded, False),
        ("fake/nothing-of-the-kind", UpstreamRejected, False),
    ],
)
async def test_the_failing_behaviours(model: str, kind: type[GatewayError], streams: bool) -> None:
    result = await play(chat("one two three four", model=model))
    assert type(result.error) is kind
    assert bool(result.events) is streams


async def test_echo_comes_word_by_word_and_counts_the_whole_request() -> None:
    result = await play(chat("hello  big\nworld ", model="fake/echo"))
    assert [each.text for each in result.events if isinstance(each, Delta)] == ["hello", "  big", "\nworld", " "]
    assert (result.response.usage.input_tokens, result.response.usage.output_tokens) == (3, 4)
    longer = Request(
        model="fake/echo", messages=(user("a b"), Message(role=Role.ASSISTANT, parts=(Text(text="a b"),)), user("c"))
    )
    assert (await play(longer)).response.usage.input_tokens == 5


async def test_limits_and_stops() -> None:
    cut = await first(chat("a b c d", model="fake/echo", sampling=Sampling(max_tokens=2)))
    assert (cut.message.text, cut.stop.reason) == ("a b", StopReason.LENGTH)
    exact = await first(chat("a b", model="fake/echo", sampling=Sampling(max_tokens=2)))
    assert exact.stop.reason is StopReason.END
    stopped = await first(chat("say a STOP b", model="fake/echo", sampling=Sampling(stop=("b", "ST"))))
    assert (stopped.message.text, stopped.stop.reason, stopped.stop.sequence) == (
        "say a ",
        StopReason.STOP_SEQUENCE,
        "ST",
    )
    thinking = await first(chat("a", model="fake/reasoning", sampling=Sampling(max_tokens=3)))
    assert thinking.stop.reason is StopReason.LENGTH
    assert thinking.parts == (Reasoning(text="The user wants", signature=thinking.parts[0].signature),)  # type: ignore[union-attr]


@pytest.mark.parametrize("choice", [ToolMode.REQUIRED, NamedTool("weather")])
async def test_a_forced_tool_is_called_with_valid_arguments(choice: ToolMode | NamedTool) -> None:
    answer = await first(chat(model="fake/echo", tools=(WEATHER,), tool_choice=choice))
    (call,) = answer.parts
    assert isinstance(call, ToolCall)
    assert (call.name, msgspec.json.decode(call.arguments)) == ("weather", {"city": "Paris"})
    assert answer.stop.reason is StopReason.TOOL


async def test_the_tool_behaviours() -> None:
    two = await first(chat(model="fake/parallel-tools", tools=(WEATHER,)))
    assert len({part.id for part in two.parts if isinstance(part, ToolCall)}) == 2
    one = await first(chat(model="fake/parallel-tools", tools=(WEATHER,), parallel_tool_calls=False))
    assert len(one.parts) == 1
    none = await first(chat(model="fake/parallel-tools", tools=(WEATHER,), tool_choice=ToolMode.NONE))
    assert none.message.text
    (bad,) = (await first(chat(model="fake/bad-tool-arguments", tools=(WEATHER,)))).parts
    assert isinstance(bad, ToolCall)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(bad.arguments)
    split = await play(chat(model="fake/split-tool-call", tools=(WEATHER,)))
    assert all(len(each.text) == 1 for each in split.events if isinstance(each, Delta))


async def test_a_tool_loop_ends_with_the_result() -> None:
    call = Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="weather", arguments="{}"),))
    result = Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="sunny today"),)),))
    request = Request(model="fake/split-tool-call", messages=(user("q"), call, result), tools=(WEATHER,))
    assert (await first(request)).message.text == "sunny today"


async def test_structured_answers() -> None:
    schema = JsonSchemaFormat(name="n", schema=WEATHER.parameters or {})
    assert msgspec.json.decode((await first(chat(model="fake/echo", response_format=schema))).message.text) == {
        "city": "Paris"
    }
    plain = await first(chat("a", model="fake/echo", response_format=JsonObjectFormat()))
    assert msgspec.json.decode(plain.message.text) == {"text": "a"}


async def test_the_other_behaviours() -> None:
    assert (await first(chat(model="fake/empty"))).parts == ()
    refused = await first(chat(model="fake/refusal"))
    assert isinstance(refused.parts[0], Refusal)
    assert refused.stop.reason is StopReason.REFUSAL
    script = await play(chat("please say: abcdefghijkl", model="fake/script"))
    assert [each.text for each in script.events if isinstance(each, Delta)] == ["a", "bc", "def", "ghij", "k", "l"]
    burst = await play(chat(model="fake/burst", sampling=Sampling(max_tokens=50)))
    assert len(burst.batches) == 2
    assert burst.response.usage.output_tokens == 50
    assert len((await play(chat(model="fake/long"))).batches) > 100


async def test_logprobs_cover_the_text() -> None:
    answer = await first(chat("a b", model="fake/echo", top_logprobs=2))
    assert "".join(each.token for each in answer.logprobs) == answer.message.text
    assert all(len(each.alternatives) == 2 for each in answer.logprobs)


async def test_text_completions() -> None:
    request = Request(model="fake/echo", prompts=("a b", "c"), choices=2, echo=True)
    texts = [choice.message.text for choice in (await play(request)).response.choices]
    assert texts == ["a ba b", "a ba b", "cc", "cc"]


async def test_what_vllm_would_refuse_is_refused_here_too() -> None:
    for request in (chat(model="fake/echo", extensions={"priority": 1}), chat(model="fake/echo", suffix="x")):
        assert isinstance((await play(request)).error, UnsupportedFeature)
    assert (await play(chat(model="fake/echo", extensions={"min_p": 0.1}))).error is None


@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_a_hanging_stream_can_be_left(how: str) -> None:
    provider = FakeProvider()
    stream = provider.generate(chat(model="fake/hang"), DISPATCH)
    assert provider.open_streams == 1
    reading = asyncio.ensure_future(stream.__anext__())
    await asyncio.sleep(0.01)
    if how == "cancel":
        reading.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    else:
        await stream.aclose()
    assert provider.open_streams == 0
    (result,) = await asyncio.gather(reading, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError | StopAsyncIteration)


async def test_a_stream_that_was_never_read_counts_until_it_is_closed() -> None:
    provider = FakeProvider()
    stream = provider.generate(chat(model="fake/echo"), DISPATCH)
    assert provider.open_streams == 1
    await stream.aclose()
    assert provider.open_streams == 0


async def test_closing_the_provider_fails_its_streams() -> None:
    provider = FakeProvider()
    reading = asyncio.ensure_future(run(provider.generate(chat(model="fake/hang"), DISPATCH)))
    await asyncio.sleep(0.01)
    await provider.aclose()
    assert isinstance((await reading).error, UpstreamUnavailable)
    assert isinstance((await run(provider.generate(chat(model="fake/echo"), DISPATCH))).error, UpstreamUnavailable)
    assert not (await provider.health()).ok


async def test_embeddings() -> None:
    provider = FakeProvider()
    result = await provider.embed(EmbedRequest(model="fake/embed", inputs=("a b", "c", "a b"), dimensions=5), DISPATCH)
    assert result.vectors[0] == result.vectors[2] != result.vectors[1]
    assert all(math.isclose(math.fsum(value * value for value in vector), 1) for vector in result.vectors)
    assert {len(vector) for vector in result.vectors} == {5}
    assert result.usage.input_tokens == 5
    with pytest.raises(InvalidRequest):
        await provider.embed(EmbedRequest(model="fake/embed", inputs=("a",), dimensions=0), DISPATCH)
    with pytest.raises(UnsupportedFeature):
        await provider.embed(EmbedRequest(model="fake/echo", inputs=("a",)), DISPATCH)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": ["null", "string"]}, None),
        ({"type": "integer", "minimum": 3.5}, 4),
        ({"type": "number", "exclusiveMinimum": 2}, 3),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "boolean"}, False),
        ({"const": 5}, 5),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}}, []),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": {}}),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {}}}, {"a": ""}),
    ],
)
async def test_the_least_instance_of_a_schema(schema: Any, value: Any) -> None:
    assert minimal_instance(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a"},
        {"not": {}},
        {"$ref": "http://x/"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
    ],
)
async def test_schemas_that_are_beyond_it(schema: Any) -> None:
    with pytest.raises(UnsupportedFeature):
        minimal_instance(schema)
