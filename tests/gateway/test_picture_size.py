"""The size that a picture's header declares, and the type that a body's first bytes allow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_gateway.engine.media_type import Kind, media_type_of
from bedplate_gateway.engine.picture_size import Picture, read_picture
from tests.fixtures.pictures import gif, jpeg, png, webp
from tests.scenario.case import PNG


@pytest.mark.parametrize(
    ("data", "picture"),
    [
        (PNG, Picture("image/png", 1, 1)),
        (png(300, 200), Picture("image/png", 300, 200)),
        (png(2**31 - 1, 2**31 - 1), Picture("image/png", 2**31 - 1, 2**31 - 1)),
        (jpeg((640, 480)), Picture("image/jpeg", 640, 480)),
        (jpeg((640, 480)).replace(b"\xff\xc0", b"\xff\xff\xff\xc2"), Picture("image/jpeg", 640, 480)),
        (gif(10, 20), Picture("image/gif", 10, 20)),
        (webp(16384, 2), Picture("image/webp", 16384, 2)),
        (webp(500, 400, "VP8 "), Picture("image/webp", 500, 400)),
        (webp(500, 400, "VP8L"), Picture("image/webp", 500, 400)),
    ],
)
def test_the_size_comes_from_the_header(data: bytes, picture: Picture) -> None:
    assert read_picture(data) == picture


def test_a_later_size_that_a_decoder_would_take_counts() -> None:
    assert read_picture(jpeg((1, 1), (65535, 2), (2, 65535))) == Picture("image/jpeg", 65535, 65535)
    assert read_picture(gif(1, 1, frame=(65535, 60000))) == Picture("image/gif", 65535, 60000)
    twice = png(1, 1)[:33] + png(60000, 60000)[8:]
    assert read_picture(twice) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"BM" + bytes(60),
        b"II*\0" + bytes(60),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG",
        PNG[:40],
        png(0, 5),
        png(5, 5).replace(b"IDAT", b"IDOT"),
        jpeg(),
        jpeg((5, 0)),
        jpeg((5, 5))[:-5],
        b"\xff\xd8\xff\xf0" + jpeg((5, 5))[2:],
        b"\xff\xd8x" + jpeg((5, 5))[2:],
        b"\xff\xd8\xff\xe0\0\0" + jpeg((5, 5))[2:],
        gif(5, 5)[:15],
        gif(5, 5)[:20],
        webp(5, 5)[:28],
        webp(5, 5).replace(b"VP8X", b"ALPH"),
        webp(5, 5, "VP8 ").replace(b"\x9d\x01\x2a", b"\0\0\0"),
    ],
)
def test_anything_else_has_none(data: bytes) -> None:
    assert read_picture(data) is None


@given(st.sampled_from([png(3, 4), jpeg((3, 4)), gif(3, 4), webp(3, 4), webp(3, 4, "VP8L")]), st.data())
def test_no_damage_breaks_the_reader(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=4)) if damaged else ():
        damaged[at] = data.draw(st.integers(0, 255))
    picture = read_picture(bytes(damaged))
    assert picture is None or picture.pixels > 0


@pytest.mark.parametrize(
    "data",
    [
        png(1, 1)[:33] + bytes(20_000_000),
        b"\xff\xd8" + b"\xff\xe0\0\x02" * 5_000_000,
        b"\xff\xd8" + b"\xff" * 20_000_000,
        gif(1, 1)[:19] + b"\x21\xfe" + b"\x01a" * 10_000_000,
        gif(1, 1)[:19] + b"\x21\xfe\x00" * 7_000_000,
    ],
)
def test_a_header_without_end_costs_next_to_nothing(data: bytes) -> None:
    started = time.perf_counter()
    assert read_picture(data) is None
    assert time.perf_counter() - started < 0.1


MP4 = b"\0\0\0\x20ftypisom"


@pytest.mark.parametrize(
    ("kind", "declared", "data", "media_type"),
    [
        ("image", "image/png", PNG, "image/png"),
        ("image", "image/jpeg", PNG, "image/png"),
        ("image", "", PNG, "image/png"),
        ("image", "application/octet-stream", gif(1, 1), "image/gif"),
        ("image", "text/html", PNG, None),
        ("image", "image/svg+xml", b"<svg/>", None),
        ("image", "image/png", b"<html>", None),
        ("audio", "audio/x-wav", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        ("audio", "audio/mpeg", b"\xff\xfb\x90\0", "audio/mpeg"),
        ("audio", "audio/mpeg", PNG, None),
        ("audio", "image/png", PNG, None),
        ("video", "video/mp4", MP4, "video/mp4"),
        ("video", "video/mp4", b"#EXTM3U\nhttps://inside/", None),
        ("video", "", b"FLV\x01", "video/x-flv"),
        ("document", "application/pdf", b"%PDF-1.7", "application/pdf"),
        ("document", "", b"%PDF-1.7", "application/pdf"),
        ("document", "application/pdf", b"<html>", None),
        ("document", "text/plain", b"words", "text/plain"),
        ("document", "text/plain", b"\xff\xfe\0", None),
        ("document", "text/plain", b"a\0b", None),
        ("document", "", b"words", None),
        ("document", "application/json", b"{}", None),
        ("document", "application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword"),
        ("document", "image/png", PNG, None),
    ],
)
def test_a_type_is_what_the_bytes_and_the_server_agree_on(
    kind: Kind, declared: str, data: bytes, media_type: str | None
) -> None:
    assert media_type_of(kind, declared, data) == media_type
