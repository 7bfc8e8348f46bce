"""Tells this process that something changed, within milliseconds and at the latest after `refresh_s`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from bedplate_store.driver import DatabaseConfig, RawConnection, connect
from bedplate_store.shield import uninterrupted

logger = logging.getLogger(__name__)

RETRY_S = (0.1, 5.0)
"""The first wait before connecting again and the longest; each is twice the one before."""


class Listener:
    """Listens on one channel of Postgres, on a connection of its own.

    `on_change` is called after every (re)connect, because what was announced meanwhile was missed; after a
    notification; and every `refresh_s` as a safety. Notifications that arrive while it runs are one more
    call. An exception of its is logged, and the next change calls it again. It must read everything anew:
    what changed is not said.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        channel: str,
        on_change: Callable[[], Awaitable[None]],
        *,
        refresh_s: float = 30.0,
    ) -> None:
        self._config = config
        self._channel = channel
        self._on_change = on_change
        self._refresh_s = refresh_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, in a task of its own. Needs no Postgres yet."""
        self._task = asyncio.create_task(self._listen_forever(), name=f"listener {self._channel}")

    async def aclose(self) -> None:
        """Stop. A call of `on_change` that runs is cancelled. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await uninterrupted(asyncio.wait([task]))

    async def _listen_forever(self) -> None:
        wait_s = RETRY_S[0]
        while True:
            connection: RawConnection | None = None
            try:
                connection = await connect(self._config, name=f"listener {self._channel}")
                changed = asyncio.Event()
                wake = partial(_wake, changed)
                connection.add_termination_listener(wake)
                await connection.add_listener(self._channel, wake)
                wait_s = RETRY_S[0]
                await self._follow(connection, changed)
            except Exception as error:
                logger.warning("listener %s: %s", self._channel, type(error).__name__)
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_S[1])

    async def _follow(self, connection: RawConnection, changed: asyncio.Event) -> None:
        """Call `on_change` until the connection is lost; raises when it is found dead."""
        while not connection.is_closed():
            changed.clear()
            try:
                await self._on_change()
            except Exception:
                logger.exception("listener %s: the change could not be taken in", self._channel)
            try:
                async with asyncio.timeout(self._refresh_s):
                    await changed.wait()
            except TimeoutError:
                # A connection whose other end vanished without a word announces nothing: ask.
                await connection.fetchval("select 1")


def _wake(changed: asyncio.Event, *_what: object) -> None:
    changed.set()


__all__ = ["Listener"]
