"""What a worker answered, checked: a wrong value must not pass for a low score."""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    GroundingTask,
    Result,
    Scores,
    Spans,
    Task,
    TopicsTask,
    Validated,
    ValidatorTask,
)
from bedplate_guardrails.pool.waiting import Waiting, unit_of
from bedplate_guardrails.pool.wire import Failed, Outcome, WireError, decode_outcome, encode_task


def fits(task: Task, outcome: Outcome) -> bool:
    """Whether `outcome` can be what `task` asked for: of its kind, complete, every number in its bounds."""
    match task:
        case ContentTask():
            return isinstance(outcome, Scores) and _in_bounds(outcome)
        case TopicsTask():
            names = [topic.name for topic in task.topics]
            return isinstance(outcome, Scores) and _in_bounds(outcome) and all(name in outcome.scores for name in names)
        case GroundingTask():
            return (
                isinstance(outcome, Scores)
                and _in_bounds(outcome)
                and all(kind in outcome.scores for kind in task.types)
            )
        case EntitiesTask():
            return isinstance(outcome, Spans) and _in_text(outcome, len(task.text))
        case ValidatorTask():
            return isinstance(outcome, Validated)
        case _:
            assert_never(task)


def _in_bounds(scores: Scores) -> bool:
    return all(0.0 <= score <= 1.0 for score in scores.scores.values())  # NaN compares false


def _in_text(spans: Spans, length: int) -> bool:
    cursor = 0
    for start, end, _ in spans.spans:
        if not cursor <= start < end <= length:
            return False
        cursor = end
    return True


def checked(waiting: Waiting, encoded: bytes) -> tuple[bytes | EvaluationFailed, str]:
    """The encoded result or why there is none, and what to log about it (empty for a result)."""
    try:
        outcome = decode_outcome(encoded)
    except WireError as error:
        return EvaluationFailed(f"{waiting.unit} could not be evaluated", rule=waiting.unit), str(error)
    if isinstance(outcome, Failed):
        return EvaluationFailed(outcome.message, rule=waiting.unit), outcome.detail or outcome.message
    if not fits(waiting.task, outcome):
        return EvaluationFailed(f"{waiting.unit} could not be evaluated", rule=waiting.unit), "a result out of bounds"
    return encoded, ""


def result_of(task: Task, encoded: bytes) -> Result:
    """A checked result as the caller asked for it: of content only the types that it named.

    Raises `EvaluationFailed` for a type that the model does not know.
    """
    outcome = decode_outcome(encoded)
    if isinstance(outcome, Failed):
        raise EvaluationFailed(outcome.message, rule=unit_of(task))
    if not (isinstance(task, ContentTask) and isinstance(outcome, Scores)):
        return outcome
    unknown = [kind for kind in task.types if kind not in outcome.scores]
    if unknown:
        raise EvaluationFailed(f"the local models cannot evaluate {unknown[0]}", rule="content")
    return Scores(scores={kind: outcome.scores[kind] for kind in task.types})


def canonical(task: Task) -> Task:
    """`task` with only what its result depends on, so that more of what is remembered can be used.

    The local models score every content filter at once and look at a text alone.
    """
    return ContentTask(text=task.text, types=()) if isinstance(task, ContentTask) else task


def encodable(task: Task) -> tuple[Task, bytes]:
    """`task` and its encoding. Halves of surrogate pairs, which nothing can encode, become question marks."""
    try:
        return task, encode_task(task)
    except UnicodeEncodeError:
        whole: Task = msgspec.convert(_without_halves(msgspec.to_builtins(task)), Task)
        return whole, encode_task(whole)


def _without_halves(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {name: _without_halves(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType] - plain data
        case list() | tuple():
            return [_without_halves(each) for each in value]  # pyright: ignore[reportUnknownVariableType] - plain data
        case _:
            return value


__all__ = ["canonical", "checked", "encodable", "fits", "result_of"]
