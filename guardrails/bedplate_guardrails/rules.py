"""From a policy document to the rules that the scanner runs: the one place where the detectors are made."""

from __future__ import annotations

from collections.abc import Iterator

from bedplate_core.assessment import PolicyKind
from bedplate_core.verdicts import Side
from bedplate_guardrails.automaton import AutomatonGate
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import Rule
from bedplate_guardrails.detectors.pii import PII_DETECTORS
from bedplate_guardrails.detectors.profanity import Profanity
from bedplate_guardrails.detectors.regex_match import RegexMatch
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.detectors.word_edges import folded_word
from bedplate_guardrails.detectors.words import Words
from bedplate_guardrails.document import MODEL_PII, GuardrailDocument, InvalidPolicy, WordConfig
from bedplate_guardrails.lane import Gate, LanePlan
from bedplate_guardrails.tally import rule_name
from bedplate_guardrails.views import View, ViewName

_VIEWS: tuple[ViewName, ...] = ("folded", "plain")


def compile_lanes(document: GuardrailDocument, side: Side) -> tuple[LanePlan, ...]:
    """The rules that run on one side, by the view they look at. Raises `InvalidPolicy` naming the rule."""
    rules = [
        *_words(document, side),
        *_managed_words(document, side),
        *_pii(document, side),
        *_regexes(document, side),
    ]
    plans: list[LanePlan] = []
    for name in _VIEWS:
        of_view = [rule for rule in rules if rule.detector.view == name]
        if of_view:
            plans.append(LanePlan(View(name), of_view, _gate(of_view)))
    return tuple(plans)


def _gate(rules: list[Rule]) -> Gate | None:
    if len(rules) == 1 and isinstance(rules[0].detector, Words):
        return rules[0].detector
    gates = [rule.detector.gate for rule in rules]
    known = [gate for gate in gates if gate is not None]
    if len(known) < len(gates):
        return None
    try:
        return AutomatonGate(known)
    except ValueError:  # too large together: each rule is then asked by itself
        return None


def _words(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    by_action: dict[RuleAction, list[WordConfig]] = {RuleAction.BLOCK: [], RuleAction.NONE: []}
    for place, word in enumerate(document.words):
        try:
            folded_word(word.text)
        except ValueError as error:
            raise InvalidPolicy(f"wordPolicyConfig.wordsConfig[{place}].text: {error}") from error
        action = word.action_on(side)
        if action is not None:
            by_action[action].append(word)
    for action, words in by_action.items():
        if words:
            detector = Words([word.text for word in words], leetspeak=document.bedplate_config.leetspeak)
            yield _rule(PolicyKind.WORD, detector.mask, detector, action)


def _managed_words(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    for managed in document.managed_words:
        action = managed.action_on(side)
        if action is not None:
            detector = Profanity(leetspeak=document.bedplate_config.leetspeak)
            yield _rule(PolicyKind.MANAGED_WORDS, managed.type, detector, action)


def _pii(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    for entity in document.pii_entities:
        action = entity.action_on(side)
        if action is not None and entity.type not in MODEL_PII:
            yield _rule(PolicyKind.PII, entity.type.value, PII_DETECTORS[entity.type](), action)


def _regexes(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    for place, regex in enumerate(document.regexes):
        try:
            detector = RegexMatch(regex.name, regex.pattern)
        except ValueError as error:
            path = f"sensitiveInformationPolicyConfig.regexesConfig[{place}].pattern"
            raise InvalidPolicy(f"{path}: {error}") from error
        action = regex.action_on(side)
        if action is not None:
            yield _rule(PolicyKind.REGEX, regex.name, detector, action, regex.pattern)


def _rule(kind: PolicyKind, label: str, detector: TextDetector, action: RuleAction, pattern: str = "") -> Rule:
    return Rule(
        name=rule_name(kind, label),
        kind=kind,
        label=label,
        detector=detector,
        action=action,
        mask=detector.mask,
        pattern=pattern,
    )


__all__ = ["compile_lanes"]
