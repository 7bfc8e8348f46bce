"""Amazon Bedrock: how its answers and errors are read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_core.events import Delta, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import (
    CachePoint,
    Reasoning,
    RedactedReasoning,
    Role,
    Signature,
    Text,
    ToolCall,
)
from bedplate_core.requests import (
    ReasoningControl,
    Request,
    Sampling,
    Tool,
)
from bedplate_core.usage import Usage
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.bedrock_errors import refusal
from bedplate_providers.bedrock_events import ConverseReader
from bedplate_providers.endpoints import BedrockEndpoint
from bedplate_providers.event_stream import FrameParser
from tests.providers import frames
from tests.providers.bedrock_calls import (
    ARN,
    COUNTED,
    MODEL,
    REDACTED,
    SIGNATURE,
    US,
    asked,
    played,
    said,
)
from tests.providers.drive import DISPATCH, WEATHER, chat, run, user
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio


async def test_thinking_is_signed_by_this_provider() -> None:
    request = asked(reasoning=ReasoningControl(enabled=True, budget_tokens=1024), sampling=Sampling(max_tokens=2048))
    response = (await played("thinking", request)).response
    assert response.choices[0].parts == (
        Reasoning(text="The user wants a count.", signature=Signature(US, SIGNATURE)),
        Text(text=COUNTED),
    )
    assert response.usage == Usage(input_tokens=50, output_tokens=40)


async def test_redacted_thinking_is_kept_and_both_go_back() -> None:
    request = asked(
        "Think about what is hidden.",
        reasoning=ReasoningControl(enabled=True, effort="high"),
        sampling=Sampling(max_tokens=2048),
    )
    parts = (await played("thinking_redacted", request)).response.choices[0].parts
    assert parts == (RedactedReasoning(data=REDACTED, origin=US), Text(text=COUNTED))
    thought = Reasoning(text="The user wants a count.", signature=Signature(US, SIGNATURE))
    again = Request(
        model=MODEL,
        messages=(user("Count."), said(Role.ASSISTANT, thought, *parts), user("And again.")),
        reasoning=ReasoningControl(enabled=True, budget_tokens=1024),
        sampling=Sampling(max_tokens=2048),
    )
    await played("thinking_replayed", again)


async def test_what_the_cache_gave_and_took_is_part_of_the_input() -> None:
    system = said(Role.SYSTEM, "A long prefix.", CachePoint(ttl="1h"))
    request = Request(model=MODEL, messages=(system, user("A question.")), sampling=Sampling(max_tokens=24))
    result = await played("cached", request)
    expected = Usage(input_tokens=1234, cached_input_tokens=1024, cache_write_input_tokens=200, output_tokens=6)
    assert result.response.usage == expected


async def test_parallel_tools_after_text() -> None:
    request = asked(
        "What is the weather in Paris and Rome?",
        tools=(WEATHER,),
        parallel_tool_calls=True,
        sampling=Sampling(max_tokens=120, temperature=0),
    )
    (choice,) = (await played("tools_parallel", request)).response.choices
    assert [type(part) for part in choice.parts] == [Text, ToolCall, ToolCall]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert [call.arguments for call in calls] == ['{"city": "Paris"}', '{"city": "Rome"}']
    assert choice.stop.reason is StopReason.TOOL


async def test_a_tool_without_arguments_has_an_empty_object() -> None:
    (choice,) = (await played("no_arguments", asked("What time is it?", tools=(Tool(name="now"),)))).response.choices
    assert choice.parts == (ToolCall(id="tooluse_01C", name="now", arguments="{}"),)


async def test_an_event_of_a_new_type_is_passed_over() -> None:
    await played("unknown_event", asked("Something new."))


START = frames.event("messageStart", {"role": "assistant"})
DONE = frames.event("metadata", {"usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}})


def delta(value: Any, at: int = 0) -> bytes:
    return frames.event("contentBlockDelta", {"delta": value, "contentBlockIndex": at})


def opens(value: Any, at: int = 0) -> bytes:
    return frames.event("contentBlockStart", {"start": value, "contentBlockIndex": at})


def closes(at: int = 0) -> bytes:
    return frames.event("contentBlockStop", {"contentBlockIndex": at})


def stops(reason: str, **fields: Any) -> bytes:
    return frames.event("messageStop", {"stopReason": reason, **fields})


SAY, CLOSE, END = delta({"text": "x"}), closes(), stops("end_turn")
CALL = opens({"toolUse": {"toolUseId": "t", "name": "f"}})


def read(*sent: bytes, stop: tuple[str, ...] = ()) -> tuple[ConverseReader, list[Any]]:
    reader = ConverseReader("m", US, stop)
    return reader, reader.read(FrameParser().feed(b"".join(sent)))


def test_the_least_stream_is_good() -> None:
    reader, events = read(START, SAY, CLOSE, END, DONE)
    assert (reader.failure, reader.done) == (None, True)
    assert [type(event) for event in events] == [Start, PartStart, Delta, PartEnd, Finish]
    assert events[-1].usage == Usage(input_tokens=5, output_tokens=2)


@pytest.mark.parametrize(
    "sent",
    [
        (SAY,),
        (END, DONE),
        (DONE,),
        (START, START),
        (frames.event("messageStart", {"role": "user"}),),
        (START, DONE),
        (START, SAY, CLOSE, DONE, END),
        (START, SAY, END),
        (START, SAY, CLOSE, END, END),
        (START, SAY, CLOSE, END, delta({"text": "x"}, 1)),
        (START, SAY, CLOSE, END, closes(1)),
        (START, SAY, CALL),
        (START, SAY, delta({"text": "x"}, 1)),
        (START, SAY, closes(1)),
        (START, SAY, CLOSE, SAY),
        (START, SAY, CLOSE, CLOSE),
        (START, SAY, delta({"reasoningContent": {"text": "x"}})),
        (START, delta({"reasoningContent": {"text": "x"}}), delta({"reasoningContent": {"redactedContent": "eA=="}})),
        (START, delta({"reasoningContent": {"redactedContent": "no base64!"}})),
        (START, delta({"reasoningContent": {"new": "x"}})),
        (START, delta({"toolUse": {"input": "{}"}})),
        (START, delta({"citation": {"title": "x"}})),
        (START, delta({"image": {}})),
        (START, delta({})),
        (START, opens({"image": {"format": "png"}})),
        (START, opens({"toolResult": {"toolUseId": "t"}})),
        (START, opens({"toolUse": {"toolUseId": "t", "name": "f", "type": "server_tool_use"}})),
        (START, opens({"toolUse": {"toolUseId": "t"}})),
        (START, CALL, SAY),
        (START, stops("something_new")),
        (START, stops("malformed_model_output")),
        (START, SAY, CLOSE, END, frames.event("metadata", {"metrics": {"latencyMs": 1}})),
        (START, SAY, CLOSE, END, frames.event("metadata", {"usage": {"inputTokens": -1, "outputTokens": 1}})),
        (START, SAY, frames.exception("throttlingException", "x")),
        (START, SAY, frames.exception("validationException", "x")),
        (START, SAY, frames.error("SomethingElse", "x")),
        (START, frames.frame({":event-type": "messageStop"}, b'{"stopReason":"end_turn"}')),
    ],
)
def test_what_is_out_of_order_or_unknown_is_an_error_and_never_a_finish(sent: tuple[bytes, ...]) -> None:
    reader, made = read(*sent, *([DONE] if sent[-1] is not DONE else []))
    assert type(reader.failure) is UpstreamProtocolError
    assert not reader.done
    assert not any(isinstance(event, Finish) for event in made)
    if sent[0] is START:
        assert isinstance(made[0], Start)


@pytest.mark.parametrize("count", range(5))
def test_an_end_before_metadata_is_a_break(count: int) -> None:
    reader, _ = read(*(START, SAY, CLOSE, END, DONE)[:count])
    assert (reader.done, reader.failure) == (False, None)
    assert type(reader.end()) is UpstreamProtocolError


async def test_a_wrong_checksum_is_an_error_at_once_after_what_came_before_it() -> None:
    broken = delta({"text": "good"}).replace(b"good", b"evil")

    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(START + SAY + broken + CLOSE + END + DONE, end=False)
        await asyncio.sleep(5)

    media_type = "application/vnd.amazon.eventstream"
    async with WireServer(script, content_type=media_type) as server, asyncio.timeout(2):
        provider = BedrockProvider(US, BedrockEndpoint(region="r", base_url=server.url, api_key="k3y"))
        result = await run(provider.generate(chat(), DISPATCH))
        await provider.aclose()
        await server.idle()
    assert type(result.error) is UpstreamProtocolError
    assert [type(event) for event in result.events] == [Start, PartStart, Delta]


def test_a_block_of_which_only_the_end_comes_said_nothing() -> None:
    reader, events = read(START, CLOSE, delta({"text": "x"}, 1), closes(1), END, DONE)
    assert reader.failure is None
    assert [event.index for event in events if isinstance(event, PartStart)] == [0]


def test_reasoning_that_is_only_a_signature_and_pieces_of_a_hidden_one() -> None:
    pieces = [delta({"reasoningContent": {"redactedContent": each}}, 1) for each in ("AP8=", "eA==")]
    signed = delta({"reasoningContent": {"signature": "s"}})
    reader, events = read(START, signed, CLOSE, *pieces, closes(1), END, DONE)
    assert reader.failure is None
    assert events[1:-1] == [
        PartStart(0, 0, Reasoning(text="")),
        PartEnd(0, 0, Signature(US, "s")),
        PartStart(0, 1, RedactedReasoning(data=b"\x00\xffx", origin=US)),
        PartEnd(0, 1, None),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", StopReason.END),
        ("max_tokens", StopReason.LENGTH),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("tool_use", StopReason.TOOL),
        ("malformed_tool_use", StopReason.TOOL),
        ("guardrail_intervened", StopReason.CONTENT_FILTER),
        ("content_filtered", StopReason.CONTENT_FILTER),
        ("model_context_window_exceeded", StopReason.CONTEXT),
    ],
)
def test_stop_reasons(word: str, reason: StopReason) -> None:
    _, events = read(START, SAY, CLOSE, stops(word), DONE)
    assert events[-1].stops == (Stop(choice=0, reason=reason),)


@pytest.mark.parametrize(
    ("asked_for", "fields", "named"),
    [
        (("a",), {}, "a"),
        (("a", "b"), {}, None),
        (("a", "b"), {"additionalModelResponseFields": {"stop_sequence": "b"}}, "b"),
        (("a", "b"), {"additionalModelResponseFields": {"stop_sequence": "c"}}, None),
        (("a", "b"), {"additionalModelResponseFields": []}, None),
    ],
)
def test_the_stop_text_that_was_met(asked_for: tuple[str, ...], fields: dict[str, Any], named: str | None) -> None:
    _, events = read(START, SAY, CLOSE, stops("stop_sequence", **fields), DONE, stop=asked_for)
    assert events[-1].stops[0].sequence == named


# errors


def said_error(message: str = "m", **fields: Any) -> bytes:
    return json.dumps({"message": message, **fields}).encode()


@pytest.mark.parametrize(
    ("status", "name", "message", "expected"),
    [
        (400, "ValidationException", "m", InvalidRequest),
        (400, "ValidationException", "Input is too long for requested model.", ContextLengthExceeded),
        (400, "ValidationException", "prompt is too long: 9 tokens > 5 maximum", ContextLengthExceeded),
        (400, "ValidationException", "input length exceeds the model's maximum context", ContextLengthExceeded),
        (400, "ValidationException", "The provided model identifier is invalid.", UpstreamRejected),
        (400, "ValidationException", "with on-demand throughput isn\u2019t supported", UpstreamRejected),
        (400, "ConflictException", "m", UpstreamRejected),
        (400, "ServiceQuotaExceededException", "m", UpstreamRejected),
        (400, "ThrottlingException", "m", RateLimited),
        (400, "", "m", UpstreamRejected),
        (400, "IncompleteSignature", "m", UpstreamRejected),
        (403, "AccessDeniedException", "m", UpstreamRejected),
        (403, "UnrecognizedClientException", "m", UpstreamRejected),
        (403, "InvalidSignatureException", "m", UpstreamRejected),
        (403, "ExpiredTokenException", "m", UpstreamRejected),
        (404, "ResourceNotFoundException", "m", UpstreamRejected),
        (408, "ModelTimeoutException", "m", UpstreamTimeout),
        (413, "", "m", PayloadTooLarge),
        (424, "ModelErrorException", "m", UpstreamRejected),
        (429, "ThrottlingException", "m", RateLimited),
        (429, "ModelNotReadyException", "m", RateLimited),
        (500, "InternalServerException", "m", UpstreamUnavailable),
        (503, "ServiceUnavailableException", "m", UpstreamUnavailable),
        (418, "SomethingNew", "m", UpstreamRejected),
    ],
)
def test_errors_by_name_and_status(status: int, name: str, message: str, expected: type[GatewayError]) -> None:
    spelt = (
        ({"x-amzn-errortype": name}, said_error(message)),
        ({"x-amzn-errortype": f"{name}:http://internal/coral/"}, said_error(message)),
        ({}, said_error(message, __type=f"com.amazon.coral#{name}")),
        ({}, said_error(message, code=name)),
    )
    assert [type(refusal(status, sent, headers)) for headers, sent in spelt] == [expected] * len(spelt)


@pytest.mark.parametrize(("status", "expected"), [(503, UpstreamUnavailable), (400, UpstreamRejected)])
def test_an_error_of_the_model_is_what_the_models_status_says(status: int, expected: type[GatewayError]) -> None:
    sent = said_error(originalStatusCode=status)
    assert type(refusal(424, sent, {"x-amzn-errortype": "ModelErrorException"})) is expected


@pytest.mark.parametrize(
    ("message", "param", "shown"),
    [
        (
            "1 validation error detected: Value '-1.0' at 'inferenceConfig.temperature' failed to satisfy constraint",
            "temperature",
            None,
        ),
        ("inferenceConfig.topP: expected at most 1", "top_p", None),
        ("messages.0.content: field required", "messages.0.content", None),
        ("messages[0].content[1].text: too short", "messages[0].content[1].text", None),
        ("no field is named", None, None),
        (f"User may not use {ARN} now", None, "User may not use ... now"),
        ("", None, "The model's upstream found the request invalid."),
    ],
)
def test_what_a_client_did_wrong_is_passed_on_clean(message: str, param: str | None, shown: str | None) -> None:
    error = refusal(400, said_error(message), {"x-amzn-errortype": "ValidationException"})
    assert (error.param, error.message) == (param, shown or message)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-amz-retry-after": "2500"}, 2.5),
        ({"x-amz-retry-after": "2500", "retry-after": "9"}, 2.5),
        ({"retry-after": "9"}, 9),
        ({"x-amz-retry-after": "9" * 30}, 1),
        ({"x-amz-retry-after": "soon"}, 1),
        ({}, 1),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait_s: float) -> None:
    error = refusal(429, said_error(), headers | {"x-amzn-errortype": "ThrottlingException"})
    assert error.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (frames.exception("throttlingException", "m"), RateLimited),
        (frames.exception("serviceUnavailableException", "m"), UpstreamUnavailable),
        (frames.exception("internalServerException", "m"), UpstreamUnavailable),
        (frames.exception("modelStreamErrorException", "m"), UpstreamUnavailable),
        (frames.exception("modelStreamErrorException", "m", originalStatusCode=400), UpstreamRejected),
        (frames.exception("modelTimeoutException", "m"), UpstreamTimeout),
        (frames.exception("validationException", "m"), InvalidRequest),
        (frames.exception("validationException", "Input is too long for requested model."), ContextLengthExceeded),
        (frames.exception("accessDeniedException", "m"), UpstreamRejected),
        (frames.exception("somethingNewException", "m"), UpstreamUnavailable),
        (frames.error("InternalError", "m"), UpstreamUnavailable),
        (frames.error("ThrottlingException", "m"), RateLimited),
        (frames.frame({}, b"{}"), UpstreamUnavailable),
    ],
)
def test_an_exception_is_classified_only_before_the_answer(sent: bytes, expected: type[GatewayError]) -> None:
    reader, events = read(sent)
    assert (type(reader.failure), events) == (expected, [])
    reader, events = read(START, sent)
    assert type(reader.failure) is UpstreamProtocolError
    assert [type(event) for event in events] == [Start]


# counting
