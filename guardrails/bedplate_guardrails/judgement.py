"""Texts, judged by the models of one side: which tasks that takes, who evaluates them, and what the answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from bedplate_core.assessment import Confidence, Detection, PolicyKind
from bedplate_core.verdicts import Action
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.document import FilterType, Tier
from bedplate_guardrails.evaluation import (
    HIGH_SCORE,
    LOW_SCORE,
    MEDIUM_SCORE,
    TOPIC_SCORE,
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    Evaluator,
    Result,
    Scores,
    Spans,
    Task,
    TopicsTask,
    Validated,
    ValidatorTask,
)
from bedplate_guardrails.guarding import Guarding
from bedplate_guardrails.model_rules import EntityRule, ModelRules, ValidatorRule
from bedplate_guardrails.tally import ACTIONS, Tally, rule_name

TASKS_PER_TIMEOUT = 64
"""A call with more tasks than this, a long request, is given the time for one window once more for each as many."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen to a text: it is blocked, or `masks` stand for `(start, end)` of it, in order."""

    blocked: bool = False
    masks: tuple[tuple[int, int, str], ...] = ()


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A text to be judged. Without `attacks` it is not looked through for prompt attacks."""

    text: str
    attacks: bool = True


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """What the models said of a text: whether a filter or a topic blocks it, and where names are, not yet reported."""

    blocked: bool = False
    spans: tuple[tuple[int, int, str], ...] = ()


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the text number `subject`."""

    subject: int
    task: Task


async def judge(
    texts: Sequence[str], rules: ModelRules, guarding: Guarding, tally: Tally, question: str = ""
) -> list[Judged]:
    """What the content filters, topics and entity rules make of each of `texts`, in their order.

    `question` is what the texts are an answer to, for judge models. Findings are counted in `tally`. Raises
    `EvaluationFailed` when a model cannot evaluate, unless the rules fail open: then the rules concerned are noted and
    the others hold. Cancelled, nothing is left running.
    """
    rated = await rate([Subject(text=text) for text in texts], rules, guarding, tally, question)
    judged: list[Judged] = []
    for text, one in zip(texts, rated, strict=True):
        entities = report_entities(text, one.spans, rules.entities, tally)
        judged.append(Judged(blocked=one.blocked or entities.blocked, masks=entities.masks))
    return judged


async def rate(
    subjects: Sequence[Subject], rules: ModelRules, guarding: Guarding, tally: Tally, question: str = ""
) -> list[Rated]:
    """As `judge`, but what `report_entities` does is left to the caller, who may know of a name from another window."""
    blocked = [False] * len(subjects)
    spans: list[tuple[tuple[int, int, str], ...]] = [()] * len(subjects)
    for asked, result in await _evaluated(_tasks(subjects, rules, question), rules, guarding, tally):
        match asked.task, result:
            case ContentTask(types=types), Scores(scores=scores):
                if _rate_content(scores, types, rules, guarding, tally):
                    blocked[asked.subject] = True
            case TopicsTask(), Scores(scores=scores):
                if _rate_topics(scores, rules, guarding, tally):
                    blocked[asked.subject] = True
            case _, Spans(spans=found):
                spans[asked.subject] = found
            case _:
                raise EvaluationFailed("an evaluator answered something else than it was asked")
    return [Rated(blocked=one, spans=found) for one, found in zip(blocked, spans, strict=True)]


def report_entities(
    text: str, spans: Sequence[tuple[int, int, str]], rules: Sequence[EntityRule], tally: Tally
) -> Judged:
    """Count the names in a text, in order and not overlapping, and say what is to happen to them."""
    by_kind = {rule.kind: rule for rule in rules}
    blocked = False
    masks: list[tuple[int, int, str]] = []
    for start, end, kind in spans:
        rule = by_kind.get(kind)
        if rule is None:
            continue
        report_entity(text[start:end], rule, rule.action, tally)
        if rule.action is RuleAction.BLOCK:
            blocked = True
        elif rule.action is RuleAction.ANONYMIZE:
            masks.append((start, end, rule.mask))
    return Judged(blocked=blocked, masks=tuple(masks))


def report_entity(match: str, rule: EntityRule, action: RuleAction, tally: Tally) -> None:
    """Count one name, on which `action` is taken."""
    tally.detect(
        Detection(
            kind=PolicyKind.PII,
            name=rule.kind,
            action=ACTIONS[action],
            match=match if tally.keeps_matches else "",
        )
    )


async def validate(
    texts: Sequence[str], rule: ValidatorRule, rules: ModelRules, guarding: Guarding, tally: Tally
) -> list[Judged]:
    """What one registered validator makes of each of `texts`: a fix is a mask over the whole text, no fix blocks.

    Raises as `judge`.
    """
    asked = [_Asked(subject=number, task=ValidatorTask(name=rule.name, text=text)) for number, text in enumerate(texts)]
    judged = [Judged()] * len(texts)
    for one, result in await _evaluated(asked, rules, guarding, tally):
        if not isinstance(result, Validated):
            raise EvaluationFailed("an evaluator answered something else than it was asked")
        if not result.passed:
            judged[one.subject] = _invalid(texts[one.subject], result, rule, tally)
        elif guarding.full:
            tally.rate(Detection(kind=PolicyKind.VALIDATOR, name=rule.name, action=Action.ALLOW))
    return judged


def _invalid(text: str, result: Validated, rule: ValidatorRule, tally: Tally) -> Judged:
    fixes = rule.action is RuleAction.ANONYMIZE and result.fixed is not None
    action = RuleAction.BLOCK if rule.action is RuleAction.ANONYMIZE and not fixes else rule.action
    reason = result.reason if tally.keeps_matches else ""
    tally.detect(Detection(kind=PolicyKind.VALIDATOR, name=rule.name, action=ACTIONS[action], reason=reason))
    if fixes and result.fixed is not None:
        return Judged(masks=((0, len(text), result.fixed),))
    return Judged(blocked=action is RuleAction.BLOCK)


def _tasks(subjects: Sequence[Subject], rules: ModelRules, question: str) -> list[_Asked]:
    types = tuple(rule.type.value for rule in rules.content)
    harmless = tuple(kind for kind in types if kind != FilterType.PROMPT_ATTACK)
    topics = tuple(rule.topic for rule in rules.topics)
    entities = tuple(rule.kind for rule in rules.entities)
    asked: list[_Asked] = []
    for number, subject in enumerate(subjects):
        text = subject.text
        if not text or text.isspace():
            continue
        of_subject = types if subject.attacks else harmless
        if of_subject:
            task = ContentTask(text=text, types=of_subject, answers=question)
            asked.append(_Asked(subject=number, task=task))
        if topics:
            asked.append(_Asked(subject=number, task=TopicsTask(text=text, topics=topics)))
        if entities:
            asked.append(_Asked(subject=number, task=EntitiesTask(text=text, kinds=entities)))
    return asked


async def _evaluated(
    asked: Sequence[_Asked], rules: ModelRules, guarding: Guarding, tally: Tally
) -> list[tuple[_Asked, Result]]:
    """The results of all tasks that could be evaluated, the local models and the judge at work at the same time."""
    local = [one for one in asked if not _is_for_judge(one.task, rules)]
    remote = [one for one in asked if _is_for_judge(one.task, rules)]
    if not remote:
        return await _answers(guarding.evaluators.local, local, rules, guarding, tally)
    if not local:
        return await _answers(guarding.evaluators.judge, remote, rules, guarding, tally)
    try:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_answers(guarding.evaluators.local, local, rules, guarding, tally))
            second = group.create_task(_answers(guarding.evaluators.judge, remote, rules, guarding, tally))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [*first.result(), *second.result()]


def _is_for_judge(task: Task, rules: ModelRules) -> bool:
    match task:
        case ContentTask():
            return rules.content_tier is Tier.STANDARD
        case TopicsTask():
            return rules.topics_tier is Tier.STANDARD
        case _:
            return False


async def _answers(
    evaluator: Evaluator | None, asked: Sequence[_Asked], rules: ModelRules, guarding: Guarding, tally: Tally
) -> list[tuple[_Asked, Result]]:
    """The results of one evaluator; none where it failed and the rules fail open."""
    if not asked:
        return []
    try:
        if evaluator is None:
            raise EvaluationFailed("there is no judge model in this installation")
        timeout_s = rules.timeout_s * -(-len(asked) // TASKS_PER_TIMEOUT)
        tasks = [one.task for one in asked]
        try:
            async with asyncio.timeout(timeout_s):
                results = await evaluator.evaluate(guarding.tenant, tasks, timeout_s=timeout_s)
        except TimeoutError as error:
            raise EvaluationFailed(f"evaluating took longer than {timeout_s:g} s") from error
        if len(results) != len(tasks):
            raise EvaluationFailed("an evaluator left tasks out")
        for one, result in zip(tasks, results, strict=True):
            _check(one, result)
    except EvaluationFailed as error:
        concerned = _rules_of(asked, rules)
        if not rules.fails_open:
            if error.rule == "*" and len(concerned) == 1:
                error.rule = concerned[0]
            raise
        for rule in concerned:
            tally.fail_open(rule)
        return []
    return list(zip(asked, results, strict=True))


def _check(task: Task, result: Result) -> None:
    """Refuse an answer that says nothing about what was asked: taken for a score of 0, it would let anything pass."""
    match task, result:
        case ContentTask(types=names), Scores(scores=scores):
            complete = all(0 <= scores.get(name, -1) <= 1 for name in names)
        case TopicsTask(topics=topics), Scores(scores=scores):
            complete = all(0 <= scores.get(topic.name, -1) <= 1 for topic in topics)
        case EntitiesTask(text=text), Spans(spans=spans):
            complete = all(0 <= start < end <= len(text) for start, end, _ in spans)
        case ValidatorTask(), Validated():
            complete = True
        case _:
            complete = False
    if not complete:
        raise EvaluationFailed("an evaluator's answer does not fit what it was asked")


def _rules_of(asked: Sequence[_Asked], rules: ModelRules) -> list[str]:
    """The rules that stand behind tasks, each once."""
    names: dict[str, None] = {}
    for one in asked:
        match one.task:
            case ContentTask(types=types):
                names.update(dict.fromkeys(rule_name(PolicyKind.CONTENT, kind) for kind in types))
            case TopicsTask(topics=topics):
                names.update(dict.fromkeys(rule_name(PolicyKind.TOPIC, topic.name) for topic in topics))
            case EntitiesTask(kinds=kinds):
                names.update(dict.fromkeys(rule_name(PolicyKind.PII, kind) for kind in kinds))
            case ValidatorTask(name=name):
                names[rule_name(PolicyKind.VALIDATOR, name)] = None
            case _:
                names["*"] = None
    return list(names)


def _rate_content(
    scores: dict[str, float], types: Sequence[str], rules: ModelRules, guarding: Guarding, tally: Tally
) -> bool:
    blocked = False
    for rule in rules.content:
        if rule.type.value not in types:
            continue
        score = scores[rule.type.value]
        acts = score >= rule.least_score
        if not acts and not guarding.full:
            continue
        tally.rate(
            Detection(
                kind=PolicyKind.CONTENT,
                name=rule.type.value,
                action=ACTIONS[rule.action] if acts else Action.ALLOW,
                confidence=confidence_of(score),
                strength=rule.strength,
                score=score,
            )
        )
        blocked = blocked or (acts and rule.action is RuleAction.BLOCK)
    return blocked


def _rate_topics(scores: dict[str, float], rules: ModelRules, guarding: Guarding, tally: Tally) -> bool:
    blocked = False
    for rule in rules.topics:
        score = scores[rule.topic.name]
        acts = score >= TOPIC_SCORE
        if not acts and not guarding.full:
            continue
        tally.rate(
            Detection(
                kind=PolicyKind.TOPIC,
                name=rule.topic.name,
                action=ACTIONS[rule.action] if acts else Action.ALLOW,
                score=score,
                threshold=TOPIC_SCORE,
            )
        )
        blocked = blocked or (acts and rule.action is RuleAction.BLOCK)
    return blocked


def confidence_of(score: float) -> Confidence:
    """The band of a calibrated score."""
    if score >= HIGH_SCORE:
        return Confidence.HIGH
    if score >= MEDIUM_SCORE:
        return Confidence.MEDIUM
    return Confidence.LOW if score >= LOW_SCORE else Confidence.NONE


__all__ = [
    "TASKS_PER_TIMEOUT",
    "Judged",
    "Rated",
    "Subject",
    "confidence_of",
    "judge",
    "rate",
    "report_entities",
    "report_entity",
    "validate",
]
