"""Branches: lines of items that share everything up to the item where they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest, NotFound
from bedplate_core.ids import CallId, ItemId, ProjectId, SessionId

_LINE: Final = text(
    "with recursive line as ("
    "select branch, parent_branch, fork_seq, head, turn_call, turn_from, turn_input, 1 as depth from session_branch "
    "where session_id = :session and project_id = :project and branch = :branch "
    "union all "
    "select older.branch, older.parent_branch, older.fork_seq, older.head, null, null, null, line.depth + 1 "
    "from line join session_branch older on older.session_id = :session and older.project_id = :project "
    "and older.branch = line.parent_branch) "
    "select * from line order by depth"
)
_FIND: Final = text(
    "select branch, seq, status from session_item where session_id = :session and project_id = :project and id = :item "
    "and deleted_at is null"
)
_NUMBER: Final = text(
    "update session set branches = branches + 1 where id = :session and project_id = :project "
    "and branches < :max_branches returning branches - 1 as branch"
)
_FORK: Final = text(
    "insert into session_branch (session_id, branch, project_id, parent_branch, fork_seq, head) "
    "values (:session, :branch, :project, :parent, :seq, :seq)"
)


class Segment(msgspec.Struct, frozen=True):
    """The items of one branch with a seq above `above` and up to `upto`."""

    branch: int
    above: int
    upto: int


class OpenTurn(msgspec.Struct, frozen=True):
    """A turn that began and has not ended: `began_after` is the head before it, `input_end` its own last input."""

    call: CallId
    began_after: int
    input_end: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A branch with what it shares. `segments` are ordered from its own end to the first item."""

    branch: int
    head: int
    turn: OpenTurn | None
    segments: tuple[Segment, ...]

    def upto(self, seq: int) -> Sequence[Segment]:
        """The segments of the items that are numbered up to `seq`."""
        return [
            Segment(segment.branch, segment.above, min(segment.upto, seq))
            for segment in self.segments
            if segment.above < seq
        ]


async def read_line(connection: AsyncConnection, project: ProjectId, session: SessionId, branch: int) -> Line:
    """The branch. Raises `NotFound`."""
    found = await connection.execute(_LINE, {"session": session, "project": project, "branch": branch})
    rows = found.mappings().all()
    if not rows:
        raise NotFound("There is no branch with this number in the session.")
    own = rows[0]
    segments: list[Segment] = []
    upto = own["head"]
    for row in rows:
        if upto > row["fork_seq"]:
            segments.append(Segment(row["branch"], row["fork_seq"], upto))
        upto = min(upto, row["fork_seq"])
    turn = None
    if own["turn_call"] is not None:
        turn = OpenTurn(CallId(own["turn_call"]), own["turn_from"], own["turn_input"])
    return Line(branch=branch, head=own["head"], turn=turn, segments=tuple(segments))


async def find_place(
    connection: AsyncConnection, project: ProjectId, session: SessionId, line: Line, item: ItemId
) -> int:
    """The seq of an item of `line`, of a turn that has ended.

    Raises `NotFound` when the item is no part of it, and `InvalidRequest` when its turn has not ended.
    """
    found = await connection.execute(_FIND, {"session": session, "project": project, "item": item})
    row = found.mappings().first()
    shared = row is not None and any(
        segment.branch == row["branch"] and segment.above < row["seq"] <= segment.upto for segment in line.segments
    )
    if row is None or not shared or row["status"] == "dropped":
        raise NotFound("There is no item with this id in the branch.")
    if line.turn is not None and row["branch"] == line.branch and row["seq"] > line.turn.began_after:
        raise InvalidRequest("A branch cannot begin at an item of a turn that has not ended.")
    return int(row["seq"])


async def fork(
    connection: AsyncConnection,
    project: ProjectId,
    session: SessionId,
    *,
    parent: int,
    seq: int,
    max_branches: int,
) -> int:
    """The number of a new branch that shares the items of `parent` up to `seq`. Nothing is copied.

    Raises `Conflict` when the session has as many branches as it may.
    """
    of_session = {"session": session, "project": project}
    numbered = await connection.execute(_NUMBER, {**of_session, "max_branches": max_branches})
    row = numbered.first()
    if row is None:
        raise Conflict(f"A session has at most {max_branches} branches.")
    branch = int(row[0])
    await connection.execute(_FORK, {**of_session, "branch": branch, "parent": parent, "seq": seq})
    return branch


__all__ = ["Line", "OpenTurn", "Segment", "find_place", "fork", "read_line"]
