"""Moderation: what the content filters and the call's guardrails say of texts that no model is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.messages import Message, Role, Text
from bedplate_core.requests import Request
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.engine import Engine
from bedplate_guardrails.evaluation import ContentTask, Scores
from bedplate_guardrails.passages import windows_of

_TIMEOUT_S = 10.0


class Moderated(msgspec.Struct, frozen=True, kw_only=True):
    """For each text its scores by filter, and whether a guardrail of the call would block it."""

    scores: tuple[Mapping[str, float], ...]
    blocked: tuple[bool, ...]


async def moderate(
    engine: Engine, call: Call, texts: Sequence[str], filters: tuple[str, ...]
) -> tuple[Moderated, Answer]:
    """Evaluate every text to its end. The call is recorded when this returns or raises. Raises `GatewayError`."""

    async def work(answer: Answer) -> Moderated:
        guard = await engine.guard(answer)
        blocked: list[bool] = []
        for text in texts:
            said = Request(model="", messages=(Message(role=Role.USER, parts=(Text(text=text),)),))
            blocked.append(guard is not None and (await guard.check_input(said))[1] is not None)
        pieces = [(number, piece) for number, text in enumerate(texts) for piece in windows_of(text)]
        tasks = [ContentTask(text=piece, types=filters) for _, piece in pieces]
        results = await engine.evaluators.local.evaluate(call.principal.project, tasks, timeout_s=_TIMEOUT_S)
        scores: list[dict[str, float]] = [dict.fromkeys(filters, 0.0) for _ in texts]
        for (number, _), result in zip(pieces, results, strict=True):
            if not isinstance(result, Scores):
                raise GatewayError("the content model gave something else than scores")
            for kind, score in result.scores.items():
                scores[number][kind] = max(scores[number][kind], score)
        return Moderated(scores=tuple(scores), blocked=tuple(blocked))

    return await engine.evaluate(call, work)


__all__ = ["Moderated", "moderate"]
