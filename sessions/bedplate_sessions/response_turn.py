"""One answer that builds on stored responses and is itself stored as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.ids import SessionId
from bedplate_core.messages import Message, Part, Role, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.summary import Summary
from bedplate_sessions.durable import Write
from bedplate_sessions.response_rows import Ancestor, StoredResponse
from bedplate_sessions.turn import Layout

Keep: TypeAlias = Callable[[StoredResponse], Write]
"""Makes the write that stores a response."""

_SHOWN = 64
"""Characters of a call's id in an error."""


class ResponseTurn:
    """A turn under way; see `StoredResponses.open_turn`. It holds nothing that must be released.

    Use: `compose` the request, check and answer it, and make what `ending` returns durable before the answer's end is
    shown. Not for use by several tasks at once. `keep` makes the write that stores a response; None keeps nothing.
    """

    session_id: SessionId | None = None
    """A response is no turn of a session."""

    branch = 0
    context: ContextPolicy | None = None
    summary: Summary | None = None

    def __init__(
        self,
        *,
        response_id: str,
        chain: Sequence[Ancestor],
        instructions: int,
        settings: Callable[[Request], bytes],
        keep: Keep | None,
    ) -> None:
        self._response_id = response_id
        self._chain = chain
        self._instructions = instructions
        self._settings = settings
        self._keep = keep
        self._new = 0
        self._request: Request | None = None

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
        require_answers(past, new)
        messages = (*instructions, *past, *new)
        self._new = len(new)
        return msgspec.structs.replace(request, messages=messages)

    @property
    def layout(self) -> Layout:
        """How the composed request is laid out."""
        return Layout(system=self._instructions, new=self._new, pinned=frozenset())

    def seq_of(self, place: int) -> int:
        """Responses are not numbered, and nothing of them is ever summarised."""
        raise RuntimeError(f"message {place} has no number")

    async def begin(self, request: Request, summary: Summary | None = None) -> None:
        """Take note of the request as the policy let it through. Nothing is stored before the answer is there."""
        self._request = request

    async def establish(self) -> None:
        """There is nothing to make."""

    def ending(self, response: Response) -> Sequence[Write]:
        """What makes the response durable, if it is to be stored."""
        request = self._request
        if request is None:
            raise RuntimeError("begin comes first")
        if self._keep is None:
            return ()
        choice = response.choices[0]
        return (
            self._keep(
                StoredResponse(
                    id=self._response_id,
                    parent_id=self._chain[-1].id if self._chain else None,
                    model=request.model,
                    created_s=response.created_s,
                    input=request.messages[len(request.messages) - self._new :],
                    output=choice.message,
                    stop_reason=choice.stop.reason,
                    usage=response.usage,
                    settings=self._settings(request),
                )
            ),
        )

    async def break_off(self, parts: Sequence[Part]) -> None:
        """An answer that broke off is no response: nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is held. Idempotent; what was stored stays."""


def require_answers(past: Sequence[Message], new: Sequence[Message]) -> None:
    """Raise `InvalidRequest` unless the results that `new` begins with answer exactly the calls open in `past`.

    Those are the calls of the model's last turn that no result behind it answers. An empty `past` asks for nothing.
    """
    if not past:
        return
    asked: list[str] = []
    answered: set[str] = set()
    for message in reversed(past):
        if message.role is not Role.TOOL:
            asked = [part.id for part in message.parts if isinstance(part, ToolCall) and part.id not in answered]
            break
        answered.update(part.call_id for part in message.parts if isinstance(part, ToolResult))
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


__all__ = ["Keep", "ResponseTurn", "require_answers"]
