"""Models for tests of the worker pool, told by the text what to do. Named on a worker's command line.

Every text that is evaluated is written to the file that TRIVIAL_LOG names, before anything happens. A text is a word
and an argument: `score 0.3`, `sleep 0.1`, `hang`, `die`, `raise`, `nan`, `environment FILE`, `child FILE`, `print`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    GroundingTask,
    Result,
    Scores,
    Spans,
    Task,
    TopicsTask,
)
from bedplate_guardrails.pool.wire import Registered
from bedplate_guardrails.worker.evaluating import CannotLoad

LABELS = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK")


class TrivialModels:
    """`TRIVIAL_LOAD` is a list of `unit:word` pairs: how a unit loads (`missing`, `slow`, `hang`, `die`, `raise`)."""

    def __init__(self) -> None:
        self._log = os.environ.get("TRIVIAL_LOG", "")
        self._loads = dict(pair.split(":") for pair in os.environ.get("TRIVIAL_LOAD", "").split())

    def load(self, unit: str, registered: Registered | None) -> None:
        self._write(f"load {unit}")
        how = self._loads.get(unit, "")
        if how == "missing":
            raise CannotLoad(f"the local model for {unit} is not installed: pip install it")
        self._act(how)

    def evaluate(self, unit: str, tasks: Sequence[Task]) -> Sequence[Result]:
        for task in tasks:
            if isinstance(task, ContentTask):
                self._write(task.text)
        return [self._result(task) for task in tasks]

    def _result(self, task: Task) -> Result:
        match task:
            case ContentTask(text=text):
                score = self._act(text)
                return Scores(scores=dict.fromkeys(LABELS, score))
            case TopicsTask(topics=topics):
                return Scores(scores={topic.name: 0.25 for topic in topics})
            case EntitiesTask(text=text):
                return Spans(spans=((0, len(text), "NAME"),) if text else ())
            case GroundingTask(types=types):
                return Scores(scores=dict.fromkeys(types, 0.75))
            case _:
                raise ValueError(task)

    def _act(self, text: str) -> float:
        word, _, argument = text.partition(" ")
        match word:
            case "score":
                return float(argument.split()[0])
            case "nan":
                return float("nan")
            case "sleep":
                time.sleep(float(argument.split()[0]))
            case "slow":
                time.sleep(0.4)
            case "hang":
                time.sleep(3600)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise RuntimeError(f"a secret text: {text}")
            case "print":
                os.write(1, b"\xff" * 1000)
                print("something on standard output", flush=True)
                sys.stdin.read()
            case "environment":
                Path(argument).write_bytes(Path("/proc/self/environ").read_bytes())
            case "child":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
                Path(argument).write_text(f"{os.getpid()} {child.pid}")
            case _:
                pass
        return 0.5

    def _write(self, line: str) -> None:
        if self._log:
            with open(self._log, "a") as log:
                log.write(f"{line}\n")


def make(folder: Path | None) -> TrivialModels:
    """What a worker calls."""
    return TrivialModels()
