"""Blocking calls of a library, in threads of their own, each with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE_S: Final = 5.0
THREADS: Final = 8


class BoundedCalls:
    """Runs blocking calls in at most `threads` threads.

    The threads are none of the event loop's default ones: a server that hangs must not take those away from all else.
    """

    def __init__(self, name: str, *, deadline_s: float = DEADLINE_S, threads: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._deadline_s = deadline_s

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises; `TimeoutError` after the deadline, the wait for a thread included.

        A call that was given up on, or whose caller was cancelled, ends by its own time-outs; what it returns is lost.
        """
        async with asyncio.timeout(self._deadline_s):
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Start nothing more. Idempotent; does not wait for calls that run."""
        self._executor.shutdown(wait=False, cancel_futures=True)


__all__ = ["DEADLINE_S", "THREADS", "BoundedCalls"]
