"""Speech as text."""

from __future__ import annotations

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import MediaBytes


class TranscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Speech to write down: in its own language, or with `translate` in English.

    `language` is the speech's, as ISO 639-1 (`de`); None lets the model find out. `prompt` guides the style or is
    what was said before, `hotwords` are words to expect. `segments` asks for the text in pieces with their times.
    `extensions` are fields of the inbound dialect that a provider forwards or refuses by name.
    """

    model: str
    audio: MediaBytes
    translate: bool = False
    language: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    temperature: float | None = None
    segments: bool = False
    extensions: dict[str, JSON] = msgspec.field(default_factory=dict[str, JSON])


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the transcript, from `start_s` to `end_s` of the sound, in seconds.

    The numbers beside it are Whisper's: the text's mean log-probability, how well the text compresses (above 2.4 it
    repeats itself), and the probability that nobody speaks; None where the upstream does not say.
    """

    text: str
    start_s: float
    end_s: float
    seek: int = 0
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    token_ids: tuple[int, ...] = ()


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said. `duration_s` is the length of the sound in seconds; None where the upstream does not say.

    `segments` are in order and None unless they were asked for; their texts joined are `text`, but for the spaces at
    its ends.
    """

    model: str
    text: str
    duration_s: float | None = None
    language: str | None = None
    segments: tuple[Segment, ...] | None = None


__all__ = ["Segment", "Transcript", "TranscriptionRequest"]
