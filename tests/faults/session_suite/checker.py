"""Compares what clients saw with what is stored, once all of them are done. Pure: nothing is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby

import msgspec

from tests.faults.session_suite.engine import said


class SentTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One question as its client knows it. `conversation` and `number` say whose it is and when it was asked.

    `keyed`: it was sent again under one key until it was acknowledged; otherwise it was sent once, and given up when
    that failed. `bodies` are all bodies that came whole, in order; the first acknowledged the turn. `answer` is the
    text in it and `session` what its header named.
    """

    conversation: int
    number: int
    question: str
    keyed: bool = True
    bodies: tuple[bytes, ...] = ()
    answer: str | None = None
    session: str | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the client saw its end."""
        return bool(self.bodies)


class BranchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `session_branch`."""

    session_id: str
    branch: int
    head: int
    turn_call: str | None = None
    turn_from: int | None = None


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `session_item`, with its text where the product's own reader gives one, and its tokens."""

    id: str
    session_id: str
    branch: int
    seq: int
    parent_seq: int | None
    role: str
    status: str
    call_id: str
    text: str | None
    tokens: tuple[int, int] | None = None


class RecordRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `invocation`."""

    id: str
    outcome: str
    session_id: str | None
    tokens: tuple[int | None, int | None]


class ReplyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `stored_reply`."""

    call_id: str
    session_id: str | None
    key_owner: str | None
    status: int | None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is stored. `shown` are the items of branch 0 that the product's reader gives, by session."""

    sessions: tuple[str, ...]
    branches: tuple[BranchRow, ...]
    items: tuple[ItemRow, ...]
    records: tuple[RecordRow, ...]
    replies: tuple[ReplyRow, ...]
    key_owners: tuple[str, ...]
    shown: Mapping[str, tuple[str, ...]]


class Kind(StrEnum):
    """What can be wrong."""

    UNFINISHED = "a turn with a key was never acknowledged"
    LOST = "an acknowledged turn is not in its session"
    FOREIGN = "a question that nobody sent"
    DOUBLED = "a question is there twice"
    SWAPPED = "turns are not in the order in which they were asked"
    MIXED = "a session holds questions of two conversations"
    GHOST = "a turn that is neither acknowledged nor given up"
    SHAPE = "the conversation is no sequence of questions and answers"
    ANSWER = "an answer is not what the model says to this question and history, or not what the client saw"
    CHAIN = "an item does not name the item before it"
    NUMBERS = "the numbers of a branch have gaps, or its head is not the last"
    OPEN = "a turn is open that nobody is waiting for"
    ORPHAN = "a row without what it belongs to"
    RECORD = "an answer has no record of its call, or one that says something else"
    EXTRA_RECORD = "a record says completed and there is no answer"
    REPLY = "a kept reply has no turn, or a turn no kept reply"
    REPLAY = "a reply differs from the one before"
    SHOWN = "the reader shows other items than the rows"


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    kind: Kind
    where: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.where}"


def check(sent: Sequence[SentTurn], stored: Stored) -> list[Fault]:
    """Everything that is wrong; empty when nothing is."""
    return [
        *_clients(sent),
        *_orphans(stored),
        *_conversations(sent, stored),
        *_records(stored),
        *_replies(sent, stored),
    ]


def _clients(sent: Sequence[SentTurn]) -> Iterator[Fault]:
    for turn in sent:
        if turn.keyed and not turn.acknowledged:
            yield Fault(Kind.UNFINISHED, turn.question)
        if len(set(turn.bodies)) > 1:
            yield Fault(Kind.REPLAY, turn.question)


def _orphans(stored: Stored) -> Iterator[Fault]:
    known = set(stored.sessions)
    for branch in stored.branches:
        if branch.session_id not in known:
            yield Fault(Kind.ORPHAN, f"branch of {branch.session_id}")
    for item in stored.items:
        if item.session_id not in known:
            yield Fault(Kind.ORPHAN, f"item {item.id}")
    for reply in stored.replies:
        if reply.session_id is not None and reply.session_id not in known:
            yield Fault(Kind.ORPHAN, f"reply of {reply.call_id}")
    owners = known | {reply.key_owner for reply in stored.replies}
    for owner in stored.key_owners:
        if owner not in owners:
            yield Fault(Kind.ORPHAN, f"key of {owner}")
    for session in known - {branch.session_id for branch in stored.branches}:
        yield Fault(Kind.ORPHAN, f"{session} has no branch")


def _conversations(sent: Sequence[SentTurn], stored: Stored) -> Iterator[Fault]:
    asked = {turn.question: turn for turn in sent}
    found: Counter[str] = Counter()
    where: dict[str, str] = {}
    for branch in stored.branches:
        items = sorted(
            (item for item in stored.items if (item.session_id, item.branch) == (branch.session_id, branch.branch)),
            key=lambda item: item.seq,
        )
        yield from _branch(branch, items, asked, stored)
        for item in _live(branch, items):
            if item.role == "user" and item.text is not None:
                found[item.text] += 1
                where[item.text] = item.session_id
    for question, times in found.items():
        if times > 1:
            yield Fault(Kind.DOUBLED, question)
    for turn in sent:
        if turn.acknowledged and where.get(turn.question) != turn.session:
            yield Fault(Kind.LOST, f"{turn.question}, of {turn.session}")


def _live(branch: BranchRow, items: Sequence[ItemRow]) -> list[ItemRow]:
    """The items of turns that have ended."""
    upto = branch.head if branch.turn_from is None else branch.turn_from
    return [item for item in items if item.status != "dropped" and item.seq <= upto]


def _branch(
    branch: BranchRow, items: Sequence[ItemRow], asked: Mapping[str, SentTurn], stored: Stored
) -> Iterator[Fault]:
    name = f"{branch.session_id} branch {branch.branch}"
    live = _live(branch, items)
    if [item.seq for item in items] != list(range(1, branch.head + 1)):
        yield Fault(Kind.NUMBERS, name)
    if tuple(item.id for item in items if item.status != "dropped") != stored.shown.get(branch.session_id, ()):
        yield Fault(Kind.SHOWN, name)
    for before, item in zip([None, *live], live, strict=False):
        if item.parent_seq != (None if before is None else before.seq):
            yield Fault(Kind.CHAIN, f"{name}: {item.seq}")
    if [item.role for item in live] != ["user", "assistant"] * (len(live) // 2) or any(
        item.status != "completed" for item in live
    ):
        yield Fault(Kind.SHAPE, f"{name}: {[(item.seq, item.role, item.status) for item in live]}")
    yield from _open_turn(branch, items, asked, name)
    yield from _questions(live, asked, name)


def _open_turn(
    branch: BranchRow, items: Sequence[ItemRow], asked: Mapping[str, SentTurn], name: str
) -> Iterator[Fault]:
    if branch.turn_call is None:
        return
    begun = [item for item in items if item.status != "dropped" and item.seq > (branch.turn_from or 0)]
    for item in begun:
        turn = asked.get(item.text or "")
        if item.role == "user" and (turn is None or turn.keyed or turn.acknowledged):
            yield Fault(Kind.OPEN, f"{name}: {item.text}")
    if not begun:
        yield Fault(Kind.OPEN, name)


def _questions(live: Sequence[ItemRow], asked: Mapping[str, SentTurn], name: str) -> Iterator[Fault]:
    turns: list[SentTurn] = []
    for place, item in enumerate(live):
        if item.role != "user":
            continue
        turn = asked.get(item.text or "")
        if turn is None:
            yield Fault(Kind.FOREIGN, f"{name}: {item.text}")
            continue
        turns.append(turn)
        if turn.keyed and not turn.acknowledged:
            yield Fault(Kind.GHOST, f"{name}: {turn.question}")
        answer = live[place + 1].text if place + 1 < len(live) else None
        expected = said(place + 1, turn.question)
        if answer != expected or turn.answer not in (None, expected):
            yield Fault(Kind.ANSWER, f"{name}: {turn.question}: stored {answer!r}, seen {turn.answer!r}")
    if len({turn.conversation for turn in turns}) > 1:
        yield Fault(Kind.MIXED, name)
    numbers = [turn.number for turn in turns]
    if numbers != sorted(numbers):
        yield Fault(Kind.SWAPPED, f"{name}: {numbers}")


def _records(stored: Stored) -> Iterator[Fault]:
    ordered = sorted(stored.records, key=lambda record: record.id)
    records = {call: list(group) for call, group in groupby(ordered, key=lambda record: record.id)}
    answered: Counter[str] = Counter()
    for item in stored.items:
        if item.role != "assistant" or item.status != "completed":
            continue
        answered[item.call_id] += 1
        own = records.get(item.call_id, [])
        if len(own) != 1 or own[0].outcome != "completed" or own[0].session_id != item.session_id:
            yield Fault(Kind.RECORD, f"{item.call_id}: {[(record.outcome, record.session_id) for record in own]}")
        elif own[0].tokens != item.tokens:
            yield Fault(Kind.RECORD, f"{item.call_id}: {own[0].tokens} tokens, its item {item.tokens}")
    for call, own in records.items():
        if any(record.outcome == "completed" for record in own) and answered[call] != 1:
            yield Fault(Kind.EXTRA_RECORD, f"{call}: {answered[call]} answers")


def _replies(sent: Sequence[SentTurn], stored: Stored) -> Iterator[Fault]:
    answers = {item.call_id for item in stored.items if item.role == "assistant" and item.status == "completed"}
    done = [reply for reply in stored.replies if reply.status is not None]
    for reply in done:
        if reply.call_id not in answers:
            yield Fault(Kind.REPLY, f"{reply.call_id} has no answer")
    if len(done) < len(stored.replies):
        yield Fault(Kind.REPLY, f"{len(stored.replies) - len(done)} kept replies are not done")
    keyed = sum(turn.keyed and turn.acknowledged for turn in sent)
    if len(done) != keyed:
        yield Fault(Kind.REPLY, f"{len(done)} kept replies for {keyed} acknowledged turns with a key")


__all__ = [
    "BranchRow",
    "Fault",
    "ItemRow",
    "Kind",
    "RecordRow",
    "ReplyRow",
    "SentTurn",
    "Stored",
    "check",
]
