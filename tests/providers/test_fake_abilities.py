"""What the scripted provider does beside generating is the same every time and what its docstrings say."""

from __future__ import annotations

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import MediaBytes
from bedplate_core.requests import Request
from bedplate_core.rerank import RankedDocument, RerankRequest
from bedplate_core.response import collect
from bedplate_core.score import ScoreRequest
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest
from bedplate_core.transcription import TranscriptionRequest
from bedplate_providers import fake_abilities
from bedplate_providers.base import CountsTokens, Reranks, ScoresPairs, Tokenizes, Transcribes
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fake_abilities import RANKING_MODEL, TRANSCRIPTION_MODEL
from tests.providers.drive import DISPATCH, chat

pytestmark = pytest.mark.anyio


def sound(seconds: float, rate: int = 8000) -> MediaBytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * int(seconds * rate)))
    return MediaBytes(file.getvalue(), "audio/wav")


@given(text=st.text())
def test_tokens_are_utf8_bytes_and_go_back(text: str) -> None:
    content = Request(model="fake/echo", prompts=(text,))
    tokens = fake_abilities.tokenize(TokenizeRequest(content=content, token_strings=True))
    assert bytes(tokens.token_ids) == text.encode()
    assert tokens.strings is not None
    assert "".join(tokens.strings).encode("latin-1") == text.encode()
    assert fake_abilities.detokenize(DetokenizeRequest(model="m", token_ids=tokens.token_ids)) == text


def test_a_chat_is_lines_and_ids_end_at_255() -> None:
    tokens = fake_abilities.tokenize(TokenizeRequest(content=chat("hi")))
    assert bytes(tokens.token_ids) == b"user: hi"
    with pytest.raises(InvalidRequest) as caught:
        fake_abilities.detokenize(DetokenizeRequest(model="m", token_ids=(256,)))
    assert caught.value.param == "tokens"


async def test_counting_is_what_a_generation_says() -> None:
    provider = FakeProvider()
    request = chat("one two three", model="fake/echo")
    response = await collect(provider.generate(request, DISPATCH))
    assert await provider.count_tokens(request, DISPATCH) == response.usage.input_tokens == 3


def test_ranking_is_by_shared_words() -> None:
    documents = ("nothing", "Red wine", "red")
    ranking = fake_abilities.rerank(RerankRequest(model=RANKING_MODEL, query="red wine", documents=documents))
    assert ranking.ranked == (RankedDocument(1, 1.0), RankedDocument(2, 0.5), RankedDocument(0, 0.0))
    assert ranking.usage.input_tokens == 10
    best = fake_abilities.rerank(RerankRequest(model=RANKING_MODEL, query="red", documents=documents, top_n=1))
    assert best.ranked == (RankedDocument(2, 1.0),)
    scores = fake_abilities.score(ScoreRequest(model=RANKING_MODEL, first=("red", "a b"), second=("red", "b c")))
    assert scores.scores == (1.0, 1 / 3)


def test_a_transcript_describes_the_sound() -> None:
    asked = TranscriptionRequest(model=TRANSCRIPTION_MODEL, audio=sound(1.5), segments=True)
    transcript = fake_abilities.transcribe(asked)
    assert transcript.text == "2 seconds of sound at 8000 hertz"
    assert transcript.duration_s == 1.5
    assert transcript.segments is not None
    assert "".join(segment.text for segment in transcript.segments).strip() == transcript.text
    assert transcript.segments[-1].end_s == pytest.approx(1.5)
    for data in (b"x", b"RIFF", sound(0.1).data[:20]):
        with pytest.raises(InvalidRequest) as caught:
            fake_abilities.transcribe(
                TranscriptionRequest(model=TRANSCRIPTION_MODEL, audio=MediaBytes(data, "audio/wav"))
            )
        assert caught.value.param == "file"


async def test_other_models_do_none_of_it() -> None:
    provider = FakeProvider()
    for ability in (CountsTokens, Reranks, ScoresPairs, Tokenizes, Transcribes):
        assert isinstance(provider, ability)
    with pytest.raises(UnsupportedFeature, match="does not rerank"):
        await provider.rerank(RerankRequest(model="fake/echo", query="a", documents=("b",)), DISPATCH)
    with pytest.raises(UnsupportedFeature, match="does not score"):
        await provider.score(ScoreRequest(model="fake/echo", first=("a",), second=("b",)), DISPATCH)
    with pytest.raises(UnsupportedFeature, match="does not transcribe"):
        await provider.transcribe(TranscriptionRequest(model="fake/echo", audio=sound(1)), DISPATCH)
