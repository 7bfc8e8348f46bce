"""A guarded answer: what leaves, when, in which order; what ends it; and what its verdicts may claim."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bedplate_core.errors import GuardrailUnavailable, UpstreamProtocolError, UpstreamTimeout
from bedplate_core.events import (
    Batch,
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
from bedplate_core.messages import (
    Audio,
    Image,
    MediaUrl,
    Part,
    Reasoning,
    Refusal,
    Signature,
    Text,
    ToolCall,
)
from bedplate_core.response import Response, collect
from bedplate_core.usage import Usage
from bedplate_core.verdicts import Action, Verdict
from bedplate_guardrails.detectors.email_address import EmailAddress
from bedplate_guardrails.output_guard import MAX_ARGUMENTS_CHARS
from bedplate_guardrails.policy import GuardedStream, GuardrailFailed, Policy
from bedplate_guardrails.scanner import MAX_HOLD_CHARS
from tests.guardrails.guarded import PII, USAGE, Upstream, drain, guard, make_policy, text_events, whole_answer

pytestmark = pytest.mark.anyio

POLICY = make_policy(
    words=["tulip", "red rose"],
    pii=dict.fromkeys(PII, "ANONYMIZE"),
    regexes={"badge": (r"B-\d{4}", "BLOCK"), "secret": (r"key=\S+", "ANONYMIZE")},
)
SIGNED = Signature(origin="p", value="s")


async def left(policy: Policy, batches: Sequence[Batch | Exception]) -> tuple[list[Event], GuardedStream, Upstream]:
    upstream = Upstream(batches)
    stream = guard(policy, upstream)
    return await drain(stream), stream, upstream


async def response(policy: Policy, events: Sequence[Event], **answer: int) -> Response:
    events, _, _ = await left(policy, [[event] for event in whole_answer(events, **answer)])
    return await collect(Upstream([events]))


async def into(events: list[Event], stream: GuardedStream) -> None:
    """Read a stream to its end; what came before an error is in `events`."""
    async for batch in stream:
        events += batch


def summary(verdicts: Sequence[Verdict]) -> list[tuple[str, str, int]]:
    return [(verdict.rule, verdict.action.value, verdict.count) for verdict in verdicts]


def empty(kind: type[Part], text: str = "") -> Part:
    return ToolCall(id="t", name="f", arguments=text) if kind is ToolCall else kind(text=text)


def text_of(part: Part) -> str:
    return part.arguments if isinstance(part, ToolCall) else part.text


@pytest.mark.parametrize("kind", [Text, Reasoning, Refusal, ToolCall])
@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_every_kind_of_text_is_masked_and_blocked(kind: type[Part], at_start: bool, size: int) -> None:
    for text, masked in (("mail a@b.co ", "mail {EMAIL} "), ("a Ｔu\u200blip ", None), ("1B-1234", None)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        part = empty(kind, text if at_start else "")
        answer = await response(POLICY, text_events([] if at_start else pieces, part=part))
        choice = answer.choices[0]
        if masked is not None:
            assert [text_of(part) for part in choice.parts] == [masked]
            assert choice.stop.reason is StopReason.END
        else:
            assert choice.stop.reason is StopReason.GUARDRAIL
            assert choice.parts[-1].text.strip() == "answer refused"
            assert not any(isinstance(part, ToolCall) for part in choice.parts)
            released = "".join(text_of(part) for part in choice.parts[:-1])
            assert text.startswith(released)
            assert len(released) <= 2


async def test_only_the_tail_that_may_become_a_match_is_held() -> None:
    """What has left after each piece, for a text that ends in the beginning of an address."""
    upstream = Upstream([[event] for event in whole_answer(text_events(["Hello there, ", "ann", "@", "b.", " so"]))])
    stream = guard(POLICY, upstream)
    seen: list[tuple[int, str]] = []
    async for batch in stream:
        seen += [(upstream.read, event.text) for event in batch if isinstance(event, Delta)]
    assert seen == [(3, "Hello there, "), (7, "ann@b. "), (9, "so")]


async def test_what_cannot_become_a_match_leaves_at_once_and_batches_stay_together() -> None:
    batches: list[Batch] = [
        [Start(id="r", model="m", created_s=1), PartStart(0, 0, Text(text=""))],
        [Delta(0, 0, "One. "), Delta(0, 0, "Two. "), Progress(Usage(output_tokens=2))],
        [Delta(0, 0, "t")],
        [Delta(0, 0, "wo; "), PartEnd(0, 0)],
        [Finish(stops=(Stop(choice=0, reason=StopReason.LENGTH),), usage=USAGE)],
    ]
    stream = guard(POLICY, Upstream(batches))
    out = [list(batch) async for batch in stream]
    assert out == [
        list(batches[0]),
        [Delta(0, 0, "One. Two. "), batches[1][2]],
        [Delta(0, 0, "two; "), PartEnd(0, 0)],
        list(batches[4]),
    ]


async def test_a_block_closes_the_part_says_so_and_ends_the_answer_at_once() -> None:
    usage = Usage(input_tokens=3, output_tokens=4)
    never = AssertionError("read on after the block")
    events, stream, upstream = await left(
        POLICY,
        [
            [Start(id="r", model="m", created_s=1)],
            [PartStart(0, 0, Text(text="")), Delta(0, 0, "I like "), Progress(usage)],
            [Delta(0, 0, "tulip"), Delta(0, 0, " fields")],
            never,
        ],
    )
    assert events[2:] == [
        Delta(0, 0, "I like "),
        Progress(usage),
        PartEnd(0, 0),
        PartStart(0, 1, Text(text="")),
        Delta(0, 1, "\n\nanswer refused"),
        PartEnd(0, 1),
        Finish(stops=(Stop(choice=0, reason=StopReason.GUARDRAIL),), usage=usage),
    ]
    assert upstream.closed
    assert summary(stream.verdicts) == [("word", "block", 1)]


async def test_the_upstream_is_closed_before_the_finish_is_seen() -> None:
    upstream = Upstream([[Start(id="r", model="m", created_s=1)], text_events(["tulip ", "x"])])
    stream = guard(POLICY, upstream)
    async for batch in stream:
        if isinstance(batch[-1], Finish):
            assert upstream.closed == 1
            break
    else:
        raise AssertionError("no finish")
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


async def test_a_block_in_the_last_word_has_the_usage_of_the_finish() -> None:
    events, _, _ = await left(POLICY, [whole_answer(text_events(["a tulip"]))])
    assert events[-1] == Finish(stops=(Stop(choice=0, reason=StopReason.GUARDRAIL),), usage=USAGE)


async def test_the_other_choices_go_on_when_one_is_blocked() -> None:
    events: list[Event] = [
        PartStart(0, 0, Text(text="")),
        PartStart(1, 0, Text(text="")),
        Delta(0, 0, "a tulip. "),
        Delta(1, 0, "a daisy. "),
        Delta(0, 0, "more"),
        PartEnd(0, 0),
        *text_events(["even more"], index=1),
        PartEnd(1, 0),
    ]
    answer = await response(POLICY, events, choices=2)
    assert answer.choices[0].parts == (Text(text="a "), Text(text="\n\nanswer refused"))
    assert answer.choices[1].parts == (Text(text="a daisy. "),)
    assert [choice.stop.reason for choice in answer.choices] == [StopReason.GUARDRAIL, StopReason.END]
    assert answer.usage == USAGE


async def test_when_all_choices_are_blocked_nothing_more_is_read() -> None:
    events, stream, upstream = await left(
        POLICY,
        [
            [Start(id="r", model="m", created_s=1, choices=2)],
            text_events(["tulip "]),
            text_events(["red rose "], choice=1),
            AssertionError("read on"),
        ],
    )
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert [stop.reason for stop in finish.stops] == [StopReason.GUARDRAIL] * 2
    assert upstream.closed
    assert summary(stream.verdicts) == [("word", "block", 2)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["4111 1111 ", "1111 1111 ok"], ["{CREDIT_DEBIT_CARD_NUMBER}", " ok"]),
        (["mail a@", "b", ".co now"], ["mail {EMAIL}", "", " now"]),
        (["mail a@b.co", "x"], ["mail {EMAIL}", ""]),
        (["call 555-123-4567", "8"], ["call {PHONE}", "8"]),
        (["key=a", "", "b c"], ["{secret}", "", " c"]),
        (["fine ", "text"], ["fine ", "text"]),
    ],
)
async def test_a_mask_reaches_over_the_edge_of_text_parts(texts: list[str], expected: list[str]) -> None:
    events = [event for index, text in enumerate(texts) for event in text_events(list(text), index=index)]
    answer = await response(POLICY, events)
    assert [part.text for part in answer.choices[0].parts] == expected


@pytest.mark.parametrize(
    "texts",
    [["tu", "lip"], ["a t", "u", "l", "ip "], ["x", "tulip"], ["tulip", "s"], ["red", " ", "rose"], ["B-1", "234"]],
)
async def test_a_block_reaches_over_the_edge_of_text_parts(texts: list[str]) -> None:
    events = [event for index, text in enumerate(texts) for event in text_events([text], index=index)]
    answer = await response(POLICY, events)
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL
    assert not {"tulip", "red rose", "B-1234"} & {"".join(part.text for part in answer.choices[0].parts[:-1])}


async def test_a_match_with_another_part_in_between_does_not_come_out_whole() -> None:
    call = text_events(["{}"], part=ToolCall(id="t", name="f", arguments=""), index=1)
    blocked = await response(POLICY, [*text_events(["a tul"]), *call, *text_events(["ip."], index=2)])
    assert blocked.choices[0].stop.reason is StopReason.GUARDRAIL
    assert [text_of(part) for part in blocked.choices[0].parts] == ["a tul", "{}", "", "\n\nanswer refused"]
    masked = await response(POLICY, [*text_events(["a@b"]), *call, *text_events([".co or"], index=2)])
    assert [text_of(part) for part in masked.choices[0].parts] == ["a@b", "{}", "{EMAIL} or"]


async def test_what_is_held_leaves_when_another_kind_of_part_opens() -> None:
    upstream = Upstream(
        [
            [event]
            for event in whole_answer([*text_events(["hm ann"], part=Reasoning(text="")), *text_events(["b"], index=1)])
        ]
    )
    stream = guard(POLICY, upstream)
    seen = [(upstream.read, event) async for batch in stream for event in batch]
    assert (5, Delta(0, 0, "ann")) in seen
    assert (5, PartEnd(0, 0)) in seen


@pytest.mark.parametrize(("text", "kept"), [("fine", SIGNED), ("a@b.co", None)])
@pytest.mark.parametrize("at_start", [True, False])
async def test_a_signature_leaves_only_with_the_reasoning_it_signs(
    text: str, kept: Signature | None, at_start: bool
) -> None:
    part = Reasoning(text=text, signature=SIGNED) if at_start else Reasoning(text="")
    end = PartEnd(0, 0, None if at_start else SIGNED)
    deltas: list[Event] = [] if at_start else [Delta(0, 0, text)]
    answer = await response(POLICY, [PartStart(0, 0, part), *deltas, end])
    assert answer.choices[0].parts[0].signature == kept


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"to": "a\\u0040b.co", "n": 1}', '{"to": "{EMAIL}", "n": 1}'),
        ('{"card": 4111111111111111}', '{"card": "{CREDIT_DEBIT_CARD_NUMBER}"}'),
        ('{"a@b.co": [true, null, "x\\n"]}', '{"{EMAIL}": [true, null, "x\\n"]}'),
        ('{"inner": "{\\"to\\": \\"a\\\\u0040b.co\\"}"}', '{"inner": "{\\"to\\": \\"{EMAIL}\\"}"}'),
        ('{"to": "a\\u0040b.co', '{"to": "{EMAIL}'),
        ("a@b.co", "{EMAIL}"),
        ("", ""),
        ('{"s": "\\ud800 a@b.co"}', '{"s": "\\ud800 {EMAIL}"}'),
    ],
)
async def test_arguments_are_masked_as_what_they_mean(arguments: str, expected: str) -> None:
    call = ToolCall(id="t", name="f", arguments="")
    answer = await response(POLICY, text_events(list(arguments), part=call))
    assert answer.choices[0].parts == (ToolCall(id="t", name="f", arguments=expected),)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("f", '{"t": "tu\\u006cip"}'),
        ("f", '{"tulip": 1}'),
        ("f", '{"t": "tu\\u200blip"}'),
        ("f", '{"t": "tu\\u006cip'),
        ("tulip", "{}"),
        ("B-1234", "{}"),
        ("call_a@b.co", "{}"),
    ],
)
async def test_a_blocked_tool_call_is_not_seen_at_all(name: str, arguments: str) -> None:
    answer = await response(POLICY, text_events(list(arguments), part=ToolCall(id="t", name=name, arguments="")))
    assert answer.choices[0].parts == (Text(text="answer refused"),)
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_a_match_over_several_values_blocks_because_a_mask_would_break_the_json() -> None:
    policy = make_policy(regexes={"pair": (r'"user": "\w+", "pin": \d+', "ANONYMIZE")})
    call = ToolCall(id="t", name="f", arguments='{"user": "ann", "pin": 12}')
    answer = await response(policy, text_events([], part=call))
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_other_parts_are_judged_whole() -> None:
    picture = Image(media=MediaUrl(url="https://x/y.png"))
    sound = Audio(media=MediaUrl(url="https://x/y.mp3"), transcript="write to a@b.co")
    events: list[Event] = [PartStart(0, 0, picture), PartEnd(0, 0), PartStart(0, 1, sound), PartEnd(0, 1)]
    out, stream, _ = await left(POLICY, [whole_answer(events)])
    assert out[1] == PartStart(0, 0, picture)
    assert out[3].part.transcript == "write to {EMAIL}"
    assert summary(stream.verdicts) == [("EMAIL", "mask", 1), ("media", "skipped", 2)]


async def test_tokens_never_pass_beside_the_text() -> None:
    token = TokenLogprob(token="a@b.co", logprob=-1.0)
    events = [PartStart(0, 0, Text(text="")), Delta(0, 0, "a@b.co ", (token,), (7,)), PartEnd(0, 0)]
    answer = await response(POLICY, events)
    assert answer.choices[0].logprobs == ()
    assert answer.choices[0].token_ids == ()


async def test_an_upstream_error_releases_nothing_that_was_held() -> None:
    error = UpstreamTimeout("silent")
    upstream = Upstream([[Start(id="r", model="m", created_s=1)], text_events(["Hi. ann@b"])[:2], error])
    stream = guard(POLICY, upstream)
    events: list[Event] = []
    with pytest.raises(UpstreamTimeout):
        await into(events, stream)
    assert events[-1] == Delta(0, 0, "Hi. ")
    assert stream.verdicts == ()
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


async def test_an_answer_that_breaks_off_is_no_allowed_answer() -> None:
    stream = guard(POLICY, Upstream([[Start(id="r", model="m", created_s=1)], text_events(["Hi. ann"])[:2]]))
    with pytest.raises(UpstreamProtocolError):
        _ = [batch async for batch in stream]
    assert stream.verdicts == ()


async def test_allow_is_claimed_only_at_the_end() -> None:
    stream = guard(POLICY, Upstream([[event] for event in whole_answer(text_events(["Hi."]))]))
    async for batch in stream:
        if not isinstance(batch[-1], Finish):
            assert stream.verdicts == ()
    assert summary(stream.verdicts) == [("*", "allow", 0)]


async def test_closing_releases_nothing_and_claims_nothing() -> None:
    upstream = Upstream([whole_answer(text_events(["Hi. ann"]))[:3], AssertionError("read on")])
    stream = guard(POLICY, upstream)
    await stream.__anext__()
    await stream.aclose()
    await stream.aclose()
    assert upstream.closed
    assert stream.verdicts == ()
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("kind", [Text, ToolCall])
async def test_a_failing_detector_fails_closed(monkeypatch: pytest.MonkeyPatch, size: int, kind: type[Part]) -> None:
    policy = make_policy(pii={"EMAIL": "ANONYMIZE"})

    def broken(*_: object) -> None:
        raise RuntimeError("a bug with a@b.co in its message")

    monkeypatch.setattr(EmailAddress, "decide", broken)
    text = "Dear. a@b.co"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    upstream = Upstream([[event] for event in whole_answer(text_events(pieces, part=empty(kind)))])
    stream = guard(policy, upstream)
    events: list[Event] = []
    with pytest.raises(GuardrailUnavailable) as failed:
        await into(events, stream)
    assert isinstance(failed.value, GuardrailFailed)
    assert "a@b.co" not in str(failed.value)
    assert "@" not in "".join(event.text for event in events if isinstance(event, Delta))
    assert not any(isinstance(event, Finish) for event in events)
    assert summary(stream.verdicts)[-1] == ("EMAIL", "failed_closed", 0)
    assert not any(verdict.action is Action.ALLOW for verdict in stream.verdicts)
    assert upstream.closed
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


@pytest.mark.parametrize("size", [1, 7, 5000])
async def test_a_candidate_that_never_ends_is_blocked_where_the_bound_is(size: int) -> None:
    text = "ok. key=" + "x" * (MAX_HOLD_CHARS * 2)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    answer = await response(POLICY, text_events(pieces))
    assert answer.choices[0].parts == (Text(text="ok. "), Text(text="\n\nanswer refused"))


@pytest.mark.parametrize("size", [1, 13, 5000])
async def test_a_long_match_within_the_bound_is_masked_whole(size: int) -> None:
    text = "ok. key=" + "x" * (MAX_HOLD_CHARS - 10) + " end"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    answer = await response(POLICY, text_events(pieces))
    assert answer.choices[0].parts == (Text(text="ok. {secret} end"),)


@pytest.mark.parametrize("padding", ["\u200b", " "])
async def test_padding_does_not_carry_a_phrase_past_the_bound(padding: str) -> None:
    text = f"red{padding * 3000} rose"
    answer = await response(POLICY, text_events([text[start : start + 50] for start in range(0, len(text), 50)]))
    assert answer.choices[0].stop.reason is StopReason.GUARDRAIL


async def test_a_long_answer_keeps_little() -> None:
    """What is held of an answer of any length and script is bounded by the hold-back, not by the answer."""
    prose = "Der Fluß 流れる, caf\u00e9 \ufb01ne \u200b and 12 more words. "
    upstream = Upstream([[event] for event in whole_answer(text_events([prose] * 400))])
    stream = guard(POLICY, upstream)
    async for _ in stream:
        for choice in stream._guard._choices:
            for run in choice._runs.values():
                assert len(run._text) <= MAX_HOLD_CHARS
                for lane in run._solo._lanes:
                    assert len(lane._text) <= 1024


async def test_arguments_over_the_bound_fail_closed() -> None:
    call = ToolCall(id="t", name="f", arguments="")
    pieces = ["x" * (MAX_ARGUMENTS_CHARS // 2 + 1)] * 2
    with pytest.raises(GuardrailUnavailable):
        await response(POLICY, text_events(pieces, part=call))


async def test_a_rule_that_only_watches_changes_nothing_and_is_reported() -> None:
    policy = make_policy(words=["tulip"], inputAction="NONE", outputAction="NONE")
    events, stream, _ = await left(policy, [whole_answer(text_events(["a tulip, a tulip"]))])
    assert (await collect(Upstream([events]))).choices[0].parts == (Text(text="a tulip, a tulip"),)
    assert summary(stream.verdicts) == [("word", "detect", 2)]


async def test_without_rules_for_answers_everything_passes_as_it_is() -> None:
    policy = make_policy(words=["tulip"], outputEnabled=False)
    assert policy.guards_input
    assert not policy.guards_output
    batches = [whole_answer(text_events(["a tulip"]))]
    upstream = Upstream(batches)
    stream = guard(policy, upstream)
    assert await stream.__anext__() is batches[0]
    assert stream.verdicts == ()
    await stream.aclose()
    assert upstream.closed
