"""What a call remembers: where its earlier messages come from and where its turn is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bedplate_core.ids import SessionId
from bedplate_core.messages import Part
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.engine.call import Call
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.summary import Summary
from bedplate_sessions.durable import Write
from bedplate_sessions.session import NewSession
from bedplate_sessions.store import Sessions
from bedplate_sessions.turn import Layout
from bedplate_sessions.turn_options import TurnOptions


class Remembering(Protocol):
    """One turn under way; see `bedplate_sessions.turn.Turn` for the order of its life."""

    @property
    def session_id(self) -> SessionId | None:
        """The session it is a turn of; None where the memory is not a session."""
        ...

    @property
    def branch(self) -> int:
        """The branch of the session; 0 where the memory is not a session."""
        ...

    def compose(self, request: Request) -> Request:
        """`request` with what came before. Raises `GatewayError` for what this memory cannot hold."""
        ...

    @property
    def layout(self) -> Layout:
        """How the composed request is laid out."""
        ...

    @property
    def context(self) -> ContextPolicy | None:
        """What becomes of a history that does not fit the model's window; None: it is sent as it is."""
        ...

    @property
    def summary(self) -> Summary | None:
        """What stands for the beginning of the conversation, which the composed request lacks."""
        ...

    def seq_of(self, place: int) -> int:
        """The number of the history's message at `place` of the composed request."""
        ...

    async def begin(self, request: Request, summary: Summary | None = None) -> None:
        """Make the turn's own input durable: `request` as the policy let it through, and a new summary.

        Raises `GatewayError`.
        """
        ...

    async def establish(self) -> None:
        """Make what later turns go on with, although this one's input was blocked. Raises `StoreUnavailable`."""
        ...

    def ending(self, response: Response) -> Sequence[Write]:
        """What makes the answer durable."""
        ...

    async def break_off(self, parts: Sequence[Part]) -> None:
        """Keep what there is of an answer that will not end. Raises `GatewayError`."""
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
    """A durable conversation: a new one for None, else the one with that id.

    `wait_s` is how long a turn that is already running is waited for. `new` says how a new session is made.
    """

    def __init__(
        self,
        sessions: Sessions,
        session: SessionId | None,
        wait_s: float,
        *,
        options: TurnOptions | None = None,
        new: NewSession | None = None,
    ) -> None:
        self._sessions = sessions
        self._session = session
        self._wait_s = wait_s
        self._options = options
        self._new = new

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`."""
        return await self._sessions.open_turn(
            project=call.principal.project,
            session=self._session or call.session,
            call=call.id,
            key=call.principal.key_id,
            wait_s=self._wait_s,
            options=self._options,
            turn=call.turn,
            new=self._new,
        )


__all__ = ["Memory", "Remembering", "SessionMemory"]
