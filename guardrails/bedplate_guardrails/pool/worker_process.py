"""One worker process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import cast

from bedplate_guardrails.pool.launch import Launch
from bedplate_guardrails.pool.wire import FrameBuffer, Order, Ready, Reply, WireError, decode_reply, framed

_STDIN, _STDOUT = 0, 1


class WorkerLost(Exception):
    """The worker ended, or said what it must not: it is of no use any more."""


class WorkerStalled(WorkerLost):
    """The worker did not answer in time."""


class _Pipes(asyncio.SubprocessProtocol):
    """What the event loop tells about a worker."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.reply: asyncio.Future[bytes] | None = loop.create_future()
        self.lost = ""
        self.pid = 0
        self._exited = False
        self._frames = FrameBuffer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pid = cast(asyncio.SubprocessTransport, transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except WireError as error:
            self._lose(str(error))
            return
        for frame in frames:
            if self.reply is None or self.reply.done():
                self._lose("it spoke without being asked")
                return
            self.reply.set_result(frame)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == _STDOUT:
            self._lose("it closed its output")

    def process_exited(self) -> None:
        self._exited = True
        self._lose("it ended")
        self._kill_group()  # what the worker had started itself

    def connection_lost(self, exc: Exception | None) -> None:
        """The process was waited for and every pipe is closed."""
        self._lose("it ended")
        if not self.closed.done():
            self.closed.set_result(None)

    def kill(self) -> None:
        """Kill the worker with everything in its process group; nothing where it ended by itself."""
        if not self._exited:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(WorkerLost(self.lost))
            self.reply.exception()  # whoever asked may be gone; asyncio need not say so


class WorkerProcess:
    """A worker that takes one order at a time. Use `start`."""

    def __init__(self, transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
        self._transport = transport
        self._pipes = pipes
        self.loaded: set[str] = set()
        """The units that this worker has ready."""

    @classmethod
    async def start(cls, launch: Launch) -> WorkerProcess:
        """Start a worker and wait until it takes orders.

        Raises `WorkerLost` where it cannot be started, and `WorkerStalled` after `launch.start_s`. Cancelled, it is
        killed and waited for.
        """
        spawning = asyncio.ensure_future(cls._spawn(launch))
        try:
            worker = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with contextlib.suppress(WorkerLost):
                await (await spawning).kill()
            raise
        try:
            reply = await worker._answer(launch.start_s)
            if not isinstance(reply, Ready):
                raise WorkerLost("it did not say that it is ready")
        except BaseException:
            await worker.kill()
            raise
        return worker

    @classmethod
    async def _spawn(cls, launch: Launch) -> WorkerProcess:
        try:
            transport, pipes = await asyncio.get_running_loop().subprocess_exec(
                _Pipes,
                *launch.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a library's warnings could quote what it was given
                env=launch.worker_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerLost(f"it could not be started: {error.strerror}") from error
        return cls(transport, pipes)

    @property
    def pid(self) -> int:
        """The process, which leads a process group of this id."""
        return self._pipes.pid

    @property
    def gone(self) -> str:
        """Why it cannot be asked any more; empty while it can."""
        return self._pipes.lost

    async def ask(self, order: Order, *, limit_s: float) -> Reply:
        """The answer to an order. Raises `WorkerLost`, `WorkerStalled` after `limit_s`, or `WireError`.

        After any of these, and when cancelled, the worker must be killed.
        """
        frame = framed(order)
        if self._pipes.lost:
            raise WorkerLost(self._pipes.lost)
        self._pipes.reply = asyncio.get_running_loop().create_future()
        stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(_STDIN))
        stdin.write(frame)
        return await self._answer(limit_s)

    async def _answer(self, limit_s: float) -> Reply:
        reply = self._pipes.reply
        if reply is None:
            raise WorkerLost(self._pipes.lost or "it was not asked")
        try:
            async with asyncio.timeout(limit_s):
                return decode_reply(await reply)
        except TimeoutError:
            raise WorkerStalled(f"no answer after {limit_s:.1f} s") from None
        finally:
            self._pipes.reply = None

    async def kill(self) -> None:
        """Kill the process and all it started, and wait until nothing of it is left. Safe to call again."""
        self._pipes.kill()
        self._transport.close()
        await asyncio.shield(self._pipes.closed)


__all__ = ["WorkerLost", "WorkerProcess", "WorkerStalled"]
