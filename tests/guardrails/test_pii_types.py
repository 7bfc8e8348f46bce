"""Every type of personal information that is a pattern: what is found, what is not, and that pieces do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_guardrails.detectors.pii import PII_DETECTORS
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import MODEL_PII, PiiType
from bedplate_guardrails.scanner import Scanner
from tests.guardrails.guarded import make_policy

DETECTORS = {kind: detector() for kind, detector in PII_DETECTORS.items()}
POLICY = make_policy(pii={kind.value: "ANONYMIZE" for kind in PII_DETECTORS})
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

FOUND: dict[PiiType, dict[str, list[str]]] = {
    PiiType.AGE: {
        "born in 1980, 45 years old": ["45 years"],
        "a 45-year-old, aged 30, age: 61.": ["45-year", "30", "61"],
        "He just turned 60, she is 31 y/o": ["60", "31 y/o"],
        "forty-five years old; the age of 19": ["forty-five years", "19"],
        "in 45 years, aged 18-25, turned 30 degrees, 400 years old, Bronze Age": [],
    },
    PiiType.AWS_ACCESS_KEY: {
        "key AKIAIOSFODNN7EXAMPLE, id=ASIAIOSFODNN7EXAMPLE": ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"],
        "AKIAIOSFODNN7EXAMPL AKIAIOSFODNN7EXAMPLEX akiaiosfodnn7example": [],
    },
    PiiType.AWS_SECRET_KEY: {
        f"aws_secret_access_key = {SECRET}": [SECRET],
        f"it is {SECRET}.": [SECRET],
        f'"SecretAccessKey": "{"a" * 40}"': ["a" * 40],
        f"da39a3ee5e6b4b0d3255bfef95601890afd80709 {'/usr/share/doc' * 3}{SECRET}": [],
    },
    PiiType.CA_HEALTH_NUMBER: {
        "health card number 1234-567-890 AB": ["1234-567-890 AB"],
        "OHIP: 1234567890, my PHN is 9876 543 210": ["1234567890", "9876 543 210"],
        "order 1234-567-890, health 12": [],
    },
    PiiType.CA_SOCIAL_INSURANCE_NUMBER: {
        "046 454 286 and 046-454-286": [],  # a zero is never given out
        "130 692 544, SIN: 046454286": ["130 692 544", "046454286"],
        "130 692 545 and 130692544 and 130-692-544-1": [],
    },
    PiiType.CREDIT_DEBIT_CARD_CVV: {
        'CVV: 123, "cvv2": "4567"': ["123", "4567"],
        "the security code on the card is 321": ["321"],
        "4111 1111 1111 1111 12/25 999": ["999"],
        "cvv 12, cvv 12345, room 123, cvv 123.50": [],
    },
    PiiType.CREDIT_DEBIT_CARD_EXPIRY: {
        "exp 04/27, expiry date: 4/2027": ["04/27", "4/2027"],
        "valid thru Dec 2027; 4111111111111111 12/25": ["Dec 2027", "12/25"],
        "expires on 12/25/2024, 04/27, version 12/25": [],
    },
    PiiType.CREDIT_DEBIT_CARD_NUMBER: {"4111 1111 1111 1111": ["4111 1111 1111 1111"], "4111 1111 1111 1112": []},
    PiiType.DRIVER_ID: {
        "driver's license D1234567, DL# F162823540116": ["D1234567", "F162823540116"],
        "my driver\u2019s licence number is 2270-66-1551": ["2270-66-1551"],
        "MORGA657054SM9IJ": ["MORGA657054SM9IJ"],
        "driver's license required, license D1234567": [],
    },
    PiiType.EMAIL: {"a@b.co, école@exemple.fr": ["a@b.co", "école@exemple.fr"], "a@b": []},
    PiiType.INTERNATIONAL_BANK_ACCOUNT_NUMBER: {
        "GB29 NWBK 6016 1331 9268 19 or": ["GB29 NWBK 6016 1331 9268 19"],
        "de89370400440532013000 now": ["de89370400440532013000"],
        "IBAN: GB29NWBK60161331926818": ["GB29NWBK60161331926818"],  # the label says so, whatever the check digits
        "GB29NWBK60161331926818 and ZZ29NWBK60161331926819 and GB29NWBK6016133192681": [],
    },
    PiiType.IP_ADDRESS: {"10.0.0.1, fe80::1": ["10.0.0.1", "fe80::1"], "1.2.3": []},
    PiiType.LICENSE_PLATE: {
        "license plate ABC-1234; plate number is 7ABC123": ["ABC-1234", "7ABC123"],
        "number plate: AB12 CDE": ["AB12 CDE"],
        "plate of food, template A123, ABC-1234": [],
    },
    PiiType.MAC_ADDRESS: {
        "00:1B:44:11:3A:B7 00-1b-44-11-3a-b7 001b.4411.3ab7": [
            "00:1B:44:11:3A:B7",
            "00-1b-44-11-3a-b7",
            "001b.4411.3ab7",
        ],
        "aa:bb:cc:dd:ee:ff:00:11:22 12:30:45 2024-01-02": [],
    },
    PiiType.PASSWORD: {
        "the password is hunter2.": ["hunter2"],
        "Password: swordfish!, db_password=Tr0ub4dor&3": ["swordfish!", "Tr0ub4dor&3"],
        'my password for the router is "sunshine"': ["sunshine"],
        "the password is required; password: string; password={PASSWORD}; password: ${DB_PASS}": [],
        "password reset, password is wrong, password = get_secret()": [],
    },
    PiiType.PHONE: {"+44 20 7946 0958": ["+44 20 7946 0958"], "2024-01-02": []},
    PiiType.PIN: {
        "PIN 4821, my pin is 482133": ["4821", "482133"],
        "the PIN for my debit card is 4821": ["4821"],
        '{"pin": "4821"}': ["4821"],
        "pinned 1234, pin 19.50, pin 12": [],
    },
    PiiType.SWIFT_CODE: {
        "SWIFT code DEUTDEFF, BIC: BOFAUS3N": ["DEUTDEFF", "BOFAUS3N"],
        "CHASUS33 and NEDSZAJJXXX": ["CHASUS33", "NEDSZAJJXXX"],
        "ABSOLUTE COMPUTER VERSION2 CHROME12": [],
    },
    PiiType.UK_NATIONAL_HEALTH_SERVICE_NUMBER: {
        "NHS number: 943 476 5919; nhs no 9434765919": ["943 476 5919", "9434765919"],
        "943 476 5919": [],
    },
    PiiType.UK_NATIONAL_INSURANCE_NUMBER: {
        "AB123456C, ab 12 34 56 c": ["AB123456C", "ab 12 34 56 c"],
        "NI number QQ 12 34 56 C": ["QQ 12 34 56 C"],
        "GB123456A, AB123456E, AB1234567C": [],
    },
    PiiType.UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER: {
        "UTR 12345 67890, unique taxpayer reference: 1234567890": ["12345 67890", "1234567890"],
        "1234567890": [],
    },
    PiiType.URL: {
        "see https://example.com/a?b=c. (www.example.org)": ["https://example.com/a?b=c", "www.example.org"],
        "[x](https://a.b/c_(d)), example.com, foo.io/bar": ["https://a.b/c_(d)", "example.com", "foo.io/bar"],
        "java.net.URL a.b@example.com ann@my-site.com logger.info x.com@y.z": [],
    },
    PiiType.USERNAME: {
        "username: jdoe, user name is jdoe99, login: bob_1": ["jdoe", "jdoe99", "bob_1"],
        "handle @foo_bar, user=bob": ["foo_bar", "bob"],
        "the username is required, the login is broken, User: hello": [],
    },
    PiiType.US_BANK_ACCOUNT_NUMBER: {
        "account number: 000123456789, acct 12345678": ["000123456789", "12345678"],
        "my bank account is 1234-5678-90": ["1234-5678-90"],
        "account 12345, order number 000123456789, account balance 12345678": [],
    },
    PiiType.US_BANK_ROUTING_NUMBER: {
        "routing number 021000021, ABA: 122105155": ["021000021", "122105155"],
        "021000021, aba 122105156, routing number 990000021": [],
    },
    PiiType.US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER: {
        "912-70-1234, ITIN 912501234": ["912-70-1234", "912501234"],
        "912-67-1234, 812-70-1234, 912701234": [],
    },
    PiiType.US_PASSPORT_NUMBER: {
        "passport number 123456789, Passport: C01234567": ["123456789", "C01234567"],
        "passport 12345, passport control 123456789": [],
    },
    PiiType.US_SOCIAL_SECURITY_NUMBER: {
        "123-45-6789, 536 90 4399, SSN: 123456789": ["123-45-6789", "536 90 4399", "123456789"],
        "My social security number is 536-90-4399 if you need it.": ["536-90-4399"],
        "000-12-3456 666-12-3456 912-70-1234 123-45-6789-0 A-123-45-6789 123456789": [],
    },
    PiiType.VEHICLE_IDENTIFICATION_NUMBER: {
        "1HGCM82633A004352, VIN: wauzzz8k9aa123456": ["1HGCM82633A004352", "wauzzz8k9aa123456"],
        "1HGCM82633A004353 11111111111111112": [],
    },
}
CASES = [(kind, text, values) for kind, texts in FOUND.items() for text, values in texts.items()]
IDS = [f"{kind.value}-{number}" for number, (kind, _, _) in enumerate(CASES)]

GLUE = (" ", ", ", "\n", ".", "", "x", "1", "-", "@", ": ", " is ", "\u200b", "é", "字", " the PIN ", " exp ", "'")
fragments = st.sampled_from([text for _, text, _ in CASES])
cut_fragments = st.builds(lambda text, start, end: text[start:end], fragments, st.integers(0, 20), st.integers(20, 60))
texts = st.lists(st.one_of(fragments, cut_fragments, st.sampled_from(GLUE)), max_size=7).map("".join)
cuts = st.lists(st.integers(0, 600), max_size=12)


def test_there_is_a_detector_for_every_type_that_is_a_pattern() -> None:
    assert set(PII_DETECTORS) == set(PiiType) - MODEL_PII == set(FOUND)
    for kind, detector in DETECTORS.items():
        assert (detector.kind, detector.mask, detector.view) == (kind, f"{{{kind.value}}}", "plain")
        assert detector.max_match_chars is not None
        assert detector.max_match_chars < 600
        assert detector.cost
        assert detector.gate is not None


@pytest.mark.parametrize(("kind", "text", "values"), CASES, ids=IDS)
def test_what_is_found(kind: PiiType, text: str, values: list[str]) -> None:
    assert [text[start:end] for start, end in DETECTORS[kind].find(text)] == values


@pytest.mark.parametrize(("kind", "text", "values"), CASES, ids=IDS)
def test_a_masked_text_holds_nothing_more(kind: PiiType, text: str, values: list[str]) -> None:
    detector = DETECTORS[kind]
    for start, end in reversed(detector.find(text)):
        text = text[:start] + detector.mask + text[end:]
    assert detector.find(text) == ()


@pytest.mark.parametrize(("kind", "text", "values"), CASES, ids=IDS)
def test_a_decision_never_changes_when_text_is_appended(kind: PiiType, text: str, values: list[str]) -> None:
    detector = DETECTORS[kind]
    for whole in (text, f"x{text} {text}", f"1 {text}-1 {text}a"):
        final = detector.decide(whole, 0, True).spans
        for end in range(len(whole) + 1):
            check_decision(detector, whole[:end], final)


def check_decision(detector: PiiDetector, text: str, final: Sequence[tuple[int, int]]) -> None:
    spans, horizon = detector.decide(text, 0, False)
    assert 0 <= horizon <= len(text)
    assert list(final[: len(spans)]) == spans
    assert all(start >= horizon for start, _ in final[len(spans) :])


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def scanned(pieces: Sequence[str]) -> list[tuple[int, int, str]]:
    scanner = Scanner(POLICY._output.lanes)
    found = [finding for piece in pieces for finding in scanner.append(piece)]
    found += [*scanner.settle(), *scanner.ended()]
    return sorted((finding.start, finding.end, finding.rule.label) for finding in found)


@settings(max_examples=150, deadline=None)
@given(text=texts, places=cuts)
def test_all_types_together_in_any_pieces_find_what_each_finds_alone(text: str, places: list[int]) -> None:
    alone = sorted((start, end, kind.value) for kind, each in DETECTORS.items() for start, end in each.find(text))
    assert scanned([text]) == alone
    assert scanned(pieces_of(text, places)) == alone


@settings(max_examples=100, deadline=None)
@given(text=texts, kind=st.sampled_from(sorted(PII_DETECTORS)))
def test_no_decision_is_taken_back(text: str, kind: PiiType) -> None:
    final = DETECTORS[kind].decide(text, 0, True).spans
    for end in range(0, len(text) + 1, 3):
        check_decision(DETECTORS[kind], text[:end], final)


def test_a_long_text_is_found_the_same_in_single_characters() -> None:
    text = " and so on, ".join(text for _, text, _ in CASES)
    assert scanned(list(text)) == scanned([text])
    assert len({label for _, _, label in scanned([text])}) == len(PII_DETECTORS)


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=lambda each: each.kind.value)
def test_hostile_text_costs_linear_time_and_no_match_is_longer_than_declared(detector: PiiDetector) -> None:
    for text in ("a" * 5000, "1" * 5000, "pin is " * 700, "1-" * 2500, "ab@" * 1600, "https://" + "a" * 5000):
        for start, end in detector.find(text):
            assert end - start <= (detector.max_match_chars or 0)
