"""What is printed on a payment card beside its number."""

from __future__ import annotations

from bedplate_guardrails.detectors.pii_detector import EDGE, JOIN, PiiDetector, label_trigger, labelled
from bedplate_guardrails.document import PiiType

_MONTH = r"(?:0[1-9]|1[0-2])"
_CARD_END = r"[0-9]{4}[ -]?[0-9]{4}[ ,;|]{1,3}"


class CardVerificationValue(PiiDetector):
    """The three or four digits of a card verification value, behind a label or behind a card's number and expiry."""

    _LABELS = r"c[sv]v2?|cvc2?|cvn2?|csc|card verification (?:value|code|number)|(?:card'?s? )?security code"
    kind = PiiType.CREDIT_DEBIT_CARD_CVV
    pattern = labelled(_LABELS, r"([0-9]{3,4})") + rf"|{_CARD_END}{_MONTH}/(?:20)?[0-9]{{2}}[ ,;|]{{1,3}}([0-9]{{3,4}})"
    trigger = rf"{label_trigger(_LABELS)}|[0-9]{{4}}[ -]?[0-9]{{4}}[ ,;|]"
    tail = r"[-.,:/ ]?[0-9]"


class CardExpiry(PiiDetector):
    """When a card expires (`12/27`, `12/2027`, "Dec 2027"), behind a label or behind a card's number."""

    _LABELS = (
        r"exp(?:\.|iry|iration|ires?|iring)?(?:[ _-]?date|[ _-]?on)?|exp[ _-](?:month|year)"
        r"|valid (?:thru|through|until|till|to)|good (?:thru|through)"
    )
    _NAMES = r"(?i:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(?i:uary|ruary|ch|il|ust|ember|tember|ober)?"
    _DATE = rf"(?:{_MONTH}|[1-9]) ?[/-] ?(?:20)?[0-9]{{2}}|{_NAMES}\.?,? ?(?:20[0-9]{{2}}|'[0-9]{{2}})"
    kind = PiiType.CREDIT_DEBIT_CARD_EXPIRY
    pattern = rf"{EDGE}(?i:{_LABELS}){JOIN}({_DATE})|{_CARD_END}({_MONTH}/(?:20)?[0-9]{{2}})"
    trigger = rf"{label_trigger(_LABELS)}|[0-9]{{4}}[ -]?[0-9]{{4}}[ ,;|]"
    tail = r"[-./:]?[0-9]"


__all__ = ["CardExpiry", "CardVerificationValue"]
