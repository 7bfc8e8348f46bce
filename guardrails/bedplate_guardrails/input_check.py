"""A request, checked: every text that reaches the model, and every field that would get around the output's rules."""

from __future__ import annotations

import asyncio
import time

import msgspec

from bedplate_core.assessment import Assessment, GuardrailRef
from bedplate_core.errors import GatewayError, UnsupportedFeature
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import (
    Document,
    GuardContent,
    GuardQualifier,
    MediaBytes,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_core.requests import (
    Request,
    TokenPrompt,
)
from bedplate_core.verdicts import Side, Verdict
from bedplate_guardrails.document import GuardrailDocument
from bedplate_guardrails.evaluation import EvaluationFailed
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.model_check import judged_request
from bedplate_guardrails.passages import passages_of
from bedplate_guardrails.screen import Screen
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import Tally

_INLINE_CHARS = 20_000
"""Input up to this length is scanned on the event loop, which takes a few milliseconds at most; more, in a thread."""

_TOKEN_FIELDS = (
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "return_token_ids",
    "return_tokens_as_token_ids",
)


class InputCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request.

    `request` is the request with every mask applied. When `blocked_message` is not None the request must not be
    sent: the message is the answer, with the stop reason `GUARDRAIL`. `verdicts` are the input side's, empty when
    no rule runs there, and then `assessment` is None. `context` is what the answer will be judged by.
    """

    request: Request
    blocked_message: str | None
    verdicts: tuple[Verdict, ...] = ()
    assessment: Assessment | None = None
    context: AnswerContext = AnswerContext()


async def checked_input(
    ref: GuardrailRef, document: GuardrailDocument, rules: SideRules, request: Request, guarding: Guarding
) -> InputCheck:
    """See `Policy.check_input`."""
    if guarding.releases_first and not document.bedplate_config.async_streaming:
        raise UnsupportedFeature(
            f"guardrail {ref.name} does not allow answers to leave before they are checked; leave streamProcessingMode "
            "out or make it synchronous",
            param="streamProcessingMode",
        )
    if not rules:
        return InputCheck(request=request, blocked_message=None, context=_context(request, document))
    refuse_token_prompts(request)
    started_s = time.perf_counter()
    tally = Tally(ref, Side.INPUT, kinds=rules.kinds, matches=guarding.matches)
    total_chars = text_chars(request)
    try:
        tally.chars = _guarded_chars(request) if guarding.selective else total_chars
        checked, blocked = await _checked(request, rules, guarding, tally, in_thread=total_chars > _INLINE_CHARS)
    except EvaluationFailed as error:
        raise tally.fail(error) from error
    except GatewayError:
        raise
    except Exception as error:
        raise tally.fail(error) from error
    tally.elapsed_s = time.perf_counter() - started_s
    read_anything = not guarding.selective or tally.chars > 0
    if not read_anything:
        tally.skip("*")
    assessment = tally.assessment(guarding.origin)
    if tally.chars < total_chars:
        assessment = msgspec.structs.replace(assessment, total_chars=total_chars)
    return InputCheck(
        request=request if blocked else checked,
        blocked_message=document.blocked_input_messaging if blocked else None,
        verdicts=tally.verdicts(ended=read_anything),
        assessment=assessment,
        context=AnswerContext() if blocked else _context(checked, document),
    )


async def _checked(
    request: Request, rules: SideRules, guarding: Guarding, tally: Tally, *, in_thread: bool
) -> tuple[Request, bool]:
    """`request` with its masks, and whether it is blocked: by its shape, by patterns, and only then by models."""
    if rules.shape and rules.shape.check_request(request, tally):
        return request, True
    screen = Screen(rules.lanes, tally, selective=guarding.selective)
    screened = await asyncio.to_thread(screen.request, request) if in_thread else screen.request(request)
    if screen.blocked is not None:
        return request, True
    if not rules.models:
        return screened, False
    return await judged_request(screened, rules.models, guarding, tally, in_thread=in_thread)


def _context(request: Request, document: GuardrailDocument) -> AnswerContext:
    """What of a request its answer is judged by, where a rule asks for it."""
    if not (document.grounding or document.filters or document.topics):
        return AnswerContext()
    sources: list[str] = []
    queries: list[str] = []
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, GuardContent) and isinstance(part.content, Text):
                if GuardQualifier.GROUNDING_SOURCE in part.qualifiers:
                    sources.append(part.content.text)
                if GuardQualifier.QUERY in part.qualifiers:
                    queries.append(part.content.text)
    question = _question(request)
    return AnswerContext(sources="\n".join(sources), query="\n".join(queries) or question, question=question)


def _question(request: Request) -> str:
    """What the last user said; the last raw prompt where there are no messages."""
    for message in reversed(request.messages):
        if message.role is Role.USER:
            said = [part.content if isinstance(part, GuardContent) else part for part in message.parts]
            texts = [part.text for part in said if isinstance(part, Text)]
            if texts:
                return "\n".join(texts)
    prompts = [prompt for prompt in request.prompts if isinstance(prompt, str)]
    return prompts[-1] if prompts else ""


def _guarded_chars(request: Request) -> int:
    """How much text of a request is read where only what it marks may be."""
    return sum(len(passage.text) for passage in passages_of(request, selective=True))


def text_chars(request: Request) -> int:
    """About how much text a guardrail has to read."""
    said = 0
    for message in request.messages:
        for part in message.parts:
            match part:
                case Text() | Reasoning() | Refusal():
                    said += len(part.text)
                case GuardContent(content=Text() as content):
                    said += len(content.text)
                case ToolCall():
                    said += len(part.arguments)
                case ToolResult():
                    said += sum(len(inner.text) for inner in part.parts if isinstance(inner, Text))
                case Document(media=MediaBytes() as media):
                    said += len(media.data)
                case _:
                    pass
    return said + sum(len(prompt) for prompt in request.prompts if isinstance(prompt, str))


def refuse_token_output(request: Request) -> None:
    """Refuse what would put tokens beside the text: they carry text that an output rule has not released.

    Raises `UnsupportedFeature` naming the field.
    """
    fields = [field for field in _TOKEN_FIELDS if _asks(request.extensions.get(field))]
    if request.top_logprobs is not None:
        fields.insert(0, "top_logprobs")
    if fields:
        raise UnsupportedFeature(
            f"{fields[0]} cannot be used with a guardrail on the output: it carries text that was not released",
            param=fields[0],
        )


def _asks(value: JSON) -> bool:
    """Whether a field is given and not off. The number 0 asks for the log-probability of each token itself."""
    return value is not None and value is not False


def refuse_token_prompts(request: Request) -> None:
    """Refuse prompts given as token ids, which no rule on the input can read. Raises `UnsupportedFeature`."""
    if any(isinstance(prompt, TokenPrompt) for prompt in request.prompts):
        raise UnsupportedFeature(
            "prompt: token ids cannot be checked by a guardrail on the input; send the prompt as text", param="prompt"
        )


__all__ = [
    "InputCheck",
    "checked_input",
    "refuse_token_output",
    "refuse_token_prompts",
    "text_chars",
]
