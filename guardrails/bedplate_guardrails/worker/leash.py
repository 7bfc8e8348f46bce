"""How a worker does not outlive the gateway, whatever way that one ends.

The kernel kills the worker when its parent dies (Linux; it counts the thread that started the worker as the parent, and
a worker that ends with such a thread is started anew). That does not reach what the worker started itself, and does not
exist elsewhere; so a small process watches the worker's input, which closes with the gateway, and then kills the
worker's whole process group.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_MS = 500


def tie_to_parent(parent: int, input_fd: int) -> None:
    """Die when the process `parent` does, or when the other end of `input_fd` is closed; with the process group.

    To be called first, while there is one thread. The worker must lead its process group. No core file is written:
    memory holds users' texts.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = os.getpid()
    if os.fork() == 0:
        _watch(worker, input_fd)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os.killpg(worker, signal.SIGKILL)


def _watch(worker: int, input_fd: int) -> None:
    """Wait for the end of the worker or of its input, then kill the process group, this process included."""
    try:
        os.closerange(0, input_fd)
        os.closerange(input_fd + 1, os.sysconf("SC_OPEN_MAX") if input_fd > 1024 else 1024)
        watched = select.poll()
        watched.register(input_fd, 0)  # only that it is hung up, which is always reported
        while os.getppid() == worker:
            if watched.poll(_LOOK_MS):
                break
    finally:
        os.killpg(worker, signal.SIGKILL)
        os._exit(0)


__all__ = ["tie_to_parent"]
