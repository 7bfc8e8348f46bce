"""A request, or parts of it, masked by the patterns of one side."""

from __future__ import annotations

from collections.abc import Sequence

from bedplate_core.messages import Message, Text
from bedplate_guardrails.arguments import unescaped
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import DetectorFailure, Finding
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.run import TextRun
from bedplate_guardrails.scanner import Scanner
from bedplate_guardrails.tally import Tally
from bedplate_guardrails.walk import Walk


class Screen(Walk):
    """Masks texts in place and remembers in `blocked` the first finding that blocks.

    Every method returns what it was given, masked; once `blocked` is set what they return is of no use, but scanning
    further still counts findings. All raise `DetectorFailure` when a detector fails.
    """

    def __init__(self, plans: Sequence[LanePlan], tally: Tally, *, selective: bool = False) -> None:
        super().__init__(selective=selective)
        self._plans = plans
        self._tally = tally
        self.blocked: Finding | None = None

    def text(self, text: str) -> str:
        """A text of its own."""
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Texts that a reader may see one after the other: judged each by itself and joined."""
        if not texts or (len(texts) == 1 and self.quiet(texts)):
            return list(texts)
        run: TextRun[int] = TextRun(self._plans, self._tally.add)
        pieces: list[str | int] = []
        for number, text in enumerate(texts):
            if number:
                run.boundary()
                pieces += run.mark(number)
            pieces += run.append(text)
        pieces += run.close()
        if run.blocked is not None:
            self._block(run.blocked)
            return list(texts)
        masked = [""] * len(texts)
        number = 0
        for piece in pieces:
            if isinstance(piece, int):
                number = piece
            else:
                masked[number] += piece
        return masked

    def quiet(self, texts: Sequence[str]) -> bool:
        """Whether the gates say of complete texts, each by itself, that none holds a match.

        Most of what people write is, and then nothing has to be set up to say so.
        """
        for plan in self._plans:
            gate = plan.gate
            if gate is None:
                return False
            try:
                for text in [" ".join(texts)] if gate.joinable else texts:
                    if not gate.is_free_of_matches(plan.view.of(text)[0]):
                        return False
            except Exception as error:
                raise DetectorFailure("*") from error
        return True

    def name(self, name: str) -> None:
        """A name that stops naming anything when it is masked: a match blocks even where the rule would mask."""
        for finding in self._findings(name):
            if finding.action is RuleAction.NONE:
                self._tally.add(finding, name[finding.start : finding.end])
            else:
                self._block_as(finding, name)
                return

    def messages(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages, masked; the same tuple when nothing was.

        Those that are one text and nothing else, which is most of them, are asked about together first.
        """
        texts = [_only_text(message) for message in messages]
        plain = [text for text in texts if text is not None]
        if not self.quiet(plain):
            return super().messages(messages)
        if len(plain) == len(messages):
            return messages
        changed = [
            self.message(message) if text is None else message for message, text in zip(messages, texts, strict=True)
        ]
        return messages if all(one is other for one, other in zip(changed, messages, strict=True)) else tuple(changed)

    def pass_media(self) -> None:
        """Count what passes without being looked into."""
        self._tally.pass_media()

    def across(self, written: str, places: list[tuple[int, int]]) -> None:
        """Judge a JSON text as written. What lies inside one value was judged there."""
        for finding in self._findings(written):
            if any(start <= finding.start and finding.end <= end for start, end in places):
                continue
            if finding.action is RuleAction.NONE:
                self._tally.add(finding, written[finding.start : finding.end])
            else:
                self._block_as(finding, written)
                return

    def broken(self, written: str) -> str:
        """Judge what should be JSON as written and with its escapes decoded."""
        decoded, places = unescaped(written)
        findings = self._findings(written)
        if decoded != written:
            for finding in self._findings(decoded):
                moved = finding._replace(start=places[finding.start], end=places[finding.end])
                if moved not in findings:
                    findings.append(moved)
        pieces: list[str] = []
        cursor = 0
        for finding in sorted(findings, key=lambda each: each.order):
            if finding.end <= cursor:
                continue
            if finding.action is RuleAction.BLOCK:
                self._block_as(finding, written)
                return written
            self._tally.add(finding, written[finding.start : finding.end])
            if finding.action is RuleAction.ANONYMIZE:
                pieces += written[cursor : max(cursor, finding.start)], finding.rule.mask
                cursor = finding.end
        return "".join([*pieces, written[cursor:]])

    def _findings(self, text: str) -> list[Finding]:
        scanner = Scanner(self._plans)
        found = [*scanner.append(text), *scanner.settle(), *scanner.ended()]
        return sorted(found, key=lambda each: each.order)

    def _block_as(self, finding: Finding, text: str) -> None:
        blocking = finding._replace(action=RuleAction.BLOCK)
        self._tally.add(blocking, text[finding.start : finding.end])
        self._block(blocking)

    def _block(self, finding: Finding) -> None:
        if self.blocked is None:
            self.blocked = finding


def _only_text(message: Message) -> str | None:
    """The text that a message consists of; None for one with anything else in it, a name included."""
    parts = message.parts
    if message.name is None and len(parts) == 1 and type(part := parts[0]) is Text:
        return part.text
    return None


__all__ = ["Screen"]
