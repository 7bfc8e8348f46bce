"""AWS's binary event stream, against botocore's own parser, under any chunking, and with every byte wrong once."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from bedplate_providers.event_stream import (
    MAX_HEADERS_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_VALUE_BYTES,
    Frame,
    FrameEncoder,
    FrameError,
    FrameParser,
    HeaderValue,
    encode_frame,
)

EVENT = ((":event-type", "messageStart"), (":content-type", "application/json"), (":message-type", "event"))
# The example of the format that was sent to and read by boto3.
VECTOR = bytes.fromhex(
    "0000008600000052dee1aa830b3a6576656e742d7479706507000c6d65737361676553746172740d3a636f6e74656e742d747970650700"
    "106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22726f6c65223a2022617373697374"
    "616e74222c202270223a2022616263646566227ddf3a2dae"
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FRAMES = st.lists(
    st.tuples(st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda pair: pair[0]), st.binary(max_size=60)),
    max_size=5,
)


def message(headers: bytes, payload: bytes) -> bytes:
    """A frame with any bytes for headers, with right checksums."""
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
    return body + struct.pack("!I", zlib.crc32(body))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def parse(pieces: list[bytes]) -> list[Frame]:
    parser = FrameParser()
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    assert not parser.pending
    return frames


def botocore_reads(data: bytes) -> list[Frame]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [Frame(tuple(event.headers.items()), event.payload) for event in buffer]


def test_the_known_frame() -> None:
    payload = b'{"role": "assistant", "p": "abcdef"}'
    assert encode_frame(EVENT, payload) == VECTOR
    (frame,) = parse([VECTOR])
    assert frame == Frame(EVENT, payload)
    assert (frame.header(":event-type"), frame.header(":nothing")) == ("messageStart", None)


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=8))
def test_any_chunking_gives_the_frames_that_were_encoded_and_botocore_agrees(
    sent: list[tuple[list[tuple[str, str]], bytes]], at: list[int]
) -> None:
    data = b"".join(encode_frame(headers, payload) for headers, payload in sent)
    expected = [Frame(tuple(headers), payload) for headers, payload in sent]
    assert parse(cut(data, at)) == expected
    assert parse([data[n : n + 1] for n in range(len(data))]) == expected
    assert botocore_reads(data) == expected


def test_an_encoder_that_is_used_again_gives_the_same_frames() -> None:
    encoder = FrameEncoder(EVENT)
    assert [encoder.encode(payload) for payload in (b"a", b"", b"a")] == [
        encode_frame(EVENT, payload) for payload in (b"a", b"", b"a")
    ]


@pytest.mark.parametrize("place", range(len(VECTOR)))
@pytest.mark.parametrize("bit", [0, 7])
def test_one_wrong_bit_anywhere_is_found(place: int, bit: int) -> None:
    broken = bytearray(VECTOR)
    broken[place] ^= 1 << bit
    parser = FrameParser()
    with pytest.raises(FrameError):
        parser.feed(bytes(broken))
    with pytest.raises(FrameError):
        parser.feed(VECTOR)


def test_frames_before_a_broken_one_are_not_lost_and_the_stream_stays_broken() -> None:
    parser = FrameParser()
    assert len(parser.feed(VECTOR + VECTOR + bytes(20))) == 2
    assert parser.pending
    for _ in range(2):
        with pytest.raises(FrameError):
            parser.feed(VECTOR)


@pytest.mark.parametrize("size", [1, 11, 12, 13, len(VECTOR) - 1])
def test_half_a_frame_is_pending(size: int) -> None:
    parser = FrameParser()
    assert not parser.pending
    assert parser.feed(VECTOR[:size]) == []
    assert parser.pending
    assert len(parser.feed(VECTOR[size:])) == 1
    assert not parser.pending


@pytest.mark.parametrize(
    ("total", "headers"),
    [
        (16 + MAX_HEADERS_BYTES + 1, MAX_HEADERS_BYTES + 1),
        (16 + MAX_PAYLOAD_BYTES + 1, 0),
        (15, 0),
        (16, 1),
        (0, 0),
        (2**32 - 1, 2**32 - 1),
    ],
)
def test_lengths_over_the_limits_are_refused_before_anything_is_buffered(total: int, headers: int) -> None:
    lengths = struct.pack("!II", total, headers)
    with pytest.raises(FrameError):
        FrameParser().feed(lengths + struct.pack("!I", zlib.crc32(lengths)))


def test_a_smaller_limit_on_payloads_can_be_set() -> None:
    assert len(FrameParser(5).feed(encode_frame((), b"12345"))) == 1
    with pytest.raises(FrameError):
        FrameParser(4).feed(encode_frame((), b"12345"))


def test_encoding_keeps_the_limits() -> None:
    encode_frame((("n" * 255, "v" * MAX_VALUE_BYTES),), b"")
    for headers in ([("", "v")], [("n" * 256, "v")], [("n", "v" * (MAX_VALUE_BYTES + 1))]):
        with pytest.raises(FrameError):
            encode_frame(headers, b"")
    with pytest.raises(FrameError):
        encode_frame([(f"n{number}", "v" * MAX_VALUE_BYTES) for number in range(5)], b"")
    with pytest.raises(FrameError):
        encode_frame((), bytes(MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"\x00", True),
        (b"\x01", False),
        (b"\x02\xff", -1),
        (b"\x03\x01\x00", 256),
        (b"\x04\x00\x01\x00\x00", 65536),
        (b"\x05" + (2**40).to_bytes(8, "big"), 2**40),
        (b"\x06\x00\x02\xff\x00", b"\xff\x00"),
        (b"\x07\x00\x02\xc3\xa9", "é"),
        (b"\x08" + (1_700_000_000_000).to_bytes(8, "big"), 1_700_000_000_000),
        (b"\x09" + bytes(range(16)), bytes(range(16))),
    ],
)
def test_every_type_of_header_is_read_as_botocore_reads_it(encoded: bytes, value: HeaderValue) -> None:
    data = message(b"\x01h" + encoded + b"\x01n\x07\x00\x01v", b"p")
    (frame,) = parse([data])
    assert frame.headers == (("h", value), ("n", "v"))
    assert botocore_reads(data) == [frame]


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01h\x0a",
        b"\x01h",
        b"\x05h",
        b"\x01h\x07\x00",
        b"\x01h\x07\x00\x05v",
        b"\x01h\x09v",
        b"\x01\xff\x00",
        b"\x01h\x07\x00\x01\xff",
        b"\x01h\x00\x01h\x00",
    ],
)
def test_headers_that_do_not_parse_are_an_error(headers: bytes) -> None:
    with pytest.raises(FrameError):
        FrameParser().feed(message(headers, b"p"))


@given(st.binary(max_size=80))
def test_any_headers_are_read_or_refused(headers: bytes) -> None:
    try:
        frames = FrameParser().feed(message(headers, b"p"))
    except FrameError:
        return
    assert [frame.payload for frame in frames] == [b"p"]
