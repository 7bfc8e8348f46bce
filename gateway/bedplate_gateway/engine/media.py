"""Media of a request before anything reads it: addresses become data here or nowhere, and pictures have a bounded size.

An upstream that fetched a client's address would do so from inside our network, so no provider is ever given one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import (
    Audio,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Text,
    ToolResult,
    Video,
)
from bedplate_core.requests import Request
from bedplate_gateway.engine.address_guard import RefusedAddress
from bedplate_gateway.engine.guarded_fetch import ByteBudget, GuardedFetch, NotFetched, TooLarge
from bedplate_gateway.engine.media_type import ACCEPT, Kind, media_type_of
from bedplate_gateway.engine.picture_size import read_picture

_P = TypeVar("_P", bound=Part)
_Wanted: TypeAlias = tuple[Kind, str]
"""A URL, and what it must turn out to be."""


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the media of one request, its conversation included; `fetched_...` on what is fetched for it."""

    items: int = 256
    pixels: int = 8000 * 8000
    """Of one picture: the largest that Bedrock takes. Decoded, three bytes each."""
    request_pixels: int = 4 * 8000 * 8000
    """Of all its pictures."""
    fetched_items: int = 20
    fetched_bytes: int = 20 * 1024 * 1024
    """Of one item."""
    fetched_request_bytes: int = 25 * 1024 * 1024
    """Of all items, redirects' bodies aside; what a client could have sent as data by default."""
    fetched_s: float = 15.0
    """For all items, which are fetched beside each other."""


class MediaGuard:
    """Fetches what addresses name when it is given a `fetch`; without, it refuses them. Bounds pictures either way."""

    def __init__(self, fetch: GuardedFetch | None = None, limits: MediaLimits | None = None) -> None:
        self._fetch = fetch
        self._limits = limits or MediaLimits()

    async def fetched(self, request: Request) -> Request:
        """`request` with data in the place of every address; itself when it has none.

        Raises `UnsupportedFeature` naming the place of an address that is not served at all, and `InvalidRequest` for
        one that could not be fetched, without the reason, or whose content does not fit its place or the limits.
        """
        wanted: dict[_Wanted, str] = {
            (kind, media.url): where for where, kind, media in _media_in(request) if isinstance(media, MediaUrl)
        }
        if not wanted:
            return request
        if self._fetch is None:
            raise _no_address(next(iter(wanted.values())))
        for (_, url), where in wanted.items():
            _require_form(self._fetch, url, where)
        if len(wanted) > self._limits.fetched_items:
            raise InvalidRequest(f"messages: more than {self._limits.fetched_items} addresses", param="messages")
        found = await self._fetch_all(self._fetch, wanted)
        return msgspec.structs.replace(request, messages=tuple(_filled(message, found) for message in request.messages))

    def check(self, request: Request) -> None:
        """What holds for every request that goes to a provider.

        Raises `InvalidRequest` for too many items and for a picture that is too large, of no known format or damaged,
        and `UnsupportedFeature` for an address, which an earlier message of a conversation may still have.
        """
        pixels = 0
        for count, (where, kind, media) in enumerate(_media_in(request), start=1):
            if count > self._limits.items:
                raise InvalidRequest(f"messages: more than {self._limits.items} pictures and files", param="messages")
            if isinstance(media, MediaUrl):
                raise _no_address(where)
            if kind == "image" or media.media_type.startswith("image/"):
                pixels += self._pixels(media, where)
                if pixels > self._limits.request_pixels:
                    raise InvalidRequest(
                        f"messages: the pictures have more than {self._limits.request_pixels} pixels together",
                        param="messages",
                    )

    async def admitted(self, request: Request) -> Request:
        """`fetched`, then `check`: for a request that is whole already."""
        request = await self.fetched(request)
        self.check(request)
        return request

    def close(self) -> None:
        """Let go of what fetching holds."""
        if self._fetch is not None:
            self._fetch.close()

    def _pixels(self, media: MediaBytes, where: str) -> int:
        picture = read_picture(media.data)
        if picture is None:
            raise InvalidRequest(f"{where}: the picture is no PNG, JPEG, GIF or WebP, or is damaged", param=where)
        if picture.pixels > self._limits.pixels:
            raise InvalidRequest(f"{where}: the picture has more than {self._limits.pixels} pixels", param=where)
        return picture.pixels

    async def _fetch_all(self, fetch: GuardedFetch, wanted: Mapping[_Wanted, str]) -> dict[_Wanted, MediaBytes]:
        budget = ByteBudget(self._limits.fetched_request_bytes)
        try:
            async with asyncio.timeout(self._limits.fetched_s), asyncio.TaskGroup() as group:
                tasks = {
                    key: group.create_task(self._fetch_one(fetch, key, where, budget)) for key, where in wanted.items()
                }
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        except TimeoutError:
            where = next(iter(wanted.values()))
            raise InvalidRequest(_could_not(where), param=where) from None
        return {key: task.result() for key, task in tasks.items()}

    async def _fetch_one(self, fetch: GuardedFetch, key: _Wanted, where: str, budget: ByteBudget) -> MediaBytes:
        kind, url = key
        limit = self._limits.fetched_bytes
        try:
            fetched = await fetch.fetch(url, accept=ACCEPT[kind], limit_bytes=limit, budget=budget)
        except (NotFetched, RefusedAddress):
            raise InvalidRequest(_could_not(where), param=where) from None
        except TooLarge:
            raise InvalidRequest(
                f"{where}: what the address names is larger than {limit} bytes, or all of them are larger than "
                f"{self._limits.fetched_request_bytes}",
                param=where,
            ) from None
        media_type = media_type_of(kind, fetched.declared_type, fetched.data)
        if media_type is None:
            raise InvalidRequest(f"{where}: what the address names is not {kind} data of a known type", param=where)
        media = MediaBytes(data=fetched.data, media_type=media_type)
        if kind == "image":
            self._pixels(media, where)
        return media


def _no_address(where: str) -> UnsupportedFeature:
    return UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)


def _require_form(fetch: GuardedFetch, url: str, where: str) -> None:
    if url[:5].lower() == "s3://":
        raise UnsupportedFeature(f"{where}: s3: addresses are not supported; give the media as data", param=where)
    try:
        fetch.target(url)
    except RefusedAddress as error:
        raise InvalidRequest(f"{where}: the address {error}", param=where) from None


def _could_not(where: str) -> str:
    """One sentence for every reason: a client that could tell them apart could map our network."""
    return f"{where}: what the address names could not be fetched; give the media as data"


def _media_in(request: Request) -> Iterator[tuple[str, Kind, Media]]:
    """Where each item of media is, what it is meant to be, and the item."""
    for number, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            match part:
                case Text():
                    continue
                case Image() | Audio() | Video() | Document():
                    yield f"messages[{number}].content[{place}]", _kind(part), part.media
                case GuardContent(content=Image() as image):
                    yield f"messages[{number}].content[{place}]", "image", image.media
                case ToolResult():
                    for inner, held in enumerate(part.parts):
                        if not isinstance(held, Text):
                            yield f"messages[{number}].content[{place}].content[{inner}]", _kind(held), held.media
                case _:
                    pass


def _kind(part: Image | Audio | Video | Document) -> Kind:
    match part:
        case Image():
            return "image"
        case Audio():
            return "audio"
        case Video():
            return "video"
        case Document():
            return "document"


def _filled(message: Message, found: Mapping[_Wanted, MediaBytes]) -> Message:
    parts = tuple(_filled_part(part, found) for part in message.parts)
    return message if parts == message.parts else msgspec.structs.replace(message, parts=parts)


def _filled_part(part: _P, found: Mapping[_Wanted, MediaBytes]) -> _P:
    match part:
        case Image(media=MediaUrl(url=url)) | Audio(media=MediaUrl(url=url)):
            return msgspec.structs.replace(part, media=found[_kind(part), url])
        case Video(media=MediaUrl(url=url)) | Document(media=MediaUrl(url=url)):
            return msgspec.structs.replace(part, media=found[_kind(part), url])
        case GuardContent(content=Image() as image):
            return msgspec.structs.replace(part, content=_filled_part(image, found))
        case ToolResult():
            return msgspec.structs.replace(part, parts=tuple(_filled_part(inner, found) for inner in part.parts))
        case _:
            return part


__all__ = ["MediaGuard", "MediaLimits"]
