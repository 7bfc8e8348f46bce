"""One turn of a conversation: the history goes in front of the request, its own input is durable before a model is
asked, and the answer's end waits until the answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.ids import CallId, ProjectId, SessionId
from bedplate_core.messages import Message, Part, Role, Text
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.summary import Summary
from bedplate_sessions.durable import Durable, Write
from bedplate_sessions.items import History, ItemKind, ItemStatus, NewItem
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.turn_options import TurnOptions
from bedplate_sessions.turn_writes import Begun, Place, TurnWrites
from bedplate_store.locks import HeldLock

BREAK_OFF_DEADLINE_S: Final = 1.0
"""How long the end of a failed call waits for Postgres: whoever waits for its error should not wait for more."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a composed request's messages are laid out: `system` of them, the history, then `new` ones.

    `pinned` are the places of history messages that are never left out.
    """

    system: int
    new: int
    pinned: frozenset[int]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn finds: the history, the branch's head, and where it goes on.

    `began_after` is the item that the turn follows; items between it and `head` are dropped. `resumed_input` is set
    when an earlier attempt of the same call had begun the turn: the last seq of the input it stored. `writes` make the
    session, when it does not exist yet.
    """

    history: History
    head: int = 0
    began_after: int = 0
    resumed_input: int | None = None
    writes: tuple[Write, ...] = ()


class Turn:
    """A turn under way. It holds the branch's lock until it is closed.

    Use: `compose` the request, fit and check it, `begin`, answer it, and make what `ending` returns durable before the
    answer's end is shown; when there is no end, `break_off`. `aclose` in any case. Not for several tasks at once.
    """

    def __init__(
        self,
        *,
        place: Place,
        call: CallId,
        past: Past,
        lock: HeldLock,
        cipher: Cipher,
        durable: Durable,
        options: TurnOptions,
    ) -> None:
        self.session_id: SessionId = place.session
        self.branch = place.branch
        self.context: ContextPolicy | None = options.context
        self._pin = options.pin
        self._project: ProjectId = place.project
        self._call: CallId = call
        self._past = past
        self._lock = lock
        self._durable = durable
        self._writes = TurnWrites(place, cipher)
        self._layout: Layout | None = None
        self._begun: Begun | None = None

    def compose(self, request: Request) -> Request:
        """`request` with the session's history before its messages.

        The system messages it begins with, if any, stand in for those of the session, in this turn and those after it.
        Raises `UnsupportedFeature` for raw prompts and for more than one choice, `InvalidRequest` when there is nothing
        to answer.
        """
        if request.prompts:
            raise UnsupportedFeature("A session holds a chat: raw prompts cannot be part of it.", param="prompt")
        if request.choices != 1:
            raise UnsupportedFeature("A turn of a session has exactly one choice.", param="n")
        past = self._past.history
        given = _leading_system(request.messages)
        system = request.messages[:given] or past.system
        new = request.messages[given:]
        if not new and not past.messages:
            raise InvalidRequest("The session is empty and the request brings no message to answer.", param="messages")
        pinned = frozenset(len(system) + place for place in past.pinned)
        self._layout = Layout(system=len(system), new=len(new), pinned=pinned)
        return msgspec.structs.replace(request, messages=(*system, *past.messages, *new))

    @property
    def layout(self) -> Layout:
        """How the composed request is laid out."""
        if self._layout is None:
            raise RuntimeError("compose comes first")
        return self._layout

    @property
    def summary(self) -> Summary | None:
        """What stands for the beginning of the conversation, which the composed request lacks."""
        past = self._past.history
        return None if past.summary is None else Summary(text=past.summary, first_seq=1, last_seq=past.covered)

    def seq_of(self, place: int) -> int:
        """The number of the history's message at `place` of the composed request."""
        return self._past.history.seqs[place - self.layout.system]

    async def begin(self, request: Request, summary: Summary | None = None) -> None:
        """Make the turn's own input durable.

        `request` is what `compose` returned after any masking, and without what did not fit: its system messages still
        come first and its new ones last. `summary` is a new one, to be kept with the turn. Raises `Conflict` when the
        session has gone on or ended meanwhile, and `StoreUnavailable`; nothing is stored then. A cancellation arrives
        after it.
        """
        past, layout = self._past, self.layout
        system = request.messages[: layout.system]
        new = request.messages[len(request.messages) - layout.new :]
        if past.resumed_input is not None:
            begun, writes = self._writes.resume(input_end=past.resumed_input, head=past.head)
        else:
            # Compared as masked: a client that repeats its unmasked system message must not change the session.
            changed = () if system == past.history.system else system
            items = [
                *_summary_items(summary),
                *(NewItem(message=message) for message in changed),
                *(NewItem(message=message, pinned=self._pin) for message in new),
            ]
            begun, writes = self._writes.begin(items, head=past.head, began_after=past.began_after)
        await self._durable.commit(self._project, (*past.writes, *writes), what="this turn")
        self._begun = begun

    async def establish(self) -> None:
        """Make a session that this turn would have made, without the turn: its input was blocked."""
        if self._past.writes:
            await self._durable.commit(self._project, self._past.writes, what="this session")

    def ending(self, response: Response) -> Sequence[Write]:
        """What makes the answer durable and closes the turn. Run, it raises `Conflict` when the branch has gone on."""
        if self._begun is None:
            raise RuntimeError("begin comes first")
        choice = response.choices[0]
        item = NewItem(message=choice.message, stop_reason=choice.stop.reason, usage=response.usage)
        return self._writes.ending([item], self._begun, call=self._call)

    async def break_off(self, parts: Sequence[Part]) -> None:
        """Keep what there is of an answer that will not end, as an incomplete item. Raises like `begin`."""
        kept = tuple([part for part in parts if not isinstance(part, Text) or part.text])
        if self._begun is None or not kept:
            return
        item = NewItem(message=Message(role=Role.ASSISTANT, parts=kept), status=ItemStatus.INCOMPLETE)
        writes = self._writes.break_off(item, self._begun, call=self._call)
        await self._durable.commit(
            self._project, writes, what="the interrupted answer", deadline_s=BREAK_OFF_DEADLINE_S
        )

    async def aclose(self) -> None:
        """Release the session. Idempotent; what was stored stays."""
        await self._lock.release()


def _summary_items(summary: Summary | None) -> Sequence[NewItem]:
    if summary is None:
        return ()
    message = Message(role=Role.SYSTEM, parts=(Text(text=summary.text),))
    return (NewItem(message=message, kind=ItemKind.SUMMARY, covers_seq=summary.last_seq),)


def _leading_system(messages: Sequence[Message]) -> int:
    """How many system messages stand before the first other one."""
    count = 0
    for message in messages:
        if message.role is not Role.SYSTEM:
            break
        count += 1
    return count


__all__ = ["BREAK_OFF_DEADLINE_S", "Layout", "Past", "Turn"]
