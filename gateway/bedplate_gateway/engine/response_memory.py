"""The memory of a call whose answer is stored as a response, or that builds on stored ones."""

from __future__ import annotations

from collections.abc import Callable

from bedplate_core.requests import Request
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Remembering
from bedplate_sessions.stored_responses import StoredResponses


class ResponseMemory:
    """A `Memory` of stored responses; see `StoredResponses.open_turn` for what the arguments mean."""

    def __init__(
        self,
        stored: StoredResponses,
        *,
        response_id: str,
        previous: str | None,
        store: bool,
        instructions: int,
        settings: Callable[[Request], bytes],
    ) -> None:
        self._stored = stored
        self._response_id = response_id
        self._previous = previous
        self._store = store
        self._instructions = instructions
        self._settings = settings

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`; raises `InvalidRequest` as well, for a chain that is too long."""
        return await self._stored.open_turn(
            project=call.principal.project,
            key=call.principal.key_id,
            response_id=self._response_id,
            previous=self._previous,
            store=self._store,
            instructions=self._instructions,
            settings=self._settings,
        )


__all__ = ["ResponseMemory"]
