"""What a fetched body is, told by its first bytes: a server's word for it only chooses among what they allow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from bedplate_gateway.engine.picture_size import read_picture

Kind: TypeAlias = Literal["image", "audio", "video", "document"]
ACCEPT: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "image": "image/png, image/jpeg, image/gif, image/webp",
        "audio": "audio/*",
        "video": "video/*",
        "document": "application/pdf, text/*, application/*",
    }
)
"""The Accept header for each kind."""

_UNSPECIFIC: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_ALIASES: Final = MappingProxyType(
    {
        "audio/mp3": "audio/mpeg",
        "audio/wave": "audio/wav",
        "audio/x-flac": "audio/flac",
        "audio/vnd.wave": "audio/wav",
        "audio/x-m4a": "audio/mp4",
        "audio/x-wav": "audio/wav",
        "text/x-markdown": "text/markdown",
        "video/x-m4v": "video/mp4",
    }
)
_TEXTS: Final = frozenset({"text/csv", "text/html", "text/markdown", "text/plain"})
_ZIPPED: Final = frozenset(
    {
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    }
)
_COMPOUND: Final = frozenset({"application/msword", "application/vnd.ms-excel"})


def media_type_of(kind: Kind, declared: str, data: bytes) -> str | None:
    """The MIME type of `data` as media of that kind; None when it is none that is known, or none of that kind.

    `declared` is the server's Content-Type without parameters, in lower case.
    """
    declared = _ALIASES.get(declared, declared)
    possible = _possible(data)
    if declared in _UNSPECIFIC:
        possible = tuple(type_ for type_ in possible if _is_of(kind, type_))
        return possible[0] if len(possible) == 1 else None
    if not _is_of(kind, declared):
        return None
    if kind == "image":  # often declared as another picture than it is
        return possible[0] if possible and _is_of(kind, possible[0]) else None
    return declared if declared in possible else None


def _is_of(kind: Kind, type_: str) -> bool:
    if kind == "document":
        return type_ == "application/pdf" or type_ in _TEXTS or type_ in _ZIPPED or type_ in _COMPOUND
    return type_.startswith(f"{kind}/")


def _possible(data: bytes) -> tuple[str, ...]:
    """The types that the first bytes allow."""
    picture = read_picture(data)
    if picture is not None:
        return (picture.media_type,)
    head = data[:12]
    for start, types in _STARTS:
        if head.startswith(start):
            return types
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return ("audio/wav",)
    if head[4:8] == b"ftyp":
        return ("video/mp4", "video/quicktime", "video/3gpp", "audio/mp4")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return ("audio/aac",) if head[1] & 0xF6 == 0xF0 else ("audio/mpeg",)
    return tuple(sorted(_TEXTS)) if _is_text(data) else ()


_STARTS: Final = (
    (b"%PDF-", ("application/pdf",)),
    (b"PK\x03\x04", tuple(sorted(_ZIPPED))),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", tuple(sorted(_COMPOUND))),
    (b"ID3", ("audio/mpeg",)),
    (b"fLaC", ("audio/flac",)),
    (b"OggS", ("audio/ogg", "audio/opus", "video/ogg")),
    (b"\x1aE\xdf\xa3", ("video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska")),
    (b"FLV\x01", ("video/x-flv",)),
    (b"\x00\x00\x01\xba", ("video/mpeg",)),
    (b"\x00\x00\x01\xb3", ("video/mpeg",)),
)


def _is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


__all__ = ["ACCEPT", "Kind", "media_type_of"]
