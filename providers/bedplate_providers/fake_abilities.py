"""What the scripted provider does beside generating: fixed functions of the request, documented one by one."""

from __future__ import annotations

import io
import math
import wave

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import GuardContent, Message, Reasoning, Refusal, Text, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_core.rerank import RankedDocument, Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_core.usage import Usage

RANKING_MODEL = "fake/rank"
TRANSCRIPTION_MODEL = "fake/transcribe"
CONTEXT_TOKENS = 8192


def tokenize(request: TokenizeRequest) -> Tokens:
    """The UTF-8 bytes of a prompt, or of `role: text` of each message, one on a line; a token is a byte.

    A byte's string is its Latin-1 character. (A generation's usage counts words: bytes are for going back and forth.)
    """
    content = request.content
    for name in content.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    prompts = content.prompts
    if prompts and not isinstance(prompts[0], str):
        raise InvalidRequest("prompt must be one text", param="prompt")
    text = str(prompts[0]) if prompts else _chat(content)
    data = text.encode()
    strings = tuple(data.decode("latin-1")) if request.token_strings else None
    return Tokens(token_ids=tuple(data), strings=strings, context_tokens=CONTEXT_TOKENS)


def detokenize(request: DetokenizeRequest) -> str:
    """The text whose UTF-8 bytes the ids are; bytes that are no UTF-8 become U+FFFD. Ids end at 255."""
    if max(request.token_ids, default=0) > 255:
        raise InvalidRequest("tokens holds an id that is not in the vocabulary", param="tokens")
    return bytes(request.token_ids).decode(errors="replace")


def rerank(request: RerankRequest) -> Ranking:
    """By `overlap` with the query, equal ones in the order they came."""
    _require(request.model, RANKING_MODEL, "rerank")
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    scored = [RankedDocument(index, overlap(request.query, text)) for index, text in enumerate(request.documents)]
    scored.sort(key=lambda item: -item.score)
    tokens = sum(_words(request.query) + _words(text) for text in request.documents)
    return Ranking(model=request.model, ranked=tuple(scored[: request.top_n]), usage=Usage(input_tokens=tokens))


def score(request: ScoreRequest) -> Scores:
    """The `overlap` of each pair."""
    _require(request.model, RANKING_MODEL, "score")
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    first = request.first * len(request.second) if len(request.first) == 1 else request.first
    pairs = tuple(zip(first, request.second, strict=True))
    tokens = sum(_words(one) + _words(two) for one, two in pairs)
    return Scores(
        model=request.model,
        scores=tuple(overlap(one, two) for one, two in pairs),
        usage=Usage(input_tokens=tokens),
    )


def overlap(one: str, two: str) -> float:
    """How many of the different words of two texts they share, from 0 to 1; letter case does not count."""
    first, second = set(one.lower().split()), set(two.lower().split())
    return len(first & second) / len(first | second) if first | second else 0.0


def transcribe(request: TranscriptionRequest) -> Transcript:
    """What a WAV file is made of: `2 seconds of sound at 16000 hertz`, the seconds rounded up.

    A translation says `translated: ` before it. The segments are the words, each as long as the next. The language
    is the one that was given, else English. Anything but a WAV file of whole samples is refused.
    """
    _require(request.model, TRANSCRIPTION_MODEL, "transcribe")
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    try:
        with wave.open(io.BytesIO(request.audio.data)) as sound:
            rate, frames = sound.getframerate(), sound.getnframes()
    except (wave.Error, EOFError):
        raise InvalidRequest("Invalid or unsupported audio file.", param="file") from None
    duration_s = frames / rate
    words = ["translated:"] if request.translate else []
    words += [str(math.ceil(duration_s)), "seconds", "of", "sound", "at", str(rate), "hertz"]
    each_s = duration_s / len(words)
    segments = tuple(
        Segment(
            text=f" {word}",
            start_s=number * each_s,
            end_s=(number + 1) * each_s,
            temperature=request.temperature or 0.0,
            avg_logprob=-0.1,
            compression_ratio=1.0,
            no_speech_prob=0.0,
            token_ids=tuple(f" {word}".encode()),
        )
        for number, word in enumerate(words)
    )
    return Transcript(
        model=request.model,
        text=" ".join(words),
        duration_s=duration_s,
        language=request.language or "en",
        segments=segments if request.segments else None,
    )


def _require(model: str, able: str, verb: str) -> None:
    if model != able:
        raise UnsupportedFeature(f"{model} does not {verb}; {able} does", param="model")


def _words(text: str) -> int:
    return len(text.split())


def _chat(content: Request) -> str:
    return "\n".join(f"{message.role.value}: {_said(message)}" for message in content.messages)


def _said(message: Message) -> str:
    texts: list[str] = []
    for part in message.parts:
        match part:
            case Text() | Reasoning() | Refusal():
                texts.append(part.text)
            case GuardContent(content=Text(text=text)):
                texts.append(text)
            case ToolCall():
                texts.append(f"{part.name} {part.arguments}")
            case ToolResult():
                texts.extend(inner.text for inner in part.parts if isinstance(inner, Text))
            case _:
                texts.append(f"<{type(part).__name__.lower()}>")
    return " ".join(texts)


__all__ = [
    "CONTEXT_TOKENS",
    "RANKING_MODEL",
    "TRANSCRIPTION_MODEL",
    "detokenize",
    "overlap",
    "rerank",
    "score",
    "tokenize",
    "transcribe",
]
