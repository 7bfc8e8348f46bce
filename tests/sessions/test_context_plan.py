"""What a plan promises: it fits by exact count where that is close, counts seldom, and refuses only what it must."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import ContextLengthExceeded, UpstreamUnavailable
from bedplate_core.messages import Message, Role, Text, ToolCall, ToolResult
from bedplate_sessions.context.fit import required
from bedplate_sessions.context.plan import SUMMARY_TOKENS, ContextPlanner, Planned
from bedplate_sessions.context.policy import ContextPolicy
from bedplate_sessions.context.sizes import TokenEstimator

pytestmark = pytest.mark.anyio

ESTIMATOR = TokenEstimator()


def message(role: Role, tokens: int, mark: str = "x") -> Message:
    """A message that is estimated at `tokens`, of which 4 are its frame."""
    return Message(role=role, parts=(Text(text=mark * 4 * (tokens - 4)),))


def conversation(turns: int, tokens: int = 50) -> list[Message]:
    """A system message, `turns` questions with their answers, and a new question; each of `tokens`."""
    pair = [message(Role.USER, tokens), message(Role.ASSISTANT, tokens)]
    return [message(Role.SYSTEM, tokens), *pair * turns, message(Role.USER, tokens)]


class Counter:
    """A provider that counts `ratio` times what we estimate, for each kind of text its own; fails from its
    `fails_at`-th answer on.
    """

    def __init__(self, ratio: float = 1.0, *, fails_at: int | None = None, **ratios: float) -> None:
        self.ratio = ratio
        self.ratios = ratios
        self.fails_at = fails_at
        self.asked: list[tuple[Message, ...]] = []

    async def __call__(self, messages: Sequence[Message]) -> int:
        self.asked.append(tuple(messages))
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise UpstreamUnavailable("away")
        return self.exact(messages)

    def exact(self, messages: Sequence[Message]) -> int:
        return int(sum(ESTIMATOR.message(each) * self.ratios.get(each.text[:1], self.ratio) for each in messages))


async def plan(
    messages: Sequence[Message],
    *,
    policy: ContextPolicy | None = None,
    window: int | None = 1000,
    max_tokens: int | None = 100,
    count: Counter | None = None,
    new: int = 1,
    pinned: frozenset[int] = frozenset(),
    fixed_tokens: int = 0,
) -> Planned:
    planner = ContextPlanner(
        policy or ContextPolicy(),
        window_tokens=window,
        max_tokens=max_tokens,
        count=count,
        fixed_tokens=fixed_tokens,
    )
    planned = await planner.plan(messages, system=1, new=new, pinned=pinned)
    gone = set(planned.dropped)
    report = planned.report
    assert planned.messages == tuple(each for index, each in enumerate(messages) if index not in gone)
    assert report.dropped_messages == len(gone)
    assert (report.dropped_tokens > 0) == bool(gone)
    assert report.first_kept == (max(gone) + 1 if gone else 1)
    assert not report.summarized
    if report.exact:
        assert count is not None
        assert report.kept_tokens == count.exact(planned.messages)
    return planned


async def test_far_from_the_limit_nothing_is_counted_and_nothing_goes() -> None:
    counter = Counter()
    planned = await plan(conversation(5), count=counter)  # 600 of 900
    assert planned.dropped == ()
    assert counter.asked == []
    assert planned.report.kept_tokens == 600
    assert not planned.report.exact


async def test_close_to_the_limit_one_count_shows_that_it_fits() -> None:
    counter = Counter(1.1)
    planned = await plan(conversation(6), count=counter)  # 700, really 770, of 900
    assert planned.dropped == ()
    assert len(counter.asked) == 1
    assert planned.report.exact


async def test_over_the_limit_the_oldest_turns_go_and_the_rest_is_counted_again() -> None:
    counter = Counter(1.5)
    planned = await plan(conversation(6), count=counter)  # 700, really 1050, of 900
    assert planned.dropped == (1, 2, 3, 4)  # 150 are too many, rounded up to a quarter: 225
    assert planned.report.exact
    assert planned.report.kept_tokens <= 900
    assert len(counter.asked) == 2


@pytest.mark.parametrize("policy", [ContextPolicy(strategy="none"), ContextPolicy(strategy="none", max_tokens=10)])
async def test_strategy_none_leaves_everything_to_the_model(policy: ContextPolicy) -> None:
    counter = Counter()
    planned = await plan(conversation(50), policy=policy, count=counter)
    assert planned.dropped == ()
    assert counter.asked == []


async def test_without_a_window_or_a_limit_nothing_goes() -> None:
    counter = Counter()
    assert (await plan(conversation(500), window=None, count=counter)).dropped == ()
    assert counter.asked == []


async def test_the_callers_limit_bounds_the_history_alone() -> None:
    counter = Counter()
    policy = ContextPolicy(max_tokens=200)
    long = [message(Role.SYSTEM, 400), *conversation(6)[1:-1], message(Role.USER, 400)]
    for window in (None, 100_000):
        planned = await plan(long, policy=policy, window=window, count=counter)
        assert planned.messages[0] == long[0]
        assert planned.messages[-1] == long[-1]
        assert planned.report.exact
        assert ESTIMATOR.sizes(planned.messages)[1:-1] == (50,) * (len(planned.messages) - 2)
        assert 0 < sum(ESTIMATOR.sizes(planned.messages[1:-1])) <= 200


async def test_what_must_stay_stays_over_the_callers_limit() -> None:
    call = Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments="x" * 800),))
    answer = Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=()),))
    messages = [*conversation(1), call, answer]
    planned = await plan(messages, policy=ContextPolicy(max_tokens=60), window=None, count=Counter())
    assert planned.dropped == (1, 2)
    assert planned.messages[-2:] == (call, answer)


@pytest.mark.parametrize("counter", [None, Counter(fails_at=1)])
async def test_without_a_count_estimates_do_with_a_margin(counter: Counter | None) -> None:
    kept = await plan(conversation(7), count=counter)  # 800 of 900, of which 810 are safe
    assert kept.dropped == ()
    cut = await plan(conversation(8), count=counter)  # 900
    assert cut.dropped == (1, 2, 3, 4, 5, 6)  # 90 are too many, rounded up to a quarter: 202
    for planned in (kept, cut):
        assert not planned.report.exact
        assert planned.report.count_failed == (counter is not None)


async def test_a_count_that_fails_later_has_still_taught_what_it_could() -> None:
    counter = Counter(2.0, fails_at=2)
    planned = await plan(conversation(6), count=counter)  # really 1400 of 900
    assert planned.report.count_failed
    assert counter.exact(planned.messages) <= 810


async def test_estimates_alone_refuse_nothing() -> None:
    messages = [message(Role.SYSTEM, 2000), *conversation(3)[1:]]
    planned = await plan(messages, count=Counter(fails_at=1))
    assert len(planned.messages) == 2


async def test_what_must_stay_and_does_not_fit_is_refused_with_both_numbers() -> None:
    counter = Counter()
    messages = [message(Role.SYSTEM, 880), *conversation(3)[1:]]
    with pytest.raises(ContextLengthExceeded, match=r"has 930 tokens, and 900 fit: .* context is 1000 tokens"):
        await plan(messages, count=counter)
    # Without a wish for the output the model has the last word, as long as one token is left for it.
    assert len((await plan(messages, count=counter, max_tokens=None)).messages) == 2
    with pytest.raises(ContextLengthExceeded, match="has 1000 tokens, and 999 fit"):
        await plan([message(Role.SYSTEM, 950), message(Role.USER, 50)], count=counter, max_tokens=None)


async def test_an_estimate_that_is_too_high_refuses_nothing_and_drops_nothing() -> None:
    counter = Counter(0.2)
    planned = await plan(conversation(40), count=counter)  # 4100, really 820, of 900
    assert planned.dropped == ()
    assert planned.report.kept_tokens == 820


async def test_where_the_rest_is_denser_than_what_goes_it_is_tightened() -> None:
    """What goes first hardly counts, so an even correction is wrong at first."""
    light = [message(Role.USER, 100, "l"), message(Role.ASSISTANT, 100, "l")] * 20
    dense = [message(Role.USER, 50, "d"), message(Role.ASSISTANT, 50, "d")] * 8
    counter = Counter(l=0.05, d=1.0)
    messages = [message(Role.SYSTEM, 10, "d"), *light, *dense, message(Role.USER, 10, "d")]
    planned = await plan(messages, count=counter)
    assert planned.report.exact
    assert planned.report.kept_tokens <= 900
    assert len(counter.asked) == 3  # an estimate that was wrong once is trusted less
    assert planned.messages[-16:] == tuple(messages[-16:])


async def test_a_counter_that_no_estimate_agrees_with_is_asked_five_times() -> None:
    """It says one token too many whatever it is shown, until all that may go is gone."""

    class Contrary(Counter):
        def exact(self, messages: Sequence[Message]) -> int:
            return 100 if len(messages) == 2 else 901

    counter = Contrary()
    planned = await plan(conversation(100), count=counter)
    assert len(counter.asked) == 5
    assert len(planned.messages) == 2
    assert [len(asked) for asked in counter.asked] == sorted((len(asked) for asked in counter.asked), reverse=True)


async def test_where_a_whole_quarter_cannot_go_only_what_must_goes() -> None:
    pairs = [message(role, tokens) for tokens in (75, 25) for role in (Role.USER, Role.ASSISTANT)]
    messages = [message(Role.SYSTEM, 750), *pairs, message(Role.USER, 50)]
    assert (await plan(messages, count=Counter())).dropped == (1, 2)


async def test_tools_take_their_part() -> None:
    assert (await plan(conversation(5), fixed_tokens=0)).dropped == ()
    assert (await plan(conversation(5), fixed_tokens=400)).dropped == (1, 2, 3, 4, 5, 6)  # 190 are too many


async def test_a_summary_has_room_once_something_goes() -> None:
    policy = ContextPolicy(strategy="summarize")
    counter = Counter()
    window = 8 * SUMMARY_TOKENS
    assert (await plan(conversation(78), policy=policy, window=window, count=counter)).dropped == ()
    planned = await plan(conversation(88), policy=policy, window=window, count=counter)
    assert planned.dropped
    assert planned.report.kept_tokens + SUMMARY_TOKENS <= window - 100
    for turns in range(4, 40):  # by estimates alone, in a window so small that a quarter of it has to do
        planned = await plan(conversation(turns), policy=policy)
        assert not planned.dropped or planned.report.kept_tokens + 900 * 0.9 // 4 <= 900 * 0.9


async def test_a_growing_conversation_begins_the_same_for_many_turns() -> None:
    beginnings = [(await plan(conversation(turns), count=Counter())).report.first_kept for turns in range(8, 40)]
    assert beginnings == sorted(beginnings)
    assert len(set(beginnings)) <= 32 * 100 / 225 + 2


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.tuples(st.integers(5, 120), st.sampled_from("ld")), min_size=3, max_size=24),
    ratios=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
    window=st.integers(1, 1500),
    max_tokens=st.none() | st.integers(1, 300),
    limit=st.none() | st.integers(1, 500),
    strategy=st.sampled_from(["truncate", "summarize"]),
    fails_at=st.none() | st.integers(1, 5),
)
async def test_every_plan_fits_or_keeps_only_what_must_stay(
    texts: list[tuple[int, str]],
    ratios: tuple[float, float],
    window: int,
    max_tokens: int | None,
    limit: int | None,
    strategy: str,
    fails_at: int | None,
) -> None:
    roles = [Role.SYSTEM, *[Role.USER, Role.ASSISTANT] * len(texts)]
    messages = [message(role, *text) for role, text in zip(roles, texts, strict=False)]
    counter = Counter(l=ratios[0], d=ratios[1], fails_at=fails_at)
    policy = ContextPolicy(strategy=strategy, max_tokens=limit)  # type: ignore[arg-type]  # one of the two
    most = window - (1 if max_tokens is None else max_tokens)
    stay = required(messages, system=1, new=1, pinned=frozenset())
    try:
        planned = await plan(messages, policy=policy, window=window, max_tokens=max_tokens, count=counter)
    except ContextLengthExceeded:
        assert counter.exact([messages[index] for index in sorted(stay)]) > most
        return
    assert len(counter.asked) <= 5
    assert not set(planned.dropped) & stay
    if planned.report.exact:
        assert planned.report.kept_tokens <= most
    if planned.dropped:
        assert planned.report.exact or planned.report.count_failed
