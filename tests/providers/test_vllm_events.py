"""vLLM's chunks to our events: every shape, every violation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.errors import ContextLengthExceeded, GatewayError, UpstreamProtocolError, UpstreamUnavailable
from bedplate_core.events import (
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    Stop,
    StopReason,
    TokenLogprob,
)
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.messages import Reasoning, Refusal, Text, ToolCall
from bedplate_core.order import EventOrder
from bedplate_core.requests import NamedTool, Request
from bedplate_core.response import Fold, Response
from bedplate_core.usage import Usage
from bedplate_providers.sse import SseParser
from bedplate_providers.vllm_events import ChunkReader
from tests.providers.drive import WEATHER, chat
from tests.providers.vllm_streams import DONE, FINAL, ROLE, call_piece, chat_chunk, event, hello, text_chunk


def read(pieces: list[bytes], request: Request | None = None) -> tuple[list[Event], GatewayError | None]:
    """The events of a stream that came in `pieces`, and what was wrong with it."""
    reader, parser, order, events = ChunkReader(request or chat()), SseParser(), EventOrder(), list[Event]()
    for piece in pieces:
        events += reader.read(parser.feed(piece))
        if reader.done or reader.failure:
            break
    for each in events:
        order.add(each)
    if reader.done:
        order.end()
        return events, None
    assert not any(isinstance(each, Finish) for each in events)
    return events, reader.end()


def answer(pieces: list[bytes], request: Request | None = None) -> Response:
    events, error = read(pieces, request)
    assert error is None
    fold = Fold()
    for each in events:
        fold.add(each)
    return fold.response()


def test_a_plain_answer_event_by_event() -> None:
    events, error = read([b"".join(hello())])
    assert error is None
    assert [each for each in events if not isinstance(each, Progress)] == [
        Start(id="chatcmpl-req_1", model="m", created_s=1764000000),
        PartStart(0, 0, Text(text="")),
        Delta(0, 0, "Hello"),
        Delta(0, 0, ", "),
        Delta(0, 0, "wörld"),
        PartEnd(0, 0),
        Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage(input_tokens=20, output_tokens=5)),
    ]


def test_usage_is_known_while_it_streams() -> None:
    events, _ = read(hello())
    progress = [each.usage.output_tokens for each in events if isinstance(each, Progress)]
    assert progress == [0, 1, 2, 4, 5]


@given(st.lists(st.integers(0, 4000), max_size=30))
def test_any_chunking_of_the_bytes_gives_the_same_events(at: list[int]) -> None:
    data = b"".join(
        [
            ROLE,
            b": keep-alive\n\n",
            chat_chunk({"reasoning": "Hm€m"}),
            chat_chunk({"content": "Ünï"}),
            chat_chunk(call_piece(0, id_="a", name="weather", arguments='{"ci')),
            chat_chunk(call_piece(0, arguments='ty": "Paris"}')),
            chat_chunk({}, finish="tool_calls", usage=(20, 9)),
            FINAL,
            DONE,
        ]
    )
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    whole, _ = read([data])
    cut, _ = read(pieces)
    keep = [each for each in whole if not isinstance(each, Progress)]
    assert [each for each in cut if not isinstance(each, Progress)] == keep


SPOKEN = [ROLE, chat_chunk({"content": "Hi"})]
"""The beginning of an answer whose text part is open."""


def test_what_comes_with_more_text_of_an_open_part_is_kept() -> None:
    logprobs: JSONObject = {"content": [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
    spoken = [
        *SPOKEN,
        chat_chunk({"content": "a"}, logprobs=logprobs),
        chat_chunk({"content": "b"}, token_ids=[7]),
        chat_chunk({"content": "c"}),
        chat_chunk({"content": ""}, token_ids=[8]),
        chat_chunk({"content": "d"}),
        chat_chunk({}, finish="stop", usage=(20, 5)),
        FINAL,
        DONE,
    ]
    (choice,) = answer(spoken).choices
    assert choice.parts == (Text(text="Hiabcd"),)
    assert [token.token for token in choice.logprobs] == ["a"]
    assert choice.token_ids == (7, 8)
    events, _ = read(spoken)
    assert Delta(0, 0, "d", (), (8,)) in events


@pytest.mark.parametrize(
    ("delta", "part"),
    [
        ({"reasoning": "Hm"}, Reasoning(text="Hm")),
        ({"reasoning_content": "Hm"}, Reasoning(text="Hm")),
        ({"refusal": "No"}, Refusal(text="No")),
        (call_piece(0, id_="a", name="weather", arguments="{}"), ToolCall(id="a", name="weather", arguments="{}")),
    ],
)
def test_another_part_that_comes_with_more_text_of_an_open_one_is_kept(delta: dict[str, Any], part: object) -> None:
    more = chat_chunk({"content": "more", **delta})
    (choice,) = answer([*SPOKEN, more, chat_chunk({}, finish="stop"), FINAL, DONE]).choices
    assert part in choice.parts
    assert "".join(each.text for each in choice.parts if isinstance(each, Text)) == "Himore"


def test_parallel_tool_calls_in_pieces() -> None:
    response = answer(
        [
            ROLE,
            chat_chunk({"content": "Let me see."}),
            chat_chunk(call_piece(0, id_="call_a", name="weather")),
            chat_chunk(call_piece(0, arguments='{"city"')),
            chat_chunk(call_piece(0, arguments=': "Paris"}')),
            chat_chunk(call_piece(1, id_="call_b", name="weather", arguments="not json")),
            chat_chunk({}, finish="tool_calls"),
            DONE,
        ],
        chat(tools=(WEATHER,)),
    )
    (choice,) = response.choices
    assert choice.parts == (
        Text(text="Let me see."),
        ToolCall(id="call_a", name="weather", arguments='{"city": "Paris"}'),
        ToolCall(id="call_b", name="weather", arguments="not json"),
    )
    assert choice.stop.reason is StopReason.TOOL


def test_a_tool_call_without_an_id_gets_ours_and_one_without_a_name_waits_for_it() -> None:
    pieces = [
        ROLE,
        chat_chunk(call_piece(0, arguments='{"a"')),
        chat_chunk(call_piece(0, name="weather", arguments=": 1}")),
        chat_chunk({}, finish="stop"),
        DONE,
    ]
    (part,) = answer(pieces).choices[0].parts
    assert isinstance(part, ToolCall)
    assert part.id.startswith("call_")
    assert (part.name, part.arguments) == ("weather", '{"a": 1}')


def test_a_named_tool_choice_that_ends_with_stop_is_a_tool_stop() -> None:
    request = chat(tools=(WEATHER,), tool_choice=NamedTool("weather"))
    pieces = [
        ROLE,
        chat_chunk(call_piece(0, id_="x", name="weather", arguments="{}")),
        chat_chunk({}, finish="stop"),
        DONE,
    ]
    assert answer(pieces, request).choices[0].stop.reason is StopReason.TOOL


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_comes_before_the_text(field: str) -> None:
    pieces = [
        ROLE,
        chat_chunk({field: "Let me "}),
        chat_chunk({field: "think."}),
        chat_chunk({field: "!", "content": "Yes"}),
        chat_chunk({}, finish="stop"),
        DONE,
    ]
    assert answer(pieces).choices[0].parts == (Reasoning(text="Let me think.!"), Text(text="Yes"))


def test_a_refusal() -> None:
    choice = answer([ROLE, chat_chunk({"refusal": "No."}), chat_chunk({}, finish="stop"), DONE]).choices[0]
    assert choice.parts == (Refusal(text="No."),)
    assert choice.stop.reason is StopReason.REFUSAL


@pytest.mark.parametrize(
    ("finish", "stop", "expected"),
    [
        ("stop", None, Stop(choice=0, reason=StopReason.END)),
        ("stop", "###", Stop(choice=0, reason=StopReason.STOP_SEQUENCE, sequence="###")),
        ("stop", 7, Stop(choice=0, reason=StopReason.STOP_SEQUENCE)),
        ("stop", 8, Stop(choice=0, reason=StopReason.END)),
        ("length", None, Stop(choice=0, reason=StopReason.LENGTH)),
        ("content_filter", None, Stop(choice=0, reason=StopReason.CONTENT_FILTER)),
    ],
)
def test_why_it_ended(finish: str, stop: str | int | None, expected: Stop) -> None:
    request = chat(extensions={"stop_token_ids": [7]})
    assert answer(hello(reason=finish, stop=stop), request).choices[0].stop == expected


def test_several_choices_interleave_and_their_usage_adds_up() -> None:
    pieces = [
        chat_chunk({"role": "assistant", "content": ""}, index=0, usage=(20, 0)),
        chat_chunk({"role": "assistant", "content": ""}, index=1, usage=(20, 0)),
        chat_chunk({"content": "a"}, index=0, usage=(20, 1)),
        chat_chunk({"content": "x"}, index=1, usage=(20, 3)),
        chat_chunk({"content": "b"}, index=0, finish="stop", usage=(20, 2)),
        chat_chunk({"content": "y"}, index=1, finish="length", usage=(20, 5)),
        DONE,
    ]
    response = answer(pieces, chat(choices=2))
    assert [choice.message.text for choice in response.choices] == ["ab", "xy"]
    assert [choice.stop.reason for choice in response.choices] == [StopReason.END, StopReason.LENGTH]
    assert response.usage == Usage(input_tokens=20, output_tokens=7)


def test_text_completions_of_several_prompts() -> None:
    request = Request(model="m", prompts=("one", "two"), choices=2)
    pieces = [text_chunk(f"t{n}", index=n, finish="stop", usage=(3 + n // 2, 2)) for n in (2, 0, 3, 1)]
    response = answer([*pieces, DONE], request)
    assert [choice.message.text for choice in response.choices] == ["t0", "t1", "t2", "t3"]
    assert response.usage == Usage(input_tokens=7, output_tokens=8)


def test_details_of_the_usage() -> None:
    last: dict[str, Any] = {
        "id": "x",
        "choices": [],
        "usage": {
            "prompt_tokens": 30,
            "completion_tokens": 9,
            "total_tokens": 39,
            "prompt_tokens_details": {"cached_tokens": 16, "created_cache_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    response = answer([*hello()[:5], event(last), DONE])
    assert response.usage == Usage(
        input_tokens=30, output_tokens=9, cached_input_tokens=16, cache_write_input_tokens=4, reasoning_tokens=3
    )


def test_an_answer_without_usage() -> None:
    pieces = [chat_chunk({"content": "a"}, usage=None), chat_chunk({}, finish="stop", usage=None), DONE]
    assert answer(pieces).usage == Usage()


def test_an_empty_answer_has_no_part() -> None:
    choice = answer([ROLE, chat_chunk({"content": ""}, finish="stop", usage=(20, 1)), FINAL, DONE]).choices[0]
    assert (choice.parts, choice.stop.reason) == ((), StopReason.END)


def test_logprobs_and_token_ids_lose_no_token() -> None:
    def entry(token: str) -> dict[str, Any]:
        top = [{"token": token, "logprob": -0.5, "bytes": list(token.encode())}]
        return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": top}

    pieces = [
        ROLE,
        chat_chunk({}, logprobs={"content": [entry("<t>")]}, token_ids=[1]),
        chat_chunk({"content": "ab"}, logprobs={"content": [entry("a"), entry("b")]}, token_ids=[2, 3]),
        chat_chunk({"content": ""}, finish="stop", logprobs={"content": [entry("<e>")]}, token_ids=[4]),
        DONE,
    ]
    events, _ = read(pieces, chat(top_logprobs=1))
    deltas = [each for each in events if isinstance(each, Delta)]
    assert [(each.text, [p.token for p in each.logprobs], each.token_ids) for each in deltas] == [
        ("ab", ["<t>", "a", "b"], (1, 2, 3)),
        ("", ["<e>"], (4,)),
    ]
    assert deltas[0].logprobs[1] == TokenLogprob("a", -0.5, (97,), (TokenLogprob("a", -0.5, (97,)),))


def test_completion_logprobs_and_the_echoed_first_token() -> None:
    logprobs = {
        "text_offset": [0, 1],
        "tokens": ["A", "b"],
        "token_logprobs": [None, -2.0],
        "top_logprobs": [None, {"b": -2.0, "c": -1.0}],
    }
    request = Request(model="m", prompts=("A",), echo=True, top_logprobs=1)
    choice = answer([text_chunk("Ab", finish="stop", logprobs=logprobs), DONE], request).choices[0]
    assert math.isnan(choice.logprobs[0].logprob)
    assert choice.logprobs[1] == TokenLogprob("b", -2.0, None, (TokenLogprob("c", -1.0), TokenLogprob("b", -2.0)))


GOOD = hello()


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("no [DONE]", GOOD[:-1]),
        ("cut", GOOD[:3]),
        ("nothing", []),
        ("[DONE] alone", [DONE]),
        ("no finish", [*GOOD[:4], FINAL, DONE]),
        ("two finishes", [*GOOD[:5], GOOD[4], FINAL, DONE]),
        ("text after the finish", [*GOOD[:5], GOOD[1], FINAL, DONE]),
        ("a choice not asked for", [ROLE, chat_chunk({"content": "x"}, index=1), *GOOD[1:]]),
        ("a negative choice", [ROLE, chat_chunk({"content": "x"}, index=-1), *GOOD[1:]]),
        ("no JSON", [ROLE, b"data: {\n\n", *GOOD[1:]]),
        ("not an object", [ROLE, b"data: []\n\n", *GOOD[1:]]),
        ("no UTF-8", [ROLE, b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n', *GOOD[1:]]),
        ("a wrong type", [ROLE, event({"choices": [{"index": 0, "delta": {"content": 3}}]}), *GOOD[1:]]),
        ("neither choices nor error", [ROLE, event({"id": "x"}), *GOOD[1:]]),
        ("an unknown finish", [ROLE, chat_chunk({}, finish="abort"), FINAL, DONE]),
        ("an error in the middle", [*GOOD[:3], event({"error": {"message": "x", "code": 500}}), DONE]),
        ("a tool call without a name", [ROLE, chat_chunk(call_piece(0, id_="a")), chat_chunk({}, finish="stop"), DONE]),
        (
            "a tool call that goes on after its end",
            [
                ROLE,
                chat_chunk(call_piece(0, id_="a", name="f")),
                chat_chunk(call_piece(1, id_="b", name="f")),
                chat_chunk(call_piece(0, arguments="x")),
                chat_chunk({}, finish="tool_calls"),
                DONE,
            ],
        ),
    ],
)
def test_a_stream_that_breaks_the_protocol_never_finishes(name: str, pieces: list[bytes]) -> None:
    for cut in (pieces, [b"".join(pieces)]):
        _, error = read(cut)
        assert isinstance(error, UpstreamProtocolError), name


def test_what_came_before_an_error_in_the_same_read_is_kept() -> None:
    events, error = read([b"".join([*GOOD[:3], b"data: {\n\n", *GOOD[3:]])])
    assert [each.text for each in events if isinstance(each, Delta)] == ["Hello", ", "]
    assert isinstance(error, UpstreamProtocolError)


def test_an_error_as_the_first_event_is_classified_as_if_it_were_a_status() -> None:
    said = "This model's maximum context length is 4096 tokens."
    _, error = read([event({"error": {"message": said, "type": "BadRequestError", "code": 400}}), DONE])
    assert isinstance(error, ContextLengthExceeded)
    _, error = read([event({"error": {"message": "boom /srv/x", "type": "InternalServerError", "code": 500}}), DONE])
    assert type(error) is UpstreamUnavailable
    assert "boom" not in str(error)


def test_payloads_after_done_are_not_read() -> None:
    events, error = read([b"".join([*GOOD, b"data: garbage\n\n"])])
    assert error is None
    assert isinstance(events[-1], Finish)
