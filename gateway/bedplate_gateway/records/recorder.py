"""Writes the record of a call: durable first, then counted and logged."""

from __future__ import annotations

from typing import Protocol

import msgspec
import structlog

from bedplate_core.errors import StoreUnavailable
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.record import CallRecord

_encoder = msgspec.json.Encoder()


class DurableRows(Protocol):
    """Where records become durable (`bedplate_store.row_writer.RowWriter`)."""

    async def append(self, row: bytes) -> None: ...

    @property
    def healthy_for_admission(self) -> bool: ...


class Recorder:
    """The sink of every call's record. One per process."""

    def __init__(self, rows: DurableRows, metrics: Metrics) -> None:
        self._rows = rows
        self._metrics = metrics
        self._log = structlog.stdlib.get_logger("bedplate.call")

    def admit(self) -> None:
        """Raise `StoreUnavailable` when a record could not be kept, so that no call runs unrecorded."""
        if not self._rows.healthy_for_admission:
            raise StoreUnavailable("calls cannot be recorded at the moment; try again later", retry_after_s=5)

    async def write(self, record: CallRecord) -> None:
        """Return once `record` is durable. Metrics and the log line follow it and never fail the call.

        Raises `StoreUnavailable` when neither Postgres nor the spool took it; it is logged in full then.
        """
        try:
            await self._rows.append(_encoder.encode(record))
        except StoreUnavailable:
            self._log.error("record_lost", record=msgspec.to_builtins(record))
            self._metrics.observe(record)
            raise
        self._metrics.observe(record)
        self._log.info(
            "call",
            call_id=record.id,
            project_id=record.project_id,
            key_id=record.key_id,
            operation=record.operation,
            model=record.model,
            outcome=record.outcome,
            status=record.http_status,
            stop_reason=record.stop_reason,
            stream=record.stream,
            session_id=record.session_id,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            first_event_ms=_rounded(record.first_event_ms),
            total_ms=_rounded(record.total_ms),
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


__all__ = ["DurableRows", "Recorder"]
