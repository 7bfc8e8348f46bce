"""Writes the record of a call: durable first, then counted and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import msgspec
import structlog

from bedplate_core.errors import StoreUnavailable
from bedplate_gateway.records.logs import Line, json_lines
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.record import CallRecord

_LOGGER = "bedplate.call"
_encoder = msgspec.json.Encoder()


class DurableRows(Protocol):
    """Where records become durable (`bedplate_store.row_writer.RowWriter`)."""

    def put(self, row: bytes, settle: Callable[[StoreUnavailable | None], None]) -> None: ...

    @property
    def healthy_for_admission(self) -> bool: ...


class CallLine(Line, kw_only=True):
    """The log line of one finished call."""

    event: str = "call"
    logger: str = _LOGGER
    call_id: str
    project_id: str
    key_id: str
    operation: str
    model: str | None
    outcome: str
    status: int | None
    stop_reason: str | None
    stream: bool
    session_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    first_event_ms: float | None
    total_ms: float | None


class Recorder:
    """The sink of every call's record. One per process."""

    def __init__(self, rows: DurableRows, metrics: Metrics) -> None:
        self._rows = rows
        self._metrics = metrics
        self._log = structlog.stdlib.get_logger(_LOGGER)
        self._lines = json_lines()

    def admit(self) -> None:
        """Raise `StoreUnavailable` when a record could not be kept, so that no call runs unrecorded."""
        if not self._rows.healthy_for_admission:
            raise StoreUnavailable("calls cannot be recorded at the moment; try again later", retry_after_s=5)

    def write(self, record: CallRecord) -> asyncio.Future[None]:
        """Have `record` written; to be awaited, done once it is durable. Metrics and the log line follow it and never
        fail the call.

        The future raises `StoreUnavailable` when neither Postgres nor the spool took it; it is logged in full then.
        Cancelled: all of that happens all the same.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        settle = partial(self._settled, record, waiter)
        try:
            self._rows.put(_encoder.encode(record), settle)
        except StoreUnavailable as error:
            settle(error)
        return waiter

    def observe(self, record: CallRecord) -> None:
        """Count and log a record that was made durable elsewhere, with the turn it belongs to."""
        self._metrics.observe(record)
        self._log_call(record)

    def _settled(self, record: CallRecord, waiter: asyncio.Future[None], error: StoreUnavailable | None) -> None:
        if not waiter.done():  # else it was cancelled
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        if error is None:
            self.observe(record)
        else:
            self._metrics.observe(record)
            self._log.error("record_lost", record=msgspec.to_builtins(record))

    def _log_call(self, record: CallRecord) -> None:
        line = CallLine(
            timestamp=datetime.now(UTC),
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
        if self._lines is not None:
            self._lines.write(line)
            return
        fields = msgspec.structs.asdict(line)
        for name in Line.__struct_fields__:
            del fields[name]
        self._log.info("call", **fields)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


__all__ = ["DurableRows", "Recorder"]
