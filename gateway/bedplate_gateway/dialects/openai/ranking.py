"""Reranking and scoring, as vLLM spells them: OpenAI has no such operation.

Source: vLLM 0.32.0, `vllm/entrypoints/pooling/scoring/protocol.py`, compared November 2026; its `/v1/rerank` is Jina's
and its `/v2/rerank` Cohere's, both in this shape. Here `model` must be given, because it decides which server answers,
and what is ranked is text.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.ids import new_response_id
from bedplate_core.rerank import Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.decoding import FieldRules, Refused, decode_body
from bedplate_gateway.dialects.limits import MAX_RANKED_TEXTS
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS
from bedplate_gateway.dialects.openai.chat_wire import ModelName

Texts = str | list[str | dict[str, Any]] | dict[str, Any]
"""A text or several; an object is vLLM's spelling of pictures and films, which is refused by name."""


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/rerank` and `/v2/rerank`. `top_n` 0, or left out, is all documents."""

    model: ModelName
    query: str | dict[str, Any]
    documents: Texts
    top_n: Annotated[int, Meta(ge=0)] | None = None


class ScoreBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/score`: one of the four pairs of fields that vLLM takes.

    The first of a pair has one text, which goes with each of the second, or as many as the second.
    """

    model: ModelName
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None


IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {"user": "who calls is known from the credential, not from the body"}
)
"""Top-level fields that are accepted and change nothing."""

REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "chat_template_kwargs": Refused("Send `instruction`."),
        "mm_processor_kwargs": Refused("How media are loaded is the fleet's choice."),
        "padding": Refused("It is for models that do not read text.", ("do_not_pad",)),
    }
)
"""Top-level fields that ask for what is not served, with the values that ask for nothing."""

RERANK_FIELDS: Final = FieldRules(mapped=frozenset(RerankBody.__struct_fields__), ignored=IGNORED, refused=REFUSED)
SCORE_FIELDS: Final = FieldRules(mapped=frozenset(ScoreBody.__struct_fields__), ignored=IGNORED, refused=REFUSED)
"""Other fields become extensions; a vLLM server takes `instruction`, `max_tokens_per_doc`, `max_tokens_per_query`,
`truncate_prompt_tokens`, `truncation_side` and `use_activation`."""


class RerankDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document; `text` is null when the guardrail does not let it out."""

    text: str | None


class RerankResult(msgspec.Struct, frozen=True, kw_only=True):
    """One document's place in the request, itself, and its score."""

    index: int
    document: RerankDocument
    relevance_score: float


class RankingUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Ranking has no output tokens."""

    prompt_tokens: int
    total_tokens: int


class RerankReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer, the best document first."""

    id: str
    model: str
    usage: RankingUsage
    results: tuple[RerankResult, ...]


class PairScore(msgspec.Struct, frozen=True, kw_only=True):
    """One pair's place in the request and its score."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: tuple[PairScore, ...]
    usage: RankingUsage


_RERANK: Final = msgspec.json.Decoder(RerankBody)
_SCORE: Final = msgspec.json.Decoder(ScoreBody)
_PAIRS: Final = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
"""In vLLM's order: the first pair that is there is the one that is scored."""


class RerankExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request to rerank."""

    request: RerankRequest

    @classmethod
    def decode(cls, body: bytes) -> RerankExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_RERANK, body, RERANK_FIELDS)
        return cls(
            request=RerankRequest(
                model=sent.model,
                query=_text(sent.query, "query"),
                documents=_texts(sent.documents, "documents"),
                top_n=sent.top_n or None,
                extensions=extensions,
            )
        )

    def reply(self, ranking: Ranking, texts: Sequence[str | None]) -> WireReply:
        """The answer; `texts` are the documents in the ranking's order."""
        body = RerankReply(
            id=f"rerank-{new_response_id()}",
            model=self.request.model,
            usage=_usage(ranking.usage),
            results=tuple(
                RerankResult(index=item.index, document=RerankDocument(text=text), relevance_score=item.score)
                for item, text in zip(ranking.ranked, texts, strict=True)
            ),
        )
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


class ScoreExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request to score."""

    request: ScoreRequest

    @classmethod
    def decode(cls, body: bytes) -> ScoreExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_SCORE, body, SCORE_FIELDS)
        names = _pair(sent)
        first, second = (_texts(getattr(sent, name), name) for name in names)
        if len(first) not in (1, len(second)):
            raise InvalidRequest(
                f"{names[0]}: has {len(first)} texts for {len(second)} of {names[1]}; send one or as many",
                param=names[0],
            )
        return cls(request=ScoreRequest(model=sent.model, first=first, second=second, extensions=extensions))

    def reply(self, scores: Scores) -> WireReply:
        """The answer."""
        body = ScoreReply(
            id=f"score-{new_response_id()}",
            created=int(time.time()),
            model=self.request.model,
            data=tuple(PairScore(index=index, score=score) for index, score in enumerate(scores.scores)),
            usage=_usage(scores.usage),
        )
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


def _pair(sent: ScoreBody) -> tuple[str, str]:
    given = {name for pair in _PAIRS for name in pair if getattr(sent, name) is not None}
    for pair in _PAIRS:
        if given == set(pair):
            return pair
    for one, two in _PAIRS:
        if one in given and not given - {one}:
            raise InvalidRequest(f"{two}: required, but missing", param=two)
    raise InvalidRequest("queries: send one pair of queries and documents, data_1 and data_2, or text_1 and text_2")


def _texts(sent: Texts, param: str) -> tuple[str, ...]:
    if not isinstance(sent, list):
        return (_text(sent, param),)
    if not sent:
        raise InvalidRequest(f"{param}: is empty", param=param)
    if len(sent) > MAX_RANKED_TEXTS:
        raise InvalidRequest(f"{param}: has {len(sent)} entries; at most {MAX_RANKED_TEXTS} are allowed", param=param)
    return tuple(_text(item, f"{param}[{number}]") for number, item in enumerate(sent))


def _text(sent: str | dict[str, Any], param: str) -> str:
    if not isinstance(sent, str):
        raise UnsupportedFeature(f"{param}: only texts can be ranked; send a string", param=param)
    return sent


def _usage(usage: Usage) -> RankingUsage:
    return RankingUsage(prompt_tokens=usage.input_tokens, total_tokens=usage.total_tokens)


__all__ = [
    "IGNORED",
    "REFUSED",
    "RERANK_FIELDS",
    "SCORE_FIELDS",
    "PairScore",
    "RankingUsage",
    "RerankBody",
    "RerankDocument",
    "RerankExchange",
    "RerankReply",
    "RerankResult",
    "ScoreBody",
    "ScoreExchange",
    "ScoreReply",
]
