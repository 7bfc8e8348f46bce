"""An evaluator for tests of streams: it scores a text by the words in it, and is slow, fails or hangs on command.

A score depends on the text of the task only, so that the same windows get the same scores however they came.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

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

CONTENT: Mapping[str, tuple[str, float]] = {"vile": ("HATE", 0.95), "meh": ("HATE", 0.6), "punch": ("VIOLENCE", 0.8)}
TOPICS: Mapping[str, str] = {"stocks": "money", "shares and bonds": "money"}
NAMES: Mapping[str, str] = {
    "Ada King Lovelace": "NAME",
    "Ada": "NAME",
    "Lovelace": "NAME",
    "Charles": "NAME",
    "Grace B. Hopper": "NAME",
    "12 Long Row, Leeds": "ADDRESS",
}
FIXES: Mapping[str, str] = {"shout": "whisper"}


class ScriptedEvaluator:
    """An `Evaluator`.

    `fails_at` numbers the call, from 0, that fails with `failure`, and all after it; `fails_on` is a word in a text
    that does the same. `delay_s` is how long each call takes. `gate`, when given, is waited for by every call. `asked`
    holds the tasks of every call, `running` counts the calls under way, `started` is set with the first.
    """

    def __init__(
        self,
        *,
        content: Mapping[str, tuple[str, float]] = CONTENT,
        topics: Mapping[str, str] = TOPICS,
        names: Mapping[str, str] = NAMES,
        grounded: float = 0.9,
        fails_at: int | None = None,
        fails_on: str | None = None,
        failure: Exception | None = None,
        delay_s: float = 0.0,
        gate: asyncio.Event | None = None,
    ) -> None:
        self._content = content
        self._topics = topics
        self._names = names
        self._grounded = grounded
        self._fails_at = fails_at
        self._fails_on = fails_on
        self._failure = failure or EvaluationFailed("the evaluator was told to fail")
        self._delay_s = delay_s
        self._gate = gate
        self.asked: list[list[Task]] = []
        self.running = 0
        self.started = asyncio.Event()
        self.most_running = 0

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        number = len(self.asked)
        self.asked.append(list(tasks))
        self.running += 1
        self.started.set()
        self.most_running = max(self.most_running, self.running)
        try:
            if self._gate is not None:
                await self._gate.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
        finally:
            self.running -= 1
        fails = self._fails_at is not None and number >= self._fails_at
        if fails or (self._fails_on is not None and any(self._fails_on in text_of(task) for task in tasks)):
            raise self._failure
        return [self._result(task) for task in tasks]

    def texts(self, kind: type[Task]) -> list[str]:
        """The texts of all tasks of one kind, in the order in which they were asked."""
        return [text_of(task) for tasks in self.asked for task in tasks if isinstance(task, kind)]

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Where the names are in a text: whole words, longest first, not overlapping, in order."""
        if not self._names:
            return []
        longest = sorted(self._names, key=len, reverse=True)
        pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest)
        return [(found.start(), found.end(), self._names[found[0]]) for found in re.finditer(pattern, text)]

    def scores(self, text: str) -> dict[str, float]:
        """The content scores of a text."""
        scores: dict[str, float] = {}
        for word, (kind, score) in self._content.items():
            if word in text:
                scores[kind] = max(scores.get(kind, 0.0), score)
        return scores

    def topics(self, text: str) -> set[str]:
        """The topics of a text."""
        return {topic for word, topic in self._topics.items() if word in text}

    def _result(self, task: Task) -> Result:
        match task:
            case ContentTask():
                found = self.scores(task.text)
                return Scores(scores={kind: found.get(kind, 0.01) for kind in task.types})
            case TopicsTask():
                said = self.topics(task.text)
                return Scores(scores={topic.name: 0.9 if topic.name in said else 0.1 for topic in task.topics})
            case EntitiesTask():
                return Spans(spans=tuple(span for span in self.spans(task.text) if span[2] in task.kinds))
            case GroundingTask():
                return Scores(scores=dict.fromkeys(task.types, self._grounded))
            case ValidatorTask():
                for word, fixed in FIXES.items():
                    if word in task.text:
                        return Validated(passed=False, reason="too loud", fixed=task.text.replace(word, fixed))
                return Validated(passed="forbidden" not in task.text, reason="said what is forbidden")


def text_of(task: Task) -> str:
    """The text that a task is about."""
    return task.answer if isinstance(task, GroundingTask) else task.text


__all__ = ["CONTENT", "FIXES", "NAMES", "TOPICS", "ScriptedEvaluator", "text_of"]
