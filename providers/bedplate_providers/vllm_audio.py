"""vLLM's `/v1/audio/transcriptions` and `/v1/audio/translations`.

Checked against vLLM 0.32.0, `vllm/entrypoints/speech_to_text/{transcription,translation}/protocol.py`. The server
answers in JSON to `json` and to `text` and refuses `srt` and `vtt`; it says nothing of single words. The sound goes out
as bytes under a name of ours: what the client called its file reaches nobody.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.requests import Dispatch
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.upstream_stream import WireCall
from bedplate_providers.vllm import VllmServer, request_headers

_BODY_BYTES = 64 * 1024 * 1024


class UsageBody(msgspec.Struct, frozen=True):
    """What was consumed: seconds of sound, rounded up."""

    seconds: float = 0.0


class SegmentBody(msgspec.Struct, frozen=True):
    """A piece of a `verbose_json` transcript."""

    text: str
    start: float
    end: float
    seek: int = 0
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    tokens: list[int] = []


class TranscriptBody(msgspec.Struct, frozen=True):
    """The answer in `json` (`text`, and `usage` of a transcription) or `verbose_json`. Some releases write
    `duration` as text."""

    text: str
    duration: float | str | None = None
    language: str | None = None
    segments: list[SegmentBody] | None = None
    usage: UsageBody | None = None


async def transcribe(server: VllmServer, request: TranscriptionRequest, dispatch: Dispatch) -> Transcript:
    """See `Transcribes.transcribe`. Raises `UnsupportedFeature` naming an extension: none is sent on."""
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    fields = [("model", request.model), ("response_format", "verbose_json" if request.segments else "json")]
    fields += [
        (name, value)
        for name, value in (("language", request.language), ("prompt", request.prompt), ("hotwords", request.hotwords))
        if value is not None
    ]
    if request.temperature is not None:
        fields.append(("temperature", repr(request.temperature)))
    if request.segments:
        fields.append(("timestamp_granularities[]", "segment"))
    body, media_type = form(fields, request.audio.data)
    path = "/v1/audio/translations" if request.translate else "/v1/audio/transcriptions"
    call = WireCall(path=path, headers=request_headers(dispatch, media_type), body=body)
    raw = await server.upstream.fetch(call, _BODY_BYTES)
    try:
        return _transcript(msgspec.json.decode(raw, type=TranscriptBody), request)
    except (msgspec.MsgspecError, ValueError) as error:
        raise not_protocol() from error


def _transcript(answer: TranscriptBody, request: TranscriptionRequest) -> Transcript:
    duration_s = None
    if answer.duration is not None:
        duration_s = float(answer.duration)
    elif answer.usage is not None:
        duration_s = answer.usage.seconds
    if duration_s is not None and not math.isfinite(duration_s):
        raise ValueError("a length that is no number")
    return Transcript(
        model=request.model,
        text=answer.text,
        duration_s=duration_s,
        language=answer.language,
        segments=tuple(_segment(item) for item in answer.segments or ()) if request.segments else None,
    )


def _segment(item: SegmentBody) -> Segment:
    return Segment(
        text=item.text,
        start_s=item.start,
        end_s=item.end,
        seek=item.seek,
        temperature=item.temperature,
        avg_logprob=item.avg_logprob,
        compression_ratio=item.compression_ratio,
        no_speech_prob=item.no_speech_prob,
        token_ids=tuple(item.tokens),
    )


def form(fields: Sequence[tuple[str, str]], file: bytes) -> tuple[bytes, str]:
    """A `multipart/form-data` body with `fields` and `file`, and its media type.

    Names are ours; a value may be any text, because the boundary occurs in none of the values.
    """
    values = [value.encode() for _, value in fields]
    boundary = secrets.token_hex(24)
    while any(boundary.encode() in value for value in (*values, file)):
        boundary = secrets.token_hex(24)
    pieces: list[bytes] = []
    for (name, _), value in zip(fields, values, strict=True):
        pieces += [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode(), value, b"\r\n"]
    pieces += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode(),
        file,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


__all__ = ["SegmentBody", "TranscriptBody", "UsageBody", "form", "transcribe"]
