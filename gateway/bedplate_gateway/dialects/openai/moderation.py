"""Moderations: one request and its answer.

Source: openai-python 3.57 (`openai.types.moderation_create_params`, `openai.types.moderation`), read November 2026. The
wire has thirteen categories; the content filters here are five. A category that no filter evaluates is never flagged,
has the score 0, and no input type in `category_applied_input_types`, which is how the wire says that nothing looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest, ModelNotFound, UnsupportedFeature
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.decoding import FieldRules, clip, decode_body
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS

MAX_TEXTS: Final = 128
CATEGORIES: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "harassment": "INSULTS",
        "harassment/threatening": None,
        "hate": "HATE",
        "hate/threatening": None,
        "illicit": "MISCONDUCT",
        "illicit/violent": None,
        "self-harm": None,
        "self-harm/instructions": None,
        "self-harm/intent": None,
        "sexual": "SEXUAL",
        "sexual/minors": None,
        "violence": "VIOLENCE",
        "violence/graphic": None,
    }
)
"""The wire's categories, and the content filter that evaluates each."""

FILTERS: Final = tuple(kind for kind in CATEGORIES.values() if kind is not None)
MODELS: Final = frozenset(
    {
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
        "bedplate-content",
    }
)
"""The names that mean the local content model."""
FLAGGED_SCORE: Final = 0.75
"""Medium confidence: about one harmless text in a hundred reaches it."""


class ModerationInputPart(msgspec.Struct, frozen=True, kw_only=True):
    """An input of any kind; pictures are refused by name."""

    type: str
    text: str | None = None
    image_url: Any = None


ModerationInput: TypeAlias = str | tuple[str | ModerationInputPart, ...]


class ModerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped. Without `model`, the local content model."""

    input: ModerationInput
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class ModerationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of one text."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, tuple[Literal["text"], ...]]


class Moderation(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer."""

    id: str
    model: str
    results: tuple[ModerationResult, ...]


MODERATION_FIELDS: Final = FieldRules(
    mapped=frozenset(ModerationRequest.__struct_fields__), ignored=MappingProxyType({}), refused={}
)
_DECODER: Final = msgspec.json.Decoder(ModerationRequest)


class ModerationExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `POST /v1/moderations`: texts that each get a result, or parts of one input."""

    texts: tuple[str, ...]
    model: str

    @classmethod
    def decode(cls, body: bytes) -> ModerationExchange:
        """Decode a request's body. Raises `InvalidRequest`, `ModelNotFound` or `UnsupportedFeature`."""
        sent, extensions = decode_body(_DECODER, body, MODERATION_FIELDS)
        for name in extensions:
            raise UnsupportedFeature(f"{clip(name, 64)}: is not a field of moderations", param=clip(name, 64))
        model = sent.model or "omni-moderation-latest"
        if model not in MODELS:
            raise ModelNotFound(f"the moderation model {clip(model, 64)!r} does not exist", param="model")
        texts = (sent.input,) if isinstance(sent.input, str) else _texts(sent.input)
        if not texts or len(texts) > MAX_TEXTS:
            raise InvalidRequest(f"input: expected 1 to {MAX_TEXTS} texts", param="input")
        return cls(texts=texts, model=model)

    def reply(self, call_id: str, scores: Sequence[Mapping[str, float]], blocked: Sequence[bool]) -> WireReply:
        """The answer: for each text its filters' scores, and whether a guardrail of the project would block it."""
        results = tuple(_result(each, stopped) for each, stopped in zip(scores, blocked, strict=True))
        body = Moderation(id=f"modr-{call_id}", model=self.model, results=results)
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


def _texts(inputs: Sequence[str | ModerationInputPart]) -> tuple[str, ...]:
    """Texts are results of their own; the texts of parts are one input, as the wire has it."""
    if all(isinstance(one, str) for one in inputs):
        return tuple(one for one in inputs if isinstance(one, str))
    said: list[str] = []
    for place, one in enumerate(inputs):
        if isinstance(one, str) or one.type == "text":
            text = one if isinstance(one, str) else one.text
            if text is None:
                raise InvalidRequest(f"input[{place}].text: is missing", param="input")
            said.append(text)
        elif one.type == "image_url":
            raise UnsupportedFeature(f"input[{place}]: pictures are not evaluated here", param="input")
        else:
            raise InvalidRequest(f"input[{place}].type: expected text, got {clip(one.type, 32)!r}", param="input")
    return ("\n".join(said),)


def _result(scores: Mapping[str, float], blocked: bool) -> ModerationResult:
    by_category = {name: scores.get(kind, 0.0) if kind else 0.0 for name, kind in CATEGORIES.items()}
    flags = {name: score >= FLAGGED_SCORE for name, score in by_category.items()}
    return ModerationResult(
        flagged=blocked or any(flags.values()),
        categories=flags,
        category_scores=by_category,
        category_applied_input_types={name: ("text",) if kind else () for name, kind in CATEGORIES.items()},
    )


__all__ = [
    "CATEGORIES",
    "FILTERS",
    "FLAGGED_SCORE",
    "MODELS",
    "MODERATION_FIELDS",
    "Moderation",
    "ModerationExchange",
    "ModerationRequest",
    "ModerationResult",
]
