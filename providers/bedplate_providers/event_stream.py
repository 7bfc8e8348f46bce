"""AWS's binary event stream: frames to bytes, and bytes back to frames, incrementally.

    u32 total length | u32 headers length | u32 crc32 of these 8 bytes | headers | payload | u32 crc32 of all before
    header: u8 name length, name, u8 type, value

Integers are big-endian, the checksums are CRC-32 as zlib has it. The format is that of AWS's specification
(smithy.io, "Amazon Event Stream Specification"); limits are botocore 1.44.8's, which this is tested against.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

MAX_HEADERS_BYTES: Final = 128 * 1024
MAX_PAYLOAD_BYTES: Final = 24 * 1024 * 1024
MAX_NAME_BYTES: Final = 255
MAX_VALUE_BYTES: Final = 2**15 - 1

HeaderValue: TypeAlias = str | bool | int | bytes
"""A timestamp is milliseconds since 1970, a UUID its 16 bytes."""

_STRING_TYPE: Final = 7
_PRELUDE: Final = struct.Struct("!III")
_LENGTHS: Final = struct.Struct("!II")
_CRC: Final = struct.Struct("!I")
_LENGTH: Final = struct.Struct("!H")
_OVERHEAD_BYTES: Final = _PRELUDE.size + _CRC.size
_INTEGER_BYTES: Final = {2: 1, 3: 2, 4: 4, 5: 8, 8: 8}


class FrameError(ValueError):
    """The bytes are no frame: over a limit, a wrong checksum, or headers that do not parse."""


class Frame(msgspec.Struct, frozen=True):
    """One message of a stream. Header names are unique; their order is kept."""

    headers: tuple[tuple[str, HeaderValue], ...]
    payload: bytes

    def header(self, name: str) -> str | None:
        """The value of a text header (such as `:event-type`), or None."""
        for found, value in self.headers:
            if found == name:
                return value if isinstance(value, str) else None
        return None


class FrameEncoder:
    """Encodes frames that share their headers, which it spells once."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        """Raises `FrameError` for a name or value over its limit."""
        self._headers = b"".join(_encode_header(name, value) for name, value in headers)
        if len(self._headers) > MAX_HEADERS_BYTES:
            raise FrameError(f"the headers take {len(self._headers)} bytes, at most {MAX_HEADERS_BYTES} are allowed")

    def encode(self, payload: bytes) -> bytes:
        """The frame with this payload. Raises `FrameError` for one over `MAX_PAYLOAD_BYTES`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise FrameError(f"the payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are allowed")
        headers = self._headers
        lengths = _LENGTHS.pack(_OVERHEAD_BYTES + len(headers) + len(payload), len(headers))
        message = b"".join((lengths, _CRC.pack(zlib.crc32(lengths)), headers, payload))
        return message + _CRC.pack(zlib.crc32(message))


def encode_frame(headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """One whole frame. Raises `FrameError` for what is over a limit."""
    return FrameEncoder(headers).encode(payload)


class FrameParser:
    """Parses one stream. How the bytes are cut into chunks makes no difference.

    Nothing of a frame is believed before both its checksums match, and no more is kept than one frame within the
    limits. A stream that broke once stays broken.
    """

    __slots__ = ("_buffer", "_error", "_expected_bytes", "_headers", "_max_payload_bytes", "_spelt")

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._buffer = bytearray()
        self._expected_bytes = 0  # of the frame at the buffer's start; 0 while its prelude is not whole
        self._error: FrameError | None = None
        self._spelt = b""
        self._headers: tuple[tuple[str, HeaderValue], ...] = ()

    @property
    def too_large(self) -> bool:
        """Whether the stream is broken and the next `feed` raises; the name is `Framing`'s."""
        return self._error is not None

    @property
    def pending(self) -> bool:
        """Whether the stream may not end here: half a frame has come, or one that is broken."""
        return bool(self._buffer) or self._error is not None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order.

        Raises `FrameError` for bytes that are no frame; if these are found behind complete frames, the frames are
        returned and the next call raises (`pending` is true in between).
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        frames: list[Frame] = []
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except FrameError as error:
            self._error = error
            self._buffer.clear()
            if not frames:
                raise
        return frames

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < _PRELUDE.size:
            return None
        total_bytes, headers_bytes, prelude_crc = _PRELUDE.unpack_from(buffer)
        if not self._expected_bytes:
            self._check_prelude(total_bytes, headers_bytes, prelude_crc)
            self._expected_bytes = total_bytes
        if len(buffer) < total_bytes:
            return None
        message = bytes(buffer[:total_bytes])
        del buffer[:total_bytes]
        self._expected_bytes = 0
        end = total_bytes - _CRC.size
        if zlib.crc32(memoryview(message)[:end]) != _CRC.unpack_from(message, end)[0]:
            raise FrameError("the checksum of a frame does not match")
        start = _PRELUDE.size + headers_bytes
        spelt = message[_PRELUDE.size : start]
        if spelt != self._spelt:  # most frames of a stream have the headers of the one before
            self._headers = _decode_headers(spelt)
            self._spelt = spelt
        return Frame(self._headers, message[start:end])

    def _check_prelude(self, total_bytes: int, headers_bytes: int, prelude_crc: int) -> None:
        if zlib.crc32(memoryview(self._buffer)[: _LENGTHS.size]) != prelude_crc:
            raise FrameError("the checksum of a frame's lengths does not match")
        payload_bytes = total_bytes - headers_bytes - _OVERHEAD_BYTES
        if headers_bytes > MAX_HEADERS_BYTES:
            raise FrameError(f"a frame has {headers_bytes} bytes of headers, at most {MAX_HEADERS_BYTES} are allowed")
        if payload_bytes < 0:
            raise FrameError("a frame is shorter than its headers")
        if payload_bytes > self._max_payload_bytes:
            raise FrameError(f"a frame's payload has {payload_bytes} bytes, over {self._max_payload_bytes}")


def _encode_header(name: str, value: str) -> bytes:
    encoded_name, encoded_value = name.encode(), value.encode()
    if not 1 <= len(encoded_name) <= MAX_NAME_BYTES:
        raise FrameError(f"a header's name has 1 to {MAX_NAME_BYTES} bytes, not {len(encoded_name)}")
    if len(encoded_value) > MAX_VALUE_BYTES:
        raise FrameError(f"a header's value has at most {MAX_VALUE_BYTES} bytes, not {len(encoded_value)}")
    length = _LENGTH.pack(len(encoded_value))
    return b"".join((bytes((len(encoded_name),)), encoded_name, bytes((_STRING_TYPE,)), length, encoded_value))


def _decode_headers(data: bytes) -> tuple[tuple[str, HeaderValue], ...]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(data):
            name, at = _take(data, at + 1, data[at])
            kind = data[at]
            value, at = _decode_value(data, at + 1, kind)
            text = name.decode()
            if text in headers:
                raise FrameError(f"a frame has the header {text!r} twice")
            headers[text] = value
    except IndexError:
        raise FrameError("a header of a frame is cut off") from None
    except UnicodeDecodeError:
        raise FrameError("a header of a frame is not valid UTF-8") from None
    return tuple(headers.items())


def _decode_value(data: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    """The value at `at` and where the next header begins. Raises `IndexError` where the data ends too soon."""
    if kind in (0, 1):
        return kind == 0, at
    if kind in _INTEGER_BYTES:
        taken, at = _take(data, at, _INTEGER_BYTES[kind])
        return int.from_bytes(taken, "big", signed=True), at
    if kind == 9:
        return _take(data, at, 16)
    if kind not in (6, _STRING_TYPE):
        raise FrameError(f"a header of a frame has the unknown type {kind}")
    length, at = _take(data, at, _LENGTH.size)
    value, at = _take(data, at, int.from_bytes(length, "big"))
    return (value if kind == 6 else value.decode()), at


def _take(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    end = at + count
    if end > len(data):
        raise IndexError
    return data[at:end], end


__all__ = [
    "MAX_HEADERS_BYTES",
    "MAX_NAME_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_VALUE_BYTES",
    "Frame",
    "FrameEncoder",
    "FrameError",
    "FrameParser",
    "HeaderValue",
    "encode_frame",
]
