"""Unwrapped data keys, in memory for a short while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.cipher import Cipher

SHORTEST_BAR_S: Final = 60.0
"""Longer than the transaction of a deletion can take."""


class CipherCache:
    """The `size` ciphers used last, each for at most `lifetime_s` after its row was read.

    An owner that was barred is not kept: whoever deletes its key bars it before the deletion is committed, and between
    the two its row can still be read by others.
    """

    def __init__(self, *, size: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._lifetime_s = lifetime_s
        self._bar_s = max(lifetime_s, SHORTEST_BAR_S)
        self._clock = clock
        self._kept: OrderedDict[tuple[ProjectId, str], tuple[Cipher, float]] = OrderedDict()
        self._barred: OrderedDict[tuple[ProjectId, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, project: ProjectId, owner: str) -> Cipher | None:
        """The owner's cipher, when it is kept and its time is not over."""
        found = self._kept.get((project, owner))
        if found is None:
            return None
        cipher, until = found
        if self._clock() >= until:
            del self._kept[project, owner]
            return None
        self._kept.move_to_end((project, owner))
        return cipher

    def put(self, project: ProjectId, owner: str, cipher: Cipher, *, read_at: float) -> None:
        """Keep a cipher whose row was read at `read_at`, in the clock's time. Nothing for an owner that is barred."""
        self._forget_bars()
        until = read_at + self._lifetime_s
        if (project, owner) in self._barred or until <= self._clock():
            return
        self._kept[project, owner] = (cipher, until)
        self._kept.move_to_end((project, owner))
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def bar(self, project: ProjectId, owners: Iterable[str]) -> None:
        """Drop the owners' ciphers and keep none of theirs for as long as a deletion may take."""
        self._forget_bars()
        until = self._clock() + self._bar_s
        for owner in owners:
            self._kept.pop((project, owner), None)
            self._barred[project, owner] = until
            self._barred.move_to_end((project, owner))

    def _forget_bars(self) -> None:
        now = self._clock()
        while self._barred:
            first = next(iter(self._barred))  # those barred last are at the end
            if self._barred[first] > now:
                return
            del self._barred[first]


__all__ = ["SHORTEST_BAR_S", "CipherCache"]
