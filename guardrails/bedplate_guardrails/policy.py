"""Policies: a compiled guardrail, and what it does to a request and to an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Batch, EventStream
from bedplate_core.requests import Request
from bedplate_core.verdicts import Side, Verdict
from bedplate_guardrails.document import GuardrailDocument, checked_document
from bedplate_guardrails.input_check import refuse_token_output, refuse_token_prompts, screened_request
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.output_guard import OutputGuard
from bedplate_guardrails.rules import compile_lanes
from bedplate_guardrails.screen import Screen
from bedplate_guardrails.tally import GuardrailFailed, Tally


class InputCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request.

    `request` is the request with every mask applied. When `blocked_message` is not None the request must not be
    sent: the message is the answer, with the stop reason `GUARDRAIL`. `verdicts` are the input side's, empty when
    no rule runs there.
    """

    request: Request
    blocked_message: str | None
    verdicts: tuple[Verdict, ...]


class GuardedStream:
    """An `EventStream` with a policy's output rules enforced. Made by `Policy.guard_output`.

    Batches keep their order and become smaller; one with nothing to let out is not yielded. When every choice is
    blocked the upstream is closed and then `Finish` is yielded, with the usage the upstream had reported by then. When
    the upstream fails, its error is raised and nothing that was held back leaves. When a detector fails, the upstream
    is closed and `GuardrailUnavailable` is raised. Cancelled while it waits for the upstream, it may be closed only.

    `verdicts` are final once the stream ended, failed or was closed; no `ALLOW` is among them unless the answer
    was scanned to its end.
    """

    __slots__ = ("_done", "_events", "_guard", "_scanned", "_tally")

    def __init__(self, events: EventStream, guard: OutputGuard | None, tally: Tally) -> None:
        self._events = events
        self._guard = guard
        self._tally = tally
        self._done = False
        self._scanned = False

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was decided so far, by rule; empty when no rule runs on answers."""
        return () if self._guard is None else self._tally.verdicts(ended=self._scanned)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        guard = self._guard
        if guard is None:
            return await self._events.__anext__()
        while not self._done:
            try:
                batch = await self._events.__anext__()
            except StopAsyncIteration:
                self._done = True
                raise UpstreamProtocolError("the upstream's answer broke off") from None
            except BaseException:
                self._done = True
                raise
            out = await self._taken(guard, batch)
            if out:
                return out
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the upstream. Nothing that is held back leaves."""
        self._done = True
        await self._events.aclose()

    async def _taken(self, guard: OutputGuard, batch: Batch) -> Batch:
        try:
            out = guard.take(batch)
        except GatewayError:
            await self.aclose()
            raise
        except Exception as error:
            failure = self._tally.fail(error)
            await self.aclose()
            raise failure from error
        if guard.finished:
            self._done = self._scanned = True
        elif guard.all_blocked:
            await self.aclose()
            self._scanned = True
            out.append(guard.early_finish())
        return out


class Policy:
    """One immutable version of a guardrail, shareable between calls and threads. Made by `compile_policy`."""

    __slots__ = ("_document", "_input", "_name", "_output", "_version")

    def __init__(
        self,
        name: str,
        version: str,
        document: GuardrailDocument,
        *,
        input_lanes: tuple[LanePlan, ...],
        output_lanes: tuple[LanePlan, ...],
    ) -> None:
        self._name = name
        self._version = version
        self._document = document
        self._input = input_lanes
        self._output = output_lanes

    @property
    def name(self) -> str:
        """The guardrail's name, as verdicts give it."""
        return self._name

    @property
    def version(self) -> str:
        """The guardrail's version, as verdicts give it."""
        return self._version

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

    def check_input(self, request: Request) -> InputCheck:
        """Scan every text of `request`, mask what is to be masked and say whether it is blocked.

        All content is scanned, whoever it is from: Bedrock's `guardContent` does not exempt the rest. Pictures,
        sounds, films, files that are not text, media given by address and encrypted reasoning pass unread: a verdict
        `SKIPPED` of the rule `media` counts them. The work is linear in the text and is not interrupted; for requests
        of megabytes call it in a thread.

        Raises `UnsupportedFeature` for token prompts when a rule runs on requests, for log-probabilities and
        token ids when one runs on answers, and for text documents that cannot be decoded; `GuardrailFailed`, a
        `GuardrailUnavailable` with the verdicts, when a detector fails.
        """
        if self._output:
            refuse_token_output(request)
        if not self._input:
            return InputCheck(request=request, blocked_message=None, verdicts=())
        refuse_token_prompts(request)
        tally = Tally(self._name, self._version, Side.INPUT)
        screen = Screen(self._input, tally)
        try:
            screened = screened_request(request, screen)
        except GatewayError:
            raise
        except Exception as error:
            raise tally.fail(error) from error
        verdicts = tally.verdicts(ended=True)
        if screen.blocked is not None:
            message = self._document.blocked_input_messaging
            return InputCheck(request=request, blocked_message=message, verdicts=verdicts)
        return InputCheck(request=screened, blocked_message=None, verdicts=verdicts)

    def guard_output(self, events: EventStream) -> GuardedStream:
        """The answer `events` with the output's rules enforced. Takes over `events`: closing it closes them."""
        tally = Tally(self._name, self._version, Side.OUTPUT)
        message = self._document.blocked_outputs_messaging
        return GuardedStream(events, OutputGuard(self._output, tally, message) if self._output else None, tally)


def compile_policy(name: str, version: str, document: GuardrailDocument) -> Policy:
    """Compile a document into a policy.

    Takes milliseconds. Raises `InvalidPolicy`, whose message names the place, for a document that breaks a limit or
    has a pattern that RE2 does not take.
    """
    checked = checked_document(document)
    return Policy(
        name,
        version,
        checked,
        input_lanes=compile_lanes(checked, Side.INPUT),
        output_lanes=compile_lanes(checked, Side.OUTPUT),
    )


__all__ = ["GuardedStream", "GuardrailFailed", "InputCheck", "Policy", "compile_policy"]
