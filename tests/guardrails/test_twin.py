"""A stream and its non-streamed twin are the same, whatever the pieces; and both are what the detectors say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, StopReason
from bedplate_core.messages import Part, Reasoning, Refusal, Text, ToolCall
from bedplate_core.response import Response, collect
from bedplate_core.verdicts import Verdict
from bedplate_guardrails.policy import Policy
from tests.guardrails.guarded import PII, Upstream, drain, guard, make_policy, oracle, text_events, whole_answer

MASKING = make_policy(
    pii=dict.fromkeys(PII, "ANONYMIZE"),
    regexes={
        "badge": (r"\bB-\d{3,}\b", "ANONYMIZE"),
        "badge or code": (r"B-\d{3}-[a-z]{2}|[a-z]{2}:\d+", "ANONYMIZE"),
        "line": (r"(?m)^key .*$", "ANONYMIZE"),
        "greedy": (r"aa|aab+c", "ANONYMIZE"),
        "watched": (r"\d{2}", "NONE"),
    },
)
BLOCKING = make_policy(
    words=["tulip", "red  tulip garden", "c++", "straße", "炸弹", "tul"],
    pii={"EMAIL": "BLOCK", "PHONE": "ANONYMIZE", "IP_ADDRESS": "ANONYMIZE"},
    regexes={"badge": (r"\bB-\d{3,}\b", "BLOCK"), "tail": (r"zz$", "BLOCK")},
)

MATCHES = (
    "ann.lee+x@mail.example.com", "a@b.co", "x@y", "+44 20 7946 0958", "(555) 123-4567", "555-123-4567 x89",
    "4111 1111 1111 1111", "4111111111111111", "3400-000000-00009", "10.0.0.1", "1.2.3.4.5", "fe80::1",
    "2001:db8:0:0:0:0:0:1", "B-1234", "B-123-ab", "ab:12", "key = 1\n", "aa", "aabbc", "aabb", "tulip", "tul",
    "red tulip", "red \n tulip garden", "c++", "STRASSE", "炸弹", "zz", "2024-01-02", "12:30:45",
)  # fmt: skip
GLUE = (" ", ", ", "\n", ".", "", "", "x", "1", "-", "@", " the ", "\u200b", "\u00ad", "é", "Ж", "字", "(", "+")
DISGUISES = (
    lambda text: text,
    lambda text: text,
    lambda text: "\u200b".join(text),
    lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text),
    lambda text: text.replace("a", "а").replace("e", "е"),
    lambda text: text.upper(),
    lambda text: "".join(char + "\u0301" if char.isalpha() else char for char in text),
    lambda text: text[:-1],
    lambda text: text + text,
)

fragments = st.builds(lambda match, disguise: disguise(match), st.sampled_from(MATCHES), st.sampled_from(DISGUISES))
texts = st.lists(st.one_of(fragments, st.sampled_from(GLUE), st.text(max_size=3)), max_size=8).map("".join)
cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def guarded(policy: Policy, events: Sequence[Event], *, batched: bool = False) -> tuple[Response, tuple[Verdict, ...]]:
    """The whole answer that leaves the policy, and its verdicts; each event is a batch of its own unless `batched`."""
    batches = [events] if batched else [[event] for event in events]

    async def run() -> tuple[Response, tuple[Verdict, ...]]:
        stream = guard(policy, Upstream(batches))
        left = await drain(stream)
        return await collect(Upstream([left])), stream.verdicts

    return asyncio.run(run())


def with_part(kind: type[Part], pieces: Sequence[str]) -> list[Event]:
    empty = ToolCall(id="t", name="f", arguments="") if kind is ToolCall else kind(text="")
    return whole_answer(text_events(pieces, part=empty))


@pytest.mark.parametrize("policy", [MASKING, BLOCKING], ids=["masking", "blocking"])
@pytest.mark.parametrize("kind", [Text, Reasoning, Refusal])
@settings(max_examples=250, deadline=None)
@given(text=texts, places=cuts)
def test_any_pieces_give_what_the_detectors_say_of_the_whole(
    policy: Policy, kind: type[Part], text: str, places: list[int]
) -> None:
    released, rule = oracle(policy, text)
    response, verdicts = guarded(policy, with_part(kind, pieces_of(text, places)))
    parts = response.choices[0].parts
    whole, whole_verdicts = guarded(policy, with_part(kind, [text]), batched=True)
    assert whole.choices[0].parts == parts
    assert whole_verdicts == verdicts
    if rule is None:
        assert [part.text for part in parts] == [released]
        assert response.choices[0].stop.reason is StopReason.END
    else:
        assert parts[0].text == released
        gap = "\n\n" if kind is Text and released else ""
        assert parts[1:] == (Text(text=f"{gap}answer refused"),)
        assert response.choices[0].stop.reason is StopReason.GUARDRAIL
        assert [verdict.rule for verdict in verdicts if verdict.action == "block"] == [rule]


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("policy", [MASKING, BLOCKING], ids=["masking", "blocking"])
def test_a_match_cut_in_two_at_every_place(policy: Policy, match: str) -> None:
    for before, after in (("", ""), ("so ", " it is"), ("x", "x"), (match, match), (match + " ", ", " + match)):
        text = before + match + after
        released, rule = oracle(policy, text)
        for place in range(len(text) + 1):
            response, _ = guarded(policy, with_part(Text, [text[:place], text[place:]]))
            parts = response.choices[0].parts
            assert parts[0].text == released, (text, place)
            assert len(parts) == (1 if rule is None else 2), (text, place)


@settings(max_examples=150, deadline=None)
@given(left=texts, right=texts, places=cuts)
def test_two_choices_do_not_touch_each_other(left: str, right: str, places: list[int]) -> None:
    lefts, rights = pieces_of(left, places), pieces_of(right, places)
    events: list[Event] = [PartStart(0, 0, Text(text="")), PartStart(1, 0, Text(text=""))]
    for one, other in zip(lefts, rights, strict=False):
        events += [Delta(0, 0, one), Delta(1, 0, other)]
    events += [Delta(0, 0, piece) for piece in lefts[len(rights) :]]
    events += [Delta(1, 0, piece) for piece in rights[len(lefts) :]]
    events += [PartEnd(0, 0), PartEnd(1, 0)]
    response, _ = guarded(BLOCKING, whole_answer(events, choices=2))
    blocked = [oracle(BLOCKING, text)[1] is not None for text in (left, right)]
    for number, text in enumerate((left, right)):
        choice = response.choices[number]
        assert (choice.stop.reason is StopReason.GUARDRAIL) == blocked[number]
        if not blocked[number] and not all(blocked):
            assert [part.text for part in choice.parts] == [oracle(BLOCKING, text)[0]]


@settings(max_examples=150, deadline=None)
@given(values=st.lists(texts, max_size=3), places=cuts, escaped=st.booleans())
def test_tool_arguments_stay_json_and_hold_no_match(values: list[str], places: list[int], escaped: bool) -> None:
    arguments = json.dumps({"values": values, "n": 1}, ensure_ascii=escaped)
    if escaped:
        arguments = arguments.replace("@", "\\u0040").replace("1111", "\\u0031111")
    response, _ = guarded(MASKING, with_part(ToolCall, pieces_of(arguments, places)))
    choice = response.choices[0]
    whole, _ = guarded(MASKING, with_part(ToolCall, [arguments]), batched=True)
    assert whole == response
    if choice.stop.reason is StopReason.GUARDRAIL:  # a match over several values
        return
    decoded = json.loads(choice.parts[0].arguments)
    plain = [text for text in values if not text.lstrip().startswith(("{", "["))]
    expected = [oracle(MASKING, text)[0] for text in json.loads(arguments)["values"] if text in plain]
    assert [text for text, value in zip(decoded["values"], values, strict=True) if value in plain] == expected


@settings(max_examples=200, deadline=None)
@given(first=texts, second=texts, places=cuts)
def test_parts_side_by_side_are_judged_alone_and_joined(first: str, second: str, places: list[int]) -> None:
    """Whatever blocks in a part, or in the joined text over the edge, blocks; and pieces make no difference."""
    split = [
        *text_events(pieces_of(first, places)),
        *text_events(pieces_of(second, places), index=1),
    ]
    whole = [*text_events([first]), *text_events([second], index=1)]
    response, verdicts = guarded(BLOCKING, whole_answer(split))
    assert (response, verdicts) == guarded(BLOCKING, whole_answer(whole), batched=True)
    alone = [oracle(BLOCKING, text)[1] for text in (first, second)]
    if any(alone):
        assert response.choices[0].stop.reason is StopReason.GUARDRAIL
    elif response.choices[0].stop.reason is StopReason.END:
        released = "".join(part.text for part in response.choices[0].parts)
        crossing = [
            (start, end)
            for plan in BLOCKING._output.lanes
            for rule in plan.rules
            if rule.action == "BLOCK"
            for start, end in rule.detector.find(first + second)
            if start < len(first) < end
        ]
        assert not crossing, (released, crossing)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab1 -:\n@."), max_size=60), size=st.integers(1, 7))
def test_small_alphabets(text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    response, _ = guarded(MASKING, with_part(Text, pieces))
    assert [part.text for part in response.choices[0].parts] == [oracle(MASKING, text)[0]]


def test_finish_names_every_choice() -> None:
    events = [
        event for number in (0, 1, 2) for event in text_events(["tulip" if number == 1 else "rose"], choice=number)
    ]

    async def run() -> list[Event]:
        return await drain(guard(BLOCKING, Upstream([whole_answer(events, choices=3)])))

    finish = asyncio.run(run())[-1]
    assert isinstance(finish, Finish)
    assert [stop.reason for stop in finish.stops] == [StopReason.END, StopReason.GUARDRAIL, StopReason.END]
