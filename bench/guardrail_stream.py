"""What a guarded stream costs: microseconds an event and characters held, beside the same stream unguarded.

    python bench/guardrail_stream.py

Each event is a batch of its own with one token of about four characters, which is the worst case; batches of several
deltas for a part cost one pass each. Model rules are evaluated by nothing that takes time, so what they cost is the
windows alone. The last lines are the check of a long request.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence

from bedplate_core.assessment import GuardrailRef
from bedplate_core.events import Batch, Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import Message, Role, Text
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_guardrails.document import convert_document
from bedplate_guardrails.evaluation import (
    Capabilities,
    ContentTask,
    EntitiesTask,
    Evaluators,
    GroundingTask,
    Result,
    Scores,
    Spans,
    Task,
    TopicsTask,
    Validated,
    ValidatorTask,
)
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.policy import Policy, compile_policy

PROSE = (
    "The gateway keeps what it was asked to keep and forgets the rest. A model that answers slowly is not a model "
    "that answers badly, and most people will wait a moment for a better word.\nThere were 12 of them in 2024, "
    "which is few; see the list below, or ask again later: nobody minds. "
)
DENSE = "Ann, 555-123-4567, ann.lee@mail.example.com, paid with 4111 1111 1111 1111 from 10.20.30.40 on 2024-05-06. "
CHINESE = "网关保存它被要求保存的内容，并忘记其余的部分。回答得慢的模型并不是回答得差的模型。"
PII = ("EMAIL", "PHONE", "CREDIT_DEBIT_CARD_NUMBER", "IP_ADDRESS")
CHARS = 200_000


class Source:
    """An event stream over prepared batches."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self.sent = 0

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        for batch in self._batches:
            self.sent += sum(len(event.text) for event in batch if isinstance(event, Delta))
            return batch
        raise StopAsyncIteration

    async def aclose(self) -> None:
        return None


class Nothing:
    """An evaluator that finds nothing, at once."""

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        return [_nothing(task) for task in tasks]


def _nothing(task: Task) -> Result:
    match task:
        case ContentTask():
            return Scores(scores=dict.fromkeys(task.types, 0.0))
        case TopicsTask():
            return Scores(scores={topic.name: 0.0 for topic in task.topics})
        case GroundingTask():
            return Scores(scores=dict.fromkeys(task.types, 1.0))
        case EntitiesTask():
            return Spans(spans=())
        case ValidatorTask():
            return Validated(passed=True)


GUARDING = Guarding(evaluators=Evaluators(local=Nothing()), tenant="bench")
ABLE = Capabilities(models=frozenset({"content", "topics", "entities", "grounding"}))


def policy(words: int, pii: bool, regexes: int, models: bool = False) -> Policy:
    """A policy that masks, so that the text is read to its end."""
    document: dict[str, object] = {"blockedInputMessaging": "no", "blockedOutputsMessaging": "no"}
    if words:
        listed = [{"text": f"{'abcdefghijklmnopqrstuvwxyz'[n % 26]}{n:x}word"} for n in range(words)]
        document["wordPolicyConfig"] = {"wordsConfig": listed}
    kinds = [*(PII if pii else ()), *(("NAME",) if models else ())]
    sensitive: dict[str, object] = {}
    if kinds:
        sensitive["piiEntitiesConfig"] = [{"type": kind, "action": "ANONYMIZE"} for kind in kinds]
    if regexes:
        sensitive["regexesConfig"] = [
            {"name": f"r{n}", "pattern": rf"\b[A-Z]{{{n % 5 + 2}}}-\d{{{n % 7 + 2},}}\b", "action": "ANONYMIZE"}
            for n in range(regexes)
        ]
    if sensitive:
        document["sensitiveInformationPolicyConfig"] = sensitive
    if models:
        strengths = {"inputStrength": "HIGH", "outputStrength": "HIGH"}
        filters = [{"type": kind, **strengths} for kind in ("HATE", "VIOLENCE", "INSULTS", "MISCONDUCT")]
        document["contentPolicyConfig"] = {"filtersConfig": filters}
    ref = GuardrailRef(id="bench", name="bench", version="1")
    return compile_policy(ref, convert_document(document), ABLE)


def answer(text: str, size: int) -> list[list[Event]]:
    """One text part in deltas of `size` characters, each a batch."""
    return [
        [Start(id="r", model="m", created_s=1), PartStart(0, 0, Text(text=""))],
        *([Delta(0, 0, text[start : start + size])] for start in range(0, len(text), size)),
        [PartEnd(0, 0), Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage())],
    ]


async def seconds(batches: list[list[Event]], guard: Policy | None) -> float:
    """How long the stream takes, in process time."""
    source = Source(batches)
    stream = source if guard is None else guard.guard_output(source, GUARDING, AnswerContext())
    start = time.process_time()
    async for _ in stream:
        pass
    return time.process_time() - start


async def held(batches: list[list[Event]], guard: Policy) -> list[int]:
    """How many characters were held back after each batch that let anything out, sorted."""
    source = Source(batches)
    left = 0
    counts: list[int] = []
    async for batch in guard.guard_output(source, GUARDING, AnswerContext()):
        left += sum(len(event.text) for event in batch if isinstance(event, Delta))
        counts.append(source.sent - left)
    return sorted(counts)


def main() -> None:
    policies = {
        "4 PII": policy(0, True, 0),
        "100 words": policy(100, False, 0),
        "10,000 words": policy(10_000, False, 0),
        "4 PII, 100 words, 10 regexes": policy(100, True, 10),
        "4 PII, 10,000 words, 30 regexes": policy(10_000, True, 30),
        "4 filters, names": policy(0, False, 0, models=True),
        "4 filters, names, 4 PII": policy(0, True, 0, models=True),
    }
    texts = {"prose": PROSE, "dense PII": DENSE, "Chinese": CHINESE}
    for text_name, seed in texts.items():
        text = (seed * (CHARS // len(seed) + 1))[:CHARS]
        batches = answer(text, 4)
        bare = min(asyncio.run(seconds(batches, None)) for _ in range(3))
        for policy_name, guard in policies.items():
            taken = min(asyncio.run(seconds(batches, guard)) for _ in range(3))
            cost_us = (taken - bare) / len(batches) * 1e6
            print(f"{text_name:10} {policy_name:33} {cost_us:6.2f} us an event")
        if text_name != "dense PII":  # masks change the length there
            for policy_name in ("4 PII, 100 words, 10 regexes", "4 filters, names, 4 PII"):
                counts = asyncio.run(held(batches, policies[policy_name]))
                middle, high = counts[len(counts) // 2], counts[len(counts) * 99 // 100]
                print(f"{text_name:10} {policy_name:33} held: half of the time at most {middle}, 99 % {high}, "
                      f"ever {counts[-1]} of {policies[policy_name].hold_back.chars} characters")  # fmt: skip
    for text_name, seed in texts.items():
        text = (seed * (CHARS // len(seed) + 1))[:CHARS]
        request = Request(model="m", messages=(Message(role=Role.USER, parts=(Text(text=text),)),))
        guard = policies["4 PII, 100 words, 10 regexes"]
        start = time.process_time()
        asyncio.run(guard.check_input(request, GUARDING))
        print(f"{text_name:10} check_input of {CHARS:,} characters {(time.process_time() - start) * 1e3:8.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
