"""What can only be said of a whole answer: whether validators accept it, whether its sources support it, its schema."""

from __future__ import annotations

import asyncio

from bedplate_core.assessment import Detection, PolicyKind
from bedplate_core.verdicts import Action
from bedplate_guardrails.document import GroundingFilterConfig, GroundingType, Tier
from bedplate_guardrails.evaluation import EvaluationFailed, GroundingTask, Scores
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.judgement import validate
from bedplate_guardrails.passages import masked
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.tally import ACTIONS, Tally, rule_name


async def judged_whole(
    answer: str, rules: SideRules, guarding: Guarding, tally: Tally, context: AnswerContext, *, is_expected: bool
) -> str | None:
    """The plain text of one choice as it may leave, None where it may not.

    Validators judge it one after the other, each what the one before made of it, then grounding, then the schema. A
    text that is blank is judged by the schema alone, and only where one `is_expected`: a tool call or a refusal is an
    answer without it.

    Raises `EvaluationFailed` when a rule cannot run, unless the rules fail open.
    """
    text = answer
    for validator in rules.models.validators:
        if text.strip():
            (judged,) = await validate([text], validator, rules.models, guarding, tally)
            if judged.blocked:
                return None
            text = masked(text, judged.masks)
    if rules.models.grounding and text.strip() and await _is_ungrounded(text, rules, guarding, tally, context):
        return None
    if (is_expected or text.strip()) and rules.shape.refuses_answer(text, tally):
        return None
    return text


async def _is_ungrounded(
    answer: str, rules: SideRules, guarding: Guarding, tally: Tally, context: AnswerContext
) -> bool:
    asked: list[GroundingFilterConfig] = []
    for rule in rules.models.grounding:
        given = context.sources if rule.type is GroundingType.GROUNDING else context.query
        if given.strip():
            asked.append(rule)
        else:
            tally.skip(rule_name(PolicyKind.GROUNDING, rule.type.value))
    if not asked:
        return False
    task = GroundingTask(
        source=context.sources,
        query=context.query,
        answer=answer,
        types=tuple(rule.type.value for rule in asked),
    )
    scores = await _scores(task, rules, guarding, tally)
    if scores is None:
        return False
    blocked = False
    for rule in asked:
        score = scores[rule.type.value]
        acts = score < rule.threshold
        if acts or guarding.full:
            tally.detect(
                Detection(
                    kind=PolicyKind.GROUNDING,
                    name=rule.type.value,
                    action=ACTIONS[rule.action] if acts else Action.ALLOW,
                    score=score,
                    threshold=rule.threshold,
                )
            )
        blocked = blocked or (acts and ACTIONS[rule.action] is Action.BLOCK)
    return blocked


async def _scores(task: GroundingTask, rules: SideRules, guarding: Guarding, tally: Tally) -> dict[str, float] | None:
    """The scores; None where they cannot be had and the rules fail open."""
    models = rules.models
    evaluators = guarding.evaluators
    evaluator = evaluators.judge if models.grounding_tier is Tier.STANDARD else evaluators.local
    names = [rule_name(PolicyKind.GROUNDING, kind) for kind in task.types]
    try:
        if evaluator is None:
            raise EvaluationFailed("there is no judge model in this installation", rule=names[0])
        async with asyncio.timeout(models.timeout_s):
            (result,) = await evaluator.evaluate(guarding.tenant, [task], timeout_s=models.timeout_s)
        if not isinstance(result, Scores) or not all(0 <= result.scores.get(kind, -1) <= 1 for kind in task.types):
            raise EvaluationFailed("an evaluator's answer does not fit what it was asked", rule=names[0])
    except (EvaluationFailed, TimeoutError) as error:
        if not models.fails_open:
            if isinstance(error, EvaluationFailed):
                raise
            raise EvaluationFailed(f"evaluating took longer than {models.timeout_s:g} s", rule=names[0]) from error
        for name in names:
            tally.fail_open(name)
        return None
    return result.scores


__all__ = ["judged_whole"]
