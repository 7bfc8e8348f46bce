"""The streamed answer: batches do not matter, every prefix is whole frames, and nothing is sent twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import UpstreamTimeout
from bedplate_core.events import (
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    Stop,
    StopReason,
    TokenLogprob,
)
from bedplate_core.messages import Part, Reasoning, RedactedReasoning, Refusal, Text, ToolCall
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.base import StreamEncoder
from bedplate_gateway.dialects.openai import ChatExchange, CompletionExchange
from bedplate_gateway.dialects.openai.answer_wire import FINISH_REASONS
from bedplate_gateway.dialects.openai.completion_answer import TEXT_FINISH_REASONS

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TOKENS = st.builds(
    TokenLogprob,
    TEXTS,
    st.floats(allow_nan=False),
    st.none() | st.just((104, 105)),
    st.just((TokenLogprob("a", -1.0),)) | st.just(()),
)
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Reasoning, text=TEXTS),
    st.builds(Refusal, text=TEXTS),
    st.builds(ToolCall, id=st.just("call_1"), name=st.just("f"), arguments=TEXTS),
    st.just(RedactedReasoning(data=b"x", origin="p")),
)
DELTAS = st.tuples(TEXTS, st.lists(TOKENS, max_size=2).map(tuple), st.lists(st.integers(0, 9), max_size=2).map(tuple))


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    choices = draw(st.integers(1, 3))
    lanes: list[list[Event]] = []
    for choice in range(choices):
        lane: list[Event] = []
        for index, part in enumerate(draw(st.lists(PARTS, max_size=3))):
            lane.append(PartStart(choice, index, part))
            if not isinstance(part, RedactedReasoning):
                lane.extend(Delta(choice, index, *delta) for delta in draw(st.lists(DELTAS, max_size=3)))
            lane.append(PartEnd(choice, index))
        lanes.append(lane)
    events: list[Event] = [Start(id="resp_1", model="up", created_s=1, choices=choices)]
    while any(lanes):
        events.append(draw(st.sampled_from([lane for lane in lanes if lane])).pop(0))
    reasons = draw(st.lists(st.sampled_from(StopReason), min_size=choices, max_size=choices))
    stops = tuple(Stop(choice=choice, reason=reason) for choice, reason in enumerate(reasons))
    return [*events, Finish(stops=stops, usage=Usage(input_tokens=1, output_tokens=2))]


def encoders(*, token_ids: bool = True) -> list[ChatExchange | CompletionExchange]:
    request = Request(model='m "1"', extensions={"return_token_ids": True} if token_ids else {})
    return [
        ChatExchange(request=request, include_usage=True),
        CompletionExchange(request=request, include_usage=True),
        ChatExchange(request=request),
    ]


def sent(encoder: StreamEncoder, batches: Sequence[Sequence[Event]]) -> bytes:
    return b"".join(encoder.encode(batch) for batch in batches)


@settings(max_examples=150, deadline=None)
@given(answers(), st.data())
def test_any_batching_gives_the_same_bytes(events: list[Event], data: st.DataObject) -> None:
    order = EventOrder()
    for event in events:
        order.add(event)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events) - 1))))
    edges = [0, *cuts, len(events)]
    batches = [events[begin:end] for begin, end in pairwise(edges)]
    for exchange in encoders():
        one = sent(exchange.stream(), [events])
        assert sent(exchange.stream(), batches) == one
        prefix = exchange.stream()
        for batch in batches:
            frames = prefix.encode(batch)
            assert frames == b"" or (frames.startswith(b"data: {") and frames.endswith(b"}\n\n"))


@settings(max_examples=150, deadline=None)
@given(answers())
def test_a_stream_says_what_the_whole_answer_says(events: list[Event]) -> None:
    fold = Fold()
    for event in events:
        fold.add(event)
    for exchange in encoders()[:2]:
        whole = json.loads(exchange.reply(fold.response()).body)
        frames = sent(exchange.stream(), [events]).decode().removesuffix("\n\n").split("\n\n")
        chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
        assert chunks[-1]["usage"] == whole["usage"]
        for choice in whole["choices"]:
            deltas = [item for chunk in chunks for item in chunk["choices"] if item["index"] == choice["index"]]
            assert [item["finish_reason"] for item in deltas if item["finish_reason"]] == [choice["finish_reason"]]
            assert deltas[-1]["finish_reason"]
            ids = [token for item in deltas for token in item.get("token_ids", ())]
            assert ids == choice.get("token_ids", [])
            if "text" in choice:
                lists = [item["logprobs"] for item in deltas if item["logprobs"]]
                for name, whole_list in (choice["logprobs"] or {}).items():
                    assert [value for one in lists for value in one[name]] == whole_list
                assert "".join(item["text"] for item in deltas) == choice["text"]
                continue
            message = choice["message"]
            for field in ("content", "refusal", "reasoning"):
                said = "".join(item["delta"].get(field) or "" for item in deltas)
                assert said == (message.get(field) or "")
            logprobs = [token for item in deltas if item["logprobs"] for token in item["logprobs"]["content"]]
            assert logprobs == (choice["logprobs"] or {"content": []})["content"]
            calls = [call for item in deltas for call in item["delta"].get("tool_calls", ())]
            for number, call in enumerate(message.get("tool_calls", ())):
                pieces = [piece for piece in calls if piece["index"] == number]
                assert pieces[0]["id"] == call["id"]
                assert sum("id" in piece for piece in pieces) == 1
                arguments = "".join(piece["function"]["arguments"] for piece in pieces)
                assert arguments == call["function"]["arguments"]
            assert sum("role" in item["delta"] for item in deltas) == 1
            assert "role" in deltas[0]["delta"]


def test_every_stop_reason_has_a_finish_reason_that_the_sdk_knows() -> None:
    assert set(FINISH_REASONS) == set(StopReason)
    assert set(FINISH_REASONS.values()) == {"stop", "length", "tool_calls", "content_filter"}
    assert set(TEXT_FINISH_REASONS) == set(StopReason)
    assert set(TEXT_FINISH_REASONS.values()) == {"stop", "length", "content_filter"}
    assert FINISH_REASONS[StopReason.GUARDRAIL] == "content_filter"
    assert FINISH_REASONS[StopReason.TOOL] == "tool_calls"


def test_token_ids_are_sent_only_when_asked_for() -> None:
    events = [Start(id="r", model="u", created_s=1), PartStart(0, 0, Text(text="")), Delta(0, 0, "", (), (7,))]
    for exchange in encoders(token_ids=False):
        encoder = exchange.stream()
        encoder.encode(events[:2])
        assert encoder.encode(events[2:]) == b""
    assert b'"token_ids":[7]' in sent(encoders()[0].stream(), [events])


def test_no_stop_is_announced_before_finish() -> None:
    events: list[Event] = [Start(id="r", model="u", created_s=1), PartStart(0, 0, Text(text="x")), PartEnd(0, 0)]
    for exchange in encoders():
        assert b'"finish_reason":"' not in sent(exchange.stream(), [events])


def test_keep_alive_is_a_comment_and_an_error_ends_without_the_end_mark() -> None:
    for exchange in encoders():
        encoder = exchange.stream()
        assert encoder.keep_alive().startswith(b":")
        assert encoder.keep_alive().endswith(b"\n\n")
        assert encoder.end() == b"data: [DONE]\n\n"
        frame = encoder.error(UpstreamTimeout("slow"))
        assert json.loads(frame.removeprefix(b"data: "))["error"]["message"] == "slow"
        assert b"DONE" not in frame
        assert exchange.stream_media_type == "text/event-stream"


def test_a_log_probability_that_json_cannot_say_is_openais_number_for_unlikely() -> None:
    tokens = (TokenLogprob("a", float("-inf"), None, (TokenLogprob("b", float("-inf")),)), TokenLogprob("c", -2.0))
    events = [Start(id="r", model="u", created_s=1), PartStart(0, 0, Text(text="")), Delta(0, 0, "a", tokens)]
    chat, raw, _ = encoders()
    said = json.loads(sent(chat.stream(), [events]).split(b"\n\n")[1].removeprefix(b"data: "))["choices"][0]
    first, second = said["logprobs"]["content"]
    assert (first["logprob"], first["top_logprobs"][0]["logprob"], second["logprob"]) == (-9999.0, -9999.0, -2.0)
    said = json.loads(sent(raw.stream(), [events]).split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]
    assert said["logprobs"]["token_logprobs"] == [-9999.0, -2.0]
    assert said["logprobs"]["top_logprobs"][0] == {"b": -9999.0}
