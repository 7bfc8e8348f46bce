"""A bounded folder of JSON lines that outlives a crash: where rows wait while Postgres is away.

Each process appends to a file of its own, under a `flock` that the kernel frees however the process dies. A
file whose lock is free belongs to nobody alive, and whoever finds it takes it over. Rows carry ids, so a file
that is replayed twice, because its reader died halfway, does no harm. Only a line that `append` returned for
is promised: a torn last line was never acknowledged.

Everything here blocks on the disk; it may be called from several threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

FILE_BYTES = 4 << 20
"""A file this long is closed and another begun, so that a replay holds no more than this in memory."""


class SpoolFull(Exception):
    """The folder holds as many bytes as it may."""


class SpoolFile:
    """A file of the spool that this process has taken over for replay."""

    def __init__(self, spool: Spool, path: Path, descriptor: int) -> None:
        self._spool = spool
        self._path = path
        self._descriptor = descriptor

    def batches(self, rows: int) -> Iterator[list[bytes]]:
        """The rows, up to `rows` at a time. What is not JSON is left out: a torn last line, or damage
        (logged).
        """
        batch: list[bytes] = []
        lines = self._path.read_bytes().split(b"\n")
        torn = lines.pop()  # empty when the last line is whole
        if torn:
            logger.info("spool %s ends in the middle of a row, as after a crash", self._path.name)
        for line in lines:
            if not _is_json(line):
                logger.error("spool %s has a damaged row of %d bytes", self._path.name, len(line))
                continue
            batch.append(line)
            if len(batch) == rows:
                yield batch
                batch = []
        if batch:
            yield batch

    def remove(self) -> None:
        """Delete the file: every row of it is kept elsewhere."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._spool.measure()

    def release(self) -> None:
        """Leave the file for a later replay, by whoever comes first."""
        os.close(self._descriptor)


class Spool:
    """The files `NAME-*.jsonl` in `folder`, which all processes that write the table NAME on this machine
    share.

    `limit_bytes` bounds the folder as a whole; what other processes add is seen when this one replays or
    starts.
    """

    def __init__(self, folder: Path, name: str, *, limit_bytes: int) -> None:
        self._folder = folder
        self._name = name
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._descriptor = -1
        self._length = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more rows."""
        return self._used_bytes >= self._limit_bytes

    def open(self) -> None:
        """Make the folder, for this account alone. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.measure()

    def measure(self) -> None:
        """Count the bytes that lie in the folder."""
        used = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                used += path.stat().st_size
        self._used_bytes = used

    def append(self, rows: Sequence[bytes]) -> None:
        """Write `rows`, one JSON text without line breaks each, and return when they are on the disk.

        Raises `SpoolFull` or `OSError`; then none of them is promised.
        """
        data = b"".join([row + b"\n" for row in rows])
        with self._lock:
            if self._used_bytes + len(data) > self._limit_bytes:
                self._used_bytes = max(self._used_bytes, self._limit_bytes)
                raise SpoolFull(f"the spool of {self._name} holds {self._limit_bytes} bytes")
            if self._path is None:
                self._begin()
            try:
                _write_whole(self._descriptor, data)
                os.fdatasync(self._descriptor)
            except OSError:
                # Half a row must not become the beginning of the next one.
                self._end()
                raise
            self._length += len(data)
            self._used_bytes += len(data)
            if self._length >= FILE_BYTES:
                self._end()

    def take(self) -> SpoolFile | None:
        """A file with rows to replay, this process's own or one that a dead process left; None if there is
        none.
        """
        with self._lock:
            if self._path is not None and self._length:
                taken = SpoolFile(self, self._path, self._descriptor)
                self._path = None
                return taken
            own = self._path
        for path in self._files():
            if path == own:
                continue
            with contextlib.suppress(FileNotFoundError):
                descriptor = _lock_file(path, os.O_RDWR)
                if descriptor is not None:
                    return SpoolFile(self, path, descriptor)
        return None

    def reject(self, row: bytes, reason: str) -> None:
        """Set a row aside that Postgres will never take, in `NAME.rejected`. Raises `SpoolFull` or
        `OSError`.
        """
        line = msgspec.json.encode({"error": reason, "row": msgspec.Raw(row)}) + b"\n"
        path = self._folder / f"{self._name}.rejected"
        with self._lock:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size + len(line) > self._limit_bytes:
                    raise SpoolFull(f"{path.name} holds {self._limit_bytes} bytes")
                _write_whole(descriptor, line)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Give the current file up; its rows are replayed by the next process."""
        with self._lock:
            if self._path is not None:
                if self._length == 0:
                    self._path.unlink(missing_ok=True)
                self._end()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}-*.jsonl"))

    def _begin(self) -> None:
        while True:
            path = self._folder / f"{self._name}-{secrets.token_hex(8)}.jsonl"
            # Another process may take a new file for a dead one's before it is locked; then the next name
            # will do.
            descriptor = _lock_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            if descriptor is not None:
                break
        self._path, self._descriptor, self._length = path, descriptor, 0
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _end(self) -> None:
        os.close(self._descriptor)
        self._path = None


def _lock_file(path: Path, flags: int) -> int | None:
    """An open descriptor that holds the lock on `path`; None if another holds it, or has removed the file."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the opening and the lock, its holder may have replayed and removed the file.
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


__all__ = ["Spool", "SpoolFile", "SpoolFull"]
