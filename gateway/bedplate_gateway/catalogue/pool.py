"""Providers outlive snapshots: one stays open while its configuration stays, and until its last call has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from bedplate_providers.base import Provider
from bedplate_providers.endpoints import Endpoint
from bedplate_providers.registry import build_provider

_log = structlog.stdlib.get_logger("bedplate.catalogue")


class Lease:
    """A provider with the count of calls that use it."""

    def __init__(self, provider: Provider, endpoint: Endpoint) -> None:
        self.provider = provider
        self.endpoint = endpoint
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def take(self) -> Callable[[], Awaitable[None]]:
        """Count one call; the returned function counts it off."""
        self._calls += 1
        self._idle.clear()
        return self._give_back

    async def _give_back(self) -> None:
        self._calls -= 1
        if self._calls == 0:
            self._idle.set()

    async def close_when_idle(self, timeout_s: float) -> None:
        """Wait for the calls under way, at most `timeout_s`, then close the provider."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("provider_closed_in_use", provider=self.provider.name, calls=self._calls)
        await self.provider.aclose()


class ProviderPool:
    """The open providers of this process by name."""

    def __init__(self, retire_timeout_s: float) -> None:
        self._open: dict[str, Lease] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._retire_timeout_s = retire_timeout_s

    async def reconcile(self, endpoints: Mapping[str, Endpoint]) -> Mapping[str, Lease]:
        """Open what is new, keep what is unchanged, retire what is gone or changed; return what is open.

        One that cannot be opened is logged and left out; the next call tries it again.
        """
        for name, lease in list(self._open.items()):
            if endpoints.get(name) != lease.endpoint:
                del self._open[name]
                task = asyncio.create_task(lease.close_when_idle(self._retire_timeout_s))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        for name, endpoint in endpoints.items():
            if name not in self._open:
                try:
                    provider = build_provider(name, endpoint)
                    await provider.start()
                except Exception as error:
                    _log.error("provider_unusable", provider=name, reason=f"{type(error).__name__}: {error}")
                    continue
                self._open[name] = Lease(provider, endpoint)
        return dict(self._open)

    async def aclose(self) -> None:
        """Close every provider now."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        leases, self._open = list(self._open.values()), {}
        for lease in leases:
            await lease.provider.aclose()


__all__ = ["Lease", "ProviderPool"]
