"""One call, as it is remembered. The fields are the columns of the `invocation` table."""

from __future__ import annotations

from datetime import datetime

import msgspec

from bedplate_core.verdicts import Verdict
from bedplate_gateway.records.guardrail_use import GuardrailUse


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one call. Exactly one exists per call whose principal was known.

    `outcome` is `completed`, `cancelled` (the client left) or the code of the error that ended it. A guardrail
    that stopped the answer is `completed` with the stop reason `guardrail`. Times are milliseconds from the
    moment the request's headers had arrived; `first_event_ms` is None when no event came. Token counts are None
    when the upstream had not said any.
    """

    id: str
    project_id: str
    key_id: str
    dialect: str
    operation: str
    stream: bool
    started_at: datetime
    total_ms: float
    outcome: str
    model: str | None = None
    provider: str | None = None
    upstream_model: str | None = None
    replica: str | None = None
    session_id: str | None = None
    first_event_ms: float | None = None
    error_code: str | None = None
    http_status: int | None = None
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    verdicts: tuple[Verdict, ...] = ()
    guardrails: tuple[GuardrailUse, ...] = ()
    versions: dict[str, str] = msgspec.field(default_factory=dict[str, str])


__all__ = ["CallRecord"]
