"""What must be true of an archive beyond its hashes, so that what is read in can be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from bedplate_core.errors import StoreUnavailable
from bedplate_core.messages import Message
from bedplate_sessions.archive.lines import ArchiveDamaged, ArchiveSource, read_lines
from bedplate_sessions.archive.records import (
    NOTHING,
    BlobRecord,
    BranchRecord,
    Header,
    InvocationRecord,
    ItemRecord,
    Manifest,
    Record,
    ResponseContent,
    ResponseRecord,
    SessionRecord,
    StepRecord,
)
from bedplate_sessions.item_rows import blob_ids, require_known

# In this order the lines of a session follow each other.
_RANKS: Final = {
    SessionRecord: 0,
    BranchRecord: 1,
    InvocationRecord: 2,
    ItemRecord: 3,
    StepRecord: 4,
    BlobRecord: 5,
    ResponseRecord: 6,
}
_MESSAGE: Final = msgspec.json.Decoder(Message)
_CONTENT: Final = msgspec.json.Decoder(ResponseContent)


def checked(source: ArchiveSource) -> Iterator[Record]:
    """The records of an archive in order, without header and manifest, each of them such as an export has it.

    Names of media and numbers of branches are in memory for one session at a time. Raises `ArchiveDamaged` with the
    line's number, and `InvalidRequest` for an archive of a newer version.
    """
    outline = _Outline()
    number = 0
    for number, record in read_lines(source):
        try:
            outline.add(record)
        except StoreUnavailable:
            raise ArchiveDamaged(f"line {number}: was written by a newer version of the gateway") from None
        except _Wrong as error:
            raise ArchiveDamaged(f"line {number}: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArchiveDamaged(f"line {number}: its content is none: {error}") from None
        if not isinstance(record, Header):
            yield record
    try:
        outline.end_session()
    except _Wrong as error:
        raise ArchiveDamaged(f"line {number}: {error}") from None


class _Wrong(Exception):
    """What is wrong with a line."""


class _Outline:
    """What is known of the session whose lines are being read."""

    def __init__(self) -> None:
        self._session: SessionRecord | None = None
        self._rank = 0
        self._branches: dict[int, BranchRecord] = {}
        self._media: set[str] = set()

    def add(self, record: Record) -> None:
        match record:
            case Header():
                require_known(record.schema_version)
                return
            case SessionRecord():
                self.end_session()
                self._session = record
                self._rank, self._branches, self._media = 0, {}, set()
                return
            case Manifest():
                return
            case _:
                pass
        if self._session is None:
            raise _Wrong("it comes before any session")
        rank = _RANKS[type(record)]
        if rank < self._rank:
            raise _Wrong("the lines of this session are not in order")
        self._rank = rank
        match record:
            case BranchRecord():
                self._branch(record, self._session)
            case ItemRecord():
                self._item(record)
            case BlobRecord():
                self._blob(record)
            case StepRecord():
                require_known(record.schema_version)
                if not 1 <= record.seq <= self._session.steps:
                    raise _Wrong("the step's number is not one of the session's")
            case ResponseRecord():
                require_known(record.schema_version)
                _CONTENT.decode(bytes(record.content))
            case InvocationRecord():
                if not 1 <= record.number <= self._session.invocations:
                    raise _Wrong("the invocation's number is not one of the session's")

    def end_session(self) -> None:
        """Raise for a session that lacks something."""
        if self._session is not None and 0 not in self._branches:
            raise _Wrong("the session before it has no branch 0")
        if self._media:
            raise _Wrong("the session before it lacks media that its items name")

    def _branch(self, record: BranchRecord, session: SessionRecord) -> None:
        """A branch builds on one that was there before it: reading along it comes to an end."""
        if record.branch >= session.branches or record.branch in self._branches:
            raise _Wrong("the branch's number is not one of the session's, or there twice")
        root = record.branch == 0
        if root != (record.parent_branch is None) or (root and record.fork_seq != 0):
            raise _Wrong("branch 0 has no parent, and every other branch has one")
        if record.parent_branch is not None and record.parent_branch not in self._branches:
            raise _Wrong("the branch comes before its parent")
        if record.fork_seq > record.head:
            raise _Wrong("the branch ends before it begins")
        turn = (record.turn_call, record.turn_from, record.turn_input)
        if any(each is None for each in turn) != all(each is None for each in turn):
            raise _Wrong("half of an open turn")
        began, ended = record.turn_from or 0, record.turn_input or 0
        if not began <= ended <= record.head:
            raise _Wrong("the open turn lies outside of the branch")
        self._branches[record.branch] = record

    def _item(self, record: ItemRecord) -> None:
        require_known(record.schema_version)
        branch = self._branches.get(record.branch)
        if branch is None or not branch.fork_seq < record.seq <= branch.head:
            raise _Wrong("the item is not within its branch")
        if bytes(record.message) == bytes(NOTHING):
            if record.deleted_at is None:
                raise _Wrong("the item has no message and was not deleted")
            return
        message = _MESSAGE.decode(bytes(record.message))
        if message.role is not record.role:
            raise _Wrong("the message has another role than its item")
        self._media.update(blob_ids(message))

    def _blob(self, record: BlobRecord) -> None:
        if hashlib.sha256(record.data).hexdigest() != record.sha256:
            raise _Wrong("the media are not those that their hash names")
        self._media.discard(record.id)


__all__ = ["checked"]
