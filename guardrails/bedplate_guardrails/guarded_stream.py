"""An answer under way with a guardrail's output rules enforced."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from bedplate_core.assessment import Assessment, GuardrailRef
from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Batch, Event, EventStream
from bedplate_core.verdicts import Side, Verdict
from bedplate_guardrails.document import GuardrailDocument
from bedplate_guardrails.evaluation import EvaluationFailed
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.output_guard import OutputGuard
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import Tally
from bedplate_guardrails.window_guard import WindowGuard


class GuardedStream:
    """An `EventStream` with a policy's output rules enforced. Made by `Policy.guard_output`.

    Batches keep their order and become smaller; one with nothing to let out is not yielded. When every choice is
    blocked the upstream is closed and then `Finish` is yielded, with the usage the upstream had reported by then. When
    the upstream fails, its error is raised and nothing that was held back leaves. When a detector or a model fails, the
    upstream is closed and `GuardrailUnavailable` is raised. Cancelled, it may be closed only; closed, nothing runs on.

    `verdicts` are final once the stream ended, failed or was closed; no `ALLOW` is among them unless the answer was
    judged to its end. Findings behind the place where a choice is blocked may be among them, where they came in the
    same batch. The latency of the `assessment` is the models', and that of the patterns where the answer came in one
    batch.
    """

    __slots__ = ("_done", "_events", "_guard", "_guarding", "_scanned", "_tally", "_timed", "_windows")

    def __init__(
        self,
        events: EventStream,
        ref: GuardrailRef,
        document: GuardrailDocument,
        rules: SideRules,
        guarding: Guarding,
        context: AnswerContext,
        *,
        tally: Tally | None = None,
    ) -> None:
        """`tally` is where findings are counted, where the caller has a use of its own for it."""
        self._events = events
        self._guarding = guarding
        self._tally = tally or Tally(ref, Side.OUTPUT, kinds=rules.kinds)
        message = document.blocked_outputs_messaging
        judged = bool(rules.models) or rules.shape.judges_whole_answer
        self._guard = OutputGuard(rules, self._tally, message, announces=not judged) if rules else None
        self._windows = WindowGuard(rules, self._tally, guarding, context, message) if judged else None
        self._done = False
        self._scanned = False
        self._timed = False

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was decided so far, by rule; empty when no rule runs on answers."""
        return () if self._guard is None else self._tally.verdicts(ended=self._scanned)

    @property
    def assessment(self) -> Assessment:
        """What was found so far, in full."""
        if self._guard is not None:
            self._tally.chars = self._guard.chars
        return self._tally.assessment(self._guarding.origin)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        guard = self._guard
        if guard is None:
            return await self._events.__anext__()
        while not self._done:
            try:
                batch = await self._events.__anext__()
            except StopAsyncIteration:
                self._done = True
                raise UpstreamProtocolError("the upstream's answer broke off") from None
            except BaseException:
                self._done = True
                raise
            out = await self._taken(guard, batch)
            if out:
                return out
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the upstream. Nothing that is held back leaves."""
        self._done = True
        try:
            if self._windows is not None:
                await self._windows.aclose()
        finally:
            await self._events.aclose()

    def _matched(self, guard: OutputGuard, batch: Batch) -> list[Event]:
        """What patterns let out. A clock would cost a stream more than it could show: only the first batch is timed."""
        if self._timed:
            return guard.take(batch)
        self._timed = True
        began_s = time.perf_counter()
        try:
            return guard.take(batch)
        finally:
            self._tally.elapsed_s += time.perf_counter() - began_s

    async def _taken(self, guard: OutputGuard, batch: Batch) -> Batch:
        windows = self._windows
        try:
            out = self._matched(guard, batch)
            if windows is not None:
                out = await windows.take(out, guard.blocked)
                guard.stop(windows.blocked)
        except EvaluationFailed as error:
            failure = self._tally.fail(error)
            await self.aclose()
            raise failure from error
        except GatewayError:
            await self.aclose()
            raise
        except Exception as error:
            failure = self._tally.fail(error)
            await self.aclose()
            raise failure from error
        except BaseException:
            self._done = True
            raise
        if guard.finished:
            self._done = self._scanned = True
        elif guard.all_blocked or (windows is not None and windows.all_blocked):
            await self.aclose()
            self._scanned = True
            out.append(guard.early_finish())
        return out


__all__ = ["GuardedStream"]
