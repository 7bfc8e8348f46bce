"""What a call remembers: where its earlier messages come from and where its turn is kept."""

from __future__ import annotations

from typing import Protocol

from bedplate_core.events import EventStream
from bedplate_core.ids import SessionId
from bedplate_core.requests import Request
from bedplate_gateway.engine.answer import Call
from bedplate_sessions.store import Sessions

AUTO_SESSION = "auto"


class Remembering(Protocol):
    """One turn under way. `compose`, then `follow`, then `aclose`; see `bedplate_sessions.turn.Turn`."""

    @property
    def session_id(self) -> SessionId | None:
        """The session it is a turn of; None where the memory is not a session."""
        ...

    def compose(self, request: Request) -> Request:
        """`request` with what came before. Raises `GatewayError` for what this memory cannot hold."""
        ...

    def follow(self, request: Request, events: EventStream) -> EventStream:
        """The same events, with `Finish` held back until the turn is durable."""
        ...

    async def aclose(self) -> None:
        """Let go of what is held. Idempotent; what was stored stays."""
        ...


class Memory(Protocol):
    """Opens the turn of one call."""

    async def open(self, call: Call) -> Remembering:
        """The turn; whoever gets it closes it. Raises `NotFound`, `Conflict` or `StoreUnavailable`."""
        ...


class SessionMemory:
    """A durable conversation: a new one for `auto`, else the one with that id.

    `wait_s` is how long a turn that is already running is waited for.
    """

    def __init__(self, sessions: Sessions, session: str, wait_s: float) -> None:
        self._sessions = sessions
        self._session = session
        self._wait_s = wait_s

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`."""
        return await self._sessions.open_turn(
            project=call.principal.project,
            session=None if self._session == AUTO_SESSION else SessionId(self._session),
            call=call.id,
            key=call.principal.key_id,
            wait_s=self._wait_s,
        )


__all__ = ["AUTO_SESSION", "Memory", "Remembering", "SessionMemory"]
