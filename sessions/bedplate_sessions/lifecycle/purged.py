"""How much a purge deleted."""

from __future__ import annotations

import msgspec


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of rows. `keys` are data keys that had no owner any more; those deleted with their owner count there."""

    sessions: int = 0
    responses: int = 0
    replies: int = 0
    keys: int = 0

    def __bool__(self) -> bool:
        return bool(self.sessions or self.responses or self.replies or self.keys)

    def __add__(self, other: Purged) -> Purged:
        return Purged(
            sessions=self.sessions + other.sessions,
            responses=self.responses + other.responses,
            replies=self.replies + other.replies,
            keys=self.keys + other.keys,
        )


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of what one transaction found due, and of what it deleted; the rest is in use, or no longer due."""

    found: frozenset[str]
    deleted: frozenset[str]


__all__ = ["Batch", "Purged"]
