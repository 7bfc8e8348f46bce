"""Pictures, documents, video and sound as Converse's blocks.

The formats are those of botocore 1.44.8's model (November 2026). Addresses are refused, `s3:` ones too: Bedrock would
read them with the gateway's credentials, past the guard that checks addresses.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.messages import Audio, Document, Image, Media, MediaBytes, Video

IMAGE_FORMATS: Mapping[str, str] = MappingProxyType(
    {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
)
DOCUMENT_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
    }
)
VIDEO_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "video/x-matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    }
)
AUDIO_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/opus": "opus",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/mp4": "m4a",
        "audio/ogg": "ogg",
        "audio/x-matroska": "mka",
        "audio/pcm": "pcm",
        "audio/webm": "webm",
    }
)

_NAME_LIMIT = 200
_UNNAMED = "document"
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9\-()\[\]]+")


class DocumentNames:
    """The names of the documents of one request: in the characters that the API takes, and no two the same, because it
    refuses a request in which a name comes twice, earlier turns and tools' results included.

    Documents that follow do not change the names before them, so that a conversation that goes on keeps its prefix.
    """

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, wanted: str | None) -> str:
        """A name for the next document: `wanted` as far as it fits, with a number where it was taken."""
        fitting = _NOT_IN_NAME.sub(" ", wanted or "").strip() or _UNNAMED
        made, count = fitting[:_NAME_LIMIT].rstrip(), 1
        while made.lower() in self._taken:
            count += 1
            number = f" {count}"
            made = fitting[: _NAME_LIMIT - len(number)].rstrip() + number
        self._taken.add(made.lower())
        return made


def media_block(part: Image | Audio | Video | Document, names: DocumentNames, where: str) -> tuple[str, JSONObject]:
    """The kind of block for `part`, and the block. Raises `UnsupportedFeature` naming `where`."""
    match part:
        case Image():
            return "image", _block(part.media, IMAGE_FORMATS, "pictures", where)
        case Video():
            return "video", _block(part.media, VIDEO_FORMATS, "video", where)
        case Audio():
            return "audio", _block(part.media, AUDIO_FORMATS, "sound", where)
        case Document():
            if part.citations:
                raise UnsupportedFeature(
                    f"{where}: citations are not supported; answers have no place for them", param=where
                )
            block = _block(part.media, DOCUMENT_FORMATS, "documents", where)
            block["name"] = names.name(part.name)
            if part.context:
                block["context"] = part.context
            return "document", block


def _block(media: Media, formats: Mapping[str, str], what: str, where: str) -> JSONObject:
    if not isinstance(media, MediaBytes):
        raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)
    named = formats.get(media.media_type)
    if named is None:
        raise UnsupportedFeature(
            f"{where}: {media.media_type} {what} are not supported by this model's upstream", param=where
        )
    return {"format": named, "source": {"bytes": base64.b64encode(media.data).decode()}}


__all__ = ["AUDIO_FORMATS", "DOCUMENT_FORMATS", "IMAGE_FORMATS", "VIDEO_FORMATS", "DocumentNames", "media_block"]
