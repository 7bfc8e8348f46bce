"""No body, however mangled, leads to anything but a request or an `InvalidRequest`; no answer, however odd, reads
otherwise whole than streamed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import InvalidRequest
from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start, Stop, StopReason
from bedplate_core.messages import Part, Reasoning, RedactedReasoning, Refusal, Signature, Text, ToolCall
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_providers.event_stream import FrameParser
from tests.dialects.bedrock_sdk import judge, operation, read_reply, read_stream
from tests.dialects.mangled import Mangled
from tests.dialects.test_bedrock_converse_golden import assembled

REQUESTS = Path(__file__).parent.parent / "wire" / "bedrock" / "requests"
SEEDS = [
    json.loads(path.read_text())
    for path in sorted(REQUESTS.glob("converse_*.json"))
    if not path.stem.endswith(".canonical")
]
MANGLED = Mangled(
    SEEDS,
    names={"text", "image", "json", "toolUse", "source", "bytes", "host"},
    words=["user", "assistant", "system", "AAAA", "s3://abc/d", "png", "default", "call_1"],
)


def check(body: bytes) -> None:
    try:
        exchange = ConverseExchange.decode(body, model="m", stream=True, started_s=0.0)
        said = msgspec.json.encode(exchange.request)
    except InvalidRequest as error:
        said = error_reply(error).body
    msgspec.json.decode(said)


@settings(max_examples=400, deadline=None)
@given(MANGLED.bodies())
def test_mutations_of_valid_bodies(body: bytes) -> None:
    check(body)


@settings(max_examples=200, deadline=None)
@given(MANGLED.bodies(), st.integers(0, 2**16), st.binary(min_size=1, max_size=3))
def test_mutations_of_bytes(body: bytes, place: int, noise: bytes) -> None:
    place %= len(body)
    check(body[:place] + noise + body[place + len(noise) :])
    check(body[:place])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    check(body)


def test_deep_nesting_everywhere() -> None:
    for depth in (33, 900, 5000, 100_000):
        bomb = "[" * depth + "]" * depth
        for seed in SEEDS:
            text = json.dumps(seed)
            for name in (*seed, "zork"):
                check(json.dumps({**seed, name: "@"}).replace('"@"', bomb).encode())
            for leaf in ('"Hello"', '"Weather?"', '"no object"', "40", '"object"', '{"city": {"type": "string"}}'):
                check(text.replace(leaf, bomb).encode())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SIGNATURES = st.builds(Signature, origin=TEXTS, value=TEXTS)
JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, lambda inner: st.dictionaries(TEXTS, inner, max_size=2)
).map(lambda value: json.dumps(value))


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = [Start(id="r", model="m", created_s=1)]
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "refusal", "reasoning", "redacted", "tool"]))
        part: Part = Text(text=draw(TEXTS))
        pieces = draw(st.lists(TEXTS, max_size=3))
        signature = None
        if kind == "refusal":
            part = Refusal(text=draw(TEXTS))
        elif kind == "reasoning":
            part, signature = Reasoning(text=draw(TEXTS)), draw(st.none() | SIGNATURES)
        elif kind == "redacted":
            part, pieces = RedactedReasoning(data=draw(st.binary(max_size=5)), origin=draw(TEXTS)), []
        elif kind == "tool":
            arguments = draw(JSON_TEXTS | TEXTS)
            cut = draw(st.integers(0, len(arguments)))
            part = ToolCall(id=f"c{index}", name="f", arguments=draw(st.sampled_from(["", arguments[:cut]])))
            pieces = [arguments[len(part.arguments) : cut], arguments[cut:]]
        events.append(PartStart(0, index, part))
        events += [Delta(0, index, piece) for piece in pieces]
        if draw(st.booleans()):
            events.append(Progress(Usage(output_tokens=1)))
        events.append(PartEnd(0, index, signature))
    stop = Stop(choice=0, reason=draw(st.sampled_from(StopReason)))
    cached, written = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    usage = Usage(
        input_tokens=cached + written + draw(st.integers(0, 9)),
        output_tokens=draw(st.integers(0, 9)),
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
    )
    return [*events, Finish(stops=(stop,), usage=usage)]


@settings(max_examples=300, deadline=None)
@given(answers(), st.lists(st.integers(0, 40), max_size=5))
def test_whole_and_streamed_answers_say_the_same(events: list[Event], cuts: list[int]) -> None:
    exchange = ConverseExchange(request=Request(model="m"), started_s=0.0, clock=lambda: 0.5)
    fold = Fold()
    for event in events:
        fold.add(event)
    whole = read_reply("Converse", 200, {}, exchange.reply(fold.response()).body)
    judge(whole, operation("Converse").output_shape)
    encoder = exchange.stream()
    data = b""
    edges = sorted({cut % len(events) for cut in cuts} | {0, len(events)})
    for first, last in pairwise(edges):
        frames = encoder.encode(events[first:last])
        parser = FrameParser()
        parser.feed(frames)
        assert not parser.pending
        data += frames
    assert assembled(list(read_stream("ConverseStream", data + encoder.end()))) == whole
    usage = whole["usage"]
    assert usage["totalTokens"] == usage["outputTokens"] + sum(
        usage[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    )


def test_the_keep_alive_frame_is_an_event_that_botocore_drops() -> None:
    encoder = ConverseExchange(request=Request(model="m"), started_s=0.0).stream()
    frame = encoder.keep_alive()
    (parsed,) = FrameParser().feed(frame)
    assert (parsed.header(":event-type"), parsed.payload) == ("keepAlive", b"{}")
    start = encoder.encode([Start(id="r", model="m", created_s=1)])
    assert list(read_stream("ConverseStream", frame + start + frame)) == [{"messageStart": {"role": "assistant"}}]


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_numbers_of_the_model_are_not_rewritten(size: int) -> None:
    arguments = '{"n": 1.50, "big": 123456789012345678901234567890, "s": "' + "x" * size + '"}'
    fold = Fold()
    call = ToolCall(id="c", name="f", arguments=arguments)
    stop = Stop(choice=0, reason=StopReason.TOOL)
    for event in (
        Start(id="r", model="m", created_s=1),
        PartStart(0, 0, call),
        PartEnd(0, 0),
        Finish(stops=(stop,), usage=Usage()),
    ):
        fold.add(event)
    body = ConverseExchange(request=Request(model="m"), started_s=0.0).reply(fold.response()).body
    assert arguments.encode() in body
