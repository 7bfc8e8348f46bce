"""vLLM's `/rerank` and `/score`.

Checked against vLLM 0.32.0, `vllm/entrypoints/pooling/scoring/protocol.py`. The paths without `/v1` are the ones that
vLLM recommends. Texts only: the pictures and films that it also scores are not in our requests. Of the answer, the
documents are not read: whoever asked has them.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature, UpstreamProtocolError
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.requests import Dispatch
from bedplate_core.rerank import RankedDocument, Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.usage import Usage
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.vllm import VllmServer
from bedplate_providers.vllm_wire import UsageInfo

B = TypeVar("B")

_BODY_BYTES = 256 * 1024 * 1024  # the answer of /rerank repeats the documents

FORWARDED: MappingProxyType[str, tuple[type, str]] = MappingProxyType(
    {
        "instruction": (str, "string"),
        "max_tokens_per_doc": (int, "integer"),
        "max_tokens_per_query": (int, "integer"),
        "truncate_prompt_tokens": (int, "integer"),
        "truncation_side": (str, "string"),
        "use_activation": (bool, "boolean"),
    }
)
"""The extensions that are sent on, with their JSON types. Any other is refused by name: `chat_template_kwargs` and
`mm_processor_kwargs` reach code, `padding` is for models that do not read text, the rest only the gateway sets."""


class RerankItem(msgspec.Struct, frozen=True):
    """One document's score; `index` is its place in the request."""

    index: int
    relevance_score: float


class RerankBody(msgspec.Struct, frozen=True):
    """The answer of `/rerank`; only the fields that are read."""

    results: list[RerankItem]
    usage: UsageInfo = UsageInfo()


class ScoreItem(msgspec.Struct, frozen=True):
    """One pair's score; `index` is its place in the request."""

    index: int
    score: float


class ScoreBody(msgspec.Struct, frozen=True):
    """The answer of `/score`; only the fields that are read."""

    data: list[ScoreItem]
    usage: UsageInfo = UsageInfo()


async def rerank(server: VllmServer, request: RerankRequest, dispatch: Dispatch) -> Ranking:
    """See `Reranks.rerank`."""
    body: JSONObject = {**_common(request.model, request.extensions, dispatch), "query": request.query}
    body["documents"] = list(request.documents)
    wanted = len(request.documents) if request.top_n is None else min(request.top_n, len(request.documents))
    body["top_n"] = wanted
    raw = await server.fetch("/rerank", body, dispatch, _BODY_BYTES)
    answer = _decoded(raw, RerankBody)
    ranked = sorted(answer.results, key=lambda item: -item.relevance_score)
    places = {item.index for item in ranked}
    if len(ranked) != wanted or len(places) != wanted or not places <= set(range(len(request.documents))):
        raise UpstreamProtocolError("The model's upstream did not rank the documents that were sent.")
    return Ranking(
        model=request.model,
        ranked=tuple(RankedDocument(item.index, _finite(item.relevance_score)) for item in ranked),
        usage=Usage(input_tokens=answer.usage.prompt_tokens),
    )


async def score(server: VllmServer, request: ScoreRequest, dispatch: Dispatch) -> Scores:
    """See `ScoresPairs.score`. The pairs are sent as `text_1` and `text_2`, which every release of vLLM takes."""
    body: JSONObject = {
        **_common(request.model, request.extensions, dispatch),
        "text_1": list(request.first),
        "text_2": list(request.second),
    }
    raw = await server.fetch("/score", body, dispatch, _BODY_BYTES)
    answer = _decoded(raw, ScoreBody)
    items = sorted(answer.data, key=lambda item: item.index)
    if [item.index for item in items] != list(range(len(request.second))):
        raise UpstreamProtocolError("The model's upstream did not give one score for each pair.")
    return Scores(
        model=request.model,
        scores=tuple(_finite(item.score) for item in items),
        usage=Usage(input_tokens=answer.usage.prompt_tokens),
    )


def _common(model: str, extensions: dict[str, JSON], dispatch: Dispatch) -> JSONObject:
    body: JSONObject = {"model": model}
    for name, value in extensions.items():
        if name not in FORWARDED:
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
        kind, named = FORWARDED[name]
        if value is not None:
            if type(value) is not kind:
                raise InvalidRequest(f"{name} must be of type {named}", param=name)
            body[name] = value
    if dispatch.cache_salt is not None:
        body["cache_salt"] = dispatch.cache_salt
    return body


def _decoded(raw: bytes, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise not_protocol() from error


def _finite(number: float) -> float:
    """`number`, which JSON lets be as large as infinity (`1e999`)."""
    if not math.isfinite(number):
        raise UpstreamProtocolError("The model's upstream gave a score that is not a number.")
    return number


__all__ = ["FORWARDED", "RerankBody", "RerankItem", "ScoreBody", "ScoreItem", "rerank", "score"]
