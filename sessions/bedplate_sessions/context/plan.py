"""What of a conversation a model is sent: by estimates where they are sure, by exact counts where it is close."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from bedplate_core.errors import ContextLengthExceeded, GatewayError
from bedplate_core.messages import Message
from bedplate_sessions.context.fit import Fitted, Layout
from bedplate_sessions.context.policy import ContextPolicy, Strategy
from bedplate_sessions.context.sizes import TokenEstimator

Count: TypeAlias = Callable[[Sequence[Message]], Awaitable[int]]
"""How many input tokens the call has with these messages and all else that it sends; raises `GatewayError`."""

SUMMARY_TOKENS = 1024
"""The room that is left for a summary, or a quarter of the budget where that is less."""

_DEFAULT_RESERVE_TOKENS = 1024
_SURE = 0.7  # an estimate below this part of the budget needs no exact count
_SAFE = 0.9  # what estimates may fill when nothing confirms them
_STEPS = 4
_TIGHTENINGS = 3


class ContextReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to make a conversation fit.

    `kept_tokens` is the whole input of the call as planned, an estimate where not `exact`; `dropped_tokens` is always
    one. `first_kept` is the index of the first message behind all that was dropped: from there on everything is kept,
    and before it only what must stay. Where nothing was dropped it is the first behind the leading system messages.
    `summarized`: a summary stands for what was dropped; whoever puts it there says so, no planner does.
    `count_failed`: the provider could not count, and estimates had to do.
    """

    strategy: Strategy
    dropped_messages: int
    dropped_tokens: int
    kept_tokens: int
    exact: bool
    summarized: bool
    first_kept: int
    count_failed: bool = False


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` is what is sent, `dropped` the indices of what is not, rising."""

    messages: tuple[Message, ...]
    dropped: tuple[int, ...]
    report: ContextReport


class ContextPlanner:
    """Plans what the model of one call is sent.

    `window_tokens` is the length of input and output together that the model has; None: not known. Of it `max_tokens`
    are kept free for the output; None: 1024, or a quarter of the window where that is less, and then an input that
    cannot be made to fit is still sent if it leaves room for one token. `count` is asked at most five times a plan,
    one after the other; None: there is only `estimator`. `fixed_tokens` estimates what the call sends beside its
    messages, such as tools.
    """

    def __init__(
        self,
        policy: ContextPolicy,
        *,
        window_tokens: int | None,
        max_tokens: int | None = None,
        count: Count | None = None,
        estimator: TokenEstimator | None = None,
        fixed_tokens: int = 0,
    ) -> None:
        self._policy = policy
        self._window_tokens = window_tokens
        self._max_tokens = max_tokens
        self._count = count
        self._estimator = estimator or TokenEstimator()
        self._fixed_tokens = fixed_tokens

    async def plan(
        self, messages: Sequence[Message], *, system: int, new: int, pinned: frozenset[int] = frozenset()
    ) -> Planned:
        """What of `messages` is sent; see `Layout` for what stays.

        Nothing goes where the strategy is `none`, where neither the model's window nor the policy bounds the history,
        or where it fits. What goes is rounded up to a quarter of the budget, so that the messages of the next turns
        begin as this one's do and the engine's prefix cache can be used.

        Raises `ContextLengthExceeded` when the provider has counted that what must stay does not fit the window.
        Estimates refuse nothing: what may be too long by them alone is sent, for the model to say. Nothing is held,
        so a cancellation ends it at once; it raises nothing else.
        """
        turn = _Turn(
            layout=Layout(messages, system=system, new=new, pinned=pinned),
            history=range(system, len(messages) - new),
            sizes=self._estimator.sizes(messages),
            fixed_tokens=self._fixed_tokens,
        )
        budget = self._budget(turn)
        if self._policy.strategy == "none" or budget is None or turn.tokens(()) <= _SURE * budget:
            return self._planned(turn, turn.whole())
        if self._count is None:
            return self._by_estimates(turn, budget)
        return await self._by_counts(turn, self._count, budget)

    async def _by_counts(self, turn: _Turn, count: Count, budget: int) -> Planned:
        kept = turn.whole()
        least = turn.least()
        tightened = 0
        while True:
            try:
                exact = await count(kept.messages)
            except GatewayError:
                return self._by_estimates(turn, budget, count_failed=True)
            turn = turn.calibrated(kept, exact)
            budget = self._budget(turn) or 0
            room = self._room(budget) if kept.dropped else 0
            if exact <= budget - room:
                return self._planned(turn, kept, exact=exact)
            if kept.dropped == least.dropped:
                break
            kept = least if tightened == _TIGHTENINGS else self._reduced(turn, budget, tightened)
            tightened += 1
        if self._window_tokens is not None:
            most = self._window_tokens - (1 if self._max_tokens is None else self._max_tokens)
            if exact > most:
                raise ContextLengthExceeded(
                    f"What must stay of this conversation has {exact} tokens, and {max(0, most)} fit: the model's "
                    f"context is {self._window_tokens} tokens, input and output together.",
                    param="messages",
                )
        return self._planned(turn, kept, exact=exact)

    def _by_estimates(self, turn: _Turn, budget: int, *, count_failed: bool = False) -> Planned:
        safe = int(budget * _SAFE)
        kept = turn.whole() if turn.tokens(()) <= safe else self._reduced(turn, safe)
        return self._planned(turn, kept, count_failed=count_failed)

    def _budget(self, turn: _Turn) -> int | None:
        """How many tokens the input may have; None: any number."""
        bounds: list[int] = []
        if self._window_tokens is not None:
            reserve = self._max_tokens
            if reserve is None:
                reserve = max(1, min(_DEFAULT_RESERVE_TOKENS, self._window_tokens // 4))
            bounds.append(self._window_tokens - reserve)
        if self._policy.max_tokens is not None:
            bounds.append(self._policy.max_tokens + turn.tokens(turn.history))
        return min(bounds, default=None)

    def _room(self, budget: int) -> int:
        """What a summary may take of the budget once something is dropped."""
        return min(SUMMARY_TOKENS, max(0, budget) // 4) if self._policy.strategy == "summarize" else 0

    def _reduced(self, turn: _Turn, budget: int, tightened: int = 0) -> Fitted:
        """The messages that fit into `budget` by the estimates of `turn`; the least there can be where none do.

        Estimates that were wrong `tightened` times already are trusted that much less.
        """
        budget -= self._room(budget)
        total = turn.tokens(())
        step = max(1, budget // _STEPS)
        stepped = total - (math.ceil((total - budget) / step) + tightened) * step
        for target in (stepped, budget):
            try:
                return turn.layout.fit(target - turn.fixed_tokens, turn.sizes)
            except ContextLengthExceeded:
                continue  # more than that must stay
        return turn.least()

    def _planned(self, turn: _Turn, kept: Fitted, *, exact: int | None = None, count_failed: bool = False) -> Planned:
        report = ContextReport(
            strategy=self._policy.strategy,
            dropped_messages=len(kept.dropped),
            dropped_tokens=sum(turn.sizes[index] for index in kept.dropped),
            kept_tokens=turn.tokens(kept.dropped) if exact is None else exact,
            exact=exact is not None,
            summarized=False,
            first_kept=kept.dropped[-1] + 1 if kept.dropped else turn.history.start,
            count_failed=count_failed,
        )
        return Planned(messages=kept.messages, dropped=kept.dropped, report=report)


class _Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with the estimates of its messages and of what is sent beside them. `history` are the indices that
    belong neither to the leading system messages nor to the turn's own.
    """

    layout: Layout
    history: range
    sizes: tuple[int, ...]
    fixed_tokens: int

    def tokens(self, without: Sequence[int]) -> int:
        """The estimated input without the messages of these indices."""
        return self.fixed_tokens + sum(self.sizes) - sum(self.sizes[index] for index in without)

    def whole(self) -> Fitted:
        """All of it."""
        return self.layout.without((), self.sizes)

    def least(self) -> Fitted:
        """What must stay."""
        return self.layout.least(self.sizes)

    def calibrated(self, kept: Fitted, exact: int) -> _Turn:
        """The same with estimates that give `exact` for `kept`, or a little more: each is rounded up."""
        estimate = self.tokens(kept.dropped)
        if estimate <= 0 or exact <= 0:
            return self
        ratio = exact / estimate
        return msgspec.structs.replace(
            self,
            sizes=tuple(math.ceil(size * ratio) for size in self.sizes),
            fixed_tokens=math.ceil(self.fixed_tokens * ratio),
        )


__all__ = ["SUMMARY_TOKENS", "ContextPlanner", "ContextReport", "Count", "Planned"]
