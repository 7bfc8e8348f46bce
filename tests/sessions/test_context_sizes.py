"""What estimates of tokens promise: near, cheap, never below 0, and corrected by an exact count."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import Tool
from bedplate_sessions.context.sizes import TokenEstimator

ESTIMATOR = TokenEstimator()
PICTURE = Image(media=MediaBytes(data=b"x" * 10, media_type="image/png"))


def of(*parts: Part) -> int:
    """The tokens of parts, without those of the message around them."""
    return ESTIMATOR.message(Message(role=Role.USER, parts=parts)) - ESTIMATOR.message(
        Message(role=Role.USER, parts=())
    )


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("a" * 400, 100, 100),
        ("The quick brown fox jumps over the lazy dog.", 9, 12),
        ("Съешь же ещё этих мягких французских булок", 15, 30),
        ("敏捷的棕色狐狸跳过懒狗", 11, 17),
        ("いろはにほへと", 7, 11),
        ("🙂🙂🙂", 6, 9),
    ],
)
def test_texts_by_script(text: str, least: int, most: int) -> None:
    assert least <= ESTIMATOR.text(text) <= most


@settings(deadline=None)
@given(st.text(st.characters()))
def test_every_character_counts_by_its_width(text: str) -> None:
    weights = {1: 0.25, 2: 0.5, 3: 1.2, 4: 2.5}
    exact = sum(weights[len(char.encode("utf-8", "surrogatepass"))] for char in text)
    assert exact - 0.001 <= ESTIMATOR.text(text) <= exact + 1


def test_lone_surrogates_are_no_obstacle() -> None:
    assert ESTIMATOR.text("a\ud800b") == 2


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (Text(text="x" * 40), 10),
        (Reasoning(text="x" * 40), 10),
        (Refusal(text="x" * 40), 10),
        (CachePoint(), 0),
        (PICTURE, 1000),
        (GuardContent(content=PICTURE), 1000),
        (GuardContent(content=Text(text="x" * 40)), 10),
        (ToolCall(id="c", name="xxxx", arguments="y" * 40), 19),
        (ToolResult(call_id="c", parts=(Text(text="x" * 40), PICTURE)), 1018),
        (RedactedReasoning(data=b"x" * 400, origin="o"), 100),
        (Audio(media=MediaBytes(data=b"x" * 5000, media_type="audio/wav")), 10),
        (Video(media=MediaBytes(data=b"x", media_type="video/mp4")), 1000),
        (Video(media=MediaBytes(data=b"x" * 1_000_000, media_type="video/mp4")), 2000),
        (Document(media=MediaBytes(data=b"x" * 400, media_type="text/plain"), name="nnnn"), 101),
        (Document(media=MediaBytes(data=b"x" * 400, media_type="application/pdf")), 20),
        (Document(media=MediaUrl(url="s3://b/k")), 2000),
    ],
)
def test_every_part_counts(part: Part, tokens: int) -> None:
    assert of(part) == tokens


def test_tools_count_with_their_schemas() -> None:
    small = Tool(name="f")
    large = Tool(name="f", description="x" * 400, parameters={"type": "object"})
    assert ESTIMATOR.tools(()) == 0
    assert ESTIMATOR.tools((large,)) > ESTIMATOR.tools((small,)) + 100
    assert ESTIMATOR.tools((small, large)) >= ESTIMATOR.tools((large,)) + ESTIMATOR.tools((small,)) - 1


@given(estimate=st.integers(1, 10**6), exact=st.integers(1, 10**6))
def test_an_exact_count_corrects_what_follows(estimate: int, exact: int) -> None:
    size = ESTIMATOR.calibrated(estimate, exact).text("x" * 4 * estimate)
    assert exact <= size + 0.001
    assert size <= exact + 1
    twice = ESTIMATOR.calibrated(estimate, exact).calibrated(exact, estimate)
    assert twice.ratio == pytest.approx(1.0)


def test_nothing_is_learnt_from_nothing() -> None:
    assert ESTIMATOR.calibrated(0, 10) == ESTIMATOR
    assert ESTIMATOR.calibrated(10, 0) == ESTIMATOR


def test_pictures_count_what_they_are_said_to() -> None:
    message = Message(role=Role.USER, parts=(PICTURE,))
    assert TokenEstimator(image_tokens=258).message(message) == 262


def test_a_kilobyte_of_ascii_takes_less_than_a_microsecond() -> None:
    message = Message(role=Role.USER, parts=(Text(text="x" * 1_000_000),))
    best_s = 1.0
    for _ in range(5):
        before = time.perf_counter()
        ESTIMATOR.message(message)
        best_s = min(best_s, time.perf_counter() - before)
    assert best_s < 1000e-6
