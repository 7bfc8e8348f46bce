"""A session's invocations and steps: what Bedrock's operations put there, beside the turns and items of a chat."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from bedplate_core.ids import CallId, ItemId, ProjectId, SessionId
from bedplate_core.messages import SCHEMA_VERSION, MediaBytes, MediaUrl, Text
from bedplate_sessions.durable import Durable
from bedplate_sessions.item_rows import require_known
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.limits import SessionLimits
from bedplate_sessions.reader import ItemReader
from bedplate_sessions.registry import IS_WRITABLE, find, require_writable
from bedplate_sessions.steps import Invocation, InvocationPage, Step, StepBlock, StepPage, StepPlace
from bedplate_store.database import Database

MAX_PAGE: Final = 1000
_MAX_SEQ: Final = 2**63 - 1
_INLINE_BYTES: Final = 256 * 1024
"""What is larger is encrypted in a thread, so that others are served meanwhile."""
_ITEM: Final = "item_"

# Everything that adds to a session holds its row, so each next statement sees what the one before it in line did.
_LOCK: Final = text("select 1 from session where id = :session and project_id = :project for no key update")
_TOUCH: Final = "update session set updated_at = greatest(updated_at, now())"
_ADD_INVOCATION: Final = text(
    f"with touched as ({_TOUCH}, invocations = invocations + 1 where id = :session and project_id = :project "  # noqa: S608 - constants
    f"and {IS_WRITABLE} and not exists (select from session_invocation where session_id = :session "
    "and project_id = :project and id = :id) returning invocations) "
    "insert into session_invocation (session_id, id, project_id, number, call_id, description) "
    "select cast(:session as text), cast(:id as text), cast(:project as text), invocations, cast(:call as text), "
    "cast(:description as text) from touched returning id, number, description, created_at"
)
_INVOCATION: Final = text(
    "select id, number, call_id, description, created_at from session_invocation "
    "where session_id = :session and project_id = :project and id = :id"
)
_INVOCATIONS: Final = text(
    "select id, number, description, created_at from session_invocation "
    "where session_id = :session and project_id = :project and number < :before order by number desc limit :limit"
)
_ADD_STEP: Final = text(
    f"with touched as ({_TOUCH}, steps = steps + 1 where id = :session and project_id = :project "  # noqa: S608 - constants
    f"and {IS_WRITABLE} and steps < :max_steps "
    "and exists (select from session_invocation where session_id = :session and project_id = :project "
    "and id = :invocation) "
    "and not exists (select from session_step where session_id = :session and project_id = :project and id = :id) "
    "and not exists (select from session_item where session_id = :session and project_id = :project and id = :item) "
    "returning steps) "
    "insert into session_step (session_id, seq, id, project_id, invocation_id, step_time, content_hash, sealed, "
    "schema_version) select cast(:session as text), steps, cast(:id as text), cast(:project as text), "
    "cast(:invocation as text), cast(:time as timestamptz), cast(:content_hash as bytea), cast(:sealed as bytea), "
    "cast(:schema_version as smallint) from touched returning seq"
)
_STORED_HASH: Final = text(
    "select content_hash from session_step where session_id = :session and project_id = :project and id = :id"
)
_STEPS_OF: Final = text("select steps from session where id = :session and project_id = :project")
_STEP: Final = text(
    "select id, invocation_id, step_time, sealed, schema_version from session_step "
    "where session_id = :session and project_id = :project and id = :id and invocation_id = :invocation"
)
_PUT: Final = (
    "select seq, id, invocation_id, step_time, created_at from session_step "
    "where session_id = :session and project_id = :project and {which} and seq < :before order by seq desc limit :limit"
)
_SAID: Final = (
    "select seq, id, invocation_id, created_at from session_item "
    "where session_id = :session and project_id = :project and {which} and seq < :before "
    "and status <> 'dropped' and deleted_at is null and kind <> 'summary' order by seq desc limit :limit"
)
_LIST: Final = (text(_PUT.format(which="true")), text(_SAID.format(which="branch = 0")))
# An invocation is a turn of one branch, so its items are numbered without their branch being named.
_LIST_OF: Final = (
    text(_PUT.format(which="invocation_id = :invocation")),
    text(_SAID.format(which="invocation_id = :invocation")),
)
_BLOCKS: Final = msgspec.msgpack.Decoder(tuple[StepBlock, ...])


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A step of one of the two lists that are merged: its number there, and when its row was made."""

    seq: int
    created_at: datetime
    step: Step


class SessionSteps:
    """Adds and reads invocations and steps. Safe for concurrent use within one event loop.

    Ids are 32 hexadecimal digits; those that clients choose are unique in their session only. Every method raises
    `NotFound` for an unknown session and for another project's, and `StoreUnavailable`. A write that was cancelled is
    either stored or not, and can be sent again with the same id.
    """

    def __init__(
        self, database: Database, durable: Durable, keys: DataKeys, reader: ItemReader, limits: SessionLimits
    ) -> None:
        self._database = database
        self._durable = durable
        self._keys = keys
        self._reader = reader
        self._limits = limits

    async def create_invocation(
        self,
        project: ProjectId,
        session: SessionId,
        call: CallId,
        *,
        invocation: str | None = None,
        description: str | None = None,
    ) -> Invocation:
        """A new invocation, durable when this returns; its id is made up for None.

        `call` is the request that makes it: the one by whose id a repeated attempt knows its own row. `description`
        is not encrypted and has no U+0000. Raises `Conflict` when there is one with this id, and when the session has
        ended or expired.
        """
        values = {
            "session": session,
            "project": project,
            "id": invocation or secrets.token_hex(16),
            "call": call,
            "description": description,
        }

        made: list[Invocation] = []

        async def add(connection: AsyncConnection) -> None:
            await connection.execute(_LOCK, values)
            row = (await connection.execute(_ADD_INVOCATION, values)).mappings().first()
            if row is None:
                there = await find(connection, project, session)
                row = (await connection.execute(_INVOCATION, values)).mappings().first()
                if row is None or row["call_id"] != call:  # else an earlier attempt succeeded
                    require_writable(there)
                    raise Conflict("There is an invocation with this id in the session.", param="invocationId")
            made.append(_invocation(row))

        await self._durable.commit(project, [add], what="this invocation")
        return made[-1]

    async def invocations(
        self, project: ProjectId, session: SessionId, *, limit: int, before: int | None = None
    ) -> InvocationPage:
        """Up to `limit` (1 to 1000) invocations, newest first, of those numbered below `before`."""
        _check_limit(limit)
        values = {
            "session": session,
            "project": project,
            "before": _MAX_SEQ if before is None else before,
            "limit": limit + 1,
        }
        async with self._database.transaction(project) as connection:
            await find(connection, project, session)
            rows = (await connection.execute(_INVOCATIONS, values)).mappings().all()
        found = tuple([_invocation(row) for row in rows[:limit]])
        return InvocationPage(invocations=found, next_before=found[-1].number if len(rows) > limit else None)

    async def put(
        self,
        project: ProjectId,
        session: SessionId,
        *,
        invocation: str,
        step: str | None = None,
        time: datetime,
        blocks: Sequence[StepBlock],
    ) -> str:
        """Add a step to an invocation of the session; its id, which is made up for None. Durable when this returns.

        Putting the very same step again changes nothing and is no activity, whatever the session's status. Raises
        `InvalidRequest` for a step over the limits, `NotFound` for an unknown invocation, `QuotaExceeded` when the
        session has as many steps as it may, `Conflict` when there is another step with this id and when the session
        has ended or expired. `time` is aware; it is kept and shown, and orders nothing.
        """
        check_step(blocks, self._limits)
        name = step or secrets.token_hex(16)
        cipher = await self._keys.cipher(project, session)
        sealed, digest = await _sealed(blocks, cipher, name, bound=(invocation, time.isoformat()))
        values = {
            "session": session,
            "project": project,
            "id": name,
            "item": _ITEM + name,
            "invocation": invocation,
            "time": time,
            # The hash of a short text would tell the text.
            "content_hash": cipher.seal(digest, _hash_place(name)),
            "sealed": sealed,
            "schema_version": SCHEMA_VERSION,
            "max_steps": self._limits.steps,
        }

        async def add(connection: AsyncConnection) -> None:
            await connection.execute(_LOCK, values)
            if (await connection.execute(_ADD_STEP, values)).first() is not None:
                return
            there = await find(connection, project, session)
            found = (await connection.execute(_STORED_HASH, values)).mappings().first()
            if found is not None and cipher.open(found["content_hash"], _hash_place(name)) == digest:
                return
            require_writable(there)
            if (await connection.execute(_INVOCATION, {**values, "id": invocation})).first() is None:
                raise _no_invocation()
            if found is None and (await connection.execute(_STEPS_OF, values)).scalar_one() >= self._limits.steps:
                raise QuotaExceeded(f"A session has at most {self._limits.steps} steps; begin a new session.")
            raise Conflict("There is another step with this id in the session.", param="invocationStepId")

        await self._durable.commit(project, [add], what="this step")
        return name

    async def step(self, project: ProjectId, session: SessionId, *, invocation: str, step: str) -> Step:
        """One step with its content: what was put, or an item of any branch.

        Raises `NotFound` also when the step is of another invocation or session, or its item was deleted or dropped;
        `ContentUnreadable`.
        """
        values = {"session": session, "project": project, "id": step, "invocation": invocation}
        async with self._database.transaction(project) as connection:
            await find(connection, project, session)
            row = (await connection.execute(_STEP, values)).mappings().first()
            if row is not None:
                require_known(row["schema_version"])
                cipher = await self._keys.cipher(project, session, connection)
                content = await _in_thread_if_large(cipher, row["sealed"], row["id"])
                return Step(
                    id=row["id"],
                    invocation_id=row["invocation_id"],
                    time=row["step_time"],
                    blocks=_BLOCKS.decode(content),
                )
        try:
            item = await self._reader.one(project, session, ItemId(_ITEM + step))
        except NotFound:
            raise _no_step() from None
        if item.invocation_id != invocation:
            raise _no_step()
        return Step(id=step, invocation_id=invocation, time=item.created_at, message=item.message)

    async def page(
        self,
        project: ProjectId,
        session: SessionId,
        *,
        limit: int,
        invocation: str | None = None,
        before: StepPlace | None = None,
    ) -> StepPage:
        """Up to `limit` (1 to 1000) steps without their content, newest first.

        With `invocation`, its own; else what was put and the conversation's items (branch 0). Pages put one behind the
        other are the list as it was for the first of them, whatever is added meanwhile. Raises `NotFound` for an
        unknown invocation.
        """
        _check_limit(limit)
        place = before or StepPlace(_MAX_SEQ, _MAX_SEQ)
        values = {"session": session, "project": project, "invocation": invocation, "limit": limit + 1}
        async with self._database.transaction(project) as connection:
            await find(connection, project, session)
            if invocation is not None:
                await self._require_invocation(connection, {**values, "id": invocation})
            list_put, list_said = _LIST if invocation is None else _LIST_OF
            put = await connection.execute(list_put, {**values, "before": place.step_seq})
            steps = [_listed(row, row["id"], row["step_time"]) for row in put.mappings()]
            said = await connection.execute(list_said, {**values, "before": place.seq})
            items = [_listed(row, row["id"].removeprefix(_ITEM), row["created_at"]) for row in said.mappings()]
        return merged(items, steps, limit=limit)

    async def _require_invocation(self, connection: AsyncConnection, values: dict[str, object]) -> None:
        if (await connection.execute(_INVOCATION, values)).first() is None:
            raise _no_invocation()


def merged(items: Sequence[Listed], steps: Sequence[Listed], *, limit: int) -> StepPage:
    """The first `limit` of two lists, each ordered by falling number: always the newer of the two heads.

    Each list keeps its own order whatever its times say, so the rest of the lists goes on where this page ends.
    """
    found: list[Step] = []
    item, step = 0, 0
    while len(found) < limit and (item < len(items) or step < len(steps)):
        if step == len(steps) or (item < len(items) and items[item].created_at > steps[step].created_at):
            found.append(items[item].step)
            item += 1
        else:
            found.append(steps[step].step)
            step += 1
    more = item < len(items) or step < len(steps)
    return StepPage(
        steps=tuple(found), next_before=StepPlace(_behind(items, item), _behind(steps, step)) if more else None
    )


def check_step(blocks: Iterable[StepBlock], limits: SessionLimits) -> None:
    """Raise `InvalidRequest` for a step with too much in it.

    A text counts with its UTF-8 bytes, a picture with its own.
    """
    total, pictures = 0, 0
    for number, block in enumerate(blocks):
        at = f"payload.contentBlocks[{number}]"
        if isinstance(block, Text):
            total += len(block.text.encode("utf-8", "surrogatepass"))
            continue
        pictures += 1
        if pictures > limits.step_images:
            raise InvalidRequest(f"{at}.image: a step has at most {limits.step_images} images", param=f"{at}.image")
        match block.media:
            case MediaBytes(data=data):
                if len(data) > limits.step_image_bytes:
                    where = f"{at}.image.source.bytes"
                    raise InvalidRequest(f"{where}: is larger than {limits.step_image_bytes} bytes", param=where)
                total += len(data)
            case MediaUrl(url=url):
                total += len(url)
    if total > limits.step_bytes:
        raise InvalidRequest(f"payload: is larger than {limits.step_bytes} bytes", param="payload")


async def _sealed(
    blocks: Sequence[StepBlock], cipher: Cipher, name: str, *, bound: tuple[str, ...]
) -> tuple[bytes, bytes]:
    """The blocks as their row holds them, and the hash of all that makes the step what it is."""
    content = msgspec.msgpack.encode(blocks)

    def work() -> tuple[bytes, bytes]:
        digest = hashlib.sha256(msgspec.msgpack.encode(bound))
        digest.update(content)
        return cipher.seal(content, name), digest.digest()

    return work() if len(content) <= _INLINE_BYTES else await asyncio.to_thread(work)


async def _in_thread_if_large(cipher: Cipher, sealed: bytes, name: str) -> bytes:
    if len(sealed) <= _INLINE_BYTES:
        return cipher.open(sealed, name)
    return await asyncio.to_thread(cipher.open, sealed, name)


def _hash_place(name: str) -> str:
    return f"{name}.hash"


def _behind(listed: Sequence[Listed], taken: int) -> int:
    """What the rest is numbered below; nothing is when all was taken, and what comes later is not of this list."""
    return listed[taken].seq + 1 if taken < len(listed) else 0


def _listed(row: RowMapping, name: str, time: datetime) -> Listed:
    step = Step(id=name, invocation_id=row["invocation_id"], time=time)
    return Listed(seq=row["seq"], created_at=row["created_at"], step=step)


def _invocation(row: RowMapping) -> Invocation:
    return Invocation(id=row["id"], number=row["number"], description=row["description"], created_at=row["created_at"])


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"limit must be from 1 to {MAX_PAGE}, not {limit}")


def _no_invocation() -> NotFound:
    return NotFound("There is no invocation with this id in the session.", param="invocationIdentifier")


def _no_step() -> NotFound:
    return NotFound("There is no step with this id in the invocation.", param="invocationStepId")


__all__ = ["MAX_PAGE", "Listed", "SessionSteps", "check_step", "merged"]
