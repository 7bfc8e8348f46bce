"""A task that waits for a worker."""

from __future__ import annotations

import asyncio

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    GroundingTask,
    Task,
    TopicsTask,
    ValidatorTask,
)


class Waiting:
    """One task of one caller. `future` gets the encoded result or why there is none; a caller that left cancels it.

    `unit` is what must be loaded for it, and the name of its rule in verdicts. `deadline` is a time of the event loop.
    `key` is where its result is remembered; None where it is not.
    """

    __slots__ = ("characters", "deadline", "encoded", "future", "key", "number", "task", "tenant", "unit")

    def __init__(self, tenant: str, task: Task, encoded: bytes, *, key: bytes | None, deadline: float) -> None:
        self.tenant = tenant
        self.task = task
        self.encoded = encoded
        self.key = key
        self.deadline = deadline
        self.unit = unit_of(task)
        self.characters = _characters(task)
        self.number = 0
        self.future: asyncio.Future[bytes | EvaluationFailed] = asyncio.get_running_loop().create_future()

    def finish(self, outcome: bytes | EvaluationFailed) -> None:
        """Tell the caller, if it is still there."""
        if not self.future.done():
            self.future.set_result(outcome)


def unit_of(task: Task) -> str:
    """What evaluates a task: a kind of model, or `validator:NAME`."""
    match task:
        case ContentTask():
            return "content"
        case TopicsTask():
            return "topics"
        case EntitiesTask():
            return "entities"
        case GroundingTask():
            return "grounding"
        case ValidatorTask(name=name):
            return f"validator:{name}"


def _characters(task: Task) -> int:
    match task:
        case ContentTask(text=text) | TopicsTask(text=text) | EntitiesTask(text=text) | ValidatorTask(text=text):
            return len(text)
        case GroundingTask(source=source, query=query, answer=answer):
            return len(source) + len(query) + len(answer)


__all__ = ["Waiting", "unit_of"]
