"""Content by itself, without a model: what `ApplyGuardrail` and moderations evaluate.

Content is evaluated as what it would be in a call. Input is one user's message with a part for each text; output is a
model's answer with a part for each, and goes the whole way of a streamed answer, so that both come to the same masks
and the same blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from bedplate_core.assessment import Assessment, GuardrailRef
from bedplate_core.events import Batch, Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import GuardQualifier, Message, Role, Text
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_core.verdicts import Side, Verdict
from bedplate_guardrails.document import GuardrailDocument
from bedplate_guardrails.guarded_stream import GuardedStream
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.input_check import checked_input
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import Tally


class ContentText(msgspec.Struct, frozen=True, kw_only=True):
    """One text and what it is for; without qualifiers it is content.

    A grounding source or query that is not content as well is what an answer is judged by, and is not guarded itself.
    """

    text: str
    qualifiers: tuple[GuardQualifier, ...] = ()

    @property
    def is_content(self) -> bool:
        """Whether the text is guarded."""
        return not self.qualifiers or GuardQualifier.GUARD_CONTENT in self.qualifiers


class ContentCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of content: the texts with their masks, or the message that stands for all of it.

    `texts` are as many as were given, in their order, those that are not guarded unchanged; none when it is blocked.
    The assessment holds matches and counts as `total_chars` what was given and as `guarded_chars` what was evaluated.
    """

    blocked_message: str | None
    texts: tuple[str, ...]
    assessment: Assessment
    verdicts: tuple[Verdict, ...]


async def check_content(
    ref: GuardrailRef, document: GuardrailDocument, rules: SideRules, texts: Sequence[ContentText], guarding: Guarding
) -> ContentCheck:
    """See `Policy.check_content`; `rules` are those of the side."""
    # the content is the caller's, on both sides: all of it is evaluated, at once, and matches may be shown
    whole = msgspec.structs.replace(guarding, matches=True, selective=False, releases_first=False)
    content = [each.text for each in texts if each.is_content]
    if not rules or not content:
        check = ContentCheck(
            blocked_message=None,
            texts=tuple(content),
            assessment=Tally(ref, rules.side, kinds=rules.kinds).assessment(guarding.origin),
            verdicts=(),
        )
    elif rules.side is Side.INPUT:
        check = await _input(ref, document, rules, content, whole)
    else:
        check = await _output(ref, document, rules, content, _context(texts), whole)
    guarded_chars = sum(map(len, content)) if rules else 0
    assessment = msgspec.structs.replace(
        check.assessment, guarded_chars=guarded_chars, total_chars=sum(len(each.text) for each in texts)
    )
    masked = iter(check.texts)
    return msgspec.structs.replace(
        check,
        assessment=assessment,
        texts=()
        if check.blocked_message is not None
        else tuple(next(masked) if each.is_content else each.text for each in texts),
    )


async def _input(
    ref: GuardrailRef, document: GuardrailDocument, rules: SideRules, content: Sequence[str], guarding: Guarding
) -> ContentCheck:
    message = Message(role=Role.USER, parts=tuple(Text(text=text) for text in content))
    check = await checked_input(ref, document, rules, Request(model="", messages=(message,)), guarding)
    if check.assessment is None:
        raise TypeError("a request was checked by rules and not assessed")
    return ContentCheck(
        blocked_message=check.blocked_message,
        texts=tuple(part.text for part in check.request.messages[0].parts if isinstance(part, Text)),
        assessment=check.assessment,
        verdicts=check.verdicts,
    )


async def _output(
    ref: GuardrailRef,
    document: GuardrailDocument,
    rules: SideRules,
    content: Sequence[str],
    context: AnswerContext,
    guarding: Guarding,
) -> ContentCheck:
    tally = Tally(ref, Side.OUTPUT, kinds=rules.kinds, matches=True)
    stream = GuardedStream(_Given(content), ref, document, rules, guarding, context, tally=tally)
    masked = [""] * len(content)
    blocked = False
    async for batch in stream:
        for event in batch:
            match event:
                case Delta(index=index, text=text) if index < len(masked):
                    masked[index] += text
                case Finish(stops=stops):
                    blocked = any(stop.reason is StopReason.GUARDRAIL for stop in stops)
                case _:
                    pass
    return ContentCheck(
        blocked_message=document.blocked_outputs_messaging if blocked else None,
        texts=tuple(masked),
        assessment=stream.assessment,
        verdicts=stream.verdicts,
    )


def _context(texts: Sequence[ContentText]) -> AnswerContext:
    sources = [each.text for each in texts if GuardQualifier.GROUNDING_SOURCE in each.qualifiers]
    query = "\n".join(each.text for each in texts if GuardQualifier.QUERY in each.qualifiers)
    return AnswerContext(sources="\n".join(sources), query=query, question=query)


class _Given:
    """Texts as the answer of a model, in one batch."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._batches: Iterator[Batch] = iter([_answer(texts)])

    def __aiter__(self) -> _Given:
        return self

    async def __anext__(self) -> Batch:
        for batch in self._batches:
            return batch
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing is held."""


def _answer(texts: Sequence[str]) -> list[Event]:
    events: list[Event] = [Start(id="", model="", created_s=int(time.time()), choices=1)]
    for index, text in enumerate(texts):
        events.append(PartStart(0, index, Text(text="")))
        if text:
            events.append(Delta(0, index, text))
        events.append(PartEnd(0, index))
    events.append(Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage()))
    return events


__all__ = ["ContentCheck", "ContentText", "check_content"]
