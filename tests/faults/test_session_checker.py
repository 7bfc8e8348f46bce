"""The checker of the session suite finds every kind of damage, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.faults.session_suite.checker import (
    BranchRow,
    Fault,
    ItemRow,
    Kind,
    RecordRow,
    ReplyRow,
    SentTurn,
    Stored,
    check,
)
from tests.faults.session_suite.engine import said

QUESTIONS = ("one", "two", "three")
SESSION, OTHER = "sess_1", "sess_2"


class History(msgspec.Struct, kw_only=True):
    """What clients saw and what is stored: changed by a test before it is checked."""

    sent: list[SentTurn]
    sessions: list[str]
    branches: list[BranchRow]
    items: list[ItemRow]
    records: list[RecordRow]
    replies: list[ReplyRow]
    key_owners: list[str]
    shown: dict[str, tuple[str, ...]] | None = None

    def faults(self) -> list[Fault]:
        shown = {
            session: tuple(item.id for item in self.items if item.session_id == session and item.status != "dropped")
            for session in self.sessions
        }
        stored = Stored(
            sessions=tuple(self.sessions),
            branches=tuple(self.branches),
            items=tuple(self.items),
            records=tuple(self.records),
            replies=tuple(self.replies),
            key_owners=tuple(self.key_owners),
            shown=shown if self.shown is None else self.shown,
        )
        return check(self.sent, stored)

    def kinds(self) -> set[Kind]:
        return {fault.kind for fault in self.faults()}


def item(seq: int, role: str, text: str, *, parent: int | None, session: str = SESSION, call: str = "") -> ItemRow:
    return ItemRow(
        id=f"{session}.{seq}",
        session_id=session,
        branch=0,
        seq=seq,
        parent_seq=parent,
        role=role,
        status="completed",
        call_id=call,
        text=text,
        tokens=(parent or 0, len(text.split())) if role == "assistant" else None,
    )


def whole() -> History:
    """Three turns; the second had broken off once, so that its first input is dropped. The other client gave up."""
    items: list[ItemRow] = []
    records: list[RecordRow] = []
    sent: list[SentTurn] = []
    for number, (question, seq, parent, told) in enumerate(
        zip(QUESTIONS, (1, 4, 6), (None, 2, 5), (1, 3, 5), strict=True)
    ):
        answer = said(told, question)
        call = f"req_{number}"
        items += [
            item(seq, "user", question, parent=parent, call=call),
            msgspec.structs.replace(
                item(seq + 1, "assistant", answer, parent=seq, call=call), tokens=(told, len(answer.split()))
            ),
        ]
        records.append(RecordRow(id=call, outcome="completed", session_id=SESSION, tokens=(told, len(answer.split()))))
        sent.append(
            SentTurn(
                conversation=0, number=number, question=question, bodies=(b"x", b"x"), answer=answer, session=SESSION
            )
        )
    items.insert(
        2, msgspec.structs.replace(item(3, "user", "two", parent=2, call="req_killed"), status="dropped", text=None)
    )
    items.append(item(1, "user", "given up", parent=None, session=OTHER, call="req_left"))
    records.append(RecordRow(id="req_left", outcome="cancelled", session_id=OTHER, tokens=(None, None)))
    sent.append(SentTurn(conversation=1, number=0, question="given up", keyed=False))
    return History(
        sent=sent,
        sessions=[SESSION, OTHER],
        branches=[
            BranchRow(session_id=SESSION, branch=0, head=7),
            BranchRow(session_id=OTHER, branch=0, head=1, turn_call="req_left", turn_from=0),
        ],
        items=items,
        records=records,
        replies=[
            ReplyRow(call_id=f"req_{number}", session_id=SESSION, key_owner=SESSION, status=200) for number in range(3)
        ],
        key_owners=[SESSION, OTHER],
    )


def change(rows: list[msgspec.Struct], at: int, **values: object) -> None:
    rows[at] = msgspec.structs.replace(rows[at], **values)


def test_nothing_is_wrong_with_a_whole_history() -> None:
    assert whole().faults() == []


def lose(history: History) -> None:
    """The last turn is not there, as if its transaction had been lost after the client saw its end."""
    del history.items[5:7]
    change(history.branches, 0, head=5)
    del history.records[2]
    del history.replies[2]


def double(history: History) -> None:
    """A retry became a turn of its own."""
    answer = said(7, "three")
    history.items[7:7] = [
        item(8, "user", "three", parent=7, call="req_again"),
        msgspec.structs.replace(item(9, "assistant", answer, parent=8, call="req_again"), tokens=(7, 10)),
    ]
    history.records.append(RecordRow(id="req_again", outcome="completed", session_id=SESSION, tokens=(7, 10)))
    change(history.branches, 0, head=9)


def double_elsewhere(history: History) -> None:
    """A retry of a first turn began a second session."""
    history.items[7] = item(1, "user", "one", parent=None, session=OTHER, call="req_left")
    change(history.branches, 1, turn_call=None, turn_from=None)


def swap(history: History) -> None:
    """The second and the third turn have changed places."""
    texts = [history.items[place].text for place in (3, 4, 5, 6)]
    for place, text in zip((3, 4, 5, 6), (texts[2], said(3, "three"), texts[0], said(5, "two")), strict=True):
        change(history.items, place, text=text)


def drop_live(history: History) -> None:
    """An answer that was acknowledged is dropped."""
    change(history.items, 4, status="dropped")


def mix(history: History) -> None:
    """One session holds turns of two clients."""
    change(history.sent, 2, conversation=5)


DAMAGE: tuple[tuple[Kind, Callable[[History], object]], ...] = (
    (Kind.LOST, lose),
    (Kind.DOUBLED, double),
    (Kind.DOUBLED, double_elsewhere),
    (Kind.SWAPPED, swap),
    (Kind.SHAPE, drop_live),
    (Kind.MIXED, mix),
    (Kind.FOREIGN, lambda history: change(history.items, 5, text="four")),
    (Kind.LOST, lambda history: change(history.sent, 1, session=OTHER)),
    (Kind.UNFINISHED, lambda history: change(history.sent, 1, bodies=())),
    (Kind.GHOST, lambda history: change(history.sent, 1, bodies=(), answer=None, session=None)),
    (Kind.SHAPE, lambda history: change(history.items, 4, status="incomplete")),
    (Kind.ANSWER, lambda history: change(history.items, 4, text=said(4, "two"))),
    (Kind.ANSWER, lambda history: change(history.sent, 1, answer=said(3, "one"))),
    (Kind.CHAIN, lambda history: change(history.items, 3, parent_seq=3)),
    (Kind.NUMBERS, lambda history: history.items.pop(2)),
    (Kind.NUMBERS, lambda history: change(history.branches, 0, head=8)),
    (Kind.OPEN, lambda history: change(history.sent, 3, keyed=True)),
    (Kind.OPEN, lambda history: change(history.branches, 0, turn_call="req_2", turn_from=7)),
    (Kind.ORPHAN, lambda history: history.sessions.pop()),
    (Kind.ORPHAN, lambda history: history.branches.pop()),
    (Kind.ORPHAN, lambda history: history.key_owners.append("sess_3")),
    (Kind.ORPHAN, lambda history: change(history.replies, 0, session_id="sess_3")),
    (Kind.RECORD, lambda history: history.records.pop(1)),
    (Kind.RECORD, lambda history: history.records.append(history.records[1])),
    (Kind.RECORD, lambda history: change(history.records, 1, outcome="cancelled")),
    (Kind.RECORD, lambda history: change(history.records, 1, session_id=OTHER)),
    (Kind.RECORD, lambda history: change(history.records, 1, tokens=(3, 9))),
    (Kind.RECORD, lambda history: change(history.items, 4, tokens=None)),
    (Kind.EXTRA_RECORD, lambda history: change(history.records, 3, outcome="completed")),
    (Kind.REPLY, lambda history: history.replies.pop()),
    (Kind.REPLY, lambda history: change(history.replies, 0, status=None)),
    (Kind.REPLY, lambda history: change(history.replies, 0, call_id="req_killed")),
    (Kind.REPLAY, lambda history: change(history.sent, 0, bodies=(b"x", b"y"))),
    (Kind.SHOWN, lambda history: setattr(history, "shown", {SESSION: (), OTHER: ()})),
)


@pytest.mark.parametrize(
    ("kind", "damage"), DAMAGE, ids=[f"{number}-{kind.name}" for number, (kind, _) in enumerate(DAMAGE)]
)
def test_damage_is_found(kind: Kind, damage: Callable[[History], object]) -> None:
    history = whole()
    damage(history)
    assert kind in history.kinds()


def test_every_kind_is_tried() -> None:
    assert {kind for kind, _ in DAMAGE} == set(Kind)
