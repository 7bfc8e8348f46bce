"""What a running engine leaves on disk, so that the next start can clear away the remains of a crash.

Everything is proved before it is touched. Processes: they are in the session that the record names, run the
recorded program as our own user, and began after the session's leader. Shared memory: the record holds the
name and the inode of each segment the engine had mapped when it became ready; segments it made before that
stay if it died before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bedplate_store.child_process import ProcessIdentity, proc_stat, signal_process

SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - a mount point whose names are read here, nothing is made in it
GUARD_WAIT_S = 30.0
TRACKER_WAIT_S = 3.0
KILL_WAIT_S = 10.0
POLL_S = 0.05


class SharedSegment(msgspec.Struct, frozen=True):
    """A file in /dev/shm; the inode tells it from a later one of the same name."""

    path: str
    inode: int


class EngineRecord(msgspec.Struct, frozen=True):
    """One engine: `guard` leads the session its processes are in, `program` is what they run."""

    guard: ProcessIdentity
    program: str
    port: int
    shared: tuple[SharedSegment, ...] = ()

    @classmethod
    def read(cls, path: Path) -> EngineRecord | None:
        """The record in the file `path`, or None if there is none that can be read."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the file `path` by this record."""
        partial = path.with_name(path.name + ".new")
        partial.write_bytes(msgspec.json.encode(self))
        partial.replace(path)

    def with_shared_memory(self) -> EngineRecord:
        """This record with the shared memory that the engine's processes have mapped now."""
        found = {segment for process in self.processes() for segment in _mapped(process.pid)}
        return msgspec.structs.replace(self, shared=tuple(sorted(found, key=lambda s: s.path)))

    def processes(self) -> list[ProcessIdentity]:
        """The engine's processes that are running, the guard not among them."""
        return [process for process in _in_session(self.guard.pid) if self._is_ours(process)]

    def end(self) -> None:
        """End what is left of the engine: the guard first, which ends the rest in order, then the rest by
        force.

        Returns when all of it is gone, at most about a minute later; nothing is left then but a process that
        the kernel cannot kill.
        """
        signal_process(self.guard, signal.SIGTERM)
        _wait(GUARD_WAIT_S, lambda: not self.guard.is_alive())
        self.clear()

    def kill(self) -> None:
        """Kill the guard and the engine's processes, without waiting for their end."""
        for process in [self.guard, *self.processes()]:
            signal_process(process, signal.SIGKILL)

    def clear(self) -> None:
        """Kill the guard and the engine's processes, wait for their end, and remove their shared memory."""
        signal_process(self.guard, signal.SIGKILL)
        for process in self.processes():
            # Python's resource tracker removes the others' semaphores and shared memory once they are gone.
            if not _is_resource_tracker(process.pid):
                signal_process(process, signal.SIGKILL)
        _wait(TRACKER_WAIT_S, lambda: not self.processes())
        for process in self.processes():
            signal_process(process, signal.SIGKILL)
        _wait(KILL_WAIT_S, lambda: not self.processes())
        for segment in self.shared:
            with contextlib.suppress(OSError):
                facts = os.lstat(segment.path)
                if facts.st_ino == segment.inode and facts.st_uid == os.geteuid():
                    os.unlink(segment.path)

    def _is_ours(self, process: ProcessIdentity) -> bool:
        try:
            runs = os.readlink(f"/proc/{process.pid}/exe")
            owner = os.stat(f"/proc/{process.pid}").st_uid
        except OSError:
            return False
        boot, _, ticks = process.began.rpartition(":")
        guard_boot, _, guard_ticks = self.guard.began.rpartition(":")
        began_after = boot == guard_boot and int(ticks) >= int(guard_ticks)
        return runs == self.program and owner == os.geteuid() and began_after and process != self.guard


def _in_session(session: int) -> Iterator[ProcessIdentity]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = proc_stat(int(entry))
            if fields is not None and int(fields[3]) == session:
                identity = ProcessIdentity.of(int(entry))
                if identity is not None:
                    yield identity


def _is_resource_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _mapped(pid: int) -> Iterator[SharedSegment]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:  # proc_pid_maps(5): address perms offset dev inode pathname
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(SHARED_MEMORY) and not fields[5].endswith(" (deleted)"):
            yield SharedSegment(fields[5], int(fields[4]))


def _wait(wait_s: float, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + wait_s
    while not is_over() and time.monotonic() < deadline:
        time.sleep(POLL_S)
