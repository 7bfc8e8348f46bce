"""What a policy asks of models, and what they answer.

A policy does not know where a model runs. It hands tasks to an `Evaluator`: the local models' worker pool
(`bedplate_guardrails.pool`) or a judge model on the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from bedplate_core.errors import GuardrailUnavailable


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the policy describes it."""

    name: str
    definition: str
    examples: tuple[str, ...] = ()


class ContentTask(msgspec.Struct, frozen=True, kw_only=True, tag="content"):
    """How much of each content filter's matter is in a text.

    `answers` is the text that a model's answer is an answer to, where that is known; judges use it.
    """

    text: str
    types: tuple[str, ...]
    answers: str = ""


class TopicsTask(msgspec.Struct, frozen=True, kw_only=True, tag="topics"):
    """How much a text is about each topic."""

    text: str
    topics: tuple[Topic, ...]


class EntitiesTask(msgspec.Struct, frozen=True, kw_only=True, tag="entities"):
    """Where people's names and addresses are in a text."""

    text: str
    kinds: tuple[str, ...]


class GroundingTask(msgspec.Struct, frozen=True, kw_only=True, tag="grounding"):
    """How well an answer is supported by a source (`GROUNDING`) and fits a query (`RELEVANCE`)."""

    source: str
    query: str
    answer: str
    types: tuple[str, ...]


class ValidatorTask(msgspec.Struct, frozen=True, kw_only=True, tag="validator"):
    """Whether a registered validator accepts a text."""

    name: str
    text: str


Task: TypeAlias = ContentTask | TopicsTask | EntitiesTask | GroundingTask | ValidatorTask


class Scores(msgspec.Struct, frozen=True, kw_only=True, tag="scores"):
    """For content, topics and grounding: a score from 0 to 1 by type or topic name.

    Content scores are calibrated: from 0.5 on is low confidence, from 0.75 medium, from 0.9 high. A topic is
    discussed from 0.5 on. Grounding scores are compared with the policy's threshold.
    """

    scores: dict[str, float]


class Spans(msgspec.Struct, frozen=True, kw_only=True, tag="spans"):
    """For entities: `(start, end, kind)` in characters, in order, not overlapping."""

    spans: tuple[tuple[int, int, str], ...]


class Validated(msgspec.Struct, frozen=True, kw_only=True, tag="validated"):
    """For validators: whether the text passed; if not, why, and the text as the validator would have it."""

    passed: bool
    reason: str = ""
    fixed: str | None = None


Result: TypeAlias = Scores | Spans | Validated

LOW_SCORE = 0.5
MEDIUM_SCORE = 0.75
HIGH_SCORE = 0.9
TOPIC_SCORE = 0.5


class EvaluationFailed(GuardrailUnavailable):
    """A model could not evaluate: it is not there, too slow, too busy, or it failed. `rule` names it for verdicts."""

    def __init__(self, message: str, *, rule: str = "*", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.rule = rule


class Evaluator(Protocol):
    """Evaluates tasks. One per process and kind of model; safe for concurrent callers."""

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        """The results, in the tasks' order. What is remembered between calls is never shared between tenants.

        Raises `EvaluationFailed`, also when `timeout_s` is over. Cancelled, nothing is left running for this caller.
        """
        ...


class Evaluators(msgspec.Struct, frozen=True, kw_only=True):
    """Who evaluates: the local models for the tier CLASSIC and validators, a judge model for STANDARD."""

    local: Evaluator
    judge: Evaluator | None = None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What can be evaluated in this installation, for saying so when a policy is saved.

    `models` are those of `content`, `topics`, `entities` and `grounding` that are installed; `missing` says what to do
    about the others. `validators` are the registered ones. `judged` are the members of a
    document that a judge model evaluates (`contentPolicyConfig` and so on), none where there is no judge.
    """

    models: frozenset[str] = frozenset()
    missing: str = "the local models are not installed: pip install 'bedplate[models]'"
    validators: frozenset[str] = frozenset()
    judged: frozenset[str] = frozenset()


__all__ = [
    "HIGH_SCORE",
    "LOW_SCORE",
    "MEDIUM_SCORE",
    "TOPIC_SCORE",
    "Capabilities",
    "ContentTask",
    "EntitiesTask",
    "EvaluationFailed",
    "Evaluator",
    "Evaluators",
    "GroundingTask",
    "Result",
    "Scores",
    "Spans",
    "Task",
    "Topic",
    "TopicsTask",
    "Validated",
    "ValidatorTask",
]
