"""One call, from before its request is understood."""

from __future__ import annotations

import time

import msgspec

from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.ids import CallId, SessionId
from bedplate_gateway.access.principal import Principal

_CLOCK_RESOLUTION_S = 0.005
"""An event loop's timer may ring this much early."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls what, as the edge and the dialect know it.

    `started_s` is `time.perf_counter()` at arrival; `timeout_s` is how long the call may take from then on. `turn` is
    the first call with this one's idempotency key, whose turn this one takes up; None: no such key, or the first.
    `session` is the session that such a call had begun: a call for a new one goes on with that. `guardrail` is what the
    request says about guardrails, None for nothing.
    """

    id: CallId
    principal: Principal
    dialect: str
    operation: str
    started_s: float
    timeout_s: float
    turn: CallId | None = None
    session: SessionId | None = None
    guardrail: GuardrailChoice | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the call's time is up; negative afterwards."""
        return self.started_s + self.timeout_s - time.perf_counter()

    @property
    def overdue(self) -> bool:
        """Whether the call's time is up, so that a cancellation is the clock's doing and not the client's."""
        return self.left_s <= _CLOCK_RESOLUTION_S


__all__ = ["Call"]
