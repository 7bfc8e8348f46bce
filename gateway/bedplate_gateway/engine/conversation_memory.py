"""The memory of a call that is a turn of a conversation and whose answer is stored as a response beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from bedplate_core.errors import NotFound
from bedplate_core.ids import SessionId
from bedplate_core.messages import Message, Part, Role
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Remembering
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.summary import Summary
from bedplate_sessions.durable import Write
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.response_rows import StoredResponse
from bedplate_sessions.response_turn import Keep, require_answers
from bedplate_sessions.store import Sessions
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_sessions.turn import Layout, Turn
from bedplate_sessions.turn_options import TurnOptions


class ConversationMemory:
    """A `Memory`: the conversation with the id `conversation`, which may be any of a session's ids.

    `instructions` is how many of the request's first messages are instructions: they stand before everything else in
    this turn and are no part of the conversation. With `store` the answer is stored as the response `response_id`
    too, in the turn's transaction; `settings` makes what is stored beside it. `wait_s` is how long a turn that is
    already running is waited for.
    """

    def __init__(
        self,
        sessions: Sessions,
        stored: StoredResponses,
        *,
        conversation: str,
        response_id: str,
        store: bool,
        instructions: int,
        settings: Callable[[Request], bytes],
        wait_s: float,
        options: TurnOptions | None = None,
    ) -> None:
        self._sessions = sessions
        self._stored = stored
        self._conversation = conversation
        self._response_id = response_id
        self._store = store
        self._instructions = instructions
        self._settings = settings
        self._wait_s = wait_s
        self._options = options

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`."""
        project, key = call.principal.project, call.principal.key_id
        session = session_of(self._conversation)
        if session is None:
            raise NotFound("There is no conversation with this id in your project.", param="conversation")
        turn = await self._sessions.open_turn(
            project=project,
            session=session,
            call=call.id,
            key=key,
            wait_s=self._wait_s,
            options=self._options,
            turn=call.turn,
        )
        try:
            keep = await self._stored.keep_in_session(project, key, session) if self._store else None
        except BaseException:
            await turn.aclose()
            raise
        return ConversationTurn(
            turn,
            response_id=self._response_id,
            instructions=self._instructions,
            settings=self._settings,
            keep=keep,
        )


class ConversationTurn:
    """A turn of a session, with instructions of its own before it and a response beside it. Closing it closes `turn`.

    `keep` makes the write that stores the response; None: no response is stored.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        response_id: str,
        instructions: int,
        settings: Callable[[Request], bytes],
        keep: Keep | None,
    ) -> None:
        self._turn = turn
        self._response_id = response_id
        self._instructions = instructions
        self._settings = settings
        self._keep = keep
        self._given = 0
        """How many system messages the input begins with. They stand in for those of the session."""
        self._request: Request | None = None

    @property
    def session_id(self) -> SessionId | None:
        """The session."""
        return self._turn.session_id

    @property
    def branch(self) -> int:
        """The branch of the session."""
        return self._turn.branch

    @property
    def context(self) -> ContextPolicy | None:
        """See `Turn.context`."""
        return self._turn.context

    @property
    def summary(self) -> Summary | None:
        """See `Turn.summary`."""
        return self._turn.summary

    def compose(self, request: Request) -> Request:
        """The instructions, then what `Turn.compose` makes of the rest.

        Raises like that, and `InvalidRequest` when the input leaves a call of the conversation unanswered or answers
        one that was not made.
        """
        instructions = request.messages[: self._instructions]
        own = request.messages[self._instructions :]
        composed = self._turn.compose(msgspec.structs.replace(request, messages=own))
        layout = self._turn.layout
        self._given = len(own) - layout.new
        border = len(composed.messages) - layout.new
        require_answers(composed.messages[layout.system : border], composed.messages[border:])
        return msgspec.structs.replace(composed, messages=(*instructions, *composed.messages))

    @property
    def layout(self) -> Layout:
        """How the composed request is laid out; its instructions count as system messages."""
        layout, more = self._turn.layout, self._instructions
        return Layout(
            system=layout.system + more, new=layout.new, pinned=frozenset(place + more for place in layout.pinned)
        )

    def seq_of(self, place: int) -> int:
        """See `Turn.seq_of`."""
        return self._turn.seq_of(place - self._instructions)

    async def begin(self, request: Request, summary: Summary | None = None) -> None:
        """See `Turn.begin`; the instructions are not stored as items."""
        self._request = request
        own = msgspec.structs.replace(request, messages=request.messages[self._instructions :])
        await self._turn.begin(own, summary)

    async def establish(self) -> None:
        """See `Turn.establish`."""
        await self._turn.establish()

    def ending(self, response: Response) -> Sequence[Write]:
        """What makes the turn and the response durable, both or neither."""
        request = self._request
        if request is None:
            raise RuntimeError("begin comes first")
        writes = self._turn.ending(response)
        if self._keep is None:
            return writes
        choice = response.choices[0]
        stored = StoredResponse(
            id=self._response_id,
            parent_id=None,
            model=request.model,
            created_s=response.created_s,
            input=self._input(request),
            output=choice.message,
            stop_reason=choice.stop.reason,
            usage=response.usage,
            settings=self._settings(request),
        )
        return (*writes, self._keep(stored))

    async def break_off(self, parts: Sequence[Part]) -> None:
        """See `Turn.break_off`. An answer that broke off is an item of the conversation and no response."""
        await self._turn.break_off(parts)

    async def aclose(self) -> None:
        """See `Turn.aclose`."""
        await self._turn.aclose()

    def _input(self, request: Request) -> tuple[Message, ...]:
        """The messages of this request alone, without its instructions."""
        messages, layout = request.messages, self.layout
        given = messages[self._instructions : self._instructions + self._given]
        if any(message.role is not Role.SYSTEM for message in given):
            raise RuntimeError("the composed request was laid out anew")
        return (*given, *messages[len(messages) - layout.new :])


__all__ = ["ConversationMemory", "ConversationTurn"]
