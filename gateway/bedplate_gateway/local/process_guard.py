"""Run a program and see that nothing of it stays behind: `python process_guard.py GRACE_S PROGRAM [ARGUMENT
...]`.

An engine is several processes, and when its first one is killed the others live on. This small process stands
between the launcher and the engine: it ends the engine when it is told to (SIGTERM), when its own parent is
gone, and when the engine's first process ends. It leaves only when the last process of the engine has, with
the first one's exit status.

Linux only. A script with no imports of ours, so that the interpreter can run it in isolated mode.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36  # orphans below become this process's children, which it can then wait for
POLL_S = 0.1
TERM_WAIT_S = 3.0
KILL_WAIT_S = 10.0


class Guard:
    """The program `arguments`, in a process group of its own, and its end."""

    def __init__(self, arguments: list[str], grace_s: float) -> None:
        self._arguments = arguments
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._told_to_stop = False
        self._first = 0
        self._status: int | None = None

    def run(self) -> int:
        """Run the program to its end, or end it; returns its exit status, 128 + n if signal n ended it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._first = os.fork()
        if self._first == 0:
            self._become_program(libc)
        with contextlib.suppress(OSError):
            os.setpgid(self._first, self._first)  # the child does the same: whoever comes first
        while self._status is None and not self._told_to_stop and os.getppid() == self._parent:
            self._reap()
            time.sleep(POLL_S)
        self._end_program()
        return self._status if self._status is not None else 1

    def _become_program(self, libc: ctypes.CDLL) -> None:
        try:
            os.setpgid(0, 0)
            libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.execv(self._arguments[0], self._arguments)  # noqa: S606 - the launcher's own command line
        except OSError as error:
            os.write(2, f"{self._arguments[0]}: {error.strerror}\n".encode())
        os._exit(127)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _reap(self) -> None:
        """Collect every child that has ended, adopted ones included."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._first:
                    code = os.waitstatus_to_exitcode(status)
                    self._status = code if code >= 0 else 128 - code

    def _end_program(self) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGTERM)
            self._wait(self._grace_s, until_first_only=True)
        for number, wait_s in ((signal.SIGTERM, TERM_WAIT_S), (signal.SIGKILL, KILL_WAIT_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._first, number)
            if self._wait(wait_s, until_first_only=False):
                return

    def _wait(self, wait_s: float, *, until_first_only: bool) -> bool:
        """Whether the first process, or the entire group, was gone within `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            self._reap()
            if until_first_only and self._status is not None:
                return True
            if not until_first_only and not self._group_exists():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S / 2)

    def _group_exists(self) -> bool:
        try:
            os.killpg(self._first, 0)
        except ProcessLookupError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(Guard(sys.argv[2:], float(sys.argv[1])).run())
