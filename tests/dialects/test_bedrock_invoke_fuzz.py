"""No InvokeModel or CountTokens body, however mangled, leads to anything but a request or an `InvalidRequest`, and
no stream, however cut into batches, to anything but whole frames of JSON objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import InvalidRequest
from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start, Stop, StopReason
from bedplate_core.messages import Part, Reasoning, Refusal, Text, ToolCall
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.count_tokens import CountTokensExchange
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_gateway.dialects.bedrock.invoke_exchange import InvokeExchange, decode_invoke
from bedplate_gateway.dialects.bedrock.invoke_options import invoke_options
from bedplate_providers.event_stream import FrameParser
from tests.dialects.mangled import Mangled

T = TypeVar("T")
REQUESTS = Path(__file__).parent.parent / "wire" / "bedrock_invoke" / "requests"
SEEDS = [json.loads(path.read_text()) for path in sorted(REQUESTS.glob("*.json")) if ".canonical" not in path.name]
MANGLED = Mangled(
    SEEDS,
    names={"inferenceConfig", "query", "documents", "host", "images"},
    words=["text", "bedrock-2023-05-31", "search_query", "NONE", "float", "m"],
)
BODIES = ({"prompt": "p"}, {"prompt": "p", "stop": []}, *(seed for seed in SEEDS if "messages" in seed))


def outcome(work: Callable[[], T]) -> T | InvalidRequest:
    """What `work` returns, or the one error that it may raise."""
    try:
        return work()
    except InvalidRequest as error:
        return error


def check(body: bytes, stream: bool) -> None:
    found = outcome(
        lambda: decode_invoke(body, model_id="m", header=lambda _: None, stream=stream, continues=False, started_s=0.0)
    )
    if isinstance(found, InvalidRequest):
        assert msgspec.json.decode(error_reply(found).body) == {"message": found.message}
        assert len(found.message) < 1200
    else:
        assert found.request.model == "m"


@settings(max_examples=400, deadline=None)
@given(body=MANGLED.bodies(), stream=st.booleans())
def test_a_mangled_body_is_a_request_or_an_invalid_request(body: bytes, stream: bool) -> None:
    check(body, stream)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=80) | MANGLED.values.map(lambda value: json.dumps(value).encode()), stream=st.booleans())
def test_any_bytes_are_a_request_or_an_invalid_request(body: bytes, stream: bool) -> None:
    check(body, stream)


@settings(max_examples=300, deadline=None)
@given(value=MANGLED.values, inner=MANGLED.bodies(), place=st.integers(0, 3))
def test_a_mangled_token_count_is_a_request_or_an_invalid_request(value: Any, inner: bytes, place: int) -> None:
    encoded = base64.b64encode(inner).decode()
    bodies: list[Any] = [
        value,
        {"input": value},
        {"input": {"invokeModel": {"body": encoded}}},
        {"input": {"converse": value}},
    ]
    found = outcome(lambda: CountTokensExchange.decode(json.dumps(bodies[place]).encode(), model_id="m"))
    assert isinstance(found, InvalidRequest) or found.request.model == "m"


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(["accept", "content-type", "x-amzn-bedrock-request-metadata"]), value=st.text(max_size=40))
def test_any_header_is_accepted_or_an_invalid_request(name: str, value: str) -> None:
    found = outcome(lambda: invoke_options({name: value}.get, stream=False))
    assert found == {} or (isinstance(found, InvalidRequest) and found.param == name)


def test_deep_nesting_is_refused() -> None:
    for depth in (33, 900, 5000, 100_000):
        bomb = "[" * depth + "]" * depth
        for seed in SEEDS:
            for name in (*seed, "zork"):
                check(json.dumps({**seed, name: "@"}).replace('"@"', bomb).encode(), stream=False)


PARTS: list[Part] = [
    Text(text=""),
    Text(text="[DONE]\n\ndata: "),
    Reasoning(text=""),
    Refusal(text=""),
    ToolCall(id="c", name="f", arguments=""),
]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """The events of an answer, in order."""
    events: list[Event] = [Start(id="r", model="u", created_s=1)]
    for index in range(draw(st.integers(0, 3))):
        events.append(PartStart(0, index, draw(st.sampled_from(PARTS))))
        for text in draw(st.lists(st.text(max_size=8) | st.just("\n\ndata: [DONE]\n\n"), max_size=4)):
            events.append(Delta(0, index, text))
            if draw(st.booleans()):
                events.append(Progress(Usage(input_tokens=1, output_tokens=2)))
        events.append(PartEnd(0, index))
    reason = draw(st.sampled_from(list(StopReason)))
    events.append(Finish(stops=(Stop(choice=0, reason=reason),), usage=Usage(input_tokens=3, output_tokens=4)))
    return events


@settings(max_examples=200, deadline=None)
@given(body=st.sampled_from(BODIES), events=answers(), data=st.data())
def test_frames_are_whole_and_do_not_depend_on_batches(body: Any, events: list[Event], data: st.DataObject) -> None:
    exchange = decode_invoke(
        json.dumps(body).encode(),
        model_id="support-chat",
        header=lambda _: None,
        stream="stream" not in body,
        continues=False,
        started_s=0.0,
    )
    assert isinstance(exchange, InvokeExchange)
    exchange = msgspec.structs.replace(exchange, clock=lambda: 1.0)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events) - 1), max_size=5)) if len(events) > 1 else ())
    encoder, single = exchange.stream(), exchange.stream()
    bounds = [0, *cuts, len(events)]
    pieces = [encoder.encode(events[start:end]) for start, end in pairwise(bounds)]
    whole = b"".join(pieces)
    assert whole == b"".join(single.encode([event]) for event in events)
    for piece in pieces:
        parser = FrameParser()
        for frame in parser.feed(piece):
            assert frame.header(":event-type") == "chunk"
            assert isinstance(json.loads(base64.b64decode(json.loads(frame.payload)["bytes"])), dict)
        assert not parser.pending
