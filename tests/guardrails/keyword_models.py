"""Models for tests of whole texts: they score by words, note what they were asked, and fail on command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bedplate_guardrails.document import convert_document
from bedplate_guardrails.evaluation import (
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
from bedplate_guardrails.guarding import Guarding
from bedplate_guardrails.policy import Policy, compile_policy
from tests.guardrails.guarded import ABLE, REF

NAMES = {"Ada Lovelace": "NAME", "Ada": "NAME", "🦆 Duck": "NAME", "1 Long Row": "ADDRESS"}
CONTENT = {"scum": ("HATE", 0.95), "meh": ("HATE", 0.6), "ignore your rules": ("PROMPT_ATTACK", 0.99)}
TOPICS = {"stocks": "money"}


class KeywordModels:
    """An `Evaluator`. `asked` holds the tasks of every call."""

    def __init__(
        self,
        *,
        content: Mapping[str, tuple[str, float]] = CONTENT,
        topics: Mapping[str, str] = TOPICS,
        names: Mapping[str, str] = NAMES,
        fixes: Mapping[str, str] | None = None,
        failure: Exception | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._content = content
        self._topics = topics
        self._names = names
        self._fixes = fixes or {}
        self._failure = failure
        self._delay_s = delay_s
        self.asked: list[list[Task]] = []
        self.tenants: set[str] = set()
        self.running = 0
        self.started = asyncio.Event()

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        self.asked.append(list(tasks))
        self.tenants.add(tenant)
        self.running += 1
        self.started.set()
        try:
            await asyncio.sleep(self._delay_s)
        finally:
            self.running -= 1
        if self._failure is not None:
            raise self._failure
        return [self._result(task) for task in tasks]

    def texts(self, kind: type[Task]) -> list[str]:
        """The texts of all tasks of one kind."""
        return [getattr(task, "text", "") for tasks in self.asked for task in tasks if isinstance(task, kind)]

    def _result(self, task: Task) -> Result:
        match task:
            case ContentTask():
                found = dict.fromkeys(task.types, 0.01)
                for word, (kind, score) in self._content.items():
                    if word in task.text and kind in found:
                        found[kind] = max(found[kind], score)
                return Scores(scores=found)
            case TopicsTask():
                said = {topic for word, topic in self._topics.items() if word in task.text}
                return Scores(scores={topic.name: 0.9 if topic.name in said else 0.1 for topic in task.topics})
            case EntitiesTask():
                return Spans(spans=self._spans(task))
            case GroundingTask():
                grounded = 0.9 if task.answer in task.source else 0.1
                return Scores(scores=dict.fromkeys(task.types, grounded))
            case ValidatorTask():
                bad = "tell" in task.text
                return Validated(passed=not bad, reason="tells", fixed=self._fixes.get(task.text) if bad else None)

    def _spans(self, task: EntitiesTask) -> tuple[tuple[int, int, str], ...]:
        spans: list[tuple[int, int, str]] = []
        for name, kind in self._names.items():
            start = task.text.find(name)
            while kind in task.kinds and start >= 0:
                end = start + len(name)
                if not any(start < last and first < end for first, last, _ in spans):
                    spans.append((start, end, kind))
                start = task.text.find(name, end)
        return tuple(sorted(spans))


def model_policy(
    *,
    content: Mapping[str, Mapping[str, Any]] | None = None,
    topics: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
    tiers: Mapping[str, str] | None = None,
    grounding: Mapping[str, float] | None = None,
    **own: Any,
) -> Policy:
    """A policy of filters (with what their configuration says besides), topics, entities, words; `own` is ours."""
    document: dict[str, Any] = {"blockedInputMessaging": "input refused", "blockedOutputsMessaging": "answer refused"}
    tiers = tiers or {}
    if content:
        filters = [
            {"type": kind, "inputStrength": "MEDIUM", "outputStrength": "NONE" if kind == "PROMPT_ATTACK" else "MEDIUM"}
            | dict(extra)
            for kind, extra in content.items()
        ]
        document["contentPolicyConfig"] = {"filtersConfig": filters, **_tier(tiers.get("content"))}
    if topics:
        said = [{"name": name, "definition": f"about {name}", "type": "DENY"} for name in topics]
        document["topicPolicyConfig"] = {"topicsConfig": said, **_tier(tiers.get("topics"))}
    if names:
        entities = [{"type": kind, "action": action} for kind, action in names.items()]
        document["sensitiveInformationPolicyConfig"] = {"piiEntitiesConfig": entities}
    if words:
        document["wordPolicyConfig"] = {"wordsConfig": [{"text": word} for word in words]}
    if grounding:
        thresholds = [{"type": kind, "threshold": least} for kind, least in grounding.items()]
        document["contextualGroundingPolicyConfig"] = {"filtersConfig": thresholds}
    if own:
        document["bedplateConfig"] = own
    able = msgspec.structs.replace(ABLE, validators=frozenset({"calm", "fixer"}))
    return compile_policy(REF, convert_document(document), able)


def guarding_by(local: Any, judge: Any = None, **how: Any) -> Guarding:
    """How a call is guarded, by these models."""
    return Guarding(evaluators=Evaluators(local=local, judge=judge), tenant="p1", **how)


def _tier(name: str | None) -> dict[str, Any]:
    return {} if name is None else {"tierConfig": {"tierName": name}}


__all__ = ["CONTENT", "NAMES", "TOPICS", "KeywordModels", "guarding_by", "model_policy"]
