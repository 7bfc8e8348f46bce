"""Which messages go when a conversation is too long.

What a turn sends is laid out as its leading system messages, the history, and the messages of the turn itself. What
goes is the oldest of the history, in **units**: a user's message with everything up to the user's next one, joined
with whatever holds the other half of a tool call and its results. So what is left is a conversation that could have
been: no result without its call, no call without its results, no answer without its question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import msgspec

from bedplate_core.errors import ContextLengthExceeded
from bedplate_core.messages import Message, Role, ToolCall, ToolResult


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` are the kept ones in their order, `dropped` the indices of the others, rising. `kept_tokens` is the
    sum of the kept ones' sizes.
    """

    messages: tuple[Message, ...]
    dropped: tuple[int, ...]
    kept_tokens: int


def fit(
    messages: Sequence[Message],
    *,
    system: int,
    new: int,
    pinned: frozenset[int],
    budget_tokens: int,
    sizes: Sequence[int],
) -> Fitted:
    """The messages that fit into `budget_tokens`, where `sizes` are the tokens of each; see `Layout.fit`.

    The first `system` and the last `new` messages stay, the `pinned` indices, and all that `Layout.required` adds.
    """
    return Layout(messages, system=system, new=new, pinned=pinned).fit(budget_tokens, sizes)


def required(messages: Sequence[Message], *, system: int, new: int, pinned: frozenset[int]) -> frozenset[int]:
    """The indices of the messages that stay whatever the budget is; see `Layout`."""
    return Layout(messages, system=system, new=new, pinned=pinned).required


class Layout:
    """The structure of one conversation: `required` stays whatever the budget is, `units` is the rest in the pieces
    that go as one, the piece with the oldest message first. Both are indices.

    What is `required` is the first `system`, the last `new` and the `pinned` messages; with a tool call its results,
    and with a result its call and that one's other results; and with what the model or a tool said, the user's message
    it goes back to.

    A unit of which something is required is divided: its steps (an answer of the model with the results of its calls)
    may go one by one where its question stays, else its rest goes as one.

    Takes time in proportion to the conversation, about 5 ms for 1,000 messages. Raises `ValueError` for a layout that
    cannot be.
    """

    def __init__(self, messages: Sequence[Message], *, system: int, new: int, pinned: frozenset[int]) -> None:
        count = len(messages)
        if system < 0 or new < 0 or system + new > count:
            raise ValueError(f"{count} messages cannot have {system} in front and {new} behind")
        self._messages = messages
        self._system = system
        self._question: list[int | None] = []  # the user's message that each message goes back to; its own index for it
        self._pairs: defaultdict[int, set[int]] = defaultdict(set)
        self._read()
        self.required = self._closed([*range(system), *range(count - new, count), *pinned.intersection(range(count))])
        self.units = self._units()

    def fit(self, budget_tokens: int, sizes: Sequence[int]) -> Fitted:
        """The messages that fit into `budget_tokens`, where `sizes` are the tokens of each.

        Units go from the oldest, as few of them as it takes, so that what fits as it is stays as it is. Raises
        `ContextLengthExceeded` when what is required does not fit.
        """
        kept_tokens = sum(sizes)
        if kept_tokens <= budget_tokens:
            return self.without((), sizes)
        must_tokens = sum(sizes[index] for index in self.required)
        if must_tokens > budget_tokens:
            raise ContextLengthExceeded(
                f"What must stay of this conversation has about {must_tokens} tokens, and {max(0, budget_tokens)} fit.",
                param="messages",
            )
        dropped: list[int] = []
        for unit in self.units:
            if kept_tokens <= budget_tokens:
                break
            dropped.extend(unit)
            kept_tokens -= sum(sizes[index] for index in unit)
        return self.without(dropped, sizes)

    def least(self, sizes: Sequence[int]) -> Fitted:
        """What is required and nothing else."""
        return self.without([index for unit in self.units for index in unit], sizes)

    def without(self, dropped: Collection[int], sizes: Sequence[int]) -> Fitted:
        """All messages but those of these indices. Raises `ValueError` when `sizes` are not as many as messages."""
        if len(sizes) != len(self._messages):
            raise ValueError(f"{len(self._messages)} messages cannot have {len(sizes)} sizes")
        gone = frozenset(dropped)
        return Fitted(
            messages=tuple(message for index, message in enumerate(self._messages) if index not in gone),
            dropped=tuple(sorted(gone)),
            kept_tokens=sum(sizes) - sum(sizes[index] for index in gone),
        )

    def _read(self) -> None:
        """Find what belongs to what."""
        question: int | None = None
        calls: dict[str, int] = {}
        for index, message in enumerate(self._messages):
            results = [part.call_id for part in message.parts if isinstance(part, ToolResult)]
            if index >= self._system and message.role is Role.USER and not results:
                question = index
            self._question.append(question)
            for call_id in results:
                call = calls.get(call_id)  # the last one before it: some models count their calls from 0 in each answer
                if call is not None:
                    self._pairs[call].add(index)
                    self._pairs[index].add(call)
            calls.update((part.id, index) for part in message.parts if isinstance(part, ToolCall))

    def _closed(self, todo: list[int]) -> frozenset[int]:
        """These with all that they need."""
        stay: set[int] = set()
        while todo:
            index = todo.pop()
            if index in stay:
                continue
            stay.add(index)
            todo.extend(self._pairs.get(index, ()))
            question = self._question[index]
            if question is not None and self._messages[index].role is not Role.SYSTEM:
                todo.append(question)
        return frozenset(stay)

    def _units(self) -> tuple[tuple[int, ...], ...]:
        joined = _Joined(len(self._messages))
        first_of: dict[tuple[int | None, int], int] = {}
        step = 0
        rest = [index for index in range(self._system, len(self._messages)) if index not in self.required]
        for index in rest:
            question = self._question[index]
            divided = question in self.required  # a step that goes leaves a question with its other steps
            if divided and self._messages[index].role is Role.ASSISTANT:
                step = index
            joined.join(first_of.setdefault((question, step if divided else 0), index), index)
            for other in self._pairs.get(index, ()):
                joined.join(other, index)  # never one that stays: the pairs of those stay
        pieces: defaultdict[int, list[int]] = defaultdict(list)
        for index in rest:
            pieces[joined.name(index)].append(index)
        return tuple(map(tuple, pieces.values()))


class _Joined:
    """Sets of numbers below `count` that are joined; each goes by one of its own."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def name(self, number: int) -> int:
        """The number that the set of `number` goes by."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of the two that these are in."""
        self._parents[self.name(other)] = self.name(one)


__all__ = ["Fitted", "Layout", "fit", "required"]
