"""How large a picture says it is, read from its header: nothing is decoded, so a small file that decodes to gigabytes
is found before any decoder sees it.

The four formats that every dialect has. Where a decoder would take a later size than the first (a second header in a
PNG, a second frame header in a JPEG, a GIF's frame beyond its screen), so does this, or the picture counts as none: an
answer that a decoder would not give is worse than none. Formats: PNG third edition (W3C 2025), ITU-T T.81, GIF89a,
RFC 9649.
"""

from __future__ import annotations

from typing import Final

import msgspec

_MAX_BLOCKS: Final = 4096
"""Chunks, segments or sub-blocks before the size is known; honest files have a few hundred. Bounds the time."""

_JPEG_SIZES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_SKIPPED: Final = frozenset({0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Segments with a length that say nothing about the size. All others are refused: decoders differ in them."""


class Picture(msgspec.Struct, frozen=True):
    """What a header says: `media_type` of the bytes themselves, whatever their sender called them, and the pixels."""

    media_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def read_picture(data: bytes) -> Picture | None:
    """The size that a PNG, JPEG, GIF or WebP declares; None for anything else, and for one whose header is broken."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            found = "image/png", _png(data)
        elif data.startswith(b"\xff\xd8"):
            found = "image/jpeg", _jpeg(data)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            found = "image/gif", _gif(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            found = "image/webp", _webp(data)
        else:
            return None
    except IndexError:
        return None
    media_type, size = found
    if size is None or 0 in size:
        return None
    return Picture(media_type, *size)


def _png(data: bytes) -> tuple[int, int] | None:
    if data[8:16] != b"\x00\x00\x00\rIHDR":
        return None
    at = 33
    for _ in range(_MAX_BLOCKS):
        kind = data[at + 4 : at + 8]
        if kind == b"IDAT":
            return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        if kind == b"IHDR" or len(kind) < 4:
            return None
        at += 12 + int.from_bytes(data[at : at + 4])
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    width = height = 0
    for _ in range(_MAX_BLOCKS):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return width, height
        if marker in _JPEG_SIZES:
            height = max(height, data[at + 5] << 8 | data[at + 6])
            width = max(width, data[at + 7] << 8 | data[at + 8])
        elif marker not in _JPEG_SKIPPED:
            return None
        length = data[at + 2] << 8 | data[at + 3]
        if length < 2:
            return None
        at += 2 + length
    return None


def _gif(data: bytes) -> tuple[int, int] | None:
    """The screen, or the first frame where that reaches beyond it."""
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    at = 13 + _colour_table_bytes(data[10])
    within = False  # an extension, which is a row of sub-blocks up to an empty one
    for _ in range(_MAX_BLOCKS):
        if within:
            within = data[at] != 0
            at += 1 + data[at]
        elif data[at] == 0x21:
            within = True
            at += 2
        elif data[at] == 0x2C:
            right = _little(data, at + 1, 2) + _little(data, at + 5, 2)
            bottom = _little(data, at + 3, 2) + _little(data, at + 7, 2)
            return max(width, right), max(height, bottom)
        else:
            return None
    return None


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 0x07) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        case b"VP8L" if data[20] == 0x2F:
            bits = _little(data, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            return None


def _little(data: bytes, at: int, count: int) -> int:
    """Like `int.from_bytes`, with an `IndexError` where the data ends."""
    value = data[at + count - 1] << 8 * (count - 1)
    for place in range(count - 1):
        value |= data[at + place] << 8 * place
    return value


__all__ = ["Picture", "read_picture"]
