"""An answer's events with the output's rules enforced, one batch at a time.

Text, reasoning and refusals leave as soon as nothing before them can become part of a match. Consecutive parts of
one kind are one run: the end of a part is held back until what is before it is safe. When a part of another kind
opens, what was held is judged as complete and leaves; a later part of the first kind is still judged joined to it,
and then what a match has in the later part is what stays in.

A tool call is held back whole until it is complete, because nobody can use it earlier, and judged by its name and by
its arguments as `bedplate_guardrails.arguments` reads them. Log-probabilities and token ids never pass: they would
carry text that was not released.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from bedplate_core.errors import UpstreamProtocolError
from bedplate_core.events import (
    Batch,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    Stop,
    StopReason,
)
from bedplate_core.messages import Part, Reasoning, Refusal, Signature, Text, ToolCall
from bedplate_core.usage import Usage
from bedplate_guardrails.choice_out import ChoiceOut, Edge, Kind
from bedplate_guardrails.run import TextRun
from bedplate_guardrails.screen import Screen
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import Tally

MAX_ARGUMENTS_CHARS = 1 << 20


class OutputGuard:
    """Takes the batches of one answer and returns what may leave. After `finished` it takes nothing more.

    `all_blocked` says that every choice is blocked, so that nothing else can come of the answer.

    `take` raises what a detector raises, after which nothing may leave; callers fail closed.
    """

    def __init__(self, rules: SideRules, tally: Tally, blocked_message: str, *, announces: bool = True) -> None:
        """With `announces`, a blocked choice ends with the message; without, a later stage says it."""
        self._rules = rules
        self._tally = tally
        self._blocked_message = blocked_message if announces else None
        self._choices: list[_GuardedChoice] = []
        self._usage = Usage()
        self.finished = False
        self.all_blocked = False

    @property
    def blocked(self) -> list[int]:
        """The choices that are blocked."""
        return [choice.number for choice in self._choices if choice.blocked]

    @property
    def chars(self) -> int:
        """How many characters were scanned so far."""
        return sum(choice.chars for choice in self._choices)

    def stop(self, choices: Iterable[int]) -> None:
        """Take nothing more of these choices, which a later stage has ended."""
        for number in choices:
            self._choices[number].stop()

    def take(self, batch: Batch) -> list[Event]:
        """What may leave now that `batch` has come, in order. Stops where the last choice is blocked."""
        out: list[Event] = []
        place = 0
        while place < len(batch) and not self.all_blocked:
            event = batch[place]
            place += 1
            match event:
                case Delta():
                    text, place = _joined(event, batch, place)
                    choice = self._choices[event.choice]
                    choice.delta(text, out)
                    if choice.blocked:
                        self._check_blocked()
                case PartStart():
                    choice = self._choices[event.choice]
                    choice.start(event, out)
                    if choice.blocked:
                        self._check_blocked()
                case PartEnd():
                    choice = self._choices[event.choice]
                    choice.end(event, out)
                    if choice.blocked:
                        self._check_blocked()
                case Progress():
                    self._usage = event.usage
                    out.append(event)
                case Start():
                    self._choices = [
                        _GuardedChoice(number, self._rules, self._tally, self._blocked_message)
                        for number in range(event.choices)
                    ]
                    out.append(event)
                case Finish():
                    self._finish(event, out)
        return out

    def _check_blocked(self) -> None:
        self.all_blocked = all(choice.blocked for choice in self._choices)

    def early_finish(self) -> Finish:
        """The last event when every choice is blocked: usage is what the upstream had said by then."""
        self.finished = True
        return Finish(stops=tuple(_blocked(choice.number) for choice in self._choices), usage=self._usage)

    def _finish(self, event: Finish, out: list[Event]) -> None:
        for choice in self._choices:
            choice.finish(out)
        self.finished = True
        blocked = {choice.number for choice in self._choices if choice.blocked}
        if not blocked:
            out.append(event)
            return
        stops = tuple(_blocked(stop.choice) if stop.choice in blocked else stop for stop in event.stops)
        out.append(msgspec.structs.replace(event, stops=stops))


class _GuardedChoice:
    """One choice of the answer on its way out. Part numbers are those of the upstream."""

    def __init__(self, number: int, rules: SideRules, tally: Tally, blocked_message: str | None) -> None:
        self.number = number
        self.blocked = False
        self._plans = rules.lanes
        self._shape = rules.shape
        self._left_chars = rules.shape.max_answer_chars
        self._tally = tally
        self._blocked_message = blocked_message
        self._runs: dict[Kind, TextRun[Edge]] = {}
        self._run: TextRun[Edge] | None = None
        self._kind: Kind | None = None  # of the run that is going on
        self._signature: Signature | None = None  # of the open part, from its start
        self._call: ToolCall | None = None
        self._arguments: list[str] = []
        self._arguments_chars = 0
        self._chars = 0  # scanned, without those of the runs that there are
        self._out = ChoiceOut(number)

    @property
    def chars(self) -> int:
        """How much was scanned."""
        return self._chars + sum(run.chars for run in self._runs.values())

    def start(self, event: PartStart, out: list[Event]) -> None:
        if self.blocked:
            return
        part = event.part
        match part:
            case Text() | Reasoning() | Refusal():
                self._start_text(event, part, out)
            case ToolCall():
                self._leave(out)
                self._call = part
                self._arguments = [part.arguments] if part.arguments else []
                self._arguments_chars = len(part.arguments)
            case _:
                self._leave(out)
                self._whole(event, part, out)

    def delta(self, text: str, out: list[Event]) -> None:
        if self.blocked or not text:
            return
        if self._call is not None:
            self._arguments.append(text)
            self._arguments_chars += len(text)
            if self._arguments_chars > MAX_ARGUMENTS_CHARS:
                raise ValueError(f"a tool call's arguments are over {MAX_ARGUMENTS_CHARS} characters")
        elif (run := self._run) is None:
            raise UpstreamProtocolError("the upstream sent text for a part that takes none")
        elif self._left_chars is not None:
            self._say_within(run, self._left_chars, text, out)
        else:
            pieces = run.append(text)
            if len(pieces) == 1 and type(piece := pieces[0]) is str and run.blocked is None:  # most of the time
                self._out.said(self._kind, piece, out)
            elif pieces or run.blocked is not None:
                self._pass(pieces, out)

    def end(self, event: PartEnd, out: list[Event]) -> None:
        if self.blocked:
            return
        if self._call is not None:
            self._end_call(event, out)
        elif self._run is not None:
            signature = event.signature or self._signature
            self._signature = None
            self._run.boundary()
            self._pass(self._run.mark(PartEnd(self.number, event.index, signature)), out)
        elif self._out.open is not None:
            self._out.edge(event, out)

    def _say_within(self, run: TextRun[Edge], left: int, text: str, out: list[Event]) -> None:
        """More text of the run that is going on, up to the limit of the answer's size."""
        self._left_chars = left - len(text)
        self._pass(run.append(text[:left]), out)
        if self._left_chars >= 0:
            return
        if not self.blocked:
            self._leave(out)
        if not self.blocked:
            self._shape.over_size(self._tally)
            self._block(out)

    def finish(self, out: list[Event]) -> None:
        if not self.blocked:
            self._leave(out)

    def _start_text(self, event: PartStart, part: Text | Reasoning | Refusal, out: list[Event]) -> None:
        kind = type(part)
        if kind is not self._kind:
            self._leave(out)
            if self.blocked:
                return
        self._kind = kind
        self._run = self._runs.get(kind)
        if self._run is None:
            self._run = self._runs[kind] = TextRun(self._plans, self._tally.add)
        empty: Part = kind(text="")
        if isinstance(part, Reasoning):
            self._signature = part.signature
        self._pass(self._run.mark(PartStart(self.number, event.index, empty)), out)
        if not self.blocked:
            self.delta(part.text, out)

    def _leave(self, out: list[Event]) -> None:
        """The run that is going on is interrupted or over: what it holds is judged as it is."""
        if self._run is not None:
            self._pass(self._run.close(), out)
        self._run = None
        self._kind = None

    def _whole(self, event: PartStart, part: Part, out: list[Event]) -> None:
        if self.blocked:
            return
        screen = Screen(self._plans, self._tally)
        screened = screen.part(part)
        if screen.blocked is not None:
            self._block(out)
        else:
            self._out.edge(PartStart(self.number, event.index, screened), out)

    def _end_call(self, event: PartEnd, out: list[Event]) -> None:
        call = self._call
        self._call = None
        if self.blocked or call is None:
            return
        written = "".join(self._arguments)
        self._arguments = []
        self._chars += len(written)
        if self._shape and self._shape.refuses_call(call.name, written, self._tally):
            self._block(out)
            return
        screen = Screen(self._plans, self._tally)
        screen.name(call.name)
        arguments = "" if screen.blocked else screen.arguments(written)
        if screen.blocked is not None:
            self._block(out)
            return
        self._out.edge(PartStart(self.number, event.index, msgspec.structs.replace(call, arguments="")), out)
        if arguments:
            out.append(Delta(self.number, event.index, arguments))
        self._out.edge(event, out)

    def _pass(self, pieces: list[str | Edge], out: list[Event]) -> None:
        """Let out what a run gave back, and end the choice if the run is blocked."""
        self._out.pieces(self._kind, pieces, out)
        if self._run is not None and self._run.blocked is not None:
            self._block(out)

    def stop(self) -> None:
        """Take nothing more."""
        self.blocked = True
        self._chars = self.chars
        self._runs.clear()
        self._run = self._call = None
        self._arguments.clear()

    def _block(self, out: list[Event]) -> None:
        """End the choice."""
        self.stop()
        if self._blocked_message is None:
            self._out.close(out)
        else:
            self._out.announce(self._blocked_message, out)


def _joined(event: Delta, batch: Batch, place: int) -> tuple[str, int]:
    """The text of `event` and of what follows it in the same part, and the place after that."""
    choice, index = event.choice, event.index
    text = event.text
    for following in islice(batch, place, None):
        if type(following) is not Delta or following.index != index or following.choice != choice:
            break
        text += following.text
        place += 1
    return text, place


def _blocked(choice: int) -> Stop:
    return Stop(choice=choice, reason=StopReason.GUARDRAIL)


__all__ = ["MAX_ARGUMENTS_CHARS", "OutputGuard"]
