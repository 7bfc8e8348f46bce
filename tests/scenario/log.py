"""What the engine is asked and what leaves it, call by call."""

from __future__ import annotations

from typing import Any

from bedplate_core.events import Batch, Event
from bedplate_core.requests import Dispatch, Request
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.engine import Engine
from bedplate_providers.fake import FakeProvider


class Log:
    """What the engine was asked and what left it, for one call."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.events: list[Event] = []


class Logs:
    """The logs of this process's calls, from `keep` on."""

    def __init__(self) -> None:
        self._logs: list[Log] = []

    def forget(self) -> None:
        """Drop the logs of calls before now."""
        self._logs.clear()

    def take(self) -> Log:
        """The log of the earliest call not yet taken; an empty one for a call that reached no engine."""
        return self._logs.pop(0) if self._logs else Log()

    def keep(self, monkeypatch: Any) -> None:
        """Log every call of this process: what reaches the scripted provider, what leaves the engine."""
        logs = self._logs
        run, generate, following = Engine.generate, FakeProvider.generate, Answer.__anext__

        async def running(self: Engine, *arguments: Any, **options: Any) -> Answer:
            logs.append(Log())
            return await run(self, *arguments, **options)

        def generating(self: FakeProvider, request: Request, dispatch: Dispatch) -> Any:
            logs[-1].request = request
            return generate(self, request, dispatch)

        async def next_batch(self: Answer) -> Batch:
            batch = await following(self)
            logs[-1].events.extend(batch)
            return batch

        monkeypatch.setattr(Engine, "generate", running)
        monkeypatch.setattr(FakeProvider, "generate", generating)
        monkeypatch.setattr(Answer, "__anext__", next_batch)
