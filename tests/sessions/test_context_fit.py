"""What truncation promises: the oldest goes, in whole units, as little as it takes, and nothing that must stay."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import ContextLengthExceeded
from bedplate_core.messages import Message, Part, Role, Text, ToolCall, ToolResult
from bedplate_sessions.context.fit import Fitted, fit, required


def said(role: Role, text: str, *parts: Part) -> Message:
    return Message(role=role, parts=(Text(text=text), *parts))


def system(text: str = "s") -> Message:
    return said(Role.SYSTEM, text)


def user(text: str = "u") -> Message:
    return said(Role.USER, text)


def assistant(text: str = "a", *calls: str) -> Message:
    return said(Role.ASSISTANT, text, *(ToolCall(id=call, name="f", arguments="{}") for call in calls))


def tool(call: str) -> Message:
    return Message(role=Role.TOOL, parts=(result(call),))


def result(call: str) -> ToolResult:
    return ToolResult(call_id=call, parts=(Text(text="r"),))


def results(*calls: str, text: str = "") -> Message:
    """As Anthropic's and Bedrock's clients send them: in the user's message."""
    said_too = (Text(text=text),) if text else ()
    return Message(role=Role.USER, parts=(*map(result, calls), *said_too))


class Case:
    """A laid-out conversation with sizes and pins."""

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        system: int = 0,
        new: int = 0,
        pinned: Sequence[int] = (),
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.messages = tuple(messages)
        self.system = system
        self.new = new
        self.pinned = frozenset(pinned)
        self.sizes = tuple(sizes or [10] * len(messages))

    def __repr__(self) -> str:
        rows = [
            f"{index}{'!' if index in self.pinned else ''} {message.role} {size} "
            + " ".join(
                f"call:{part.id}" if isinstance(part, ToolCall) else f"result:{part.call_id}"
                for part in message.parts
                if not isinstance(part, Text)
            )
            for index, (message, size) in enumerate(zip(self.messages, self.sizes, strict=True))
        ]
        return f"system={self.system} new={self.new}\n" + "\n".join(rows)

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def fit(self, budget_tokens: int) -> Fitted:
        return fit(
            self.messages,
            system=self.system,
            new=self.new,
            pinned=self.pinned,
            budget_tokens=budget_tokens,
            sizes=self.sizes,
        )

    def pairs(self) -> list[tuple[int, int]]:
        """Each result with the last call of its id before it."""
        found: list[tuple[int, int]] = []
        for index, message in enumerate(self.messages):
            for part in message.parts:
                if isinstance(part, ToolResult):
                    calls = [
                        before
                        for before in range(index)
                        for other in self.messages[before].parts
                        if isinstance(other, ToolCall) and other.id == part.call_id
                    ]
                    found.extend((call, index) for call in calls[-1:])
        return found

    def asks(self, index: int) -> bool:
        """Whether the message is a question, and not what a tool answered."""
        message = self.messages[index]
        return (
            index >= self.system
            and message.role is Role.USER
            and not any(isinstance(part, ToolResult) for part in message.parts)
        )

    def question(self, index: int) -> int | None:
        if self.messages[index].role is Role.SYSTEM:
            return None
        return next((before for before in range(index, -1, -1) if self.asks(before)), None)

    def must_stay(self) -> set[int]:
        count = len(self.messages)
        stay = {*range(self.system), *range(count - self.new, count), *self.pinned}
        while True:
            more = set(stay)
            for call, answer in self.pairs():
                if call in stay or answer in stay:
                    more |= {call, answer}
            more |= {question for index in stay if (question := self.question(index)) is not None}
            if more == stay:
                return stay
            stay = more


CALLS = st.sampled_from(["x", "y", "z"])
ANYTHING = st.one_of(
    st.builds(user),
    st.builds(lambda calls: assistant("a", *calls), st.lists(CALLS, max_size=2, unique=True)),
    st.builds(tool, CALLS),
    st.builds(lambda calls, text: results(*calls, text=text), st.lists(CALLS, min_size=1, max_size=2), st.just("u")),
    st.builds(system),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any messages at all in any order."""
    messages = draw(st.lists(ANYTHING, max_size=14))
    count = len(messages)
    leading = draw(st.integers(0, min(count, 2)))
    messages[:leading] = [system()] * leading
    new = draw(st.integers(0, min(count - leading, 3)))
    pinned = draw(st.sets(st.integers(0, max(0, count - 1)), max_size=2)) if count else set[int]()
    sizes = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    return Case(messages, system=leading, new=new, pinned=sorted(pinned), sizes=sizes)


@settings(max_examples=400, deadline=None)
@given(case=cases(), share=st.floats(0, 1.1))
def test_what_is_left_is_a_conversation_that_fits(case: Case, share: float) -> None:
    budget = int(case.total * share)
    stay = case.must_stay()
    needed = sum(case.sizes[index] for index in stay)
    if needed > budget:
        with pytest.raises(ContextLengthExceeded, match=f"about {needed} tokens, and {budget} fit"):
            case.fit(budget)
        return
    fitted = case.fit(budget)
    gone = set(fitted.dropped)
    kept = [index for index in range(len(case.messages)) if index not in gone]
    assert fitted.dropped == tuple(sorted(gone))
    assert fitted.messages == tuple(case.messages[index] for index in kept)
    assert fitted.kept_tokens == sum(case.sizes[index] for index in kept) <= budget
    assert not gone & stay
    assert all((call in gone) == (answer in gone) for call, answer in case.pairs())
    assert all(question not in gone for index in kept if (question := case.question(index)) is not None)
    spoken = [index for index in range(len(case.messages)) if index >= case.system]
    spoken = [index for index in spoken if case.messages[index].role is not Role.SYSTEM]
    first = next((index for index in spoken if index not in gone), None)
    if first is not None and case.asks(spoken[0]):
        assert case.asks(first)


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_as_little_goes_as_it_takes_and_from_the_oldest(case: Case) -> None:
    least = sum(case.sizes[index] for index in case.must_stay())
    outcomes = [case.fit(budget) for budget in range(least, case.total + 1)]
    assert outcomes[-1].dropped == ()
    for budget, fitted in enumerate(outcomes, least):
        assert fitted.kept_tokens == max(other.kept_tokens for other in outcomes if other.kept_tokens <= budget)
        assert case.fit(fitted.kept_tokens).kept_tokens == fitted.kept_tokens
    oldest: list[int] = []
    for wider, tighter in itertools.pairwise(reversed(outcomes)):
        assert set(wider.dropped) <= set(tighter.dropped)
        more = set(tighter.dropped) - set(wider.dropped)
        oldest.extend([min(more)] if more else [])
    assert oldest == sorted(oldest)  # a unit's age is that of its oldest message


@settings(max_examples=150, deadline=None)
@given(case=cases(), share=st.floats(0, 1))
def test_what_was_fitted_fits_as_it_is(case: Case, share: float) -> None:
    try:
        fitted = case.fit(int(case.total * share))
    except ContextLengthExceeded:
        return
    kept = [index for index in range(len(case.messages)) if index not in fitted.dropped]
    again = Case(
        fitted.messages,
        system=case.system,
        new=case.new,
        pinned=[place for place, index in enumerate(kept) if index in case.pinned],
        sizes=[case.sizes[index] for index in kept],
    ).fit(int(case.total * share))
    assert again == Fitted(messages=fitted.messages, dropped=(), kept_tokens=fitted.kept_tokens)


@st.composite
def turns(draw: st.DrawFn) -> list[list[Message]]:
    """Well-formed turns: a question, any number of steps with tools in either form, an answer."""
    made: list[list[Message]] = []
    for number in range(draw(st.integers(1, 6))):
        turn = [user(f"u{number}")]
        for step in range(draw(st.integers(0, 2))):
            names = [f"{step}-{call}" for call in range(draw(st.integers(1, 3)))]  # the same ids in every turn
            turn.append(assistant("", *names))
            turn.extend([results(*names)] if draw(st.booleans()) else map(tool, names))
        made.append([*turn, assistant(f"a{number}")])
    return made


@settings(max_examples=200, deadline=None)
@given(turns=turns(), data=st.data())
def test_of_ordinary_turns_exactly_the_oldest_that_are_too_many_go(
    turns: list[list[Message]], data: st.DataObject
) -> None:
    messages = [system(), *(message for turn in turns for message in turn), user("now")]
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=len(messages), max_size=len(messages)))
    case = Case(messages, system=1, new=1, sizes=sizes)
    budget = data.draw(st.integers(sizes[0] + sizes[-1], case.total))
    start, total = 1, case.total
    for turn in turns:
        if total <= budget:
            break
        total -= sum(sizes[start : start + len(turn)])
        start += len(turn)
    assert case.fit(budget).dropped == tuple(range(1, start))


def test_a_pinned_message_stays_with_its_question_and_the_rest_of_its_turn_goes() -> None:
    messages = [user("0"), assistant("1", "x"), tool("x"), assistant("3"), user("4"), assistant("5"), user("6")]
    assert Case(messages, new=1, pinned=[3]).fit(30).dropped == (1, 2, 4, 5)
    assert Case(messages, new=1, pinned=[2]).fit(40).dropped == (3, 4, 5)  # a pair is pinned with either half
    assert Case(messages, new=1, pinned=[1]).fit(40).dropped == (3, 4, 5)
    assert Case(messages, new=1, pinned=[0]).fit(20).dropped == (1, 2, 3, 4, 5)


def test_the_results_of_a_turn_keep_the_call_in_the_history() -> None:
    """A client that sends only the results has its call, that call's other results and the question kept."""
    history = [user("0"), assistant("1"), user("2"), assistant("3", "x", "y"), tool("x")]
    for answer in (tool("y"), results("y"), results("y", text="and hurry")):
        case = Case([*history, answer], new=1)
        assert case.fit(40).dropped == (0, 1)
        with pytest.raises(ContextLengthExceeded):
            case.fit(39)


def test_of_one_long_tool_loop_the_oldest_steps_go() -> None:
    steps = [message for number in range(5) for message in (assistant("", f"c{number}"), results(f"c{number}"))]
    case = Case([system(), user(), *steps], system=1, new=1)
    assert case.fit(case.total - 1).dropped == (2, 3)
    assert case.fit(40).dropped == tuple(range(2, 10))
    assert required(case.messages, system=1, new=1, pinned=frozenset()) == {0, 1, 10, 11}


def test_what_was_said_between_a_call_and_its_result_goes_only_with_both() -> None:
    messages = [
        user("0"),
        assistant("1", "x"),
        user("2"),
        tool("x"),
        assistant("4"),
        user("5"),
        assistant("6"),
        user("7"),
    ]
    assert Case(messages, new=1).fit(70).dropped == (0, 1, 2, 3, 4)


def test_a_conversation_that_began_with_the_assistant_loses_that_first() -> None:
    messages = [assistant("welcome"), user("1"), assistant("2"), user("3")]
    assert Case(messages, new=1).fit(30).dropped == (0,)
    assert Case(messages, new=1, pinned=[0]).fit(20).dropped == (1, 2)


def test_a_system_message_in_the_history_goes_with_what_it_follows() -> None:
    messages = [system(), user("1"), assistant("2"), system("3"), user("4"), assistant("5"), user("6")]
    assert Case(messages, system=1, new=1).fit(69).dropped == (1, 2, 3)
    assert Case(messages, system=1, new=1, pinned=[3]).fit(69).dropped == (1, 2)


def test_an_impossible_layout_is_an_error_of_ours() -> None:
    for case in (Case([user()], system=1, new=1), Case([user()], system=-1), Case([user()], sizes=[1, 2])):
        with pytest.raises(ValueError, match="cannot have"):
            case.fit(10)
