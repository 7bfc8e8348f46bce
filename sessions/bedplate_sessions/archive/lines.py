"""Lines of an archive: one JSON object each, with hashes by which every change of the file is found.

A line is `{"record":{...},"sha256":"..."}`. Its hash is over the hash of the line before it and its record's own bytes,
so a line that was changed, lost, added or moved is found where it is. The manifest, which is the last line, counts the
lines and has the hash of every byte before it, so a file that breaks off or goes on is found as well. The hashes are no
signature: whoever can write the file can make them anew.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_sessions.archive.records import FORMAT, Header, Manifest, Record

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
_BEGIN: Final = bytes(32)


class ArchiveDamaged(InvalidRequest):
    """The file is not what was exported. Says at which line that shows."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    record: msgspec.Raw
    sha256: str


_LINE: Final = msgspec.json.Decoder(_Line)
_RECORD: Final = msgspec.json.Decoder(Record)
_ENCODER: Final = msgspec.json.Encoder()


class ArchiveSource(Protocol):
    """An archive that can be read more than once."""

    def open(self) -> BinaryIO:
        """Its bytes from the beginning; whoever opens it closes it."""
        ...


class ArchiveFile:
    """An archive in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> BinaryIO:
        """See `ArchiveSource.open`. Raises `OSError`."""
        return self._path.open("rb")


class ArchiveBytes:
    """An archive in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self) -> BinaryIO:
        """See `ArchiveSource.open`."""
        return BytesIO(self._content)


class _Hashes:
    """The hash of the last line, that of all bytes, and how many lines there were."""

    def __init__(self) -> None:
        self._last = _BEGIN
        self._all = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self._lines = 0

    def next(self, record: bytes) -> str:
        """The hash of the line that holds `record`."""
        digest = hashlib.sha256(self._last)
        digest.update(record)
        self._last = digest.digest()
        return digest.hexdigest()

    def add(self, line: bytes, kind: str) -> None:
        """Count a whole line, its end included."""
        self._all.update(line)
        self._counts[kind] += 1
        self._lines += 1

    def manifest(self) -> Manifest:
        """What the manifest says if the file ends here."""
        counts = dict(sorted(self._counts.items()))
        return Manifest(lines=self._lines, counts=counts, sha256=self._all.hexdigest())


class LineWriter:
    """Makes the lines of one archive, in order."""

    def __init__(self) -> None:
        self._hashes = _Hashes()

    def line(self, record: Record) -> bytes:
        """The next line, its end included."""
        encoded = _ENCODER.encode(record)
        line = _ENCODER.encode(_Line(msgspec.Raw(encoded), self._hashes.next(encoded))) + b"\n"
        self._hashes.add(line, _kind(record))
        return line

    def manifest(self) -> bytes:
        """The last line."""
        return self.line(self._hashes.manifest())


def read_lines(source: ArchiveSource) -> Iterator[tuple[int, Record]]:
    """The records of an archive, with their lines' numbers from 1; the manifest is none of them.

    Each is checked before it is given, and the whole before the end is reached. One line is in memory at a time. Raises
    `ArchiveDamaged`.
    """
    hashes = _Hashes()
    manifest: Manifest | None = None
    number = 0
    with source.open() as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if manifest is not None:
                raise ArchiveDamaged(f"line {number}: there is something after the manifest")
            record = _read(line, number, hashes)
            if (number == 1) is not isinstance(record, Header):
                raise ArchiveDamaged(f"line {number}: an archive begins with its header, and has only one")
            if isinstance(record, Manifest):
                manifest = record
                if record != hashes.manifest():
                    raise ArchiveDamaged(f"line {number}: the lines before it are not those that the manifest names")
                continue
            hashes.add(line, _kind(record))
            yield number, record
    if manifest is None:
        raise ArchiveDamaged(f"line {number}: the file breaks off here, before its manifest")


def _read(line: bytes, number: int, hashes: _Hashes) -> Record:
    if len(line) > MAX_LINE_BYTES:
        raise ArchiveDamaged(f"line {number}: is longer than {MAX_LINE_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise ArchiveDamaged(f"line {number}: the file breaks off in the middle of it")
    try:
        found = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ArchiveDamaged(f"line {number}: is no line of an archive") from None
    raw = bytes(found.record)
    if not hmac.compare_digest(found.sha256.encode("utf-8", "surrogatepass"), hashes.next(raw).encode()):
        raise ArchiveDamaged(f"line {number}: was changed, or does not follow the line before it")
    if number == 1:
        _require_format(raw)
    try:
        return _RECORD.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(f"line {number}: {error}") from None


class _Format(msgspec.Struct, frozen=True):
    format: int = 0


def _require_format(raw: bytes) -> None:
    """Raise `InvalidRequest` for an archive of another format: its lines may have fields that are not known here."""
    try:
        found = msgspec.json.decode(raw, type=_Format).format
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = 0
    if found != FORMAT:
        raise InvalidRequest(f"line 1: this is no archive of format {FORMAT}, the only one that is known here")


def _kind(record: Record) -> str:
    return str(type(record).__struct_config__.tag)


__all__ = [
    "MAX_LINE_BYTES",
    "ArchiveBytes",
    "ArchiveDamaged",
    "ArchiveFile",
    "ArchiveSource",
    "LineWriter",
    "read_lines",
]
