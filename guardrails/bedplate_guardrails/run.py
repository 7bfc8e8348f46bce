"""A run: text that belongs together, in one or more parts, going out with its masks as soon as it is safe.

Parts that follow each other are judged twice. Each is a text of its own, because a client may show it so; and any
match that begins in one and reaches into the next is found as well, because a client may join them. A mask stands
where its match began. What belongs between two parts travels as a mark, which leaves once everything before it has.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import Finding
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.scanner import MAX_HOLD_CHARS, Scanner

M = TypeVar("M")


def _order(finding: Finding) -> tuple[int, bool, int, str]:
    return finding.order


class Mask(str):
    """A text that stands for what was masked."""

    __slots__ = ()


class TextRun(Generic[M]):
    """Takes text and marks in order; gives back text that is safe, masked, and the marks in their places.

    Masks among the texts are of the type `Mask`. Marks may be anything but texts.

    `append`, `boundary` and `close` return what can leave now: texts that are never empty, and marks. After a
    blocking finding, `blocked` is set, what was before the match has left, and nothing more does; marks that had
    not left are dropped. Whatever the pieces, the joined output is the same. `report` is called once for every
    finding that was acted on (and for those with the action NONE), in the order of the text, with what of the matched
    text has not left.

    All three raise `DetectorFailure`, after which the run must not be used.
    """

    __slots__ = (
        "_base",
        "_carry",
        "_carry_limit",
        "_cursor",
        "_marks",
        "_pending",
        "_plans",
        "_report",
        "_solo",
        "_text",
        "blocked",
    )

    def __init__(self, plans: Sequence[LanePlan], report: Callable[[Finding, str], None]) -> None:
        self._plans = plans
        self._report = report
        self._solo = Scanner(plans)  # the current part, on its own
        self._carry: Scanner | None = None  # parts before it that a match may join to it
        self._carry_limit: int = 0  # only matches that begin before here are the carry's to find
        self._text = ""  # what has not left
        self._base = 0  # the place of its first character
        self._cursor = 0  # before this place everything has left or was masked
        self._pending: list[Finding] = []
        self._marks: deque[tuple[int, M]] = deque()
        self.blocked: Finding | None = None

    @property
    def chars(self) -> int:
        """How much text it has taken."""
        return self._solo.end

    def append(self, text: str) -> list[str | M]:
        """More text of the current part."""
        if len(text) <= MAX_HOLD_CHARS:
            return self._append(text) if text else []
        out: list[str | M] = []
        for start in range(0, len(text), MAX_HOLD_CHARS):
            out.extend(self._append(text[start : start + MAX_HOLD_CHARS]))
        return out

    def _append(self, text: str) -> list[str | M]:
        if self.blocked is not None:
            return []
        self._text += text
        findings = self._solo.append(text)
        if findings:
            self._found(findings)
        if self._carry is not None:
            self._carried(self._carry.append(text))
        if not self._pending and not self._marks and self._carry is None:
            return self._plainly(self._solo.horizon)
        return self._release(self._horizon())

    def _plainly(self, limit: int) -> list[str | M]:
        """What lies before `limit` when there is nothing but text."""
        cursor = self._cursor
        if limit <= cursor:
            return []
        released = self._text[: limit - cursor]
        self._text = self._text[limit - cursor :]
        self._base = self._cursor = limit
        return [released]

    def mark(self, value: M) -> list[str | M]:
        """Something between two parts, or before the first."""
        if self.blocked is not None:
            return []
        if self._cursor == self._solo.end and not self._marks and not self._pending:
            return [value]  # nothing is held
        self._marks.append((self._solo.end, value))
        return self._release(self._horizon())

    def boundary(self) -> None:
        """The current part ends; the next `append` belongs to the next part. What a match may join stays held."""
        if self.blocked is not None:
            return
        end = self._solo.end
        if self._carry is None and end == self._carry_limit:
            return  # nothing has come since the last boundary
        if self._carry is None and self._solo.horizon == end:
            self._carry_limit = end
            self._solo.restart()
            return  # everything is decided, and nothing is under way that the next part could go on with
        self._found(self._solo.settle())
        self._found(self._solo.ended())
        if self._carry is not None:
            self._carried(self._carry.settle())
        if self._carry is not None:
            self._joined(self._carry.ended())
        elif self._solo.horizon < end:
            self._carry = self._solo
        self._carry_limit = end
        self._solo = Scanner(self._plans, end)

    def close(self) -> list[str | M]:
        """The current part ends and something else follows: everything leaves.

        A later part of the run is still joined to it. What a match over the boundary had in common with the text
        that left stays out there, and the rest of the match is masked or blocks.
        """
        self.boundary()
        return self._release(self._solo.end)

    def _horizon(self) -> int:
        horizon = self._solo.horizon
        return horizon if self._carry is None else min(horizon, self._carry.horizon)

    def _carried(self, findings: list[Finding]) -> None:
        """Take what the carry found; it is done when nothing that began before its limit is undecided."""
        self._joined(findings)
        if self._carry is not None and self._carry.horizon >= self._carry_limit:
            self._carry = None

    def _joined(self, findings: list[Finding]) -> None:
        """Take the carry's findings; those that begin past its limit, or are known, are not its to report."""
        self._found([each for each in findings if each.start < self._carry_limit and each not in self._pending])

    def _found(self, findings: list[Finding]) -> None:
        for finding in findings:
            insort(self._pending, finding, key=_order)

    def _release(self, limit: int) -> list[str | M]:
        """What lies before `limit`, which must be decided."""
        out: list[str | M] = []
        while self._pending and self._pending[0].start < limit:
            finding = self._pending.pop(0)
            if finding.end <= self._cursor:
                continue
            if finding.action is not RuleAction.NONE:
                self._emit(max(finding.start, self._cursor), out)
                if finding.action is RuleAction.BLOCK:
                    self.blocked = finding
                    self._report(finding, self._match(finding))
                    self._text = ""
                    self._pending.clear()
                    self._marks.clear()
                    return out
                out.append(Mask(finding.rule.mask))
                self._cursor = finding.end
            self._report(finding, self._match(finding))
        self._emit(limit, out)
        if self._cursor > self._base:
            self._text = self._text[self._cursor - self._base :]
            self._base = min(self._cursor, self._solo.end)
        return out

    def _match(self, finding: Finding) -> str:
        """What there is of the matched text."""
        return self._text[max(finding.start - self._base, 0) : finding.end - self._base]

    def _emit(self, limit: int, out: list[str | M]) -> None:
        """Move text and marks up to `limit` into `out`."""
        while self._marks and self._marks[0][0] <= limit:
            place, value = self._marks.popleft()
            self._copy(place, out)
            out.append(value)
        self._copy(limit, out)

    def _copy(self, limit: int, out: list[str | M]) -> None:
        if limit > self._cursor:
            out.append(self._text[self._cursor - self._base : limit - self._base])
            self._cursor = limit


__all__ = ["Mask", "TextRun"]
