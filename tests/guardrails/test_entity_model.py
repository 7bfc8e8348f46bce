"""Names and addresses: where they are, and what is none."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("spacy")

from bedplate_guardrails.models.address_pattern import find_addresses
from bedplate_guardrails.models.entity_model import WINDOW_CHARS, EntityModel
from bedplate_guardrails.models.name_pattern import cued, trimmed

BOTH = frozenset({"NAME", "ADDRESS"})


@pytest.fixture(scope="module")
def model() -> EntityModel:
    return EntityModel()


def found(model: EntityModel, text: str, kind: str) -> list[str]:
    return [text[start:end] for start, end, one in model.find(text, {kind}) if one == kind]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My name is Rubija", "Rubija"),
        ("my name is selma", "selma"),
        ("Please ask Jonathan Miller about the report.", "Jonathan Miller"),
        ("Mr. Rangel flew to Lisbon on Monday.", "Rangel"),
        ("Dear Ingrid,\nthank you for the flowers.", "Ingrid"),
        ("See you on Friday.\n\nBest regards,\nZdeněk Novák", "Zdeněk Novák"),
        ("Full name: Aoife Ní Bhriain\nPlan: gold", "Aoife Ní Bhriain"),
        ("The patient, Dr. Amara Okafor, was seen today.", "Amara Okafor"),
        ("Kees van den Berg lives in Utrecht.", "Kees van den Berg"),
        ("remind me to call stephanie tomorrow", "Stephanie"),
    ],
)
def test_a_name_is_found_without_its_title(model: EntityModel, text: str, name: str) -> None:
    assert [one.lower() for one in found(model, text, "NAME")] == [name.lower()]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Sir Arthur Evans", "Arthur Evans"),
        ("the Prof. Lena Vogt's", "Lena Vogt"),
        ("Hello Anna\nBerlin", "Anna"),
        ("Claude", None),
        ("March", None),
        ("user@example", None),
        ("Oak Street", None),
        ("The", None),
    ],
)
def test_a_name_is_cut_to_what_is_name(text: str, name: str | None) -> None:
    span = trimmed(text, 0, len(text))
    assert (None if span is None else text[span[0] : span[1]]) == name


def test_the_surname_alone_is_found_again(model: EntityModel) -> None:
    text = "Yesterday Katarzyna Wiśniewska signed. The contract names Wiśniewska twice."
    assert found(model, text, "NAME").count("Wiśniewska") == 1
    assert "Katarzyna Wiśniewska" in found(model, text, "NAME")


@pytest.mark.parametrize(
    "text",
    [
        "Claude, write a Python script that sorts a list.",
        "Explain how Docker and Kubernetes work together.",
        "What is the weather in March?",
        "How do I open an Excel file in Google Sheets?",
        "The quarterly results are better than expected.",
        "Meet me at Madison Square Garden.",
        "REMEMBER TO SAVE THE FILE",
        "will you mark this as done in may",
        "",
        "   \n\t ",
        "1234567890",
    ],
)
def test_what_is_no_name_is_not_found(model: EntityModel, text: str) -> None:
    assert found(model, text, "NAME") == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Send it to 742 Evergreen Terrace, Springfield, IL 62704.", "742 Evergreen Terrace, Springfield, IL 62704"),
        ("I live at 12 Main Street Apt. 4B.", "12 Main Street Apt. 4B"),
        ("Office: 10 Downing Street, London SW1A 2AA", "10 Downing Street, London SW1A 2AA"),
        ("Er wohnt in der Friedrichstraße 123, 10117 Berlin.", "Friedrichstraße 123, 10117 Berlin"),
        ("Adresse : 24 rue de Rivoli, 75004 Paris", "24 rue de Rivoli, 75004 Paris"),
        ("Mail it to P.O. Box 1187, Denver, CO 80201", "P.O. Box 1187, Denver, CO 80201"),
        ("Vive en la Calle Mayor 15, Madrid", "Calle Mayor 15, Madrid"),
        ("ship to 3911 fourth avenue suite 112", "3911 fourth avenue suite 112"),
        ("PSC 3294, Box 9168\nAPO AA 61487", "PSC 3294, Box 9168\nAPO AA 61487"),
        ("78 Oak Lane\nSuite 9\nPortland, OR 97201", "78 Oak Lane\nSuite 9\nPortland, OR 97201"),
    ],
)
def test_an_address_is_found_whole(model: EntityModel, text: str, address: str) -> None:
    assert found(model, text, "ADDRESS") == [address]


@pytest.mark.parametrize(
    "text",
    [
        "I visited Paris in 2019 with 40 people.",
        "The 10 best street food stalls are listed below.",
        "Walk down the street for 5 minutes.",
        "Chapter 12 covers drive and motivation.",
        "Version 3.11 was released in 2022.",
        "We ran 5 miles on the road to Boston.",
        "The meeting is in room 12 on the second floor.",
    ],
)
def test_numbers_and_towns_alone_are_no_address(model: EntityModel, text: str) -> None:
    assert found(model, text, "ADDRESS") == []


def test_only_the_kinds_asked_for_are_found(model: EntityModel) -> None:
    text = "Anna Kowalski lives at 12 Main Street, Springfield, IL 62701."
    assert {kind for *_, kind in model.find(text, {"NAME"})} == {"NAME"}
    assert {kind for *_, kind in model.find(text, {"ADDRESS"})} == {"ADDRESS"}
    assert {kind for *_, kind in model.find(text, BOTH)} == BOTH
    assert model.find(text, frozenset()) == []
    with pytest.raises(ValueError, match="PHONE"):
        model.find(text, {"PHONE"})


def test_a_street_with_a_persons_name_is_an_address_and_no_name(model: EntityModel) -> None:
    text = "Deliver to 18 Martin Luther King Boulevard, Atlanta, GA 30303."
    assert [kind for *_, kind in model.find(text, BOTH)] == ["ADDRESS"]


def test_windows_keep_offsets(model: EntityModel) -> None:
    filler = "The report is late and the team is busy. " * (WINDOW_CHARS // 41 + 20)
    text = f"{filler}We asked Arvonne Pelletier. He is at 12 Main Street, Springfield, IL 62701."
    assert found(model, text, "NAME") == ["Arvonne Pelletier"]
    assert found(model, text, "ADDRESS") == ["12 Main Street, Springfield, IL 62701"]


def test_the_same_text_gives_the_same_spans(model: EntityModel) -> None:
    text = "Dear Ingrid, Mr. Rangel moved to 12 Main Street."
    assert model.find(text, BOTH) == model.find(text, BOTH)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["Mr. ", "My name is ", "Anna Kowalski", "12 Main Street", ", ", "\n", "Suite 4", "ß", "İ", "👩‍🚀"]
            ),
        ),
        max_size=12,
    ).map("".join)
)
def test_spans_lie_in_the_text_in_order_and_apart(model: EntityModel, text: str) -> None:
    end_before = 0
    for start, end, kind in model.find(text, BOTH):
        assert end_before <= start < end <= len(text)
        assert kind in BOTH
        assert text[start:end].strip() == text[start:end]
        end_before = end


@pytest.mark.parametrize(
    "part", ["A ", "1 ", "Aa1 ", "12 A ", "12 Aa Aa Aa ", "Rue de la ", "Mr. ", "Suite 1, ", "x", "\n"]
)
def test_hostile_text_costs_linear_time(model: EntityModel, part: str) -> None:
    text = part * (30_000 // len(part))
    started = time.process_time()
    find_addresses(text)
    list(cued(text))
    assert time.process_time() - started < 3
