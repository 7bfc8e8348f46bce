"""What a form with speech may say, and how the transcript is written, read by the official SDK's own types."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import audio
from openai.types.audio import transcription_create_params, translation_create_params

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import MediaBytes
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_gateway.dialects.form import decode_form
from bedplate_gateway.dialects.limits import MAX_FORM_FIELD_BYTES, MAX_FORM_PARTS
from bedplate_gateway.dialects.openai.transcription import (
    TRANSCRIPTION_FIELDS,
    TRANSLATION_FIELDS,
    TranscriptionExchange,
)

FILE = ("../../etc/passwd", b"RIFF\r\n--\r\n\x00\xff", "Audio/WAV; x=y")
SEGMENT = Segment(
    text=" Hi.",
    start_s=0.0,
    end_s=1.2,
    temperature=0.0,
    avg_logprob=-0.1,
    compression_ratio=1.0,
    no_speech_prob=0.5,
    token_ids=(1, 2),
)


def form_of(fields: dict[str, Any], file: Any = FILE, name: str = "file") -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://x", data=fields, files={name: file} if file else {"model": (None, "w")})
    return request.read(), request.headers["content-type"]


def decoded(fields: dict[str, Any], file: Any = FILE, *, translate: bool = False) -> TranscriptionExchange:
    body, content_type = form_of({"model": "w", **fields}, file)
    return TranscriptionExchange.decode(body, content_type=content_type, translate=translate)


def test_every_field_of_the_sdk_is_in_exactly_one_category() -> None:
    for rules, params in (
        (TRANSCRIPTION_FIELDS, transcription_create_params.TranscriptionCreateParamsBase),
        (TRANSCRIPTION_FIELDS, transcription_create_params.TranscriptionCreateParamsStreaming),
        (TRANSLATION_FIELDS, translation_create_params.TranslationCreateParams),
    ):
        for field in params.__annotations__:
            sent = f"{field}[]" if field == "timestamp_granularities" else field
            assert (sent in rules.mapped) + (sent in rules.refused) + (sent in rules.ignored) == 1, field


def test_a_transcription() -> None:
    exchange = decoded(
        {"language": "de", "prompt": "null", "temperature": "0.5", "hotwords": "Bedplate", "stream": "false"}
    )
    assert exchange.request == TranscriptionRequest(
        model="w",
        audio=MediaBytes(FILE[1], "audio/wav"),
        language="de",
        prompt="null",
        hotwords="Bedplate",
        temperature=0.5,
    )
    assert exchange.answer_format == "json"
    assert "passwd" not in repr(exchange)


def test_segments_come_with_the_verbose_answer() -> None:
    exchange = decoded({"response_format": "verbose_json", "timestamp_granularities[]": ["segment"]})
    assert exchange.request.segments
    assert decoded({"response_format": "verbose_json"}).request.segments
    assert not decoded({"response_format": "text"}).request.segments
    with pytest.raises(InvalidRequest, match="verbose_json"):
        decoded({"timestamp_granularities[]": ["segment"]})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": ["a", "b"]}, "model"),
        ({"temperature": "2"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"language": "../x"}, "language"),
        ({"language": "de\n"}, "language"),
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "verbose_json", "timestamp_granularities[]": "day"}, "timestamp_granularities[][0]"),
        ({"prompt": "x" * (MAX_FORM_FIELD_BYTES + 1)}, "prompt"),
        ({"request_id": "x"}, "request_id"),
        ({"vllm_xargs": "{}"}, "vllm_xargs"),
        ({"url": "https://inside.example/a.wav"}, "url"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(fields)
    assert caught.value.param == param
    assert "inside.example" not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "srt"}, "response_format"),
        ({"response_format": "vtt"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        (
            {"response_format": "verbose_json", "timestamp_granularities[]": ["segment", "word"]},
            "timestamp_granularities[]",
        ),
        *(({name: "true"}, name) for name in TRANSCRIPTION_FIELDS.refused),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decoded(fields)
    assert caught.value.param == param


def test_other_fields_become_extensions() -> None:
    assert decoded({"top_p": "0.5"}).request.extensions == {"top_p": "0.5"}
    assert decoded({"timestamp_granularities[]": "segment"}, translate=True).request.extensions


@pytest.mark.parametrize(
    ("file", "said"),
    [(None, "missing"), (("a.wav", b"", "audio/wav"), "empty"), ((None, b"text"), "expected a file")],
)
def test_the_file_must_be_a_file(file: Any, said: str) -> None:
    body, content_type = form_of({} if file is None else {"model": "w"}, file)
    with pytest.raises(InvalidRequest, match=said) as caught:
        TranscriptionExchange.decode(body, content_type=content_type, translate=False)
    assert caught.value.param == "file"


def test_files_under_other_names_are_refused() -> None:
    body, content_type = form_of({"model": "w"}, name="model")
    with pytest.raises(InvalidRequest, match="unexpected file"):
        TranscriptionExchange.decode(body, content_type=content_type, translate=False)


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "a\r\nb: c"]
)
def test_another_content_type_is_refused(content_type: str | None) -> None:
    body, _ = form_of({"model": "w"})
    with pytest.raises(InvalidRequest):
        TranscriptionExchange.decode(body, content_type=content_type, translate=False)


def test_a_form_is_bounded_and_whole() -> None:
    body, content_type = form_of({f"f{number}": "x" for number in range(MAX_FORM_PARTS)})
    with pytest.raises(InvalidRequest, match="parts"):
        decode_form(body, content_type)
    body, content_type = form_of({"model": "w", "x": "y"})
    for cut in range(0, len(body) - 2, 7):
        with pytest.raises(InvalidRequest):
            decode_form(body[:cut], content_type)
    twice = body.replace(b'name="x"', b'name="file"; filename="x"')
    with pytest.raises(InvalidRequest, match="file: is sent twice"):
        decode_form(twice, content_type)
    with pytest.raises(InvalidRequest, match="x: is not valid UTF-8"):
        decode_form(body.replace(b"\r\n\r\ny\r\n", b"\r\n\r\n\xff\r\n"), content_type)
    with pytest.raises(InvalidRequest):
        decode_form(body.replace(b'name="x"', b'name="x"' + b" " * 5000), content_type)


@given(body=st.binary(max_size=300), boundary=st.text(max_size=12))
def test_no_bytes_crash_the_reader(body: bytes, boundary: str) -> None:
    for sent in (body, b"--b\r\n" + body, b'--b\r\nContent-Disposition: form-data; name="a"\r\n' + body):
        for content_type in (f"multipart/form-data; boundary={boundary}", "multipart/form-data; boundary=b"):
            with contextlib.suppress(InvalidRequest):
                decode_form(sent, content_type)


def test_a_json_answer_is_the_sdks() -> None:
    reply = decoded({}).reply(Transcript(model="w", text="Hi.", duration_s=1.2))
    assert json.loads(reply.body) == {"text": "Hi.", "usage": {"type": "duration", "seconds": 2}}
    audio.Transcription.model_validate_json(reply.body, strict=True)
    reply = decoded({}, translate=True).reply(Transcript(model="w", text="Hi.", duration_s=1.2))
    assert json.loads(reply.body) == {"text": "Hi."}
    audio.Translation.model_validate_json(reply.body, strict=True)


def test_a_text_answer_is_text() -> None:
    reply = decoded({"response_format": "text"}).reply(Transcript(model="w", text="Hé."))
    assert reply.body == "Hé.".encode()
    assert reply.headers["content-type"].startswith("text/plain")


def test_a_verbose_answer_is_the_sdks() -> None:
    exchange = decoded({"response_format": "verbose_json"})
    reply = exchange.reply(Transcript(model="w", text="Hi.", duration_s=1.2, language="en", segments=(SEGMENT,)))
    verbose = audio.TranscriptionVerbose.model_validate_json(reply.body, strict=True)
    assert (verbose.duration, verbose.language, verbose.text) == (1.2, "en", "Hi.")
    assert verbose.segments is not None
    assert (verbose.segments[0].text, verbose.segments[0].tokens, verbose.segments[0].end) == (" Hi.", [1, 2], 1.2)
    assert "segments" not in json.loads(exchange.reply(Transcript(model="w", text="Stopped.")).body)
