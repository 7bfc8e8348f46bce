"""Which replica a call goes to: the one that has its conversation in its cache, unless that one is too busy.

Highest random weight hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): each
replica has a weight for each key, a hash of both, and the heaviest gets the key. Every gateway process comes to the
same choice with nothing shared, and when a replica leaves or returns only the keys move for which it is the heaviest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

_SPILL_IN_FLIGHT = 4  # so few calls are no crowd, whatever the others have
_SPILL_RATIO = 2


class _Addressed(Protocol):
    @property
    def url(self) -> str: ...


class Candidate(Protocol):
    """A replica as far as the choice looks at it."""

    @property
    def server(self) -> _Addressed:
        """Its address is what it is known by, here and in every other process."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls of this process it has."""
        ...


C = TypeVar("C", bound=Candidate)


class Rendezvous:
    """Calls with the same affinity key go to the same replica; calls without one take turns.

    A replica with more calls than 4 and than twice the mean of the candidates is passed over for the next in the
    key's own order, so that a conversation waits behind no crowd and still has one place to go instead.
    """

    def __init__(self) -> None:
        self._turn = 0

    def __call__(self, replicas: Sequence[C], affinity: str | None) -> C:
        """One of `replicas`, of which there is at least one; their order does not matter to a call with a key."""
        if affinity is None:
            self._turn += 1
            return replicas[self._turn % len(replicas)]
        most = max(_SPILL_IN_FLIGHT, _SPILL_RATIO * sum(replica.in_flight for replica in replicas) / len(replicas))
        free = [replica for replica in replicas if replica.in_flight <= most]  # never none: the least is no more
        return max(free, key=lambda replica: _weight(affinity, replica.server.url))


def _weight(affinity: str, url: str) -> bytes:
    key = affinity.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(len(key).to_bytes(8, "big") + key + url.encode(), digest_size=16).digest()


__all__ = ["Candidate", "Rendezvous"]
