"""Models' answers as decisions: who is asked, what acts, what is reported, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from bedplate_core.assessment import Confidence, Detection, PolicyKind
from bedplate_core.verdicts import Action, Side
from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    Result,
    Scores,
    Spans,
    Task,
    TopicsTask,
)
from bedplate_guardrails.judgement import TASKS_PER_TIMEOUT, Judged, judge
from bedplate_guardrails.model_rules import ModelRules
from bedplate_guardrails.policy import Policy
from bedplate_guardrails.tally import Tally
from tests.guardrails.guarded import REF
from tests.guardrails.keyword_models import KeywordModels, guarding_by, model_policy

pytestmark = pytest.mark.anyio

EVERYTHING = model_policy(
    content={"HATE": {}, "VIOLENCE": {}}, topics=["money"], names={"NAME": "ANONYMIZE", "ADDRESS": "BLOCK"}
)


class Says:
    """Answers every task with what a function says."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        return self._answer(tasks)


def models_of(policy: Policy, **changes: Any) -> ModelRules:
    return msgspec.structs.replace(policy._input.models, **changes)


def tally(*, matches: bool = False) -> Tally:
    return Tally(REF, Side.INPUT, matches=matches)


def rules_of(counted: Tally) -> dict[str, tuple[str, int]]:
    return {verdict.rule: (verdict.action.value, verdict.count) for verdict in counted.verdicts(ended=True)}


async def test_each_text_is_judged_by_every_rule_in_one_question() -> None:
    models, counted = KeywordModels(), tally()
    texts = ["you scum", "buy stocks, Ada", "at 1 Long Row", "hello"]
    judged = await judge(texts, models_of(EVERYTHING), guarding_by(models), counted)
    assert judged == [
        Judged(blocked=True),
        Judged(blocked=True, masks=((12, 15, "{NAME}"),)),
        Judged(blocked=True),
        Judged(),
    ]
    assert len(models.asked) == 1
    assert models.tenants == {"p1"}
    assert models.texts(ContentTask) == models.texts(TopicsTask) == models.texts(EntitiesTask) == texts
    assert rules_of(counted) == {
        "content:HATE": ("block", 1),
        "topic:money": ("block", 1),
        "NAME": ("mask", 1),
        "ADDRESS": ("block", 1),
    }


@pytest.mark.parametrize(
    ("strength", "score", "acts"),
    [
        ("HIGH", 0.5, True), ("HIGH", 0.49, False), ("MEDIUM", 0.75, True), ("MEDIUM", 0.74, False),
        ("LOW", 0.9, True), ("LOW", 0.89, False),
    ],
)  # fmt: skip
async def test_a_filter_acts_from_its_strength_on(strength: str, score: float, acts: bool) -> None:
    policy = model_policy(content={"HATE": {"inputStrength": strength}})
    models = KeywordModels(content={"x": ("HATE", score)})
    [judged] = await judge(["x"], models_of(policy), guarding_by(models), tally())
    assert judged.blocked is acts


async def test_a_topic_acts_from_one_half_on() -> None:
    rules = models_of(model_policy(topics=["money"]))
    for score in (0.49, 0.5):
        says = Says(lambda tasks, score=score: [Scores(scores={"money": score})] * len(tasks))
        [judged] = await judge(["x"], rules, guarding_by(says), tally())
        assert judged.blocked is (score == 0.5)


async def test_what_a_detection_says() -> None:
    counted = tally(matches=True)
    await judge(["scum, Ada"], models_of(EVERYTHING), guarding_by(KeywordModels()), counted)
    found = counted.assessment(guarding_by(None).origin).detections
    assert found == (
        Detection(
            kind=PolicyKind.CONTENT,
            name="HATE",
            action=Action.BLOCK,
            confidence=Confidence.HIGH,
            strength=Confidence.MEDIUM,
            score=0.95,
        ),
        Detection(kind=PolicyKind.PII, name="NAME", action=Action.MASK, match="Ada"),
    )


async def test_matches_are_left_out_where_the_tally_keeps_none() -> None:
    counted = tally()
    await judge(["Ada"], models_of(EVERYTHING), guarding_by(KeywordModels()), counted)
    assert [found.match for found in counted.assessment(guarding_by(None).origin).detections] == [""]


async def test_what_found_nothing_is_listed_once_for_each_rule_and_only_in_full() -> None:
    for full in (False, True):
        counted = tally()
        for texts in (["a", "meh"], ["b", "c"]):
            await judge(texts, models_of(EVERYTHING), guarding_by(KeywordModels(), full=full), counted)
        found = counted.assessment(guarding_by(None).origin).detections
        assert [(each.name, each.action, each.score) for each in found] == (
            [("HATE", Action.ALLOW, 0.6), ("VIOLENCE", Action.ALLOW, 0.01), ("money", Action.ALLOW, 0.1)]
            if full
            else []
        )
        assert rules_of(counted) == {"*": ("allow", 0)}


async def test_a_filter_that_acted_in_some_windows_is_listed_once_and_counted_in_each() -> None:
    counted = tally()
    await judge(["scum", "a", "scum"], models_of(EVERYTHING), guarding_by(KeywordModels(), full=True), counted)
    hate = [each for each in counted.assessment(guarding_by(None).origin).detections if each.name == "HATE"]
    assert [each.action for each in hate] == [Action.BLOCK]
    assert rules_of(counted)["content:HATE"] == ("block", 2)


async def test_a_rule_that_only_watches_changes_nothing() -> None:
    policy = model_policy(content={"HATE": {"inputAction": "NONE"}}, names={"NAME": "NONE"})
    counted = tally()
    judged = await judge(["scum Ada"], models_of(policy), guarding_by(KeywordModels()), counted)
    assert judged == [Judged()]
    assert rules_of(counted) == {"content:HATE": ("detect", 1), "NAME": ("detect", 1)}


async def test_the_tier_says_who_is_asked() -> None:
    policy = model_policy(
        content={"HATE": {}}, topics=["money"], names={"NAME": "BLOCK"}, tiers={"content": "STANDARD"}
    )
    local, remote = KeywordModels(), KeywordModels()
    judged = await judge(["Ada is scum"], models_of(policy), guarding_by(local, remote), tally(), "what is she?")
    assert judged[0].blocked
    assert remote.asked == [[ContentTask(text="Ada is scum", types=("HATE",), answers="what is she?")]]
    assert {type(task) for task in local.asked[0]} == {TopicsTask, EntitiesTask}


async def test_both_evaluators_work_at_the_same_time() -> None:
    policy = model_policy(content={"HATE": {}}, topics=["money"], tiers={"content": "STANDARD"})
    both = asyncio.Barrier(2)

    async def meet(tasks: Sequence[Task]) -> list[Result]:
        await both.wait()
        return await KeywordModels().evaluate("p1", tasks, timeout_s=1)  # type: ignore[return-value]  # a sequence

    class Meets:
        async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
            return await meet(tasks)

    await asyncio.wait_for(judge(["x"], models_of(policy), guarding_by(Meets(), Meets()), tally()), 5)


async def test_white_space_is_not_asked_about() -> None:
    models = KeywordModels()
    assert await judge(["", " \n"], models_of(EVERYTHING), guarding_by(models), tally()) == [Judged()] * 2
    assert models.asked == []


FAILURES: dict[str, Any] = {
    "raises": KeywordModels(failure=EvaluationFailed("no")),
    "is too slow": KeywordModels(delay_s=30),
    "leaves a task out": Says(lambda tasks: []),
    "leaves a filter out": Says(lambda tasks: [Scores(scores={})] * len(tasks)),
    "answers beyond 1": Says(lambda tasks: [Scores(scores={"HATE": 1.5})] * len(tasks)),
    "answers no number": Says(lambda tasks: [Scores(scores={"HATE": float("nan")})] * len(tasks)),
    "answers something else": Says(lambda tasks: [Spans(spans=())] * len(tasks)),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_without_an_answer_it_fails_closed(failure: str) -> None:
    rules = models_of(model_policy(content={"HATE": {}}), timeout_s=0.05)
    counted = tally()
    with pytest.raises(EvaluationFailed) as failed:
        await judge(["x"], rules, guarding_by(FAILURES[failure]), counted)
    if failure != "raises":  # the model's own exception is shared between these tests
        assert failed.value.rule == "content:HATE"
    assert not any(
        action is Action.FAILED_OPEN for action in (verdict.action for verdict in counted.verdicts(ended=True))
    )


@pytest.mark.parametrize("failure", FAILURES)
async def test_without_an_answer_it_fails_open_where_the_policy_says_so_and_is_noted(failure: str) -> None:
    rules = models_of(model_policy(content={"HATE": {}}, failureMode="OPEN"), timeout_s=0.05)
    counted = tally()
    assert await judge(["x"], rules, guarding_by(FAILURES[failure]), counted) == [Judged()]
    assert rules_of(counted) == {"content:HATE": ("failed_open", 0)}


@pytest.mark.parametrize("spans", [((0, 99, "NAME"),), ((2, 1, "NAME"),), ((-1, 1, "NAME"),)])
async def test_names_outside_the_text_are_no_answer(spans: tuple[tuple[int, int, str], ...]) -> None:
    rules = models_of(model_policy(names={"NAME": "ANONYMIZE"}))
    with pytest.raises(EvaluationFailed):
        await judge(["hello"], rules, guarding_by(Says(lambda tasks: [Spans(spans=spans)] * len(tasks))), tally())


async def test_an_open_failure_of_one_evaluator_leaves_the_other_in_force() -> None:
    policy = model_policy(
        content={"HATE": {}, "VIOLENCE": {}}, topics=["money"], tiers={"content": "STANDARD"}, failureMode="OPEN"
    )
    counted = tally()
    for judge_model in (KeywordModels(failure=EvaluationFailed("no")), None):
        [judged] = await judge(["stocks"], models_of(policy), guarding_by(KeywordModels(), judge_model), counted)
        assert judged.blocked
    assert rules_of(counted) == {
        "topic:money": ("block", 2),
        "content:HATE": ("failed_open", 0),
        "content:VIOLENCE": ("failed_open", 0),
    }


async def test_a_missing_judge_fails_closed_and_ends_the_other() -> None:
    policy = model_policy(content={"HATE": {}}, topics=["money"], tiers={"content": "STANDARD"})
    local = KeywordModels(delay_s=30)
    with pytest.raises(EvaluationFailed, match="judge"):
        await judge(["x"], models_of(policy), guarding_by(local), tally())
    assert local.running == 0


async def test_cancelled_it_leaves_nothing_running() -> None:
    policy = model_policy(content={"HATE": {}}, topics=["money"], tiers={"content": "STANDARD"})
    local, remote = KeywordModels(delay_s=30), KeywordModels(delay_s=30)
    judging = asyncio.create_task(judge(["x"], models_of(policy), guarding_by(local, remote), tally()))
    await asyncio.gather(local.started.wait(), remote.started.wait())
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    assert (local.running, remote.running) == (0, 0)


async def test_a_bug_in_an_evaluator_is_not_taken_for_a_failure_to_be_passed_over() -> None:
    rules = models_of(model_policy(content={"HATE": {}}, failureMode="OPEN"))
    with pytest.raises(ZeroDivisionError):
        await judge(["x"], rules, guarding_by(KeywordModels(failure=ZeroDivisionError())), tally())


async def test_a_call_with_many_windows_has_more_time() -> None:
    allowed: list[float] = []

    class Notes(KeywordModels):
        async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
            allowed.append(timeout_s)
            return await super().evaluate(tenant, tasks, timeout_s=timeout_s)

    rules = models_of(model_policy(content={"HATE": {}}), timeout_s=2.0)
    for count in (1, TASKS_PER_TIMEOUT, TASKS_PER_TIMEOUT + 1):
        await judge(["x"] * count, rules, guarding_by(Notes()), tally())
    assert allowed == [2.0, 2.0, 4.0]
