"""The owner of one call: it follows the events to their end and writes exactly one record, however they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from bedplate_core.errors import GatewayError, UpstreamTimeout
from bedplate_core.events import Batch, EventStream, Finish, Progress, StopReason
from bedplate_core.ids import SessionId
from bedplate_core.response import Fold, Response
from bedplate_core.usage import Usage
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.call_guard import GuardReport
from bedplate_gateway.engine.memory import Remembering
from bedplate_gateway.engine.settlement import Settlements
from bedplate_gateway.records.record import CallRecord
from bedplate_gateway.records.record_write import record_write
from bedplate_gateway.records.recorder import Recorder
from bedplate_gateway.version import VERSION
from bedplate_sessions.durable import Durable, Write

_log = structlog.stdlib.get_logger("bedplate.engine")

CANCELLED = "cancelled"
COMPLETED = "completed"
BeforeEnd = Callable[[Finish, Response], Sequence[Write]]
"""What else becomes durable with the end of an answer, and in the same transaction."""


class Answer:
    """An event stream with an owner.

    The engine fills it in as the call proceeds: route, session, guardrail, upstream. From the first line on it owes one
    record. The record is written when the last event is about to leave (and is durable before it does), when the
    stream or the preparation raises, or when `aclose` finds that nobody waited for the end. Only the first of
    these counts. Before the record is written, everything held is released, the upstream first.

    The turn of an answer that is `kept` is one transaction with the record, and so is what `before_end` adds: they are
    durable together before the last event leaves, or that event is an error. An answer that does not end leaves what
    had come of it with its turn.
    """

    def __init__(
        self,
        call: Call,
        stream: bool,
        model: str | None,
        recorder: Recorder,
        settle: Settlements,
        durable: Durable,
    ) -> None:
        self.call = call
        self.session_id: SessionId | None = None
        self.model = model
        self.provider: str | None = None
        self.upstream_model: str | None = None
        self.versions: dict[str, str] = {"gateway": VERSION}
        self.usage: Usage | None = None
        self._stream = stream
        self._recorder = recorder
        self._settlements = settle
        self._started_at = datetime.now(UTC)
        self._first_event_s: float | None = None
        self._stop_reason: str | None = None
        self._replica: Callable[[], str | None] | None = None
        self.guard: GuardReport | None = None
        self._held: list[Callable[[], Awaitable[None]]] = []
        self._lingers = False
        self._events: EventStream | None = None
        self._finish: Finish | None = None
        self._settled = False
        self._recorded = False
        self._durable = durable
        self._turn: Remembering | None = None
        self._before_end: BeforeEnd | None = None
        self._fold: Fold | None = None
        self._headers: dict[str, str] = {"x-request-id": call.id}

    def hold(self, release: Callable[[], Awaitable[None]], *, lingers: bool = False) -> None:
        """Have `release` (returning an awaitable) called at the end, in the reverse order of holding.

        Once, or again when the first time was cut off by a cancellation, unless it `lingers`: that says that after a
        good end it may still have to wait for something, and then it runs where no cancellation reaches it.
        """
        self._held.append(release)
        self._lingers = self._lingers or lingers

    def guarded_by(self, guard: GuardReport) -> None:
        """Note the guardrails of the call: the record and the last event say what they did."""
        self.guard = guard
        self.versions["guardrail"] = guard.label

    def replica_from(self, source: Callable[[], str | None]) -> None:
        """Ask `source` for the replica when the record is written."""
        self._replica = source

    def first_event(self) -> None:
        """Note that the upstream's first event is there."""
        self._first_event_s = time.perf_counter()

    def follow(self, events: EventStream) -> None:
        """From now on this answer's events are those of `events`, the outermost stage."""
        self._events = events
        self.hold(events.aclose)

    def keep(self, turn: Remembering) -> None:
        """Make the answer's end wait until `turn`, which has begun, is durable. Before `follow`."""
        self._turn = turn
        self._fold = self._fold or Fold()
        self.hold(self._break_off)

    def before_end(self, writes: BeforeEnd) -> None:
        """Have what `writes` returns become durable with the end. Before the first event is read."""
        self._before_end = writes
        self._fold = self._fold or Fold()

    def tell(self, name: str, value: str) -> None:
        """Add a response header. `name` is in lower case."""
        self._headers[name] = value

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers that every dialect sends with this answer."""
        return self._headers

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        if self._finish is not None:
            return await self._last()
        if self._events is None or self._settled:
            raise StopAsyncIteration
        try:
            batch = await anext(self._events)
        except StopAsyncIteration:
            if not self._settled:
                await self.fail(RuntimeError("the stream ended without Finish"))
            raise
        except BaseException as error:
            await self.fail(error)
            raise
        if self._fold is not None:
            self._fold.extend(batch)
        last = batch[-1]
        if type(last) is Finish:
            self._finish = last
            self._note(batch)
            if len(batch) > 1:
                return batch[:-1]  # nothing that is ready waits for the record, only the end does
            return await self._last()
        self._note(batch)
        return batch

    def _note(self, batch: Batch) -> None:
        for event in batch:
            if type(event) is Progress or type(event) is Finish:
                self.usage = event.usage

    async def _last(self) -> Batch:
        finish = self._finish
        if finish is None:
            raise StopAsyncIteration
        self._finish = None
        trace = None if self.guard is None else self.guard.trace()
        if trace is not None:
            finish = msgspec.structs.replace(finish, guardrail=trace)
        self._stop_reason = finish.stops[0].reason.value if finish.stops else None
        if self._fold is not None:
            await self._commit(finish, self._fold)
        await self._settle(COMPLETED, 200, None)
        return [finish]

    async def _commit(self, finish: Finish, fold: Fold) -> None:
        """Make the turn, the record and what else belongs to the end durable in one transaction.

        Raising, the call has ended with that error. A cancellation arrives after the transaction, and if that succeeded
        the call has ended well.
        """
        try:
            response = fold.response()
            writes = list(self._turn.ending(response)) if self._turn is not None else []
            if self._before_end is not None:
                writes.extend(self._before_end(finish, response))
            if not writes:
                return
            record = self._record(COMPLETED, 200, None)

            def stored() -> None:
                self._recorded = True
                self._recorder.observe(record)

            writes.append(record_write(record))
            await self._durable.commit(self.call.principal.project, writes, what="this turn", then=stored)
        except asyncio.CancelledError as error:
            if not self._recorded:
                self._stop_reason = None
                await self.fail(error)
            else:
                self._settled = True
                self._settlements.begin(self._release())
            raise
        except BaseException as error:
            self._stop_reason = None  # it did not end that way after all
            await self.fail(error)
            raise

    async def _break_off(self) -> None:
        """Leave what there is of an answer that did not end with its turn."""
        if self._turn is None or self._fold is None or self._recorded:
            return
        try:
            await self._turn.break_off(self._fold.parts(0))
        except GatewayError as error:
            _log.warning("interrupted_answer_lost", call_id=self.call.id, code=error.code)

    async def fail(self, error: BaseException) -> None:
        """The call ended with `error` before its last event. Returns once that is on record.

        A cancellation means that the client left or the process stops, or that the call took too long. When the
        caller itself is cancelled meanwhile, the record is written all the same.
        """
        match error:
            case asyncio.CancelledError() if self.call.overdue:
                await self._settle(UpstreamTimeout.code, UpstreamTimeout.status, UpstreamTimeout.code)
            case asyncio.CancelledError() | GeneratorExit():
                await self._settle(CANCELLED, 499, None)
            case GatewayError():
                await self._settle(error.code, error.status, error.code)
            case _:
                _log.error("call_failed", call_id=self.call.id, exc_info=error)
                await self._settle("internal", 500, "internal")

    def stopped(self, reason: StopReason) -> None:
        """Note why an answer that has no event stream ended, for the record."""
        self._stop_reason = reason.value

    async def complete(self) -> None:
        """The call ended well without an event stream (embeddings)."""
        await self._settle(COMPLETED, 200, None)

    async def aclose(self) -> None:
        """Release everything and write the record, unless that has happened. Idempotent, not stopped by cancelling."""
        await self._settle(CANCELLED, 499, None)

    async def _settle(self, outcome: str, status: int, error_code: str | None) -> None:
        if self._settled:
            return
        self._settled = True
        if outcome is not COMPLETED or self._lingers:
            await self._settlements.run(self._settlement(outcome, status, error_code))
            return
        # A good end has nothing to wait for but the record, which is kept whoever waits for it: no task is needed.
        try:
            await self._release()
        except asyncio.CancelledError:
            self._settlements.begin(self._settlement(outcome, status, error_code))
            raise
        if not self._recorded:
            await self._recorder.write(self._record(outcome, status, error_code))

    async def _settlement(self, outcome: str, status: int, error_code: str | None) -> None:
        await self._release()
        if not self._recorded:
            await self._recorder.write(self._record(outcome, status, error_code))

    async def _release(self) -> None:
        held = self._held
        while held:
            try:
                await held[-1]()
            except Exception:
                _log.exception("release_failed", call_id=self.call.id)
            held.pop()

    def _record(self, outcome: str, status: int, error_code: str | None) -> CallRecord:
        call, usage = self.call, self.usage
        return CallRecord(
            id=call.id,
            project_id=call.principal.project,
            key_id=call.principal.key_id,
            dialect=call.dialect,
            operation=call.operation,
            stream=self._stream,
            started_at=self._started_at,
            total_ms=(time.perf_counter() - call.started_s) * 1000,
            first_event_ms=(None if self._first_event_s is None else (self._first_event_s - call.started_s) * 1000),
            outcome=outcome,
            http_status=status,
            error_code=error_code,
            stop_reason=self._stop_reason,
            model=self.model,
            provider=self.provider,
            upstream_model=self.upstream_model,
            replica=self._replica() if self._replica is not None else None,
            session_id=self.session_id,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_input_tokens=usage.cached_input_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            verdicts=() if self.guard is None else self.guard.verdicts(),
            guardrails=() if self.guard is None else self.guard.uses(),
            versions=self.versions,
        )


__all__ = ["Answer", "BeforeEnd"]
