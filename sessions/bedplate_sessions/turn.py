"""One turn of a conversation: the history goes in front of the request, and the answer's end waits for the
commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.events import EventStream
from bedplate_core.ids import SessionId
from bedplate_core.messages import Message, Role
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_sessions.commit import NewItem, TurnCommit
from bedplate_sessions.followed import Followed
from bedplate_sessions.items import History
from bedplate_store.locks import HeldLock


class _Composed(msgspec.Struct, frozen=True):
    """How a composed request is laid out: `system` messages, history, `new` messages, `total` in all."""

    system: int
    new: int
    total: int


class Turn:
    """A turn under way. It holds the session's lock until it is stored, fails or is closed.

    Use: `compose` the request, check and answer it, let `follow` watch the answer, `aclose` in the end. Not
    for use by several tasks at once.
    """

    def __init__(self, *, session: SessionId, past: History, lock: HeldLock, commit: TurnCommit) -> None:
        self.session_id: SessionId = session
        self._past = past
        self._lock = lock
        self._commit = commit
        self._composed: _Composed | None = None
        self._followed = False

    def compose(self, request: Request) -> Request:
        """`request` with the session's history before its messages.

        The system messages it begins with, if any, stand in for those of the session, in this turn and those
        after it. Raises `UnsupportedFeature` for raw prompts and for more than one choice.
        """
        if request.prompts:
            raise UnsupportedFeature("A session holds a chat: raw prompts cannot be part of it.", param="prompt")
        if request.choices != 1:
            raise UnsupportedFeature("A turn of a session has exactly one choice.", param="n")
        given = _leading_system(request.messages)
        system = request.messages[:given] or self._past.system
        new = request.messages[given:]
        messages = (*system, *self._past.messages, *new)
        self._composed = _Composed(system=len(system), new=len(new), total=len(messages))
        return msgspec.structs.replace(request, messages=messages)

    def follow(self, request: Request, events: EventStream) -> EventStream:
        """The same events, with `Finish` held back until the turn is durable.

        `request` is what `compose` returned, after any masking of its texts: as many messages, in the same
        order. What is stored is that request's new messages and the answer as these events tell it. The
        stream raises `Conflict` or `StoreUnavailable` instead of `Finish` if the turn could not be stored;
        after an error, or when closed before the end, nothing is. A cancellation during the commit arrives
        after it. The lock is released before `Finish` is handed out. Closing the stream closes `events` and
        the turn.
        """
        if self._composed is None or self._followed:
            raise RuntimeError("follow comes once, after compose")
        if len(request.messages) != self._composed.total:
            raise RuntimeError(f"{len(request.messages)} messages, {self._composed.total} were composed")
        self._followed = True
        return Followed(events, store=partial(self._store, request), close=self.aclose)

    async def aclose(self) -> None:
        """Release the session. Idempotent; what was stored stays."""
        await self._lock.release()

    async def _store(self, request: Request, fold: Fold) -> None:
        """Make the turn durable, then release the session, whatever a cancellation wants meanwhile."""
        try:
            await self._commit.store(self._items(request, fold), after=self._past.head)
        finally:
            await self._lock.release()

    def _items(self, request: Request, fold: Fold) -> Sequence[NewItem]:
        composed = self._composed
        if composed is None:
            raise RuntimeError("follow comes after compose")
        system = request.messages[: composed.system]
        new = request.messages[composed.total - composed.new :]
        # Compared as masked: a client that repeats its unmasked system message must not change the session.
        changed = () if system == self._past.system else system
        answer = fold.response().choices[0]
        return [
            *(NewItem(message=message) for message in (*changed, *new)),
            NewItem(message=answer.message, stop_reason=answer.stop.reason),
        ]


def _leading_system(messages: Sequence[Message]) -> int:
    """How many system messages stand before the first other one."""
    count = 0
    for message in messages:
        if message.role is not Role.SYSTEM:
            break
        count += 1
    return count


__all__ = ["Turn"]
