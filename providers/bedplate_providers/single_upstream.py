"""A provider that is one server: no replicas, no health checks of its own."""

from __future__ import annotations

from bedplate_providers.base import Health, ReplicaHealth
from bedplate_providers.upstream import HttpUpstream


class SingleUpstream:
    """What such providers share of `Provider`; a kind adds `generate`.

    Health is what the last call met: a vendor's API is not asked every few seconds how it is.
    """

    def __init__(self, name: str, upstream: HttpUpstream) -> None:
        self.name = name
        self.upstream = upstream
        self._closed = False

    async def start(self) -> None:
        """See `Provider.start`; there is no background work."""

    async def health(self) -> Health:
        """See `Provider.health`: well until a call could not reach the server, and again once one did."""
        reach = self.upstream.reach
        ok = reach.ok and not self._closed
        pool = self.upstream.pool
        busy = pool.open_connections - pool.idle_connections
        state = ReplicaHealth(url=self.upstream.url, ok=ok, in_flight=busy, detail=reach.detail)
        return Health(ok=ok, detail="closed" if self._closed else reach.detail, replicas=(state,))

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        self._closed = True
        await self.upstream.aclose()


__all__ = ["SingleUpstream"]
