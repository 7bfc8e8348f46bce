"""Bedrock's transcripts are what AWS's own SDK could send and reads; and however the network cuts one, the same events
come of it.
"""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.events import Event, Finish, Start
from bedplate_core.order import EventOrder
from bedplate_providers.bedrock_events import ConverseReader
from bedplate_providers.event_stream import FrameParser
from tests.dialects.bedrock_sdk import judge, operation, read_stream
from tests.providers.recorded import Recording, recordings

OPERATIONS = {"converse-stream": "ConverseStream", "count-tokens": "CountTokens"}
BLOBS = {"bytes", "redactedContent"}
NOT_SENT = {"bad_temperature"}
"""What the SDK would refuse before it sends it; the service refuses it as well."""

ALL = [pytest.param(case, id=case.name) for case in recordings("bedrock")]
STREAMS = [pytest.param(case, id=case.name) for case in recordings("bedrock") if case.stream is not None]


def as_given(value: Any) -> Any:
    """`value` as a caller of the SDK gives it: blobs are bytes there."""
    if isinstance(value, dict):
        return {name: b"x" if name in BLOBS else as_given(inner) for name, inner in value.items()}
    return [as_given(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", [param for param in ALL if param.id not in NOT_SENT])
def test_the_request_is_one_that_the_sdk_could_send(case: Recording) -> None:
    _, model, segment, name = case.path.split("/")
    assert model == "model"
    assert quote(unquote(segment), safe="") == segment
    judge({"modelId": unquote(segment), **as_given(case.request)}, operation(OPERATIONS[name]).input_shape)


@pytest.mark.parametrize("case", STREAMS)
def test_the_stream_is_one_that_the_sdk_reads(case: Recording) -> None:
    shape = operation("ConverseStream").output_shape.members["stream"]
    known = [each for each in case.frames or () if "somethingNew" not in each]
    events = list(read_stream("ConverseStream", case.stream or b""))
    assert [name for event in events for name in event] == [name for each in known for name in each]
    for event in events:
        judge(event, shape)
    for (name, value), event in zip((pair for each in known for pair in each.items()), events, strict=True):
        padded = {key: inner for key, inner in value.items() if key != "p"}
        assert set(padded) == set(event[name])


def reader(case: Recording) -> ConverseReader:
    return ConverseReader("m", "bedrock", case.request.get("inferenceConfig", {}).get("stopSequences", ()))


def read(case: Recording, pieces: list[bytes]) -> list[Event]:
    """The events of `pieces`; checks their order, and that nothing but the whole makes a `Finish`."""
    parser, made, order = FrameParser(), reader(case), EventOrder()
    events: list[Event] = []
    for number, piece in enumerate(pieces):
        batch = made.read(parser.feed(piece))
        assert made.failure is None
        assert made.done is (number == len(pieces) - 1)
        for event in batch:
            order.add(event)
        events += batch
    order.end()
    return events


@pytest.mark.parametrize("case", STREAMS)
def test_it_ends_in_one_finish_with_its_usage(case: Recording) -> None:
    events = read(case, case.events)
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], Finish)
    assert events[-1].usage.input_tokens > 0
    assert events[-1].usage.output_tokens > 0


@pytest.mark.parametrize("case", STREAMS)
def test_a_prefix_of_a_stream_is_never_an_answer(case: Recording) -> None:
    for count in range(len(case.events)):
        made = reader(case)
        events = made.read(FrameParser().feed(b"".join(case.events[:count])))
        assert (made.done, made.failure) == (False, None)
        assert not any(isinstance(event, Finish) for event in events)
        assert made.end().status == 502


CUT = [param for param in STREAMS if param.id in ("tools_parallel", "thinking", "thinking_redacted")]


@pytest.mark.parametrize("case", CUT)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_however_it_is_cut_the_events_are_the_same(case: Recording, cuts: list[int]) -> None:
    stream = case.stream or b""
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert read(case, pieces)[1:] == read(case, [stream])[1:]  # Start has an id of its own each time


@pytest.mark.parametrize("case", CUT)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_bit_never_makes_an_answer(case: Recording, at: int, bit: int) -> None:
    stream = bytearray(case.stream or b"")
    stream[at % len(stream)] ^= 1 << bit
    parser, made = FrameParser(), reader(case)
    try:
        made.read(parser.feed(bytes(stream)))
    except ValueError:
        return
    assert not made.done


def test_the_requests_are_json_without_what_is_null() -> None:
    for param in ALL:
        assert "null" not in json.dumps(param.values[0].request)  # type: ignore[union-attr]  # a Recording
