"""From a policy document to rules: the one place where the detectors are made."""

from __future__ import annotations

from collections.abc import Iterator

from bedplate_core.verdicts import Side
from bedplate_guardrails.automaton import AutomatonGate
from bedplate_guardrails.detector import Rule
from bedplate_guardrails.detectors.card_number import CardNumber
from bedplate_guardrails.detectors.email_address import EmailAddress
from bedplate_guardrails.detectors.ip_address import IpAddress
from bedplate_guardrails.detectors.phone_number import PhoneNumber
from bedplate_guardrails.detectors.regex_match import RegexMatch
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.detectors.words import Words, folded_word
from bedplate_guardrails.document import GuardrailDocument, InvalidPolicy, PiiType, RuleAction, WordConfig
from bedplate_guardrails.lane import Gate, LanePlan
from bedplate_guardrails.views import View

_PII = {
    PiiType.EMAIL: EmailAddress,
    PiiType.PHONE: PhoneNumber,
    PiiType.CREDIT_DEBIT_CARD_NUMBER: CardNumber,
    PiiType.IP_ADDRESS: IpAddress,
}


def compile_lanes(document: GuardrailDocument, side: Side) -> tuple[LanePlan, ...]:
    """The rules that run on one side, by the view they look at. Raises `InvalidPolicy` naming the rule."""
    rules = [*_words(document, side), *_pii(document, side), *_regexes(document, side)]
    plans: list[LanePlan] = []
    for name in ("folded", "plain"):
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
            detector = Words([word.text for word in words])
            yield Rule(name="word", detector=detector, action=action, mask=detector.mask)


def _pii(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    for entity in document.pii_entities:
        action = entity.action_on(side)
        if action is not None:
            yield _rule(entity.type.value, _PII[entity.type](), action)


def _regexes(document: GuardrailDocument, side: Side) -> Iterator[Rule]:
    for place, regex in enumerate(document.regexes):
        try:
            detector = RegexMatch(regex.name, regex.pattern)
        except ValueError as error:
            path = f"sensitiveInformationPolicyConfig.regexesConfig[{place}].pattern"
            raise InvalidPolicy(f"{path}: {error}") from error
        action = regex.action_on(side)
        if action is not None:
            yield _rule(f"regex:{regex.name}", detector, action)


def _rule(name: str, detector: TextDetector, action: RuleAction) -> Rule:
    return Rule(name=name, detector=detector, action=action, mask=detector.mask)


__all__ = ["compile_lanes"]
