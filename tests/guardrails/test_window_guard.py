"""An answer under way with models: when text leaves, what ends it, what a failure does, and what the report says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bedplate_core.assessment import PolicyKind
from bedplate_core.errors import GuardrailUnavailable, UpstreamTimeout
from bedplate_core.events import Batch, Delta, Event, Finish, PartEnd, PartStart, Progress, Start, StopReason
from bedplate_core.messages import Audio, MediaUrl, Part, Reasoning, Signature, Text, ToolCall
from bedplate_core.response import Response, collect
from bedplate_core.usage import Usage
from bedplate_core.verdicts import Action, Verdict
from bedplate_guardrails.evaluation import ContentTask, EntitiesTask, GroundingTask, ValidatorTask
from bedplate_guardrails.guarding import AnswerContext
from bedplate_guardrails.policy import GuardedStream, GuardrailFailed, Policy
from bedplate_guardrails.segments import MAX_SEGMENT_CHARS, TAIL_CHARS
from tests.guardrails.guarded import CONTEXT, Upstream, drain, guard, text_events, whole_answer
from tests.guardrails.keyword_models import guarding_by, model_policy
from tests.guardrails.scripted_evaluator import ScriptedEvaluator

pytestmark = pytest.mark.anyio

HATE = model_policy(content={"HATE": {}})
FIRST = "The gateway keeps what it was asked to keep. "
SECOND = "And it forgets the rest, as it was asked to. "
REFUSED = "But that is a vile thing to say of any gateway. "
SIGNED = Signature(origin="p", value="s")


def streamed(
    policy: Policy,
    batches: Sequence[Batch | Exception],
    models: ScriptedEvaluator,
    context: AnswerContext = CONTEXT,
    **how: Any,
) -> tuple[GuardedStream, Upstream]:
    upstream = Upstream(batches)
    return guard(policy, upstream, guarding_by(models, **how), context), upstream


async def answered(
    policy: Policy, events: Sequence[Event], models: ScriptedEvaluator | None = None, *, choices: int = 1, **how: Any
) -> tuple[Response, GuardedStream]:
    """The whole answer that leaves, each event having come by itself."""
    batches = [[event] for event in whole_answer(events, choices=choices)]
    stream, _ = streamed(policy, batches, models or ScriptedEvaluator(), **how)
    return await collect(Upstream([await drain(stream)])), stream


async def into(events: list[Event], stream: GuardedStream) -> None:
    async for batch in stream:
        events += batch


def summary(verdicts: Sequence[Verdict]) -> list[tuple[str, str, int]]:
    return [(verdict.rule, verdict.action.value, verdict.count) for verdict in verdicts]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def left_after_each(policy: Policy, events: Sequence[Event], **how: Any) -> list[tuple[int, str]]:
    """How much of the upstream was read when which text left."""
    stream, upstream = streamed(policy, [[event] for event in whole_answer(events)], ScriptedEvaluator(), **how)
    return [(upstream.read, event.text) async for batch in stream for event in batch if isinstance(event, Delta)]


async def test_a_sentence_leaves_once_it_was_judged() -> None:
    pieces = [FIRST[:20], FIRST[20:-1], " ", "And", " then"]
    assert await left_after_each(HATE, text_events(pieces)) == [(5, FIRST), (8, "And then")]


async def test_a_text_without_a_sentence_leaves_in_bounded_pieces() -> None:
    seen = await left_after_each(HATE, text_events(["word "] * 200))
    assert "".join(text for _, text in seen) == "word " * 200
    assert all(len(text) <= MAX_SEGMENT_CHARS for _, text in seen)


async def test_a_segment_is_judged_with_what_stood_before_it() -> None:
    models = ScriptedEvaluator()
    await answered(HATE, text_events([FIRST, SECOND, "x" * 500]), models)
    texts = models.texts(ContentTask)
    assert texts[:2] == [FIRST, FIRST + SECOND]
    assert all(len(text) <= 2 * MAX_SEGMENT_CHARS for text in texts)


async def test_what_only_the_context_shows_is_refused() -> None:
    models = ScriptedEvaluator(content={"keep. And it": ("HATE", 0.95)})
    answer, _ = await answered(HATE, text_events([FIRST, SECOND]), models)
    assert answer.choices[0].parts == (Text(text=FIRST), Text(text="\n\nanswer refused"))


async def test_parts_are_judged_joined_and_alone() -> None:
    for texts in (["a vi", "le thing"], ["so vile", "ly said"], ["x", "vile"]):
        models = ScriptedEvaluator(content={"vile": ("HATE", 0.95)})
        events = [event for index, text in enumerate(texts) for event in text_events([text], index=index)]
        answer, _ = await answered(HATE, events, models)
        assert answer.choices[0].stop.reason is StopReason.GUARDRAIL
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    events = [*text_events(["Charles"]), *text_events(["Ada King Lovelace"], index=1)]
    answer, _ = await answered(policy, events)
    assert [part.text for part in answer.choices[0].parts] == ["{NAME}", "{NAME}"]


async def test_a_refused_segment_ends_the_answer_and_nothing_of_it_leaves() -> None:
    usage = Usage(input_tokens=3, output_tokens=4)
    start: Event = Start(id="r", model="m", created_s=1)
    batches: list[Batch | Exception] = [
        [start, PartStart(0, 0, Text(text=""))],
        [Delta(0, 0, FIRST), Delta(0, 0, REFUSED[:20]), Progress(usage)],
        [Delta(0, 0, REFUSED[20:] + "More")],
        AssertionError("read on after the block"),
    ]
    stream, upstream = streamed(HATE, batches, ScriptedEvaluator())
    events = await drain(stream)
    assert text_of(events) == FIRST + "\n\nanswer refused"
    assert events[-1].stops[0].reason is StopReason.GUARDRAIL
    assert events[-1].usage == usage
    assert upstream.closed
    assert summary(stream.verdicts) == [("content:HATE", "block", 1)]


@pytest.mark.parametrize("size", [1, 10, 1000])
async def test_patterns_end_an_answer_only_after_models_judged_what_stands_before(size: int) -> None:
    policy = model_policy(content={"HATE": {}}, words=["tulip"])
    for said, released in ((FIRST + "Now a ", FIRST + "Now a "), (FIRST + "Vile? vile ", FIRST)):
        text = said + "tulip."
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        answer, _ = await answered(policy, text_events(pieces))
        assert answer.choices[0].parts == (Text(text=released), Text(text="\n\nanswer refused"))


async def test_a_name_over_a_cut_does_not_leave_in_part() -> None:
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    for name in ("Grace B. Hopper", "Ada King Lovelace"):
        for place in range(MAX_SEGMENT_CHARS - 40, MAX_SEGMENT_CHARS + 5):
            text = ("some word " * 40)[:place] + f" {name} wrote it. " + FIRST
            answer, stream = await answered(policy, text_events([text]))
            assert answer.choices[0].parts[0].text == text.replace(name, "{NAME}")
            assert summary(stream.verdicts) == [("NAME", "mask", 1)]
    answer, _ = await answered(policy, text_events(["x" * 130 + "!Grace B. Hopper"]))
    assert answer.choices[0].parts == (Text(text="x" * 130 + "!{NAME}"),)


async def test_a_name_that_blocks_ends_the_answer_before_it() -> None:
    policy = model_policy(names={"NAME": "BLOCK"})
    answer, _ = await answered(policy, text_events([FIRST, "It is by Grace B. Hopper, they say. "]))
    assert answer.choices[0].parts[0].text == FIRST + "It is by "
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_a_name_longer_than_what_is_held_is_masked_where_it_goes_on() -> None:
    name = "Maria " * 20 + "Vile"
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    models = ScriptedEvaluator(names={name: "NAME"})
    text = "some word " * 18 + name + " wrote it."
    answer, _ = await answered(policy, text_events([text]), models)
    left = answer.choices[0].parts[0].text
    assert "Vile" not in left
    assert left.count("{NAME}") == 1
    assert left.endswith(" wrote it.")
    assert len(left) >= len(text) - len(name)


async def test_a_signature_leaves_only_with_the_reasoning_it_signs() -> None:
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    for text, kept in (("it was nobody", SIGNED), ("it was Ada", None)):
        events: list[Event] = [PartStart(0, 0, Reasoning(text="")), Delta(0, 0, text), PartEnd(0, 0, SIGNED)]
        answer, _ = await answered(policy, events)
        assert answer.choices[0].parts[0].signature == kept


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"to": "Ada", "n": 1}', '{"to": "{NAME}", "n": 1}'),
        ('{"to": "\\u0041da"}', '{"to": "{NAME}"}'),
        ('{"to": {"who": ["me", "Ada King Lovelace"]}}', '{"to": {"who": ["me", "{NAME}"]}}'),
        ('{"inner": "{\\"to\\": \\"Ada\\"}"}', '{"inner": "{\\"to\\": \\"{NAME}\\"}"}'),
        ('{"to": "Ada', '{"to": "{NAME}'),
        ('{"say": "vile"}', None),
        ('{"vile": 1}', None),
        ('{"say": "vi\\u006ce"}', None),
    ],
)
async def test_a_tool_call_is_judged_by_what_it_means(arguments: str, expected: str | None) -> None:
    policy = model_policy(content={"HATE": {}}, names={"NAME": "ANONYMIZE"})
    call = ToolCall(id="t", name="f", arguments="")
    answer, _ = await answered(policy, text_events(list(arguments), part=call))
    if expected is None:
        assert answer.choices[0].parts == (Text(text="answer refused"),)
    else:
        assert answer.choices[0].parts == (ToolCall(id="t", name="f", arguments=expected),)


async def test_a_tool_named_by_a_name_is_refused_for_it_cannot_be_masked() -> None:
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    answer, _ = await answered(policy, text_events(["{}"], part=ToolCall(id="t", name="Ada", arguments="")))
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


@pytest.mark.parametrize("batched", [True, False])
async def test_what_stands_before_a_refused_part_is_still_judged(batched: bool) -> None:
    """All windows of a batch are judged at once; what is refused later must not excuse what came before."""
    policy = model_policy(content={"HATE": {}}, names={"NAME": "ANONYMIZE"})
    call = text_events(['{"say": "Ada"}'], part=ToolCall(id="t", name="f", arguments=""), index=1)
    bad = text_events(['{"say": "vile"}'], part=ToolCall(id="t", name="f", arguments=""), index=1)
    for middle, left in ((call, '{"say": "{NAME}"}'), (bad, None)):
        events = whole_answer([*text_events([FIRST]), *middle, *text_events([REFUSED], index=2)])
        stream, _ = streamed(policy, [events] if batched else [[event] for event in events], ScriptedEvaluator())
        answer = await collect(Upstream([await drain(stream)]))
        calls = [part.arguments for part in answer.choices[0].parts if isinstance(part, ToolCall)]
        assert calls == ([] if left is None else [left])
        assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_a_transcript_is_judged() -> None:
    policy = model_policy(content={"HATE": {}}, names={"NAME": "ANONYMIZE"})
    media = MediaUrl(url="https://x/y.mp3")
    events: list[Event] = [PartStart(0, 0, Audio(media=media, transcript="by Ada")), PartEnd(0, 0)]
    answer, _ = await answered(policy, events)
    assert answer.choices[0].parts[0].transcript == "by {NAME}"
    events = [PartStart(0, 0, Audio(media=media, transcript="how vile")), PartEnd(0, 0)]
    answer, _ = await answered(policy, events)
    assert answer.choices[0].parts == (Text(text="answer refused"),)


async def test_all_windows_of_a_batch_are_one_question() -> None:
    models = ScriptedEvaluator()
    events = whole_answer([*text_events([FIRST, SECOND]), *text_events([SECOND], choice=1)], choices=2)
    stream, _ = streamed(HATE, [events], models)
    await drain(stream)
    assert len(models.asked) == 1
    assert models.texts(ContentTask) == [FIRST, FIRST + SECOND, SECOND]


async def test_the_other_choices_go_on_when_one_is_refused() -> None:
    events = [*text_events([REFUSED + "a@b.co"]), *text_events([FIRST], choice=1)]
    answer, stream = await answered(HATE, events, choices=2)
    assert answer.choices[0].parts == (Text(text=""), Text(text="answer refused"))
    assert answer.choices[1].parts == (Text(text=FIRST),)
    assert [choice.stop.reason for choice in answer.choices] == [StopReason.GUARDRAIL, StopReason.END]
    assert stream.assessment.latency_ms > 0


async def test_nothing_is_found_in_what_comes_after_a_choice_was_refused() -> None:
    policy = model_policy(content={"HATE": {}}, words=["tulip"])
    first = [PartStart(0, 0, Text(text="")), Delta(0, 0, REFUSED)]
    events = [*first, *text_events([FIRST], choice=1), Delta(0, 0, "a tulip. "), PartEnd(0, 0)]
    _, stream = await answered(policy, events, choices=2)
    assert summary(stream.verdicts) == [("content:HATE", "block", 1)]


@pytest.mark.parametrize("kind", [Text, Reasoning, ToolCall])
async def test_a_failing_model_fails_closed(kind: type[Part]) -> None:
    call = ToolCall(id="t", name="f", arguments="")
    events = [*text_events([FIRST]), *text_events([SECOND], part=call if kind is ToolCall else kind(text=""), index=1)]
    upstream_batches = [[event] for event in whole_answer(events)]
    stream, upstream = streamed(HATE, upstream_batches, ScriptedEvaluator(fails_at=1))
    left: list[Event] = []
    with pytest.raises(GuardrailFailed) as failed:
        await into(left, stream)
    assert text_of(left) == FIRST
    assert not any(isinstance(event, Finish) for event in left)
    assert summary(failed.value.verdicts) == [("content:HATE", "failed_closed", 0)]
    assert summary(stream.verdicts) == [("content:HATE", "failed_closed", 0)]
    assert upstream.closed
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


async def test_a_model_that_is_too_slow_fails_closed() -> None:
    policy = model_policy(content={"HATE": {}}, evaluationTimeoutMs=20)
    stream, upstream = streamed(policy, [whole_answer(text_events([FIRST]))], ScriptedEvaluator(delay_s=5))
    with pytest.raises(GuardrailUnavailable):
        await drain(stream)
    assert summary(stream.verdicts) == [("content:HATE", "failed_closed", 0)]
    assert upstream.closed


async def test_a_model_with_a_bug_fails_closed() -> None:
    models = ScriptedEvaluator(fails_at=0, failure=RuntimeError("a bug that says vile"))
    stream, upstream = streamed(HATE, [whole_answer(text_events([FIRST]))], models)
    with pytest.raises(GuardrailFailed) as failed:
        await drain(stream)
    assert "vile" not in str(failed.value)
    assert upstream.closed
    assert summary(stream.verdicts)[-1][1] == "failed_closed"


async def test_a_policy_may_go_on_without_its_models_and_says_so() -> None:
    policy = model_policy(content={"HATE": {}}, words=["tulip"], failureMode="OPEN")
    answer, stream = await answered(policy, text_events([REFUSED, SECOND]), ScriptedEvaluator(fails_at=0))
    assert answer.choices[0].parts == (Text(text=REFUSED + SECOND),)
    assert summary(stream.verdicts) == [("content:HATE", "failed_open", 0)]
    answer, _ = await answered(policy, text_events([FIRST, "a tulip."]), ScriptedEvaluator(fails_at=0))
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_an_upstream_error_releases_nothing_that_was_held() -> None:
    batches = [[Start(id="r", model="m", created_s=1), *text_events([FIRST + "And"])[:2]], UpstreamTimeout("silent")]
    stream, _ = streamed(HATE, batches, ScriptedEvaluator())
    left: list[Event] = []
    with pytest.raises(UpstreamTimeout):
        await into(left, stream)
    assert text_of(left) == FIRST
    assert stream.verdicts == ()


@pytest.mark.parametrize("behind", [True, False])
async def test_cancelled_it_leaves_nothing_running(behind: bool) -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    models = ScriptedEvaluator(gate=asyncio.Event())
    batches = [[event] for event in whole_answer(text_events([FIRST, SECOND]))]
    stream, upstream = streamed(policy, batches, models, releases_first=behind)
    reading = asyncio.create_task(drain(stream))
    await models.started.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()
    assert models.running == 0
    assert upstream.closed
    assert stream.verdicts == ()
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


async def test_closed_while_text_is_judged_behind_it_leaves_nothing_running() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    models = ScriptedEvaluator(gate=asyncio.Event())
    batches = [[event] for event in whole_answer(text_events([FIRST, SECOND]))]
    stream, upstream = streamed(policy, batches, models, releases_first=True)
    for _ in range(3):
        await stream.__anext__()
    await models.started.wait()
    async with asyncio.timeout(2):
        await stream.aclose()
    assert models.running == 0
    assert upstream.closed
    assert stream.verdicts == ()


async def test_allow_is_claimed_only_when_everything_was_judged() -> None:
    stream, _ = streamed(HATE, [[event] for event in whole_answer(text_events([FIRST, SECOND]))], ScriptedEvaluator())
    async for batch in stream:
        if not isinstance(batch[-1], Finish):
            assert stream.verdicts == ()
    assert summary(stream.verdicts) == [("*", "allow", 0)]


async def test_validators_judge_the_whole_text_which_is_held_until_then() -> None:
    policy = model_policy(validatorsConfig=[{"name": "calm"}])
    thinking = text_events(["hm"], part=Reasoning(text=""))
    seen = await left_after_each(policy, [*thinking, *text_events([FIRST, SECOND], index=1)])
    assert seen == [(3, "hm"), (9, FIRST + SECOND)]
    models = ScriptedEvaluator()
    events = [*thinking, *text_events([FIRST, "it is forbidden"], index=1)]
    answer, stream = await answered(policy, events, models)
    assert answer.choices[0].parts == (Reasoning(text="hm"), Text(text="answer refused"))
    assert models.texts(ValidatorTask) == [FIRST + "it is forbidden"]
    assert summary(stream.verdicts) == [("validator:calm", "block", 1)]
    assert policy.hold_back.chars is None


async def test_a_validator_that_anonymizes_gives_the_text_that_leaves() -> None:
    policy = model_policy(validatorsConfig=[{"name": "fixer", "action": "ANONYMIZE"}], names={"NAME": "ANONYMIZE"})
    call = text_events(["{}"], part=ToolCall(id="t", name="f", arguments=""), index=1)
    events = [*text_events(["Ada, do not ", "shout"]), *call, *text_events([" at me"], index=2)]
    answer, stream = await answered(policy, events)
    parts = answer.choices[0].parts
    assert parts == (
        Text(text="{NAME}, do not whisper at me"),
        ToolCall(id="t", name="f", arguments="{}"),
        Text(text=""),
    )
    assert summary(stream.verdicts) == [("NAME", "mask", 1), ("validator:fixer", "mask", 1)]
    answer, _ = await answered(policy, text_events(["it is forbidden"]))
    assert answer.choices[0].parts == (Text(text="answer refused"),)


async def test_a_validator_that_only_watches_reports() -> None:
    policy = model_policy(validatorsConfig=[{"name": "calm", "action": "NONE"}])
    answer, stream = await answered(policy, text_events(["it is forbidden"]))
    assert answer.choices[0].parts == (Text(text="it is forbidden"),)
    assert summary(stream.verdicts) == [("validator:calm", "detect", 1)]


async def test_text_that_no_validator_judged_does_not_leave_before_a_block() -> None:
    policy = model_policy(content={"HATE": {}}, words=["tulip"], validatorsConfig=[{"name": "calm"}])
    for rest in (REFUSED, "a tulip. "):
        batches: list[Batch | Exception] = [
            [Start(id="r", model="m", created_s=1)],
            text_events([FIRST + "It is forbidden. ", rest + "x"]),
            AssertionError("read on after the block"),
        ]
        stream, upstream = streamed(policy, batches, ScriptedEvaluator())
        assert text_of(await drain(stream)) == "answer refused"
        assert upstream.closed


async def test_grounding_needs_sources_and_relevance_a_query() -> None:
    policy = model_policy(grounding={"GROUNDING": 0.7, "RELEVANCE": 0.5})
    context = AnswerContext(sources="the source", query="the query")
    events = text_events([FIRST])
    models = ScriptedEvaluator(grounded=0.6)
    answer, stream = await answered(policy, events, models, context=context, full=True)
    assert answer.choices[0].parts == (Text(text="answer refused"),)
    assert summary(stream.verdicts) == [("grounding:GROUNDING", "block", 1)]
    task = models.asked[0][0]
    assert isinstance(task, GroundingTask)
    assert (task.source, task.query, task.answer) == ("the source", "the query", FIRST)
    scores = [(one.name, one.score, one.threshold, one.action) for one in stream.assessment.detections]
    assert scores == [("GROUNDING", 0.6, 0.7, Action.BLOCK), ("RELEVANCE", 0.6, 0.5, Action.ALLOW)]
    models = ScriptedEvaluator(grounded=0.6)
    answer, stream = await answered(policy, events, models, context=AnswerContext(query="the query"))
    assert answer.choices[0].parts == (Text(text=FIRST),)
    assert models.asked[0][0].types == ("RELEVANCE",)
    assert ("grounding:GROUNDING", "skipped", 0) in summary(stream.verdicts)


@pytest.mark.parametrize("mode", ["CLOSED", "OPEN"])
async def test_whole_rules_that_cannot_run_hold_what_they_would_judge(mode: str) -> None:
    policy = model_policy(grounding={"RELEVANCE": 0.5}, failureMode=mode)
    batches = [[event] for event in whole_answer(text_events([FIRST]))]
    models = ScriptedEvaluator(fails_at=0)
    stream, _ = streamed(policy, batches, models, AnswerContext(query="q"))
    left: list[Event] = []
    if mode == "OPEN":
        await into(left, stream)
        assert text_of(left) == FIRST
        assert summary(stream.verdicts) == [("grounding:RELEVANCE", "failed_open", 0)]
        return
    with pytest.raises(GuardrailFailed):
        await into(left, stream)
    assert text_of(left) == ""
    assert stream.verdicts[-1].action is Action.FAILED_CLOSED


async def test_behind_text_leaves_first_and_the_first_refused_window_ends_the_answer() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    models = ScriptedEvaluator(gate=asyncio.Event())
    batches = [[event] for event in whole_answer([*text_events([REFUSED, SECOND]), *text_events([FIRST], index=1)])]
    stream, _ = streamed(policy, batches, models, releases_first=True)
    left: list[Event] = []
    for _ in range(3):
        left += await stream.__anext__()
    assert text_of(left) == REFUSED
    assert stream.verdicts == ()
    models._gate.set()
    await asyncio.sleep(0)
    await into(left, stream)
    assert text_of(left).endswith("\n\nanswer refused")
    assert FIRST not in text_of(left)
    assert left[-1].stops[0].reason is StopReason.GUARDRAIL
    assert ("content:HATE", "block") in [(rule, action) for rule, action, _ in summary(stream.verdicts)]


async def test_behind_a_refused_part_that_has_left_still_ends_the_answer() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    thinking = text_events([REFUSED], part=Reasoning(text=""))
    answer, _ = await answered(policy, [*thinking, *text_events([FIRST], index=1)], releases_first=True)
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_behind_a_tool_call_waits_for_its_verdict() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    call = text_events(['{"say": "vile"}'], part=ToolCall(id="t", name="f", arguments=""))
    answer, _ = await answered(policy, [*call, *text_events([FIRST], index=1)], releases_first=True)
    assert answer.choices[0].parts == (Text(text="answer refused"),)
    fine = text_events(['{"say": "hi"}'], part=ToolCall(id="t", name="f", arguments=""))
    answer, _ = await answered(policy, [*fine, *text_events([FIRST], index=1)], releases_first=True)
    assert answer.choices[0].parts == (ToolCall(id="t", name="f", arguments='{"say": "hi"}'), Text(text=FIRST))


async def test_behind_names_that_would_be_masked_are_only_reported() -> None:
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    answer, stream = await answered(policy, text_events(["It was Ada. "]), releases_first=True)
    assert answer.choices[0].parts == (Text(text="It was Ada. "),)
    assert summary(stream.verdicts) == [("NAME", "detect", 1)]


async def test_behind_no_more_than_so_many_questions_are_open() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    models = ScriptedEvaluator(delay_s=0.002)
    batches = [[event] for event in whole_answer(text_events([FIRST] * 60))]
    stream, _ = streamed(policy, batches, models, releases_first=True)
    assert text_of(await drain(stream)) == FIRST * 60
    assert 1 < models.most_running <= 9
    assert len(models.texts(ContentTask)) == 60


async def test_behind_a_failure_ends_the_call() -> None:
    policy = model_policy(content={"HATE": {}}, asyncStreaming=True)
    batches = [[event] for event in whole_answer(text_events([FIRST] * 30))]
    stream, upstream = streamed(policy, batches, ScriptedEvaluator(fails_at=2), releases_first=True)
    left: list[Event] = []
    with pytest.raises(GuardrailFailed):
        await into(left, stream)
    assert not any(isinstance(event, Finish) for event in left)
    assert upstream.closed
    assert stream.verdicts[-1].action is Action.FAILED_CLOSED


async def test_what_was_found_is_counted_once_and_shows_no_text_of_the_answer() -> None:
    policy = model_policy(names={"NAME": "ANONYMIZE"})
    models = ScriptedEvaluator()
    text = FIRST + "Ada and Charles wrote it. " + SECOND + SECOND
    _, stream = await answered(policy, text_events([text]), models, matches=True)
    assert len(models.texts(EntitiesTask)) > 2
    assert summary(stream.verdicts) == [("NAME", "mask", 2)]
    found = stream.assessment.detections
    assert [(one.kind, one.name, one.match) for one in found] == [(PolicyKind.PII, "NAME", "")] * 2
    assert stream.assessment.guarded_chars == len(text)


def test_what_is_declared_covers_a_segment_and_its_tail() -> None:
    assert HATE.hold_back.chars == MAX_SEGMENT_CHARS + TAIL_CHARS
