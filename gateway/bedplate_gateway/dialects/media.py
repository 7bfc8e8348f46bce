"""Pictures, sound and files as they come in a chat message: data URLs, base64, addresses."""

from __future__ import annotations

import base64
import re
from typing import Final

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import Media, MediaBytes, MediaUrl
from bedplate_gateway.dialects.limits import MAX_URL_CHARS

AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}

_DATA_URL: Final = re.compile(r"data:([a-zA-Z0-9.+-]+/[a-zA-Z0-9.+-]+)((?:;[a-zA-Z0-9=_.+-]+)*?);base64,", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:https|s3)://[^\s/?#]+[^\s]*", re.ASCII | re.IGNORECASE)


def media_from_url(url: str, kind: str, param: str) -> Media:
    """The media that `url` holds (`data:`) or names (`https:`, `s3:`).

    `kind` is the MIME type's first half that a data URL must have (`image`), empty for any. Nothing is
    fetched. Raises `InvalidRequest` naming `param`.
    """
    if url[:5].lower() == "data:":
        return _data_url(url, kind, param)
    if len(url) > MAX_URL_CHARS:
        raise InvalidRequest(f"{param}: is longer than {MAX_URL_CHARS} characters", param=param)
    if _ADDRESS.fullmatch(url) is None:
        raise InvalidRequest(f"{param}: expected a data:, https: or s3: URL", param=param)
    return MediaUrl(url)


def media_from_base64(data: str, media_type: str, param: str) -> MediaBytes:
    """The decoded media. Raises `InvalidRequest` naming `param` for what is no base64, or empty."""
    try:
        decoded = base64.b64decode(data, validate=True)
    except ValueError:
        raise InvalidRequest(f"{param}: is not valid base64", param=param) from None
    if not decoded:
        raise InvalidRequest(f"{param}: is empty", param=param)
    return MediaBytes(data=decoded, media_type=media_type)


def _data_url(url: str, kind: str, param: str) -> MediaBytes:
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequest(f"{param}: expected data:<type>/<subtype>;base64,<data>", param=param)
    media_type = head.group(1).lower()
    if kind and not media_type.startswith(f"{kind}/"):
        raise InvalidRequest(f"{param}: expected {kind} data, got {media_type}", param=param)
    return media_from_base64(url[head.end() :], media_type, param)


__all__ = ["AUDIO_TYPES", "media_from_base64", "media_from_url"]
