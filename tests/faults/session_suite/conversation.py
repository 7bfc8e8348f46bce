"""A client that holds one conversation and does not give up a turn before it has seen its end."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping

import httpx

from tests.faults.session_suite.checker import SentTurn
from tests.faults.session_suite.wires import WIRES, Unfinished, Wire

AGAIN = 0.25
"""The share of acknowledged turns that are asked for once more under the same key."""

LEAVES = 0.1
"""The share of attempts whose client closes the connection after the first bytes, and comes back with its key."""

PAUSE_S = (0.05, 0.2)
UNKEYED_PAUSE_S = 0.5
GIVE_UP_S = 60.0
"""A turn that takes longer counts as never acknowledged."""

_TRY_AGAIN = frozenset({409, 424, 500, 502, 503, 504, 529})
"""424 is Bedrock's for a model that failed, 529 Anthropic's for one that is overloaded."""


class Refused(Exception):
    """An answer that sending the same again cannot change: this suite sends nothing that deserves one."""


class Tally:
    """Counts of all clients."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.retries = 0
        self.left = 0
        self.asked_again = 0
        self.statuses: dict[int, int] = {}
        self.last_error = ""

    def __str__(self) -> str:
        return f"{self.acknowledged} acknowledged, {self.retries} retries, {self.statuses}, last {self.last_error!r}"


class Conversation:
    """Sends turns in all dialects, one after another, each until it is acknowledged.

    Without `keyed` a turn is sent once and given up when that fails, as a client does that knows nothing of keys.
    """

    def __init__(
        self, number: int, client: httpx.AsyncClient, api_key: str, tally: Tally, *, keyed: bool = True
    ) -> None:
        self.turns: list[SentTurn] = []
        self._number = number
        self._client = client
        self._api_key = api_key
        self._tally = tally
        self._keyed = keyed
        self._session: str | None = None
        self._random = random.Random(number)

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """Hold the conversation as long as `goes_on` says, and end the turn under way. Raises `Refused`."""
        while goes_on():
            wire = self._random.choice(WIRES)
            question = f"conversation {self._number} turn {len(self.turns)} {self._random.getrandbits(64):x}"
            turn = SentTurn(conversation=self._number, number=len(self.turns), question=question, keyed=self._keyed)
            self.turns.append(turn)
            self.turns[-1] = await (self._insist(turn, wire) if self._keyed else self._once(turn, wire))

    async def _insist(self, turn: SentTurn, wire: Wire) -> SentTurn:
        headers = self._headers | {"idempotency-key": f"key {turn.question}"}
        began_s = time.monotonic()
        while time.monotonic() < began_s + GIVE_UP_S:
            got = await self._attempt(wire, turn.question, headers, leaves=self._random.random() < LEAVES)
            if got is not None:
                return await self._acknowledge(turn, wire, headers, *got)
            self._tally.retries += 1
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
        return turn

    async def _once(self, turn: SentTurn, wire: Wire) -> SentTurn:
        got = await self._attempt(wire, turn.question, self._headers)
        if got is None:
            await asyncio.sleep(UNKEYED_PAUSE_S)
            return turn
        return self._seen(turn, wire, *got)

    @property
    def _headers(self) -> dict[str, str]:
        session = self._session or "auto"
        if self._keyed and self._number % 2:
            # A retry that did not take up its own turn would go on from it, and the question would be there twice.
            session += "; on_interrupted=continue"
        return {"authorization": f"Bearer {self._api_key}", "x-bedplate-session": session}

    def _seen(self, turn: SentTurn, wire: Wire, session: str, *bodies: bytes) -> SentTurn:
        self._session = session
        self._tally.acknowledged += 1
        return SentTurn(
            conversation=turn.conversation,
            number=turn.number,
            question=turn.question,
            keyed=turn.keyed,
            bodies=bodies,
            answer=wire.read(bodies[0]),
            session=session,
        )

    async def _acknowledge(
        self, turn: SentTurn, wire: Wire, headers: Mapping[str, str], session: str, body: bytes
    ) -> SentTurn:
        bodies = [body]
        while self._random.random() < AGAIN:
            got = await self._attempt(wire, turn.question, headers)
            if got is not None:  # killed meanwhile: what was acknowledged stays so
                self._tally.asked_again += 1
                bodies.append(got[1])
        return self._seen(turn, wire, session, *bodies)

    async def _attempt(
        self, wire: Wire, question: str, headers: Mapping[str, str], *, leaves: bool = False
    ) -> tuple[str, bytes] | None:
        """The session and the body of a whole answer; None when it was cut, refused for now, or left."""
        body = b""
        content = json.dumps(wire.body(question)).encode()
        sent = {**headers, "content-type": "application/json"}
        try:
            async with self._client.stream("POST", wire.path, content=content, headers=sent) as response:
                self._tally.statuses[response.status_code] = self._tally.statuses.get(response.status_code, 0) + 1
                async for piece in response.aiter_raw():
                    body += piece
                    if leaves:
                        self._tally.left += 1
                        return None
        except httpx.HTTPError:
            return None
        if response.status_code in _TRY_AGAIN:
            self._tally.last_error = body.decode(errors="replace")
            return None
        if response.status_code != 200:
            raise Refused(f"{wire.name}: {response.status_code} {body.decode(errors='replace')}")
        try:
            wire.read(body)
        except Unfinished:
            return None
        return response.headers["x-bedplate-session"], body


__all__ = ["Conversation", "Refused", "Tally"]
