"""What models do beside generating, each through `Engine.use`: the same admission, guardrails and record.

What the input's rules say of a text that has no answer in words is a refusal. What the output's rules say holds for
every text that leaves, whoever it is from:

- a transcript is the model's words; blocked, the policy's message stands in its place, as in a chat;
- the text that token ids make is read by no rule on its way in, so it is judged on its way out; blocked, it is refused;
- a ranking repeats the documents, as the input's rules masked them, and one that may not leave is left out;
- the strings of single tokens are refused, as log-probabilities are: a rule cannot judge text in such pieces.

With rules on the input, token ids go to no model (`bedplate_guardrails.input_check`), so what `tokenize` gives cannot
carry a text around them.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.events import StopReason
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import Audio, Message, Part, Role, Text
from bedplate_core.requests import Request
from bedplate_core.rerank import Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_core.transcription import Segment, Transcript, TranscriptionRequest
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.call_guard import CallGuard
from bedplate_gateway.engine.engine import Engine, Use, addressed
from bedplate_gateway.engine.released_text import released
from bedplate_providers.base import Reranks, ScoresPairs, Tokenizes, Transcribes

T = TypeVar("T")


class RankedTexts(msgspec.Struct, frozen=True, kw_only=True):
    """A ranking with the documents' texts, in the ranking's order; None for a text that may not leave."""

    ranking: Ranking
    texts: tuple[str | None, ...]


async def tokenize(engine: Engine, call: Call, request: TokenizeRequest) -> tuple[Tokens, Answer]:
    """The tokens of what would reach the model: after the input's rules. Raises `GatewayError`."""

    async def work(use: Use[Tokenizes]) -> Tokens:
        guard = await use.guard()
        if request.token_strings and guard is not None and guard.guards_output:
            raise UnsupportedFeature(
                "return_token_strs cannot be used with a guardrail on the output: no rule can read text in such pieces",
                param="return_token_strs",
            )
        content = await use.checked_request(request.content, "messages" if request.content.messages else "prompt")
        asked = msgspec.structs.replace(request, content=addressed(content, use.route))
        return await use.provider.tokenize(asked, use.dispatch)

    return await engine.use(call, request.content.model, Tokenizes, "tokenization", work)


async def detokenize(engine: Engine, call: Call, request: DetokenizeRequest) -> tuple[str, Answer]:
    """The text of token ids. Raises `InvalidRequest` when the output's rules block it, and `GatewayError`."""

    async def work(use: Use[Tokenizes]) -> str:
        guard = await use.guard()
        asked = msgspec.structs.replace(request, model=use.route.upstream_model)
        text = await use.provider.detokenize(asked, use.dispatch)
        (said,) = await released(guard, [[text]])
        if said is None:
            raise InvalidRequest(f"the text was blocked by the guardrail: {_message(guard)}", param="tokens")
        return said[0]

    return await engine.use(call, request.model, Tokenizes, "tokenization", work)


async def rerank(engine: Engine, call: Call, request: RerankRequest) -> tuple[RankedTexts, Answer]:
    """The best documents first, with their texts. Raises `GatewayError`."""

    async def work(use: Use[Reranks]) -> RankedTexts:
        _require(use.route.profile.ranking, request.model, "reranking")
        guard = await use.guard()
        given = (request.query, *request.documents)
        texts, extensions = await _checked_texts(use, request.model, given, request.extensions)
        asked = msgspec.structs.replace(
            request,
            model=use.route.upstream_model,
            query=texts[0],
            documents=texts[1:],
            extensions=extensions,
        )
        ranking = await use.provider.rerank(asked, use.dispatch)
        use.answer.usage = ranking.usage
        said = await released(guard, [[asked.documents[item.index]] for item in ranking.ranked])
        return RankedTexts(ranking=ranking, texts=tuple(None if one is None else one[0] for one in said))

    return await engine.use(call, request.model, Reranks, "reranking", work)


async def score(engine: Engine, call: Call, request: ScoreRequest) -> tuple[Scores, Answer]:
    """One number per pair. Raises `GatewayError`."""

    async def work(use: Use[ScoresPairs]) -> Scores:
        _require(use.route.profile.ranking, request.model, "scoring")
        given = (*request.first, *request.second)
        texts, extensions = await _checked_texts(use, request.model, given, request.extensions)
        count = len(request.first)
        asked = msgspec.structs.replace(
            request,
            model=use.route.upstream_model,
            first=texts[:count],
            second=texts[count:],
            extensions=extensions,
        )
        scores = await use.provider.score(asked, use.dispatch)
        use.answer.usage = scores.usage
        return scores

    return await engine.use(call, request.model, ScoresPairs, "scoring", work)


async def transcribe(engine: Engine, call: Call, request: TranscriptionRequest) -> tuple[Transcript, Answer]:
    """What was said, as the output's rules let it out. Raises `GatewayError`.

    The prompt and the hot words are checked; the sound is not read, and a verdict `SKIPPED` says so where rules run on
    the input. Blocked, the transcript is the policy's message, without segments, and the record says `guardrail`.
    """

    async def work(use: Use[Transcribes]) -> Transcript:
        _require(use.route.profile.transcription, request.model, "transcription")
        guard = await use.guard()
        asked = await _checked_speech(use, request)
        return await _released(use.answer, guard, await use.provider.transcribe(asked, use.dispatch))

    return await engine.use(call, request.model, Transcribes, "transcription", work)


async def _checked_speech(use: Use[Transcribes], request: TranscriptionRequest) -> TranscriptionRequest:
    said: list[Part] = [Text(text=text) for text in (request.prompt, request.hotwords) if text is not None]
    message = Message(role=Role.USER, parts=(Audio(media=request.audio), *said))
    content = Request(model=request.model, messages=(message,), extensions=request.extensions)
    checked = await use.checked_request(content, "prompt")
    texts = [part.text for part in checked.messages[0].parts if isinstance(part, Text)]
    return msgspec.structs.replace(
        request,
        model=use.route.upstream_model,
        prompt=None if request.prompt is None else texts.pop(0),
        hotwords=None if request.hotwords is None else texts.pop(0),
        extensions=checked.extensions,
    )


async def _released(answer: Answer, guard: CallGuard | None, transcript: Transcript) -> Transcript:
    segments = transcript.segments or ()
    whole, pieces = await released(guard, [[transcript.text], [segment.text for segment in segments]])
    if whole is None or pieces is None:
        answer.stopped(StopReason.GUARDRAIL)
        return msgspec.structs.replace(transcript, text=_message(guard), segments=None)
    answer.stopped(StopReason.END)
    if transcript.segments is None:
        return msgspec.structs.replace(transcript, text=whole[0])
    guarded = guard is not None and guard.guards_output
    return msgspec.structs.replace(
        transcript,
        text=whole[0],
        segments=tuple(_said(segment, text, guarded=guarded) for segment, text in zip(segments, pieces, strict=True)),
    )


def _said(segment: Segment, text: str, *, guarded: bool) -> Segment:
    """The segment with the text that may leave; token ids would carry the text that may not."""
    return msgspec.structs.replace(segment, text=text, token_ids=() if guarded else segment.token_ids)


def _message(guard: CallGuard | None) -> str:
    return "" if guard is None else guard.blocking_message


async def _checked_texts(
    use: Use[T], model: str, texts: tuple[str, ...], extensions: dict[str, JSON]
) -> tuple[tuple[str, ...], dict[str, JSON]]:
    """The texts and the extensions as the input's rules let them through."""
    checked = await use.checked_request(Request(model=model, prompts=texts, extensions=extensions), None)
    return tuple(text for text in checked.prompts if isinstance(text, str)), checked.extensions


def _require(able: bool, model: str, feature: str) -> None:
    if not able:
        raise UnsupportedFeature(f"model {model!r} does not support {feature}", param="model")


__all__ = ["RankedTexts", "detokenize", "rerank", "score", "tokenize", "transcribe"]
