"""Prometheus metrics. They are counted from the call records, so they cannot disagree with them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bedplate_gateway.records.record import CallRecord

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The gateway's metrics on one registry. `observe` takes each record once; about 2 microseconds."""

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
        self.in_flight = Gauge(
            "bedplate_calls_in_flight", "Calls under way", registry=registry, multiprocess_mode="livesum"
        )
        self.rejected = Counter(
            "bedplate_requests_rejected_total",
            "Requests turned away before a call began, by error code",
            ["code"],
            registry=registry,
        )
        self._bound_calls: dict[tuple[str, str, str, str, str], Counter] = {}
        self._bound_models: dict[tuple[str, str], tuple[Histogram, Histogram, Counter, Counter]] = {}

    def observe(self, record: CallRecord) -> None:
        """Count one finished call. The model label is bounded: names that no route has count as `unknown`."""
        model = record.model if record.provider is not None and record.model is not None else "unknown"
        key = (record.dialect, record.operation, model, record.outcome, record.stop_reason or "")
        calls = self._bound_calls.get(key)
        if calls is None:
            calls = self._bound_calls[key] = self._calls.labels(*key)
        calls.inc()
        bound = self._bound_models.get((record.operation, model))
        if bound is None:
            bound = self._bound_models[record.operation, model] = (
                self._seconds.labels(record.operation, model),
                self._first_event_seconds.labels(record.operation, model),
                self._tokens.labels(model, "input"),
                self._tokens.labels(model, "output"),
            )
        seconds, first, inputs, outputs = bound
        seconds.observe(record.total_ms / 1000)
        if record.first_event_ms is not None:
            first.observe(record.first_event_ms / 1000)
        if record.input_tokens:
            inputs.inc(record.input_tokens)
        if record.output_tokens:
            outputs.inc(record.output_tokens)
        for verdict in record.verdicts:
            self._verdicts.labels(verdict.side.value, verdict.action.value).inc()


__all__ = ["Metrics"]
