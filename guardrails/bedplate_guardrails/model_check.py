"""A request, judged by models and validators: what blocks it, and what is masked in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from bedplate_core.assessment import Detection, PolicyKind
from bedplate_core.requests import Request
from bedplate_core.verdicts import Action
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.guarding import Guarding
from bedplate_guardrails.judgement import Rated, Subject, rate, report_entity, validate
from bedplate_guardrails.model_rules import EntityRule, ModelRules, ValidatorRule
from bedplate_guardrails.passages import (
    Mask,
    PassageGroup,
    PassageKind,
    groups_of,
    passages_of,
    replaced_passages,
)
from bedplate_guardrails.tally import Tally
from bedplate_guardrails.windows import window_places

T = TypeVar("T")
Window: TypeAlias = tuple[int, int, Subject]

_VALIDATED = frozenset({PassageKind.SAID, PassageKind.TOOL_RESULT, PassageKind.DOCUMENT})


async def judged_request(
    request: Request, rules: ModelRules, guarding: Guarding, tally: Tally, *, in_thread: bool
) -> tuple[Request, bool]:
    """`request` with every name masked that is to be, and whether it is blocked, and then must not be sent.

    Content filters, topics and entities judge windows of everything that is said, called, answered by tools, attached
    and defined; prompt attacks are looked for in what users, tools and documents say. Validators judge, after that, the
    whole text of each message, tool result and document. With `in_thread`, long work is done outside the event loop.

    Raises `EvaluationFailed` as `judge` does, and what reading the request raises.
    """
    selective = guarding.selective

    def collected() -> list[PassageGroup]:
        return groups_of(passages_of(request, selective=selective))

    def replaced(masks: list[list[Mask]]) -> Request:
        return replaced_passages(request, masks, selective=selective) if any(masks) else request

    async def apart(work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.to_thread(work, *arguments) if in_thread else work(*arguments)

    if rules.by_window:
        groups = await apart(collected)
        windows = await apart(_windows, groups)
        rated = await rate([subject for _, _, subject in windows], rules, guarding, tally)
        masks, blocked = await apart(_masked, groups, windows, rated, rules.entities, tally)
        if blocked or any(one.blocked for one in rated):
            return request, True
        request = await apart(replaced, masks)
    for validator in rules.validators:
        groups = await apart(collected)
        masks, blocked = await _validated(groups, validator, rules, guarding, tally)
        if blocked:
            return request, True
        request = await apart(replaced, masks)
    return request, False


def _windows(groups: Sequence[PassageGroup]) -> list[Window]:
    """What is to be judged: the number of its group, where it begins there, and the text."""
    return [
        (number, start, Subject(text=group.text[start:end], attacks=group.may_attack))
        for number, group in enumerate(groups)
        for start, end in window_places(group.text)
    ]


def _masked(
    groups: Sequence[PassageGroup],
    windows: Sequence[Window],
    rated: Sequence[Rated],
    rules: Sequence[EntityRule],
    tally: Tally,
) -> tuple[list[list[Mask]], bool]:
    """The masks of every passage, and whether a name blocks."""
    found: list[list[tuple[int, Rated]]] = [[] for _ in groups]
    for (number, start, _), one in zip(windows, rated, strict=True):
        found[number].append((start, one))
    masks: list[list[Mask]] = []
    blocked = False
    for group, of_windows in zip(groups, found, strict=True):
        of_group, blocks = _masked_group(group, of_windows, rules, tally)
        masks += of_group
        blocked = blocked or blocks
    return masks, blocked


def _masked_group(
    group: PassageGroup, found: Sequence[tuple[int, Rated]], rules: Sequence[EntityRule], tally: Tally
) -> tuple[list[list[Mask]], bool]:
    """The masks of a group's passages. A name that several windows saw counts once, as long as any saw it."""
    masks: list[list[Mask]] = [[] for _ in group.passages]
    blocked = False
    anonymized: list[tuple[int, int, str]] = []
    for rule in rules:
        spans = sorted(
            (start + first, end + first) for first, one in found for start, end, kind in one.spans if kind == rule.kind
        )
        for start, end in _union(spans):
            pieces = group.split(start, end)
            action = rule.action
            if action is RuleAction.ANONYMIZE and any(group.passages[number].fixed for number, _, _ in pieces):
                action = RuleAction.BLOCK
            report_entity(group.text[start:end], rule, action, tally)
            blocked = blocked or action is RuleAction.BLOCK
            if action is RuleAction.ANONYMIZE:
                anonymized.append((start, end, rule.mask))
    cursor = 0
    for start, end, mask in sorted(anonymized):
        for number, low, high in group.split(max(start, cursor), end):
            masks[number].append((low, high, mask))
        cursor = max(cursor, end)
    return masks, blocked


def _union(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans, in order, with those that overlap made one."""
    union: list[tuple[int, int]] = []
    for start, end in spans:
        if union and start < union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


async def _validated(
    groups: Sequence[PassageGroup], rule: ValidatorRule, rules: ModelRules, guarding: Guarding, tally: Tally
) -> tuple[list[list[Mask]], bool]:
    """The masks of every passage, and whether anything blocks, for one validator.

    A fix takes the place of all of a message's texts. One of several values of a tool's JSON has no place where it
    could stand, and so blocks.
    """
    chosen = [group for group in groups if group.kind in _VALIDATED and group.text.strip()]
    judged = dict(
        zip(chosen, await validate([group.text for group in chosen], rule, rules, guarding, tally), strict=True)
    )
    masks: list[list[Mask]] = []
    blocked = False
    for group in groups:
        of_group: list[list[Mask]] = [[] for _ in group.passages]
        masks += of_group
        one = judged.get(group)
        if one is None:
            continue
        blocked = blocked or one.blocked
        for _, _, fixed in one.masks:
            if len(group.passages) > 1 and group.kind is not PassageKind.SAID:
                blocked = True
                tally.detect(Detection(kind=PolicyKind.VALIDATOR, name=rule.name, action=Action.BLOCK))
            for number, passage in enumerate(group.passages):
                of_group[number].append((0, len(passage.text), "" if number else fixed))
    return masks, blocked


__all__ = ["judged_request"]
