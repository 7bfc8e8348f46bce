"""Turns on the sessions of all projects, each visible to its own project only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict
from bedplate_core.ids import CallId, KeyId, ProjectId, SessionId
from bedplate_sessions.branches import Line, find_place, fork, read_line
from bedplate_sessions.durable import Durable
from bedplate_sessions.items import History, Item, history
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.limits import SessionLimits
from bedplate_sessions.reader import ItemReader
from bedplate_sessions.registry import SessionRegistry, find, require_writable
from bedplate_sessions.session import NewSession
from bedplate_sessions.session_steps import SessionSteps
from bedplate_sessions.session_tags import SessionTags
from bedplate_sessions.turn import Past, Turn
from bedplate_sessions.turn_options import OnBusy, OnInterrupted, TurnOptions
from bedplate_sessions.turn_writes import Place
from bedplate_store.database import Database
from bedplate_store.locks import HeldLock, KeyedLocks


class Sessions:
    """Opens turns. Safe for concurrent use within one event loop.

    `commit_deadline_s` bounds how long the input and the end of a turn wait for Postgres to come back.
    """

    def __init__(
        self,
        database: Database,
        locks: KeyedLocks,
        keys: DataKeys,
        *,
        limits: SessionLimits | None = None,
        commit_deadline_s: float = 10.0,
    ) -> None:
        self.limits = limits or SessionLimits()
        self.durable = Durable(database, deadline_s=commit_deadline_s)
        self.registry = SessionRegistry(database, self.durable, keys)
        self.reader = ItemReader(database, keys)
        self.steps = SessionSteps(database, self.durable, keys, self.reader, self.limits)
        self.tags = SessionTags(database)
        self._database = database
        self._locks = locks
        self._keys = keys

    async def open_turn(
        self,
        *,
        project: ProjectId,
        session: SessionId | None,
        call: CallId,
        key: KeyId,
        wait_s: float = 30.0,
        options: TurnOptions | None = None,
        turn: CallId | None = None,
        new: NewSession | None = None,
    ) -> Turn:
        """Begin a turn of `call` on `session`, or on a new session (made as `new` says) for None.

        Whoever gets it closes it. A new session is not there before the turn's `begin`. `turn` is the turn's own id
        when `call` takes up what an earlier call began. A turn that is running is treated as `options` say; it is
        waited for up to `wait_s`. Raises `NotFound` (the same for an unknown session and another project's), `Conflict`
        if the other turn did not end in time, or the session has ended or expired, `InvalidRequest`, and
        `StoreUnavailable`. If it raises or is cancelled, no lock is held.
        """
        options = options or TurnOptions()
        if session is None:
            made, cipher, writes = await self.registry.begin(project, key, new or NewSession())
            lock = await self._lock(project, made, 0, wait_s)
            place = Place(project=project, session=made, branch=0, turn=turn or call)
            past = Past(history=History(), writes=tuple(writes))
            return self._turn(place, call, past, lock, cipher, options)
        branch, lock = await self._branch(project, session, options, wait_s)
        try:
            past, cipher = await self._past(project, session, branch, options, turn)
        except BaseException:
            await lock.release()
            raise
        place = Place(project=project, session=session, branch=branch, turn=turn or call)
        return self._turn(place, call, past, lock, cipher, options)

    def _turn(
        self, place: Place, call: CallId, past: Past, lock: HeldLock, cipher: Cipher, options: TurnOptions
    ) -> Turn:
        return Turn(place=place, call=call, past=past, lock=lock, cipher=cipher, durable=self.durable, options=options)

    async def _lock(self, project: ProjectId, session: SessionId, branch: int, wait_s: float) -> HeldLock:
        return await self._locks.acquire(("session", project, session, str(branch)), wait_s=wait_s)

    async def _branch(
        self, project: ProjectId, session: SessionId, options: TurnOptions, wait_s: float
    ) -> tuple[int, HeldLock]:
        """The branch that the turn goes on with, and its lock."""
        if options.fork_at is not None:
            branch = await self.fork(project, session, options)
            return branch, await self._lock(project, session, branch, wait_s)
        match options.on_busy:
            case OnBusy.WAIT:
                return options.branch, await self._lock(project, session, options.branch, wait_s)
            case OnBusy.REJECT:
                return options.branch, await self._lock(project, session, options.branch, 0.0)
            case OnBusy.BRANCH:
                try:
                    return options.branch, await self._lock(project, session, options.branch, 0.0)
                except Conflict:
                    branch = await self.fork(project, session, options)
                    return branch, await self._lock(project, session, branch, wait_s)

    async def fork(self, project: ProjectId, session: SessionId, options: TurnOptions) -> int:
        """The number of a new branch, behind `options.fork_at` or else behind the last turn that has ended.

        Nothing is copied. Raises `NotFound`, `InvalidRequest`, `Conflict` and `StoreUnavailable` like `open_turn`.
        """
        async with self._database.transaction(project) as connection:
            require_writable(await find(connection, project, session))
            line = await read_line(connection, project, session, options.branch)
            if options.fork_at is not None:
                seq = await find_place(connection, project, session, line, options.fork_at)
            else:
                seq = line.head if line.turn is None else line.turn.began_after
            shared = line.upto(seq)
            if len(shared) > self.limits.fork_depth:
                raise Conflict(f"A branch builds on at most {self.limits.fork_depth} others; begin a new session.")
            # The parent is the branch that has the item, so that branches without items of their own are no depth.
            parent = shared[0].branch if shared else 0
            return await fork(connection, project, session, parent=parent, seq=seq, max_branches=self.limits.branches)

    async def _past(
        self, project: ProjectId, session: SessionId, branch: int, options: TurnOptions, turn: CallId | None
    ) -> tuple[Past, Cipher]:
        """What the turn finds, and the session's cipher."""
        async with self._database.transaction(project) as connection:
            require_writable(await find(connection, project, session))
            line = await read_line(connection, project, session, branch)
            cipher = await self._keys.cipher(project, session, connection)
            resumed = line.turn if line.turn is not None and line.turn.call == turn else None
            after = line.head
            if resumed is not None:
                after = resumed.began_after
            elif line.turn is not None and options.on_interrupted is OnInterrupted.DROP:
                after = line.turn.began_after
            items = await self._items(connection, project, session, line, after)
            if items and line.turn is not None and after == line.head:
                # The turn that goes on may have dropped the end of itself when it was taken up again.
                after = items[-1].seq
            past = Past(
                history=history(items),
                head=line.head,
                began_after=after,
                resumed_input=None if resumed is None else resumed.input_end,
            )
            return past, cipher

    async def _items(
        self, connection: AsyncConnection, project: ProjectId, session: SessionId, line: Line, upto: int
    ) -> Sequence[Item]:
        items = await self.reader.read(
            connection,
            project,
            session,
            line.upto(upto),
            limit=self.limits.history_items,
            newest_first=True,
            summaries=True,
        )
        return items[::-1]


__all__ = ["Sessions"]
