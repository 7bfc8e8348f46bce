"""What models let out of a stream is what they let out of the whole answer, and nothing that they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.events import Batch, Delta, Event, PartEnd, PartStart, StopReason
from bedplate_core.messages import Part, Reasoning, Refusal, Text, ToolCall
from bedplate_core.response import Choice, Response, collect
from bedplate_core.verdicts import Action, Verdict
from bedplate_guardrails.policy import Policy
from tests.guardrails.guarded import Upstream, drain, guard, whole_answer
from tests.guardrails.keyword_models import guarding_by, model_policy
from tests.guardrails.scripted_evaluator import CONTENT, NAMES, ScriptedEvaluator

MASKING = model_policy(
    content={"VIOLENCE": {"outputAction": "NONE"}},
    names={"NAME": "ANONYMIZE", "ADDRESS": "ANONYMIZE", "EMAIL": "ANONYMIZE", "PHONE": "ANONYMIZE"},
)
BLOCKING = model_policy(
    content={"HATE": {}, "VIOLENCE": {}},
    topics=["money"],
    names={"NAME": "ANONYMIZE", "ADDRESS": "BLOCK", "EMAIL": "ANONYMIZE"},
    words=["tulip"],
)

FRAGMENTS = (
    *NAMES, *(name[:-1] for name in NAMES), "Ada King", "King Lovelace", "a@b.co", "555-123-4567", "tulip",
    "The gateway keeps what it was asked to keep, and forgets the rest. ", "Nobody minds a short wait! ",
    "It is so long a sentence that it goes on and on without an end and says nothing at all while it does, so ",
    "x" * 130, "网关保存它被要求保存的内容，并忘记其余的部分。", "Why? ", "meh ",
)  # fmt: skip
REFUSED = ("vile", "punch", "stocks", "shares and bonds", "vi", "le")
GLUE = (" ", " ", " ", ", ", "\n", ". ", "!", '." ', "", "x", "1", "\u3000", "é")

harmless = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(GLUE)), max_size=12).map("".join)
texts = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(GLUE), st.sampled_from(GLUE), st.sampled_from(REFUSED)),
    max_size=14,
).map("".join)
layouts = st.lists(st.tuples(st.sampled_from([Text, Text, Reasoning, Refusal, ToolCall]), texts), max_size=4)
cuts = st.lists(st.integers(0, 1500), max_size=10)


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges) if start < end]


def events_of(layout: Sequence[tuple[type[Part], str]], places: Sequence[int], choice: int = 0) -> list[Event]:
    """The parts of a layout, each text in pieces; a tool call has its text as a value of its arguments."""
    events: list[Event] = []
    for index, (kind, text) in enumerate(layout):
        part: Part = ToolCall(id=f"t{index}", name="f", arguments="") if kind is ToolCall else kind(text="")
        said = json.dumps({"said": text, "n": 1}) if kind is ToolCall else text
        events.append(PartStart(choice, index, part))
        events += [Delta(choice, index, piece) for piece in pieces_of(said, places)]
        events.append(PartEnd(choice, index))
    return events


def released(policy: Policy, batches: Sequence[Batch], **how: Any) -> tuple[Response, tuple[Verdict, ...]]:
    """The whole answer that leaves the policy, and its verdicts."""

    async def run() -> tuple[Response, tuple[Verdict, ...]]:
        stream = guard(policy, Upstream(batches), guarding_by(ScriptedEvaluator(), **how))
        left = await drain(stream)
        return await collect(Upstream([left])), stream.verdicts

    return asyncio.run(run())


def batches_of(events: Sequence[Event], sizes: Sequence[int]) -> list[Batch]:
    """The events in batches of these sizes, over and over; each by itself without."""
    batches: list[Batch] = []
    place = 0
    while place < len(events):
        size = sizes[len(batches) % len(sizes)] if sizes else 1
        batches.append(events[place : place + size])
        place += size
    return batches


def said(choice: Choice, kind: type[Part]) -> str:
    return "".join(part.text for part in choice.parts if type(part) is kind)


def read(part: Part) -> str:
    """What a part says, decoded."""
    return json.loads(part.arguments)["said"] if isinstance(part, ToolCall) else part.text


def masked(text: str) -> str:
    """What names make of a whole text."""
    out, cursor = "", 0
    for start, end, kind in ScriptedEvaluator().spans(text):
        out += f"{text[cursor:start]}{{{kind}}}"
        cursor = end
    return out + text[cursor:]


@pytest.mark.parametrize("policy", [MASKING, BLOCKING], ids=["masking", "blocking"])
@settings(max_examples=80, deadline=None)
@given(layout=layouts, places=cuts, sizes=st.lists(st.integers(1, 6), max_size=3))
def test_any_pieces_in_any_batches_give_what_one_batch_gives(
    policy: Policy, layout: list[tuple[type[Part], str]], places: list[int], sizes: list[int]
) -> None:
    streamed, verdicts = released(policy, batches_of(whole_answer(events_of(layout, places)), sizes))
    whole, whole_verdicts = released(policy, [whole_answer(events_of(layout, []))])
    assert streamed.choices == whole.choices
    stopped = streamed.choices[0].stop.reason is StopReason.GUARDRAIL
    assert any(verdict.action is Action.BLOCK for verdict in verdicts) == stopped
    counted = {(verdict.rule, verdict.action): verdict.count for verdict in verdicts}
    whole_counted = {(verdict.rule, verdict.action): verdict.count for verdict in whole_verdicts}
    if not stopped:
        assert counted == whole_counted
    else:  # in one batch, what stands behind the block is counted too
        assert all(count <= whole_counted[rule] for rule, count in counted.items())


@settings(max_examples=80, deadline=None)
@given(layout=layouts, places=cuts)
def test_nothing_refused_is_in_what_left(layout: list[tuple[type[Part], str]], places: list[int]) -> None:
    response, _ = released(BLOCKING, batches_of(whole_answer(events_of(layout, places)), []))
    choice = response.choices[0]
    calls = [read(part) for part in choice.parts if isinstance(part, ToolCall)]
    for left in (said(choice, Text), said(choice, Reasoning), said(choice, Refusal), *calls):
        for word in (*CONTENT, "stocks", "shares and bonds"):
            assert word == "meh" or word not in left
    for part in choice.parts:
        assert not ScriptedEvaluator().spans(read(part))
    if choice.stop.reason is StopReason.GUARDRAIL:
        assert choice.parts[-1].text.strip() == "answer refused"


@settings(max_examples=50, deadline=None)
@given(text=harmless, places=cuts)
def test_names_are_masked_as_in_the_whole_text(text: str, places: list[int]) -> None:
    """Also those that lie over a place where the text is cut: they are short enough to be held."""
    policy = model_policy(names={"NAME": "ANONYMIZE", "ADDRESS": "ANONYMIZE"})
    response, verdicts = released(policy, batches_of(whole_answer(events_of([(Text, text)], places)), []))
    assert said(response.choices[0], Text) == masked(text)
    counts = {verdict.rule: verdict.count for verdict in verdicts if verdict.action is Action.MASK}
    kinds = [kind for _, _, kind in ScriptedEvaluator().spans(text)]
    assert counts == {kind: kinds.count(kind) for kind in set(kinds)}


@settings(max_examples=50, deadline=None)
@given(left=layouts, right=layouts, places=cuts, sizes=st.lists(st.integers(1, 6), max_size=3), draw=st.randoms())
def test_choices_do_not_touch_each_other(
    left: list[tuple[type[Part], str]],
    right: list[tuple[type[Part], str]],
    places: list[int],
    sizes: list[int],
    draw: Any,
) -> None:
    ways = [events_of(left, places), events_of(right, places, choice=1)]
    mixed: list[Event] = []
    while any(ways):
        way = draw.choice([way for way in ways if way])
        mixed.append(way.pop(0))
    both, _ = released(BLOCKING, batches_of(whole_answer(mixed, choices=2), sizes))
    alone = [released(BLOCKING, [whole_answer(events_of(layout, []))])[0].choices[0] for layout in (left, right)]
    stopped = [choice.stop.reason is StopReason.GUARDRAIL for choice in alone]
    for choice, by_itself in zip(both.choices, alone, strict=True):
        if not all(stopped):
            assert (choice.parts, choice.stop.reason) == (by_itself.parts, by_itself.stop.reason)
    assert [choice.stop.reason is StopReason.GUARDRAIL for choice in both.choices] == stopped


@pytest.mark.parametrize("entities", [True, False])
@settings(max_examples=50, deadline=None)
@given(text=texts, places=cuts)
def test_no_more_is_held_than_was_declared(entities: bool, text: str, places: list[int]) -> None:
    """Counted whenever more is read: what came and has not left. Nothing here masks, which would hide characters."""
    names = {"names": {"NAME": "NONE", "ADDRESS": "NONE"}} if entities else {}
    policy = model_policy(content={"HATE": {"outputAction": "NONE"}}, **names)
    bound = policy.hold_back.chars
    assert bound is not None
    held: list[int] = []
    left = 0

    class Counting(Upstream):
        came = 0

        async def __anext__(self) -> Batch:
            held.append(self.came - left)
            batch = await super().__anext__()
            self.came += sum(len(event.text) for event in batch if isinstance(event, Delta))
            return batch

    async def run() -> None:
        nonlocal left
        long = [(Text, text * 3), (Reasoning, text)]
        upstream = Counting([[event] for event in whole_answer(events_of(long, places))])
        async for batch in guard(policy, upstream, guarding_by(ScriptedEvaluator())):
            left += sum(len(event.text) for event in batch if isinstance(event, Delta))
        assert upstream.came == left

    asyncio.run(run())
    assert max(held) <= bound
    assert held[-1] == 0


@settings(max_examples=50, deadline=None)
@given(layout=layouts, places=cuts, sizes=st.lists(st.integers(1, 6), max_size=3))
def test_what_is_judged_behind_is_never_masked_and_stops_in_the_end(
    layout: list[tuple[type[Part], str]], places: list[int], sizes: list[int]
) -> None:
    policy = model_policy(content={"HATE": {}}, names={"NAME": "BLOCK", "ADDRESS": "BLOCK"}, asyncStreaming=True)
    events = whole_answer(events_of(layout, places))
    behind, verdicts = released(policy, batches_of(events, sizes), releases_first=True)
    before, _ = released(policy, [events])
    choice = behind.choices[0]
    assert choice.stop.reason is before.choices[0].stop.reason
    assert not any(verdict.action is Action.MASK for verdict in verdicts)
    if choice.stop.reason is StopReason.GUARDRAIL:
        assert choice.parts[-1].text.strip() == "answer refused"
        for kind in (Reasoning, Refusal):
            assert said(choice, kind).startswith(said(before.choices[0], kind))
    else:
        assert choice.parts == before.choices[0].parts
    calls = [read(part) for part in choice.parts if isinstance(part, ToolCall)]
    assert not any("vile" in call or ScriptedEvaluator().spans(call) for call in calls)
