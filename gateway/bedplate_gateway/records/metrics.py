"""Prometheus metrics. They are counted from the call records, so they cannot disagree with them."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bedplate_core.assessment import GuardrailUnits
from bedplate_gateway.records.guardrail_use import GuardrailUse
from bedplate_gateway.records.record import CallRecord

_UNITS = GuardrailUnits.__struct_fields__
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The gateway's metrics on one registry. `observe` takes each record once; some 5 microseconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._calls = Counter(
            "bedplate_calls_total",
            "Calls by how they ended",
            ["dialect", "operation", "model", "outcome", "stop_reason"],
            registry=registry,
        )
        self._seconds = Histogram(
            "bedplate_call_duration_seconds",
            "Time from the request's arrival to its last event",
            ["operation", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_event_seconds = Histogram(
            "bedplate_first_event_seconds",
            "Time from the request's arrival to the upstream's first event",
            ["operation", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "bedplate_tokens_total", "Tokens by direction", ["model", "direction"], registry=registry
        )
        self._verdicts = Counter(
            "bedplate_guardrail_verdicts_total",
            "Guardrail verdicts",
            ["side", "action"],
            registry=registry,
        )
        self._guardrail_seconds = Histogram(
            "bedplate_guardrail_duration_seconds",
            "Time that a guardrail took to evaluate one side of a call",
            ["guardrail", "side"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._guardrail_units = Counter(
            "bedplate_guardrail_text_units_total",
            "Text units (up to 1,000 characters) that guardrails evaluated, by kind of policy",
            ["policy"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "bedplate_calls_in_flight", "Calls under way", registry=registry, multiprocess_mode="livesum"
        )
        self.rejected = Counter(
            "bedplate_requests_rejected_total",
            "Requests turned away before a call began, by error code",
            ["code"],
            registry=registry,
        )
        self._bound: dict[tuple[str, str, str, str, str | None], _Bound] = {}
        self._bound_verdicts: dict[str, Counter] = {}
        self._bound_uses: dict[str, Histogram] = {}
        self._bound_units = {policy: self._guardrail_units.labels(policy) for policy in _UNITS}

    def observe(self, record: CallRecord) -> None:
        """Count one finished call. The model label is bounded: names that no route has count as `unknown`."""
        model = record.model if record.provider is not None and record.model is not None else "unknown"
        key = (record.dialect, record.operation, model, record.outcome, record.stop_reason)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._bind(record, model)
        bound.calls.inc()
        bound.seconds.observe(record.total_ms / 1000)
        if record.first_event_ms is not None:
            bound.first_event_seconds.observe(record.first_event_ms / 1000)
        if record.input_tokens:
            bound.input_tokens.inc(record.input_tokens)
        if record.output_tokens:
            bound.output_tokens.inc(record.output_tokens)
        for verdict in record.verdicts:
            kind = verdict.side + verdict.action  # as one text: an enum's hash is a call of Python
            counter = self._bound_verdicts.get(kind)
            if counter is None:
                counter = self._bound_verdicts[kind] = self._verdicts.labels(verdict.side.value, verdict.action.value)
            counter.inc()

        for use in record.guardrails:
            self._observe_use(use)

    def _observe_use(self, use: GuardrailUse) -> None:
        key = f"{use.name}\0{use.side}"
        seconds = self._bound_uses.get(key)
        if seconds is None:
            seconds = self._bound_uses[key] = self._guardrail_seconds.labels(use.name, use.side)
        seconds.observe(use.latency_ms / 1000)
        for policy in _UNITS:
            units = getattr(use.units, policy)
            if units:
                self._bound_units[policy].inc(units)

    def _bind(self, record: CallRecord, model: str) -> _Bound:
        return _Bound(
            calls=self._calls.labels(record.dialect, record.operation, model, record.outcome, record.stop_reason or ""),
            seconds=self._seconds.labels(record.operation, model),
            first_event_seconds=self._first_event_seconds.labels(record.operation, model),
            input_tokens=self._tokens.labels(model, "input"),
            output_tokens=self._tokens.labels(model, "output"),
        )


class _Bound(NamedTuple):
    """The metrics of one combination of labels: looking them up costs more than counting."""

    calls: Counter
    seconds: Histogram
    first_event_seconds: Histogram
    input_tokens: Counter
    output_tokens: Counter


__all__ = ["Metrics"]
