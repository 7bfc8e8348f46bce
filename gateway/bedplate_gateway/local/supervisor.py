"""Runs the parts of a local Bedplate in the foreground: in order, watched, and down in the reverse order.

One thread and no event loop: the kernel ties each child's life to the thread that started it, so when this
process is killed by SIGKILL its children go too. A part that dies is restarted while the others go on; one
that keeps dying takes everything down with its reason.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import msgspec

from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.progress import Progress

POLL_S = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(Protocol):
    """One part: a process, started and stopped as often as needed.

    `ready_timeout_s` is how long it may take from `start` until `is_ready`.
    """

    @property
    def name(self) -> str: ...

    @property
    def ready_timeout_s(self) -> float: ...

    def check(self) -> None:
        """Raise `LaunchError` if it cannot be started; called for every part before the first is started."""
        ...

    def start(self) -> None:
        """Start the process and return soon. Raises `LaunchError`; nothing is left running then."""
        ...

    def is_ready(self) -> bool:
        """Whether it does its work now. Returns within 2 s or so. Raises `LaunchError` if it never will."""
        ...

    def poll(self) -> int | None:
        """The exit status if it ended by itself; None while it runs or before `start`."""
        ...

    def stop(self) -> None:
        """End it in an orderly way and wait for that; nothing if it is not started."""
        ...

    def kill(self) -> None:
        """End it at once, without waiting. Called from a signal handler, also while `stop` waits."""
        ...


class RestartPolicy(msgspec.Struct, frozen=True):
    """A part may be restarted `limit` times in any `window_s`; before the n-th it waits, doubling each time."""

    limit: int = 5
    window_s: float = 600.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def wait_s(self, restarts: int) -> float:
        """How long to wait before the next restart after `restarts` recent ones."""
        return min(self.first_wait_s * 2**restarts, self.longest_wait_s)


class _Watched:
    """A part and where it stands."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.is_started = False
        self.is_ready = False
        self.ready_by = 0.0
        self.restart_at: float | None = None
        self.restarts: list[float] = []


class _Stop(Exception):
    """The operator asked for the end."""


class Supervisor:
    """Runs `children` in order, each started when the one before it is ready. Main thread only."""

    def __init__(self, children: Sequence[Child], progress: Progress, *, restarts: RestartPolicy | None = None) -> None:
        self._watched = [_Watched(child) for child in children]
        self._progress = progress
        self._policy = restarts or RestartPolicy()
        self._stops_asked = 0

    def run(self, *, announce: Callable[[], str] | None = None) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP; return when everything is down after that.

        What `announce` returns is shown once everything is ready. A second signal kills what has not ended yet. Raises
        `LaunchError`, after everything is down, when a part cannot be started or dies more often than the
        policy allows.
        """
        with self._signals():
            try:
                for watched in self._watched:
                    watched.child.check()
                for watched in self._watched:
                    self._bring_up(watched)
                if announce is not None:
                    self._progress.note(announce())
                self._watch()
            except _Stop:
                pass
            except BaseException:
                self._progress.failed()
                raise
            finally:
                self._take_down()

    def _bring_up(self, watched: _Watched) -> None:
        """Start a part for the first time and wait until it is ready, with an eye on those that are up."""
        self._heed_signal()
        self._progress.step(f"Starting {watched.child.name}")
        self._start(watched)
        began = time.monotonic()
        while not self._became_ready(watched):
            self._progress.update(f"{time.monotonic() - began:.0f} s")
            for other in self._watched:
                if other is not watched:
                    self._look_after(other)
            self._pause()
        self._progress.done()

    def _watch(self) -> None:
        while True:
            for watched in self._watched:
                self._look_after(watched)
            self._pause()

    def _look_after(self, watched: _Watched) -> None:
        """See that a part that has been started goes on, or comes back."""
        if watched.restart_at is not None:
            if time.monotonic() >= watched.restart_at:
                watched.restart_at = None
                self._try(watched, self._start)
        elif watched.is_started and not watched.is_ready:
            self._try(watched, self._note_recovery)
        elif watched.is_started:
            status = watched.child.poll()
            if status is not None:
                self._schedule_restart(watched, f"ended unexpectedly ({_in_words(status)})")

    def _try(self, watched: _Watched, what: Callable[[_Watched], object]) -> None:
        try:
            what(watched)
        except LaunchError as error:
            self._schedule_restart(watched, error.message)

    def _start(self, watched: _Watched) -> None:
        watched.child.start()
        watched.is_started = True
        watched.is_ready = False
        watched.ready_by = time.monotonic() + watched.child.ready_timeout_s

    def _became_ready(self, watched: _Watched) -> bool:
        status = watched.child.poll()
        if status is not None:
            raise LaunchError(f"{watched.child.name} ended while it was starting ({_in_words(status)})")
        watched.is_ready = watched.child.is_ready()
        if not watched.is_ready and time.monotonic() > watched.ready_by:
            raise LaunchError(f"{watched.child.name} was not ready within {watched.child.ready_timeout_s:.0f} s")
        return watched.is_ready

    def _note_recovery(self, watched: _Watched) -> None:
        if self._became_ready(watched):
            self._progress.note(f"{watched.child.name} is back")

    def _schedule_restart(self, watched: _Watched, reason: str) -> None:
        """Have a dead part restarted after a while; raises `LaunchError` when it died too often."""
        now = time.monotonic()
        name = watched.child.name
        watched.is_started = watched.is_ready = False
        watched.child.stop()  # clears what is left of it
        watched.restarts = [then for then in watched.restarts if now - then < self._policy.window_s]
        if len(watched.restarts) >= self._policy.limit:
            raise LaunchError(f"{name} {reason}, after {len(watched.restarts)} restarts: giving up")
        wait_s = self._policy.wait_s(len(watched.restarts))
        watched.restarts.append(now)
        watched.restart_at = now + wait_s
        self._progress.note(f"{name} {reason}: starting it again in {wait_s:.0f} s")

    def _take_down(self) -> None:
        """Stop everything in the reverse order. A signal from now on kills instead; errors do not end the
        round.
        """
        for watched in reversed(self._watched):
            if self._stops_asked > 1:
                watched.child.kill()
            try:
                watched.child.stop()
            except Exception as error:  # the parts below it must still be stopped
                self._progress.note(f"{watched.child.name} could not be stopped: {error}")

    def _pause(self) -> None:
        self._heed_signal()
        time.sleep(POLL_S)

    def _heed_signal(self) -> None:
        if self._stops_asked:
            self._progress.failed()
            self._progress.note("Stopping; once more to kill")
            raise _Stop

    @contextmanager
    def _signals(self) -> Generator[None]:
        # A signal that is ignored stays so: that is how nohup keeps a program when its terminal goes.
        ours = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in ours}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stops_asked += 1
        if self._stops_asked > 1:
            for watched in self._watched:
                watched.child.kill()


def _in_words(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
