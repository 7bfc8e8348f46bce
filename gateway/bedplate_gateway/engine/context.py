"""Making the history of a turn fit the model that is to read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
import structlog

from bedplate_core.errors import GatewayError
from bedplate_core.events import StopReason
from bedplate_core.messages import Message
from bedplate_core.requests import Dispatch, Request, Sampling
from bedplate_core.response import Response
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.engine.memory import Remembering
from bedplate_providers.base import CountsTokens
from bedplate_sessions.context.plan import SUMMARY_TOKENS, ContextPlanner, Planned
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.sizes import TokenEstimator
from bedplate_sessions.context.summary import Summary, summary_message, summary_request

_log = structlog.stdlib.get_logger("bedplate.engine")

_USABLE = frozenset({StopReason.END, StopReason.STOP_SEQUENCE, StopReason.LENGTH})
"""A summary that was cut off is one of the older part still."""

Ask = Callable[[Request], Awaitable[Response]]
"""Asks a model of the gateway's for a summary, as a call of its own with a record of its own; raises `GatewayError`."""


class FittedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """The request as it is sent, a summary that was made for it, and what is told of both (None: nothing was done)."""

    request: Request
    summary: Summary | None = None
    report: str | None = None


async def fit_turn(turn: Remembering, request: Request, route: Route, dispatch: Dispatch, ask: Ask) -> FittedTurn:
    """The composed `request` without what does not fit the route's model, and with the summary that stands for it.

    A summary that cannot be had is done without. Raises `ContextLengthExceeded` when what must stay does not fit.
    """
    policy, layout = turn.context, turn.layout
    if policy is None:
        return FittedTurn(request=request)
    estimator = TokenEstimator()
    earlier = turn.summary
    shown = () if earlier is None else (summary_message(earlier),)
    provider = route.provider

    async def count(counter: CountsTokens, messages: Sequence[Message]) -> int:
        sent = (*messages[: layout.system], *shown, *messages[layout.system :])
        asked = msgspec.structs.replace(request, messages=sent, model=route.upstream_model)
        return await counter.count_tokens(asked, dispatch)

    planner = ContextPlanner(
        policy,
        window_tokens=route.profile.context_tokens,
        max_tokens=request.sampling.max_tokens,
        count=partial(count, provider) if isinstance(provider, CountsTokens) else None,
        estimator=estimator,
        fixed_tokens=sum(estimator.sizes(shown)) + estimator.tools(request.tools),
    )
    planned = await planner.plan(request.messages, system=layout.system, new=layout.new, pinned=layout.pinned)
    summary = None
    if planned.dropped and policy.strategy == "summarize":
        summary = await _summary(turn, request, planned, policy, route.profile.context_tokens, ask)
    if summary is not None:
        shown = (summary_message(summary),)
    messages = (*planned.messages[: layout.system], *shown, *planned.messages[layout.system :])
    if messages == request.messages:
        return FittedTurn(request=request)
    return FittedTurn(
        request=msgspec.structs.replace(request, messages=messages),
        summary=summary,
        report=_report(planned, summarized=summary is not None or earlier is not None),
    )


async def _summary(
    turn: Remembering,
    request: Request,
    planned: Planned,
    policy: ContextPolicy,
    window_tokens: int | None,
    ask: Ask,
) -> Summary | None:
    """The summary of what is dropped, going on from the one before; None when it cannot be had."""
    first, behind = turn.layout.system, planned.report.first_kept
    wanted = summary_request(
        request.messages[first:behind],
        first_seq=turn.seq_of(first),
        last_seq=turn.seq_of(behind - 1),
        previous=turn.summary,
        # It is told with every turn from now on: a quarter of the window is the most it may ever take.
        max_tokens=SUMMARY_TOKENS if window_tokens is None else max(1, min(SUMMARY_TOKENS, window_tokens // 4)),
    )
    asked = Request(
        model=policy.summary_model or request.model,
        messages=wanted.messages,
        sampling=Sampling(max_tokens=wanted.max_tokens, temperature=0.0),
    )
    try:
        choice = (await ask(asked)).choices[0]
    except GatewayError as error:
        _log.warning("summary_failed", model=asked.model, code=error.code)
        return None
    if choice.stop.reason not in _USABLE or not choice.message.text.strip():
        _log.warning("summary_failed", model=asked.model, stop_reason=choice.stop.reason.value)
        return None
    return wanted.summary(choice.message.text)


def _report(planned: Planned, *, summarized: bool) -> str:
    report = planned.report
    return (
        f"dropped={report.dropped_messages};dropped_tokens={report.dropped_tokens};kept_tokens={report.kept_tokens};"
        f"exact={str(report.exact).lower()};summarized={str(summarized).lower()}"
    )


__all__ = ["Ask", "FittedTurn", "fit_turn"]
