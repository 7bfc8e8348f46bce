"""The second stage on an answer: models judge it piece by piece, validators, grounding and schemas judge it whole.

It takes what the patterns let out (`bedplate_guardrails.output_guard`) and holds every text until it was judged. All
windows that one batch completes, over all choices, are one question to the models. What leaves keeps its order. A
segment that is refused ends its choice: what stood before it has left, and nothing of it does.

Where rules judge the whole, all plain text of a choice is held to its end, and so is what follows it; a choice that
ends before is ended without that text, because the rules could not judge it.

Where text may leave before it was judged (`Guarding.releases_first`), it leaves at once and is judged behind, in
order; only parts that are acted on, such as tool calls, wait. The answer's end waits until everything was judged.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start, Stop, StopReason
from bedplate_core.messages import Text
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.held_choice import AnyWindow, HeldChoice
from bedplate_guardrails.held_part import PartWindow
from bedplate_guardrails.judgement import Rated, Subject, rate, report_entity
from bedplate_guardrails.model_rules import EntityRule
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.stretch import Window
from bedplate_guardrails.tally import Tally
from bedplate_guardrails.whole_answer import judged_whole

MAX_BEHIND = 8
"""How many questions to the models may be under way where text leaves before it was judged."""

Asked: TypeAlias = list[tuple[HeldChoice, AnyWindow]]


class WindowGuard:
    """Takes what may leave for the patterns, and returns what may leave for the models as well.

    `take` raises what judging raises, after which nothing may leave; callers fail closed. Cancelled, nothing is left
    running once `aclose` was called.
    """

    def __init__(
        self, rules: SideRules, tally: Tally, guarding: Guarding, context: AnswerContext, blocked_message: str
    ) -> None:
        self._rules = rules
        self._models = rules.models
        self._entities = {rule.kind: rule for rule in rules.models.entities}
        self._tally = tally
        self._guarding = guarding
        self._context = context
        self._message = blocked_message
        self._whole = rules.models.by_whole or rules.shape.judges_whole_answer
        self._behind = guarding.releases_first and not self._whole
        self._choices: list[HeldChoice] = []
        self._running: deque[tuple[Asked, asyncio.Task[list[Rated]]]] = deque()

    @property
    def blocked(self) -> list[int]:
        """The choices that have ended with the guardrail's message."""
        return [choice.number for choice in self._choices if choice.blocked]

    @property
    def all_blocked(self) -> bool:
        """Whether every choice is blocked, so that nothing else can come of the answer."""
        return bool(self._choices) and all(choice.blocked for choice in self._choices)

    async def take(self, events: Sequence[Event], stopped: Sequence[int]) -> list[Event]:
        """What may leave now that `events` passed the patterns, which have ended the choices in `stopped`."""
        out: list[Event] = []
        finish: Finish | None = None
        for event in events:
            match event:
                case PartStart() | Delta() | PartEnd():
                    choice = self._choices[event.choice]
                    if not choice.blocked:
                        choice.take(event)
                case Start():
                    self._choices = [self._held_choice(number) for number in range(event.choices)]
                    out.append(event)
                case Progress():
                    out.append(event)
                case Finish():
                    finish = event
        going_on = [choice for choice in self._choices if not choice.blocked]
        ending = [choice for choice in going_on if finish is not None or choice.number in stopped]
        for choice in ending:
            choice.stopped = choice.number in stopped
            choice.interrupt()
        await self._judge(going_on)
        await self._catch_up(0 if ending else MAX_BEHIND)
        for choice in going_on:
            await self._let_out(choice, out, ended=finish is not None)
        if finish is not None:
            out.append(self._finished(finish))
        return out

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self._running]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _held_choice(self, number: int) -> HeldChoice:
        at_once = self._behind or not self._models.by_window
        return HeldChoice(number, holds_tails=bool(self._entities) and not at_once, leaves_at_once=at_once)

    async def _judge(self, choices: Sequence[HeldChoice]) -> None:
        """Judge all windows that are complete now, or have it begun where text leaves first."""
        asked: Asked = [(choice, window) for choice in choices for window in choice.windows()]
        if not asked:
            return
        if not self._models.by_window:
            for _, window in asked:
                if isinstance(window, PartWindow):
                    window.part.judged = True
        elif self._behind:
            self._running.append((asked, asyncio.create_task(self._rated(asked))))
        else:
            self._apply(asked, await self._rated(asked))

    async def _rated(self, asked: Asked) -> list[Rated]:
        began_s = time.perf_counter()
        subjects = [Subject(text=window.text, attacks=False) for _, window in asked]
        try:
            return await rate(subjects, self._models, self._guarding, self._tally, self._context.question)
        finally:
            self._tally.elapsed_s += time.perf_counter() - began_s

    async def _catch_up(self, most: int) -> None:
        """Apply what was judged meanwhile, in order; wait until at most `most` questions are under way."""
        while self._running and (len(self._running) > most or self._running[0][1].done()):
            asked, task = self._running[0]
            rated = await task
            self._running.popleft()
            self._apply(asked, rated)

    def _apply(self, asked: Asked, rated: Sequence[Rated]) -> None:
        for (choice, window), one in zip(asked, rated, strict=True):
            if choice.blocked or not choice.is_open_to(window):
                continue
            match window:
                case Window():
                    self._apply_said(choice, window, one)
                    window.stretch.judged(window)
                case PartWindow():
                    self._apply_part(choice, window, one)
                    window.part.judged = True

    def _apply_said(self, choice: HeldChoice, window: Window, rated: Rated) -> None:
        stretch = window.stretch
        for start, end, rule in self._spans(rated, window.offset):
            if end <= window.floor:
                continue  # it may have left
            action = self._possible(rule)
            begins = stretch.find(window, start, end, rule.kind)
            if begins is None:
                report_entity(window.text[start - window.offset : end - window.offset], rule, action, self._tally)
            place = max(start, window.floor)
            if action is RuleAction.BLOCK:
                choice.refuse(stretch, place)
            elif action is RuleAction.ANONYMIZE:
                goes_on = begins is not None and begins < window.floor
                stretch.mask(place, end, "" if goes_on else rule.mask)
        if rated.blocked:
            choice.refuse(stretch, window.start)

    def _apply_part(self, choice: HeldChoice, window: PartWindow, rated: Rated) -> None:
        part = window.part
        for start, end, rule in self._spans(rated, window.offset):
            action = self._possible(rule)
            if action is RuleAction.ANONYMIZE and part.is_fixed(window, start, end):
                action = RuleAction.BLOCK
            if action is not RuleAction.ANONYMIZE or part.is_news(window, start, end):
                report_entity(window.text[start - window.offset : end - window.offset], rule, action, self._tally)
            if action is RuleAction.BLOCK:
                choice.refuse(part, 0)
            elif action is RuleAction.ANONYMIZE:
                part.mask(window, start, end, rule.mask)
        if rated.blocked:
            choice.refuse(part, 0)

    def _possible(self, rule: EntityRule) -> RuleAction:
        """What is done about a name: what has left can only be reported, not masked."""
        return RuleAction.NONE if self._behind and rule.action is RuleAction.ANONYMIZE else rule.action

    def _spans(self, rated: Rated, offset: int) -> list[tuple[int, int, EntityRule]]:
        return [
            (start + offset, end + offset, self._entities[kind])
            for start, end, kind in rated.spans
            if kind in self._entities
        ]

    async def _let_out(self, choice: HeldChoice, out: list[Event], *, ended: bool) -> None:
        """Move what may leave of a choice into `out`, and end it where it is refused or stopped."""
        is_at_end = choice.refused_has_left or choice.release(out, holds_text=self._whole)
        if is_at_end or choice.stopped or (self._whole and choice.refused):
            choice.end(self._message, out)
        elif self._whole and ended:
            await self._let_out_whole(choice, out)

    async def _let_out_whole(self, choice: HeldChoice, out: list[Event]) -> None:
        """Let out the plain text of a choice that is complete, and what follows it, if the rules for wholes allow."""
        before = copy.copy(choice.out)
        said: list[Event] = []
        choice.release(said, holds_text=False)
        texts = {event.index for event in said if isinstance(event, PartStart) and isinstance(event.part, Text)}
        answer = "".join(event.text for event in said if isinstance(event, Delta) and event.index in texts)
        began_s = time.perf_counter()
        try:
            text = await judged_whole(
                answer, self._rules, self._guarding, self._tally, self._context, is_expected=choice.is_silent
            )
        finally:
            self._tally.elapsed_s += time.perf_counter() - began_s
        if text is None:
            choice.out = before
            choice.end(self._message, out)
        else:
            out.extend(said if text == answer else _with_answer(said, texts, text))

    def _finished(self, event: Finish) -> Finish:
        blocked = set(self.blocked)
        if not blocked:
            return event
        stops = tuple(
            Stop(choice=stop.choice, reason=StopReason.GUARDRAIL) if stop.choice in blocked else stop
            for stop in event.stops
        )
        return msgspec.structs.replace(event, stops=stops)


def _with_answer(said: Sequence[Event], texts: set[int], answer: str) -> list[Event]:
    """The events with `answer` as the text of the first of the parts `texts`, and the others empty."""
    out: list[Event] = []
    given = False
    for event in said:
        if isinstance(event, Delta) and event.index in texts:
            continue
        out.append(event)
        if isinstance(event, PartStart) and event.index in texts and not given:
            given = True
            if answer:
                out.append(Delta(event.choice, event.index, answer))
    return out


__all__ = ["MAX_BEHIND", "WindowGuard"]
