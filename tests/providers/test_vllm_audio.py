"""Transcriptions on vLLM's wire. Answers are vLLM 0.32's own types, written out: `tests/wire/vllm`.

The engine of the tests serves a language model, which hears nothing, so the server here is scripted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartSegment, PushMultipartParser

from bedplate_core.errors import InvalidRequest, UnsupportedFeature, UpstreamProtocolError
from bedplate_core.messages import MediaBytes
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_providers.endpoints import VllmEndpoint, VllmTask
from bedplate_providers.fleet import VllmSpeechFleet
from bedplate_providers.vllm_audio import form
from tests.providers.drive import DISPATCH
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio

WIRE = Path(__file__).parent.parent / "wire" / "vllm"
SOUND = MediaBytes(b"RIFF\r\n--x\r\n\x00\xff", "audio/wav")


@asynccontextmanager
async def fleet_for(body: object, status: str = "200 OK") -> AsyncGenerator[tuple[VllmSpeechFleet, WireServer]]:
    """A fleet of one server that answers every request with `body` (bytes, JSON, or a recorded answer's name)."""

    async def script(wire: Wire, request: Received) -> None:
        said = (WIRE / f"{body}.json").read_bytes() if isinstance(body, str) else body
        await wire.reply(status, said)

    async with WireServer(script) as server:
        fleet = VllmSpeechFleet("f", VllmEndpoint(urls=(server.url,), task=VllmTask.TRANSCRIBE, api_key="k3y"))
        yield fleet, server
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()
        await server.idle()


def parts(body: bytes, media_type: str) -> dict[str, tuple[bytes, str | None, str | None]]:
    """A form's parts by name: data, file name, media type."""
    found: dict[str, tuple[bytes, str | None, str | None]] = {}
    segment: MultipartSegment | None = None
    data = b""
    with PushMultipartParser(media_type.partition("boundary=")[2], strict=True) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                segment, data = event, b""
            elif event is not None:
                data += event
            elif segment is not None:
                assert segment.name not in found
                found[segment.name or ""] = (data, segment.filename, segment.content_type)
    return found


def sent_form(received: Received) -> dict[str, tuple[bytes, str | None, str | None]]:
    return parts(received.body, received.headers["content-type"])


async def test_a_transcription() -> None:
    async with fleet_for("transcription") as (fleet, server):
        request = TranscriptionRequest(
            model="w", audio=SOUND, language="de", prompt="Grüße\r\n", hotwords="Bedplate", temperature=0.25
        )
        assert await fleet.transcribe(request, DISPATCH) == Transcript(model="w", text=" Hello there.", duration_s=3.0)
        (sent,) = server.requests
        assert (sent.method, sent.path) == ("POST", "/v1/audio/transcriptions")
        assert sent.headers["x-request-id"] == "req_1"
        assert sent.headers["authorization"] == "Bearer k3y"
        assert sent_form(sent) == {
            "model": (b"w", None, None),
            "response_format": (b"json", None, None),
            "language": (b"de", None, None),
            "prompt": ("Grüße\r\n".encode(), None, None),
            "hotwords": (b"Bedplate", None, None),
            "temperature": (b"0.25", None, None),
            "file": (SOUND.data, "audio", "application/octet-stream"),
        }


async def test_segments() -> None:
    async with fleet_for("transcription_verbose") as (fleet, server):
        transcript = await fleet.transcribe(TranscriptionRequest(model="w", audio=SOUND, segments=True), DISPATCH)
        assert transcript == Transcript(
            model="w",
            text=" Hello there.",
            duration_s=2.4,
            language="en",
            segments=(
                Segment(
                    text=" Hello there.",
                    start_s=0.0,
                    end_s=2.4,
                    temperature=0.0,
                    avg_logprob=-0.2,
                    compression_ratio=0.6,
                    token_ids=(2425, 456, 13),
                ),
            ),
        )
        sent = sent_form(server.requests[0])
        assert sent["response_format"][0] == b"verbose_json"
        assert sent["timestamp_granularities[]"][0] == b"segment"


async def test_a_translation() -> None:
    async with fleet_for("translation") as (fleet, server):
        request = TranscriptionRequest(model="w", audio=SOUND, translate=True)
        assert await fleet.transcribe(request, DISPATCH) == Transcript(model="w", text=" Hello.")
        assert server.requests[0].path == "/v1/audio/translations"


async def test_extensions_are_refused_by_name() -> None:
    async with fleet_for("transcription") as (fleet, server):
        for name in ("top_p", "vllm_xargs", "to_language"):
            request = TranscriptionRequest(model="w", audio=SOUND, extensions={name: "1"})
            with pytest.raises(UnsupportedFeature) as caught:
                await fleet.transcribe(request, DISPATCH)
            assert caught.value.param == name
        assert server.requests == []


@pytest.mark.parametrize(
    "body", [b"x", b"\xff", {}, {"text": 1}, {"text": "x", "duration": "long"}, {"text": "x", "duration": "nan"}]
)  # fmt: skip
async def test_what_is_no_transcript(body: Any) -> None:
    async with fleet_for(body) as (fleet, _):
        with pytest.raises(UpstreamProtocolError):
            await fleet.transcribe(TranscriptionRequest(model="w", audio=SOUND), DISPATCH)


async def test_what_the_server_refuses_is_the_clients_error() -> None:
    error = {"error": {"message": "Invalid or unsupported audio file.", "type": "X", "param": "file", "code": 400}}
    async with fleet_for(error, "400 Bad Request") as (fleet, _):
        with pytest.raises(InvalidRequest, match="unsupported audio") as caught:
            await fleet.transcribe(TranscriptionRequest(model="w", audio=SOUND), DISPATCH)
        assert caught.value.param == "file"


@given(
    fields=st.lists(st.tuples(st.sampled_from(["a", "b", "c[]"]), st.text()), unique_by=lambda field: field[0]),
    file=st.binary(max_size=200),
)
def test_any_form_reads_as_it_was_written(fields: list[tuple[str, str]], file: bytes) -> None:
    read = parts(*form(fields, file))
    assert read.pop("file")[0] == file
    assert {name: value.decode() for name, (value, _, _) in read.items()} == dict(fields)
