"""One holder at a time for a folder, kept by the kernel: the lock is gone the moment its process is, however
it died.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

POLL_S = 0.05


class FileLock:
    """An exclusive `flock` on the file `path`, which is made if it is not there and never removed.

    The file holds the process id of the last holder, for messages only. The descriptor is not inherited by
    programs that the holder starts, so a daemon that outlives it does not keep the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, *, wait_s: float = 0.0) -> bool:
        """Take the lock, waiting up to `wait_s`; False if another holder (this process included) keeps it.

        Raises `OSError` if the file cannot be opened, e.g. because it belongs to another user.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(POLL_S)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                break
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        self._descriptor = descriptor
        return True

    def holder(self) -> int | None:
        """The process id the last holder wrote, or None; a hint for a message, not a proof."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Give the lock back; nothing if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
