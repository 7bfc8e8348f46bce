"""Texts that an upstream gave whole, as the output's rules let them out: the same guard that streams pass through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from bedplate_core.events import Batch, Delta, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.ids import new_response_id
from bedplate_core.messages import Text
from bedplate_core.response import collect
from bedplate_core.usage import Usage
from bedplate_gateway.engine.call_guard import CallGuard

_PIECE_CHARS = 20_000
"""How much is scanned before other calls get their turn: a few milliseconds."""


async def released(guard: CallGuard | None, runs: Sequence[Sequence[str]]) -> list[tuple[str, ...] | None]:
    """Each run of texts with the masks of the call's guardrails, or None where a rule blocks it.

    The texts of a run are read one after the other, so that a match that spans several is found; runs have nothing to
    do with each other. Raises `GuardrailUnavailable` when a rule cannot run.
    """
    if guard is None or not guard.guards_output:
        return [tuple(texts) for texts in runs]
    response = await collect(guard.guard_output(_events(runs)))
    out: list[tuple[str, ...] | None] = []
    for texts, choice in zip(runs, response.choices, strict=True):
        if choice.stop.reason is StopReason.GUARDRAIL:
            out.append(None)
            continue
        said = tuple(part.text for part in choice.parts if isinstance(part, Text))
        if len(said) != len(texts):
            raise RuntimeError(f"the guardrail let {len(said)} texts out of {len(texts)}")
        out.append(said)
    return out


async def _events(runs: Sequence[Sequence[str]]) -> AsyncGenerator[Batch, None]:
    """An answer with a choice for each run and a part for each text."""
    yield [Start(id=new_response_id(), model="", created_s=int(time.time()), choices=len(runs))]
    for choice, texts in enumerate(runs):
        for index, text in enumerate(texts):
            yield [PartStart(choice, index, Text(text=""))]
            for start in range(0, len(text), _PIECE_CHARS):
                yield [Delta(choice, index, text[start : start + _PIECE_CHARS])]
                await asyncio.sleep(0)
            yield [PartEnd(choice, index)]
    stops = tuple(Stop(choice=choice, reason=StopReason.END) for choice in range(len(runs)))
    yield [Finish(stops=stops, usage=Usage())]


__all__ = ["released"]
