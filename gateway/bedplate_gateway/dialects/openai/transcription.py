"""Speech to text: one request of `POST /v1/audio/transcriptions` or `/v1/audio/translations`, and its answer.

Source: openai-python 2.54 (`openai.types.audio`), compared November 2026, with what vLLM 0.32.0 adds (`hotwords`) and
leaves out (`vllm/entrypoints/speech_to_text`): times of words, subtitles, speakers. The answer of a translation has no
`usage`. In a verbose answer `no_speech_prob` is null where the upstream does not say, as vLLM writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import MediaBytes
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.decoding import FieldRules, Refused, clip, invalid, only_gateway_sets
from bedplate_gateway.dialects.form import Form, decode_form
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS
from bedplate_gateway.dialects.openai.chat_wire import ModelName

FileBytes = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
Language = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)", max_length=35)]
AnswerFormat = Literal["json", "text", "verbose_json"]
Granularity = Literal["segment"]
_OTHER_FORMATS: Final = ("srt", "vtt", "diarized_json")


class TranslationForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a translation into English that are mapped."""

    file: FileBytes
    model: ModelName
    prompt: str | None = None
    response_format: AnswerFormat = "json"
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    language: Language | None = None
    hotwords: str | None = None


class TranscriptionForm(
    TranslationForm, frozen=True, kw_only=True, rename={"granularities": "timestamp_granularities[]"}
):
    """The fields of a transcription that are mapped."""

    granularities: list[Granularity] = []


_REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "chunking_strategy": Refused("How sound is cut is the upstream's choice."),
        "include": Refused("Log-probabilities of a transcript are not available."),
        "include[]": Refused("Log-probabilities of a transcript are not available."),
        "keywords": Refused("Send `hotwords`, one text."),
        "keywords[]": Refused("Send `hotwords`, one text."),
        "known_speaker_names": Refused("Speakers are not told apart."),
        "known_speaker_names[]": Refused("Speakers are not told apart."),
        "known_speaker_references": Refused("Speakers are not told apart."),
        "known_speaker_references[]": Refused("Speakers are not told apart."),
        "languages": Refused("Send `language`."),
        "languages[]": Refused("Send `language`."),
        "stream": Refused("A transcript comes whole.", ("false", "False", "0", "")),
        "timestamp_granularities": Refused("Send `timestamp_granularities[]`."),
        "to_language": Refused("Use /v1/audio/translations, which translates into English."),
    }
)
"""Fields that ask for what is not served, with the values that ask for nothing."""

TRANSCRIPTION_FIELDS: Final = FieldRules(
    mapped=frozenset(TranscriptionForm.__struct_encode_fields__), ignored={}, refused=_REFUSED
)
TRANSLATION_FIELDS: Final = FieldRules(
    mapped=frozenset(TranslationForm.__struct_encode_fields__), ignored={}, refused=_REFUSED
)
"""Other fields become extensions."""


class DurationUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was consumed: seconds of sound, rounded up."""

    type: Literal["duration"] = "duration"
    seconds: int


class Transcription(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in `json`. `usage` is left out for a translation and where the length is unknown."""

    text: str
    usage: DurationUsage | UnsetType = UNSET


class TranscriptionSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a transcript. `tokens` is empty where a guardrail judges the text."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float | None
    avg_logprob: float | None
    compression_ratio: float | None
    no_speech_prob: float | None


class TranscriptionVerbose(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in `verbose_json`. `segments` is left out of a transcript that a guardrail replaced."""

    task: Literal["transcribe", "translate"]
    duration: float
    language: str
    text: str
    segments: tuple[TranscriptionSegment, ...] | UnsetType = UNSET
    usage: DurationUsage | UnsetType = UNSET


class TranscriptionExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request with the form in which its answer is wanted."""

    request: TranscriptionRequest
    answer_format: AnswerFormat = "json"

    @classmethod
    def decode(cls, body: bytes, *, content_type: str | None, translate: bool) -> TranscriptionExchange:
        """Decode a request's form. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        form = decode_form(body, content_type)
        rules = TRANSLATION_FIELDS if translate else TRANSCRIPTION_FIELDS
        extensions = _sorted(form, rules)
        audio = _file(form)
        sent = _converted(form, TranslationForm if translate else TranscriptionForm)
        granularities = sent.granularities if isinstance(sent, TranscriptionForm) else []
        if granularities and sent.response_format != "verbose_json":
            param = "timestamp_granularities[]"
            raise InvalidRequest(f"{param}: only allowed when response_format is verbose_json", param=param)
        request = TranscriptionRequest(
            model=sent.model,
            audio=audio,
            translate=translate,
            language=sent.language,
            prompt=sent.prompt or None,
            hotwords=sent.hotwords or None,
            temperature=sent.temperature,
            segments=sent.response_format == "verbose_json",
            extensions=extensions,
        )
        return cls(request=request, answer_format=sent.response_format)

    def reply(self, transcript: Transcript) -> WireReply:
        """The answer."""
        if self.answer_format == "text":
            headers = {"content-type": "text/plain; charset=utf-8"}
            return WireReply(status=200, body=transcript.text.encode(), headers=headers)
        seconds = transcript.duration_s
        usage = UNSET
        if seconds is not None and not self.request.translate:
            usage = DurationUsage(seconds=math.ceil(seconds))
        body: Transcription | TranscriptionVerbose = Transcription(text=transcript.text, usage=usage)
        if self.answer_format == "verbose_json":
            segments = transcript.segments
            body = TranscriptionVerbose(
                task="translate" if self.request.translate else "transcribe",
                duration=seconds or 0.0,
                language=transcript.language or "",
                text=transcript.text,
                segments=UNSET if segments is None else tuple(_segment(n, one) for n, one in enumerate(segments)),
                usage=usage,
            )
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


def _sorted(form: Form, rules: FieldRules) -> dict[str, JSON]:
    """The extensions of a form. Raises for what only the gateway sets, for refused fields and for unknown files."""
    for name in form.files:
        if name != "file":
            shown = clip(name, 64)
            raise InvalidRequest(f"{shown}: unexpected file", param=shown)
    extensions: dict[str, JSON] = {}
    for name, values in form.fields.items():
        if name in rules.mapped:
            continue
        shown = clip(name, 64)
        if only_gateway_sets(name):
            raise InvalidRequest(f"{shown}: is set by the gateway and cannot be sent by a client", param=shown)
        refused = rules.refused.get(name)
        if refused is None:
            extensions[shown] = values[-1]
        elif any(value not in refused.neutral for value in values):
            raise UnsupportedFeature(f"{name}: is not supported. {refused.reason}", param=name)
    return extensions


def _file(form: Form) -> MediaBytes:
    file = form.files.get("file")
    if file is None:
        said = "expected a file, got a text" if "file" in form.fields else "required, but missing"
        raise InvalidRequest(f"file: {said}", param="file")
    if not file.data:
        raise InvalidRequest("file: is empty", param="file")
    return MediaBytes(data=file.data, media_type=file.media_type or "application/octet-stream")


def _converted(form: Form, kind: type[TranslationForm]) -> TranslationForm:
    """The mapped fields, with the types and bounds of `kind`."""
    names = kind.__struct_encode_fields__
    values: dict[str, Any] = {"file": ""}
    for name, texts in form.fields.items():
        if name not in names or name == "file":
            continue
        if name == "timestamp_granularities[]":
            _supported(name, texts, ("word",))
            values[name] = texts
            continue
        if len(texts) > 1:
            raise InvalidRequest(f"{name}: is sent twice", param=name)
        if name == "response_format":
            _supported(name, texts, _OTHER_FORMATS)
        values[name] = texts[0]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None


def _supported(name: str, texts: list[str], others: tuple[str, ...]) -> None:
    for text in texts:
        if text in others:
            raise UnsupportedFeature(f"{name}: {text!r} is not supported", param=name)


def _segment(number: int, segment: Segment) -> TranscriptionSegment:
    return TranscriptionSegment(
        id=number,
        seek=segment.seek,
        start=segment.start_s,
        end=segment.end_s,
        text=segment.text,
        tokens=segment.token_ids,
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
    )


__all__ = [
    "TRANSCRIPTION_FIELDS",
    "TRANSLATION_FIELDS",
    "DurationUsage",
    "Transcription",
    "TranscriptionExchange",
    "TranscriptionForm",
    "TranscriptionSegment",
    "TranscriptionVerbose",
    "TranslationForm",
]
