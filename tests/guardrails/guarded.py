"""What the guardrail tests share: policies from a few words, answers from pieces, and an independent oracle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from bedplate_core.assessment import GuardrailRef
from bedplate_core.events import Batch, Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import Part, Text
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_guardrails.document import convert_document
from bedplate_guardrails.evaluation import Capabilities, EvaluationFailed, Evaluators, Result, Task
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.policy import GuardedStream, InputCheck, Policy, compile_policy

PII = ("EMAIL", "PHONE", "CREDIT_DEBIT_CARD_NUMBER", "IP_ADDRESS")
USAGE = Usage(input_tokens=3, output_tokens=5)
REF = GuardrailRef(id="gr0house", name="house", version="7")
ABLE = Capabilities(
    models=frozenset({"content", "topics", "entities", "grounding"}),
    judged=frozenset({"contentPolicyConfig", "topicPolicyConfig", "contextualGroundingPolicyConfig"}),
)


class NoEvaluator:
    """For policies without a model rule: being asked is a mistake."""

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        raise EvaluationFailed("nobody evaluates here")


GUARDING = Guarding(evaluators=Evaluators(local=NoEvaluator()), tenant="p1")
CONTEXT = AnswerContext()


def checked(policy: Policy, request: Request, guarding: Guarding = GUARDING) -> InputCheck:
    """What a policy makes of a request."""
    return asyncio.run(policy.check_input(request, guarding))


def guard(
    policy: Policy, events: Any, guarding: Guarding = GUARDING, context: AnswerContext = CONTEXT
) -> GuardedStream:
    """An answer with a policy's output rules enforced."""
    return policy.guard_output(events, guarding, context)


class Upstream:
    """An event stream from a list of batches; an exception in the list is raised in its place."""

    def __init__(self, batches: Iterable[Batch | Exception]) -> None:
        self._batches = iter(batches)
        self.closed = 0
        self.read = 0

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        if self.closed:
            raise AssertionError("read after close")
        for batch in self._batches:
            self.read += 1
            if isinstance(batch, Exception):
                raise batch
            return batch
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


def make_policy(
    words: Sequence[str] = (),
    pii: dict[str, str] | None = None,
    regexes: dict[str, tuple[str, str]] | None = None,
    **extra: Any,
) -> Policy:
    """A policy that blocks `words`, and does to `pii` types and named `regexes` what they say."""
    sensitive: dict[str, Any] = {}
    if pii:
        sensitive["piiEntitiesConfig"] = [{"type": type_, "action": action, **extra} for type_, action in pii.items()]
    if regexes:
        sensitive["regexesConfig"] = [
            {"name": name, "pattern": pattern, "action": action, **extra} for name, (pattern, action) in regexes.items()
        ]
    document: dict[str, Any] = {"blockedInputMessaging": "input refused", "blockedOutputsMessaging": "answer refused"}
    if words:
        document["wordPolicyConfig"] = {"wordsConfig": [{"text": word, **extra} for word in words]}
    if sensitive:
        document["sensitiveInformationPolicyConfig"] = sensitive
    return compile_policy(REF, convert_document(document), ABLE)


def text_events(pieces: Sequence[str], *, part: Part | None = None, choice: int = 0, index: int = 0) -> list[Event]:
    """One part with its deltas."""
    return [
        PartStart(choice, index, part or Text(text="")),
        *(Delta(choice, index, piece) for piece in pieces),
        PartEnd(choice, index),
    ]


def whole_answer(events: Sequence[Event], *, choices: int = 1, reason: StopReason = StopReason.END) -> list[Event]:
    """`events` with their start and finish."""
    stops = tuple(Stop(choice=number, reason=reason) for number in range(choices))
    return [
        Start(id="r", model="m", created_s=1, choices=choices),
        *events,
        Finish(stops=stops, usage=USAGE),
    ]


async def drain(stream: GuardedStream) -> list[Event]:
    """All events of a guarded stream, their order and the batches checked on the way."""
    order = EventOrder()
    events: list[Event] = []
    async for batch in stream:
        assert batch, "an empty batch was yielded"
        for event in batch:
            order.add(event)
            events.append(event)
    order.end()
    await stream.aclose()
    return events


def oracle(policy: Policy, text: str) -> tuple[str, str | None]:
    """What a policy makes of a whole text, and the rule that blocks, straight from what each detector finds."""
    found = sorted(
        (start, rule.action != "BLOCK", -end, rule.name, rule)
        for plan in policy._output.lanes
        for rule in plan.rules
        for start, end in rule.detector.find(text)
    )
    out, cursor = "", 0
    for start, _, minus_end, name, rule in found:
        if -minus_end <= cursor or rule.action == "NONE":
            continue
        out += text[cursor : max(start, cursor)]
        if rule.action == "BLOCK":
            return out, name
        out += rule.mask
        cursor = -minus_end
    return out + text[cursor:], None
