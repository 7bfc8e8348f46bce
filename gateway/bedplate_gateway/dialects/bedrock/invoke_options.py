"""What InvokeModel's headers ask for beside the body.

Source: botocore 1.44.8's model of `bedrock-runtime` (2023-09-30, `InvokeModelRequest` and
`InvokeModelWithResponseStreamRequest`), compared November 2026. Its lengths, enums and patterns are checked here:
boto3 does not check them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_gateway.dialects.bedrock.converse_wire import MetadataKey, MetadataValue
from bedplate_gateway.dialects.decoding import clip

Header = Callable[[str], str | None]
"""The value of a request's header by its lower-case name, or None."""

_PREFIX: Final = "x-amzn-bedrock-"
CONTENT_TYPE: Final = "content-type"
ACCEPT: Final = "accept"
STREAM_ACCEPT: Final = f"{_PREFIX}accept"
LATENCY: Final = f"{_PREFIX}performanceconfig-latency"
TIER: Final = f"{_PREFIX}service-tier"
METADATA: Final = f"{_PREFIX}request-metadata"
PROJECT: Final = f"{_PREFIX}projectidentifier"

ECHOED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {LATENCY: ("standard", "optimized"), TIER: ("priority", "default", "flex", "reserved")}
)
"""Headers that the answer repeats, with the values they take. The fleet serves every call in the same way."""

MAX_METADATA_CHARS: Final = 8500
MAX_METADATA_ENTRIES: Final = 16

_JSON_TYPE: Final = "application/json"
_ACCEPTED: Final = frozenset({_JSON_TYPE, "application/*", "*/*"})
_METADATA: Final = msgspec.json.Decoder(
    Annotated[dict[MetadataKey, MetadataValue], Meta(min_length=1, max_length=MAX_METADATA_ENTRIES)]
)


def invoke_options(header: Header, *, stream: bool) -> dict[str, str]:
    """The headers that the answer repeats.

    Raises `InvalidRequest` for a value that the wire does not have and `UnsupportedFeature` for what is not served;
    both name the header.
    """
    _check_media_types(header, ACCEPT if not stream else STREAM_ACCEPT)
    if header(PROJECT) not in (None, "default"):
        raise UnsupportedFeature(f"{PROJECT}: the project is that of the credential", param=PROJECT)
    metadata = header(METADATA)
    if metadata is not None:
        _check_metadata(metadata)
    echoed: dict[str, str] = {}
    for name, values in ECHOED.items():
        value = _one_of(header, name, values)
        if value is not None:
            echoed[name] = value
    return echoed


def _check_media_types(header: Header, accept: str) -> None:
    """A request without a content type is JSON: boto3 sends none unless told to."""
    sent = header(CONTENT_TYPE)
    if sent and _media_type(sent) != _JSON_TYPE:
        raise InvalidRequest(f"{CONTENT_TYPE}: must be {_JSON_TYPE}, got {clip(sent, 64)!r}", param=CONTENT_TYPE)
    wanted = header(accept)
    if wanted and not any(_media_type(item) in _ACCEPTED for item in wanted.split(",")):
        raise InvalidRequest(f"{accept}: answers are {_JSON_TYPE}, not {clip(wanted, 64)!r}", param=accept)


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _one_of(header: Header, name: str, values: tuple[str, ...]) -> str | None:
    value = header(name)
    if value is not None and value not in values:
        raise InvalidRequest(f"{name}: expected one of {', '.join(values)}, got {clip(value, 64)!r}", param=name)
    return value


def _check_metadata(text: str) -> None:
    """Metadata is for invocation logs, which there are none of; it is checked so that the call is as valid there."""
    if len(text) > MAX_METADATA_CHARS:
        raise InvalidRequest(f"{METADATA}: is longer than {MAX_METADATA_CHARS} characters", param=METADATA)
    try:
        _METADATA.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise InvalidRequest(
            f"{METADATA}: must be a JSON object of 1 to {MAX_METADATA_ENTRIES} texts of at most 256 characters, "
            "which are letters, digits, spaces and :_@$#=/+,-.",
            param=METADATA,
        ) from None


__all__ = [
    "ECHOED",
    "LATENCY",
    "MAX_METADATA_CHARS",
    "MAX_METADATA_ENTRIES",
    "METADATA",
    "PROJECT",
    "STREAM_ACCEPT",
    "TIER",
    "invoke_options",
]
