"""Policies: a compiled guardrail, and what it does to a request, to an answer and to content by itself."""

from __future__ import annotations

from collections.abc import Sequence

from bedplate_core.assessment import GuardrailRef
from bedplate_core.events import EventStream
from bedplate_core.requests import Request
from bedplate_core.verdicts import Side
from bedplate_guardrails.content_check import ContentCheck, ContentText, check_content
from bedplate_guardrails.document import GuardrailDocument, checked_document
from bedplate_guardrails.evaluation import Capabilities, Task
from bedplate_guardrails.guarded_stream import GuardedStream
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.holdback import HoldBack
from bedplate_guardrails.input_check import InputCheck, checked_input, refuse_token_output
from bedplate_guardrails.model_rules import rehearsal, require_capabilities
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import GuardrailFailed


class Policy:
    """One immutable version of a guardrail, shareable between calls and threads. Made by `compile_policy`."""

    __slots__ = ("_document", "_input", "_output", "_ref")

    def __init__(self, ref: GuardrailRef, document: GuardrailDocument, *, input: SideRules, output: SideRules) -> None:  # noqa: A002 - the sides are called so
        self._ref = ref
        self._document = document
        self._input = input
        self._output = output

    @property
    def ref(self) -> GuardrailRef:
        """Which guardrail this is, and which version."""
        return self._ref

    @property
    def document(self) -> GuardrailDocument:
        """The document that was compiled."""
        return self._document

    @property
    def guards_input(self) -> bool:
        """Whether any rule runs on requests."""
        return bool(self._input)

    @property
    def guards_output(self) -> bool:
        """Whether any rule runs on answers. If not, `guard_output` passes everything through as it is."""
        return bool(self._output)

    @property
    def hold_back(self) -> HoldBack:
        """What is held back of an answer at most."""
        return self._output.hold_back

    @property
    def rehearsal(self) -> tuple[Task, ...]:
        """Small tasks that have loaded, once they are evaluated, all that the policy asks local models for."""
        return (*rehearsal(self._input.models), *rehearsal(self._output.models))

    async def check_input(self, request: Request, guarding: Guarding) -> InputCheck:
        """Evaluate every text of `request`, mask what is to be masked and say whether it is blocked.

        Pictures, sounds, films, files that are not text, media given by address and encrypted reasoning pass unread: a
        verdict `SKIPPED` of the rule `media` counts them. Scanning is linear in the text; a long text is scanned in a
        thread.

        Raises `UnsupportedFeature` for token prompts when a rule runs on requests, for log-probabilities and token ids
        when one runs on answers, for asynchronous streaming that the policy does not allow and for text documents that
        cannot be decoded; `GuardrailFailed`, a `GuardrailUnavailable` with the verdicts, when a rule cannot run.
        """
        if self._output:
            refuse_token_output(request)
        return await checked_input(self._ref, self._document, self._input, request, guarding)

    async def check_content(self, side: Side, texts: Sequence[ContentText], guarding: Guarding) -> ContentCheck:
        """Evaluate content by itself as what it would be on `side` of a call: a user's message, or a model's answer.

        All of it is evaluated, whatever `guarding` says of marks; matches are shown, for the content is the caller's.
        On the output the answer is also judged by the sources and queries among `texts`. Raises `GuardrailFailed`.
        """
        rules = self._input if side is Side.INPUT else self._output
        return await check_content(self._ref, self._document, rules, texts, guarding)

    def guard_output(self, events: EventStream, guarding: Guarding, context: AnswerContext) -> GuardedStream:
        """The answer `events` with the output's rules enforced. Takes over `events`: closing it closes them."""
        return GuardedStream(events, self._ref, self._document, self._output, guarding, context)


def compile_policy(ref: GuardrailRef, document: GuardrailDocument, able: Capabilities) -> Policy:
    """Compile a document into a policy.

    Takes milliseconds. Raises `InvalidPolicy`, whose message names the place, for a document that breaks a limit, has a
    pattern that RE2 does not take or a schema that is none, or asks for what nothing here could evaluate (`able`).
    """
    checked = checked_document(document)
    require_capabilities(checked, able)
    return Policy(ref, checked, input=SideRules(checked, Side.INPUT), output=SideRules(checked, Side.OUTPUT))


__all__ = ["GuardedStream", "GuardrailFailed", "InputCheck", "Policy", "compile_policy"]
