"""Facts about processes that outlive a crash of ours: who a process id really is, and how a child dies with
its parent.

A bare process id proves nothing after a crash or in a container, where ids repeat at every start.
`ProcessIdentity` adds the moment at which the process began, so that nothing foreign is ever signalled or
waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the kernel sends this signal to the child when the thread that created it ends."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process id together with the moment its process began, which no other process shares."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of the running process `pid`, or None if there is none (a zombie counts as none)."""
        began = _began_linux(pid) if sys.platform == "linux" else _began_elsewhere(pid)
        return None if began is None else cls(pid, began)

    def is_alive(self) -> bool:
        """Whether exactly this process, not a later one with the same id, is still running."""
        return ProcessIdentity.of(self.pid) == self


def _began_linux(pid: int) -> str | None:
    fields = proc_stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    # Clock ticks count from the boot of the machine, so the boot belongs to the identity.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def proc_stat(pid: int) -> list[str] | None:
    """The fields of `/proc/<pid>/stat` from the third (state) on, or None if there is no such process.

    proc(5) counts from 1: state is 3 (index 0 here), pgrp 5 (2), session 6 (3), starttime 22 (19).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()


def _began_elsewhere(pid: int) -> str | None:
    shown = subprocess.run(  # noqa: S603 - a fixed program, the only argument is a number
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` after which the kernel sends `with_signal` to the child when its parent dies, even by
    SIGKILL.

    None where the kernel has no such thing (macOS). Linux binds it to the *thread* that started the child, so
    this raises `RuntimeError` outside the main thread: a worker thread that ends would take the child with
    it, much later and without a word. A change of user clears it; `subprocess` changes user before it calls
    this.
    """
    if sys.platform != "linux":
        return None
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a child that dies with its parent must be started from the main thread")
    # Looked up before the fork: the loader's lock may be held by another thread at that moment.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel


def signal_process(process: ProcessIdentity, number: signal.Signals) -> None:
    """Send `number` to `process` if it is still that process; nothing otherwise."""
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
