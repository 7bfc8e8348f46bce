"""One answer that builds on stored responses and is stored itself before its last event leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.events import EventStream
from bedplate_core.ids import SessionId
from bedplate_core.messages import Message, Role, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_sessions.followed import Followed
from bedplate_sessions.response_rows import Ancestor, StoredResponse

_SHOWN = 64
"""Characters of a call's id in an error."""


class ResponseTurn:
    """A turn under way; see `StoredResponses.open_turn`. It holds nothing that must be released.

    Use: `compose` the request, check and answer it, let `follow` watch the answer, `aclose` in the end. Not for use
    by several tasks at once. `keep` makes a response durable; None keeps nothing.
    """

    session_id: SessionId | None = None
    """A response is no turn of a session."""

    def __init__(
        self,
        *,
        response_id: str,
        chain: Sequence[Ancestor],
        instructions: int,
        settings: Callable[[Request], bytes],
        keep: Callable[[StoredResponse], Awaitable[None]] | None,
    ) -> None:
        self._response_id = response_id
        self._chain = chain
        self._instructions = instructions
        self._settings = settings
        self._keep = keep
        self._new = 0
        self._total: int | None = None
        self._followed = False

    def compose(self, request: Request) -> Request:
        """`request` with the inputs and answers of all responses that it builds on before its own input.

        Its own instructions come first of all; those of earlier responses are not carried over. Raises
        `UnsupportedFeature` for raw prompts and for more than one choice, and `InvalidRequest` when the input leaves
        a stored tool call unanswered or answers one that was not made.
        """
        if request.prompts:
            raise UnsupportedFeature("A stored response is a chat: raw prompts cannot be part of it.", param="prompt")
        if request.choices != 1:
            raise UnsupportedFeature("A stored response has exactly one choice.", param="n")
        instructions = request.messages[: self._instructions]
        new = request.messages[self._instructions :]
        past = [message for each in self._chain for message in (*each.input, each.output)]
        if past:
            _require_answers(past[-1], new)
        messages = (*instructions, *past, *new)
        self._new, self._total = len(new), len(messages)
        return msgspec.structs.replace(request, messages=messages)

    def follow(self, request: Request, events: EventStream) -> EventStream:
        """The same events, with `Finish` held back until the response is durable, if it is to be stored.

        `request` is what `compose` returned, after any masking of its texts: as many messages, in the same order.
        Stored are that request's own messages and the answer as these events tell it. The stream raises
        `StoreUnavailable` instead of `Finish` if the response could not be stored; after an error, or when closed
        before the end, nothing is. A cancellation during the commit arrives after it. Closing the stream closes
        `events`.
        """
        if self._total is None or self._followed:
            raise RuntimeError("follow comes once, after compose")
        if len(request.messages) != self._total:
            raise RuntimeError(f"{len(request.messages)} messages, {self._total} were composed")
        self._followed = True
        if self._keep is None:
            return events
        return Followed(events, store=partial(self._store, request, self._keep), close=self.aclose)

    async def aclose(self) -> None:
        """Nothing is held. Idempotent; what was stored stays."""

    async def _store(self, request: Request, keep: Callable[[StoredResponse], Awaitable[None]], fold: Fold) -> None:
        answer = fold.response()
        choice = answer.choices[0]
        await keep(
            StoredResponse(
                id=self._response_id,
                parent_id=self._chain[-1].id if self._chain else None,
                model=request.model,
                created_s=answer.created_s,
                input=request.messages[len(request.messages) - self._new :],
                output=choice.message,
                stop_reason=choice.stop.reason,
                usage=answer.usage,
                settings=self._settings(request),
            )
        )


def _require_answers(last: Message, new: Sequence[Message]) -> None:
    """Raise `InvalidRequest` unless the results that `new` begins with answer exactly the calls in `last`."""
    asked = [part.id for part in last.parts if isinstance(part, ToolCall)]
    for message in new:
        if message.role is not Role.TOOL:
            break
        for part in message.parts:
            if isinstance(part, ToolResult):
                if part.call_id not in asked:
                    shown = part.call_id[:_SHOWN]
                    raise InvalidRequest(
                        f"input: there is no call for the function call output with call_id {shown!r}", param="input"
                    )
                asked.remove(part.call_id)
    if asked:
        raise InvalidRequest(f"input: there is no output for the function call {asked[0][:_SHOWN]!r}", param="input")


__all__ = ["ResponseTurn"]
