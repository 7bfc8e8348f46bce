"""One data key for each owner of content, and what becomes of it."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict
from bedplate_core.ids import ProjectId
from bedplate_sessions.durable import Durable, Write
from bedplate_sessions.keys.cipher import DATA_KEY_BYTES, Cipher, ContentUnreadable, DataKeyCipher, PlainCipher
from bedplate_sessions.keys.cipher_cache import CipherCache
from bedplate_sessions.keys.provider import KeyProvider, WrappedKey
from bedplate_sessions.keys.unwrap_only import UnwrapOnly
from bedplate_store.database import Database

logger = logging.getLogger(__name__)

_REWRAPPED_TOGETHER: Final = 16
_UNKNOWN_PROVIDER: Final = "This content is encrypted, and the gateway has no keys."
_PROBE: Final = "which key wraps now?"
"""Stands for an owner where only the name of the wrapping key is wanted; no owner has a space in its id."""

_ADD = text(
    "insert into session_key (owner, project_id, key_id, wrapped) values (:owner, :project, :key_id, :wrapped) "
    "on conflict (owner) do nothing"
)
# A row that this very transaction inserted may yet be rolled back.
_READ = text(
    "select key_id, wrapped, xmin is distinct from pg_current_xact_id_if_assigned()::xid as committed "
    "from session_key where owner = :owner and project_id = :project"
)
_DELETE = text("delete from session_key where project_id = :project and owner = any(:owners)")
_OTHERS = text(
    "select owner, key_id, wrapped from session_key "
    "where project_id = :project and key_id <> :current and owner > :after order by owner limit :limit"
)
# Whoever holds the row's lock deletes it or wraps it anew; waiting for it could end in a deadlock.
_REWRAP = text(
    "update session_key set key_id = :key_id, wrapped = :wrapped, wrapped_at = now() where project_id = :project "
    "and owner = (select owner from session_key where project_id = :project and owner = :owner and wrapped = :old "
    "for update skip locked)"
)
_COUNTS = text(
    "select key_id, count(*) as keys from session_key where project_id = :project group by key_id order by key_id"
)


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    key: WrappedKey
    committed: bool


class DataKeys:
    """Makes, opens, destroys and re-wraps data keys. Safe for concurrent use in one event loop.

    `provider` wraps them. None, or an `UnwrapOnly`: owners that are new get no key and their content is stored plain;
    those that have one keep it, and with None cannot be read. `apart` says that `database` is another one than that
    with the content: then its rows have transactions of their own. Unwrapped keys are kept in memory only,
    `cache_size` of them, each for at most `cache_s` seconds after its row was read; `clock` counts these.
    """

    def __init__(
        self,
        database: Database,
        provider: KeyProvider | None,
        *,
        apart: bool = False,
        cache_size: int = 4096,
        cache_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._provider = provider
        self._apart = apart
        self._clock = clock
        self._cache = CipherCache(size=cache_size, lifetime_s=cache_s, clock=clock)
        self._unwrapping: dict[tuple[ProjectId, str, bytes], asyncio.Task[Cipher]] = {}

    async def create(self, project: ProjectId, owner: str) -> tuple[Cipher, Write | None]:
        """A new key for `owner`, and the write that stores it, for the transaction that stores the owner.

        The write is None when there is nothing to add to that transaction: no key is made, or it is in a database
        apart and committed (one whose owner is then not stored stays there, of no use to anyone). The write may run
        again; it raises `Conflict` when the owner has another key, since content sealed under this one could not be
        read. Raises `StoreUnavailable`. Cancelled: no key is in the database, or in one apart perhaps one of no use.
        """
        if self._provider is None or isinstance(self._provider, UnwrapOnly):
            return PlainCipher(), None
        data_key = os.urandom(DATA_KEY_BYTES)
        wrapped = await self._provider.wrap(project, owner, data_key)
        write = partial(self._insert, project, owner, data_key, wrapped)
        if not self._apart:
            return DataKeyCipher(data_key), write
        await Durable(self._database).commit(project, [write], what="the key of this content")
        return DataKeyCipher(data_key), None

    async def cipher(self, project: ProjectId, owner: str, connection: AsyncConnection | None = None) -> Cipher:
        """How the owner's content is sealed and opened. An owner without a key: plain, and encrypted content does not
        open.

        With `connection`, a transaction of the project in progress, the key is read there; not when keys are apart.
        One unwrap runs at a time for an owner, and all who wait share it. Raises `StoreUnavailable`, and
        `ContentUnreadable` when the key cannot be unwrapped. Cancelled: the unwrap goes on for the others.
        """
        kept = self._cache.get(project, owner)
        if kept is not None:
            return kept
        read_at = self._clock()
        if connection is not None and not self._apart:
            row = await _read(connection, project, owner)
        else:
            async with self._database.transaction(project) as own:
                row = await _read(own, project, owner)
        if row is None:
            return PlainCipher()
        cipher = await self._unwrapped(project, owner, row.key)
        if row.committed:
            self._cache.put(project, owner, cipher, read_at=read_at)
        return cipher

    async def destroy(self, project: ProjectId, owners: Sequence[str]) -> Write | None:
        """Delete the owners' keys for good: what was sealed under them can be read by nobody, from a backup neither,
        unless that backup has the key as well.

        Keys apart are gone when this returns, before the content goes, and it returns None. Else it returns the write
        that deletes them in the transaction that deletes the content, and once that is committed they are gone. From
        then on this process opens nothing with them; another one may for as long as its cache holds them (`cache_s`).
        A cipher that somebody holds still opens. Owners without a key count as done. Raises `StoreUnavailable`.
        """
        write = partial(self._delete, project, list(owners))
        if not self._apart:
            return write
        await Durable(self._database).commit(project, [write], what="the deletion of keys")
        return None

    async def rewrap(self, project: ProjectId, *, limit: int) -> int:
        """Wrap up to `limit` of the project's keys anew that another key than the current one wraps; how many were.

        Fewer than `limit`: the others cannot be unwrapped (a warning says how many), or were changed or deleted
        meanwhile. Content is not touched, and two calls at once do no harm. Nothing when no keys are made. Raises
        `StoreUnavailable`; what was wrapped until then stays so, which holds for a cancellation as well.
        """
        provider, current = self._provider, await self._current(project)
        if provider is None or current is None:
            return 0
        done, unreadable, after = 0, 0, ""
        while done < limit:
            rows = await self._others(project, current, after, min(_REWRAPPED_TOGETHER, limit - done))
            if not rows:
                break
            after = rows[-1][0]
            wrapped = await asyncio.gather(
                *(_rewrapped(provider, project, owner, old) for owner, old in rows), return_exceptions=True
            )
            changed = [(*row, new) for row, new in zip(rows, wrapped, strict=True) if isinstance(new, WrappedKey)]
            done += await self._store(project, changed)
            failures = [new for new in wrapped if isinstance(new, BaseException)]
            unreadable += len(failures)
            for failure in failures:
                if not isinstance(failure, ContentUnreadable):
                    raise failure
        if unreadable:
            logger.warning("%d data keys of %s could not be unwrapped and stay as they are", unreadable, project)
        return done

    async def stale(self, project: ProjectId) -> int:
        """How many of the project's keys another key than the current one wraps. Raises `StoreUnavailable`."""
        current = await self._current(project)
        return sum(count for key_id, count in (await self.counts(project)).items() if current not in (None, key_id))

    async def counts(self, project: ProjectId) -> Mapping[str, int]:
        """How many of the project's keys each wrapping key wraps, by its id. Raises `StoreUnavailable`."""
        async with self._database.transaction(project) as connection:
            rows = await connection.execute(_COUNTS, {"project": project})
            return {row["key_id"]: row["keys"] for row in rows.mappings()}

    async def _insert(
        self, project: ProjectId, owner: str, data_key: bytes, wrapped: WrappedKey, connection: AsyncConnection
    ) -> None:
        row = {"project": project, "owner": owner, "key_id": wrapped.key_id, "wrapped": wrapped.wrapped}
        added = await connection.execute(_ADD, row)
        if added.rowcount:
            return
        found = await _read(connection, project, owner)
        if found is None or not await self._is_wrapped(project, owner, data_key, wrapped, found.key):
            raise Conflict("This is being made by another call as well, or was made before; try again.")

    async def _is_wrapped(
        self, project: ProjectId, owner: str, data_key: bytes, wrapped: WrappedKey, found: WrappedKey
    ) -> bool:
        """Whether `found` holds `data_key`: as it was wrapped here, or anew since an attempt of ours stored it."""
        if found == wrapped:
            return True
        if self._provider is None:
            return False
        try:
            return hmac.compare_digest(await self._provider.unwrap(project, owner, found), data_key)
        except ContentUnreadable:
            return False

    async def _delete(self, project: ProjectId, owners: list[str], connection: AsyncConnection) -> None:
        self._cache.bar(project, owners)
        if owners:
            await connection.execute(_DELETE, {"project": project, "owners": owners})

    async def _unwrapped(self, project: ProjectId, owner: str, key: WrappedKey) -> Cipher:
        place = (project, owner, key.wrapped)
        task = self._unwrapping.get(place)
        if task is None:
            task = asyncio.create_task(_opened(self._provider, project, owner, key))
            self._unwrapping[place] = task
            task.add_done_callback(partial(self._ended, place))
        return await asyncio.shield(task)

    def _ended(self, place: tuple[ProjectId, str, bytes], task: asyncio.Task[Cipher]) -> None:
        del self._unwrapping[place]
        if not task.cancelled():
            task.exception()  # marks it as seen: everyone who waited may have been cancelled

    async def _current(self, project: ProjectId) -> str | None:
        """The key that wraps, with its version; None when no keys are made."""
        if self._provider is None or isinstance(self._provider, UnwrapOnly):
            return None
        # Vault and KMS have versions of their own, which only what they wrap tells.
        return (await self._provider.wrap(project, _PROBE, os.urandom(DATA_KEY_BYTES))).key_id

    async def _others(
        self, project: ProjectId, current: str, after: str, limit: int
    ) -> Sequence[tuple[str, WrappedKey]]:
        bounds = {"project": project, "current": current, "after": after, "limit": limit}
        async with self._database.transaction(project) as connection:
            rows = await connection.execute(_OTHERS, bounds)
            return [(row["owner"], WrappedKey(key_id=row["key_id"], wrapped=row["wrapped"])) for row in rows.mappings()]

    async def _store(self, project: ProjectId, changed: Sequence[tuple[str, WrappedKey, WrappedKey]]) -> int:
        """Store what was wrapped anew where the old is still there; how many were."""
        if not changed:
            return 0
        done = 0
        async with self._database.transaction(project) as connection:
            for owner, old, new in changed:
                row = {"project": project, "owner": owner, "old": old.wrapped}
                stored = await connection.execute(_REWRAP, {**row, "key_id": new.key_id, "wrapped": new.wrapped})
                done += stored.rowcount
        return done


async def _read(connection: AsyncConnection, project: ProjectId, owner: str) -> _Row | None:
    found = await connection.execute(_READ, {"project": project, "owner": owner})
    row = found.mappings().first()
    if row is None:
        return None
    return _Row(key=WrappedKey(key_id=row["key_id"], wrapped=row["wrapped"]), committed=row["committed"])


async def _opened(provider: KeyProvider | None, project: ProjectId, owner: str, key: WrappedKey) -> Cipher:
    if provider is None:
        raise ContentUnreadable(_UNKNOWN_PROVIDER)
    data_key = await provider.unwrap(project, owner, key)
    if len(data_key) != DATA_KEY_BYTES:
        raise ContentUnreadable("The key of this content is not what was stored.")
    return DataKeyCipher(data_key)


async def _rewrapped(provider: KeyProvider, project: ProjectId, owner: str, old: WrappedKey) -> WrappedKey:
    return await provider.wrap(project, owner, await provider.unwrap(project, owner, old))


__all__ = ["DataKeys"]
