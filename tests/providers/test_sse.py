"""The event stream parser: chunking makes no difference, limits hold."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_providers.sse import EventTooLarge, SseParser


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def parse(pieces: list[bytes]) -> list[bytes]:
    parser = SseParser()
    return [payload for piece in pieces for payload in parser.feed(piece)]


LINE = st.sampled_from(
    [b"data: {\"a\":1}", b"data:x", b"data", b"data: ", b": comment", b"event: e", b"id: 1", b"", "data: ü€𝄞".encode()]
)  # fmt: skip


@given(st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12), st.lists(st.integers(0, 400)))
def test_any_chunking_gives_the_same_payloads(lines: list[tuple[bytes, bytes]], at: list[int]) -> None:
    data = b"".join(line + end for line, end in lines) + b"x\n\n"
    assert parse(cut(data, at)) == parse([data]) == parse([data[n : n + 1] for n in range(len(data))])


@pytest.mark.parametrize(
    ("data", "payloads"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": keep-alive\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 3\ndata: a\nretry: 1\n\n", [b"a"]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data: cut", []),
        (b"data: cut\n", []),
        (b"database: a\n\n", []),
    ],
)
def test_the_format(data: bytes, payloads: list[bytes]) -> None:
    assert parse([data]) == payloads


@pytest.mark.parametrize(
    ("pieces", "payloads"),
    [
        ([b"data: x\n", b"data: y\n\n"], [b"x\ny"]),
        ([b"data: x\r", b"data: y\n\n"], [b"x\ny"]),
        ([b"data: x\n\nda", b"ta: y\n\n", b"data: z\n\n"], [b"x", b"y", b"z"]),
        ([b"data: a\rb\n\n"], [b"a"]),
        ([b"data: a\n\ndata: b\rdata: c\n\n"], [b"a", b"b\nc"]),
    ],
)
def test_what_looks_like_whole_events_of_one_line_is_not_taken_for_them(
    pieces: list[bytes], payloads: list[bytes]
) -> None:
    assert parse(pieces) == payloads


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: y\n", b"data: " + b"z" * 40 + b"\n\n"])
def test_an_event_is_bounded_however_it_comes(piece: bytes) -> None:
    parser = SseParser(max_event_bytes=30)

    def feed_often() -> None:
        for _ in range(10):
            parser.feed(piece)

    with pytest.raises(EventTooLarge):
        feed_often()


def test_events_before_one_that_is_too_large_are_not_lost() -> None:
    parser = SseParser(max_event_bytes=30)
    assert parser.feed(b"data: a\n\ndata: " + b"z" * 40) == [b"a"]
    assert parser.too_large
    with pytest.raises(EventTooLarge):
        parser.feed(b"")
