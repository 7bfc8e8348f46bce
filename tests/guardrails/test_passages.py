"""The texts of a request for models: none is left out, and what stands for a piece of one stands exactly there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.messages import Document, MediaBytes, Message, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from bedplate_core.requests import JsonSchemaFormat, Request, Tool
from bedplate_guardrails.passages import (
    PassageKind,
    argument_texts,
    groups_of,
    masked,
    passages_of,
    replaced_passages,
    windows_of,
    with_replaced,
)
from bedplate_guardrails.windows import OVERLAP_CHARS, WINDOW_CHARS, window_places
from tests.guardrails.test_input_check import NAMES, PLACES, everything, said

LONG = st.text(alphabet=st.sampled_from("ab. \n🦆é"), min_size=0, max_size=5000)
REQUEST = Request(
    model="m",
    messages=(
        Message(role=Role.SYSTEM, parts=(Text(text="sys"),)),
        Message(role=Role.USER, parts=(Text(text="one"), Text(text="two")), name="bob"),
        Message(
            role=Role.ASSISTANT,
            parts=(
                Reasoning(text="hm"),
                Text(text="well"),
                ToolCall(id="t", name="find", arguments='{"who": "x", "n": 3}'),
                Refusal(text="no"),
            ),
        ),
        Message(
            role=Role.TOOL,
            parts=(
                ToolResult(
                    call_id="t",
                    parts=(
                        Text(text="out"),
                        Document(media=MediaBytes(data=b"doc", media_type="text/plain"), name="d"),
                    ),
                ),
            ),
        ),
    ),
    tools=(
        Tool(name="find", description="finds", parameters={"type": "object", "properties": {"who": {"title": "T"}}}),
    ),
    response_format=JsonSchemaFormat(name="s", schema={"enum": ["a", "b"]}),
    extensions={"documents": [{"text": "more", "rank": 2}]},
)


def test_the_walk_in_full() -> None:
    passages = passages_of(REQUEST, selective=False)
    assert [(each.text, each.role, each.kind, each.fixed) for each in passages] == [
        ("sys", Role.SYSTEM, PassageKind.SAID, False),
        ("bob", Role.USER, PassageKind.SAID, False),
        ("one", Role.USER, PassageKind.SAID, False),
        ("two", Role.USER, PassageKind.SAID, False),
        ("well", Role.ASSISTANT, PassageKind.SAID, False),
        ("hm", Role.ASSISTANT, PassageKind.SAID, False),
        ("find", Role.ASSISTANT, PassageKind.TOOL_CALL, True),
        ("who", Role.ASSISTANT, PassageKind.TOOL_CALL, False),
        ("x", Role.ASSISTANT, PassageKind.TOOL_CALL, False),
        ("n", Role.ASSISTANT, PassageKind.TOOL_CALL, False),
        ("3", Role.ASSISTANT, PassageKind.TOOL_CALL, False),
        ("no", Role.ASSISTANT, PassageKind.SAID, False),
        ("out", Role.TOOL, PassageKind.TOOL_RESULT, False),
        ("doc", Role.TOOL, PassageKind.DOCUMENT, False),
        ("d", Role.TOOL, PassageKind.DOCUMENT, False),
        ("find", None, PassageKind.DEFINITION, True),
        ("finds", None, PassageKind.DEFINITION, False),
        ("T", None, PassageKind.DEFINITION, False),
        ("s", None, PassageKind.DEFINITION, True),
        ("a", None, PassageKind.DEFINITION, False),
        ("b", None, PassageKind.DEFINITION, False),
        ("text", Role.USER, PassageKind.DOCUMENT, True),
        ("more", Role.USER, PassageKind.DOCUMENT, False),
        ("rank", Role.USER, PassageKind.DOCUMENT, True),
    ]
    attacked = {group.text for group in groups_of(passages) if group.may_attack}
    assert attacked == {"bob", "one\ntwo", "out", "doc", "d", "text\nmore\nrank"}
    assert "find\nwho\nx\nn\n3" in {group.text for group in groups_of(passages)}


@pytest.mark.parametrize("place", PLACES | NAMES)
def test_every_place_is_collected(place: str) -> None:
    """All that patterns read, models read, but for the keys of schemas."""
    request = (PLACES | NAMES)[place]("to 🦆 now")
    collected = any("to 🦆 now" in passage.text for passage in passages_of(request, selective=False))
    assert collected is (place != "parameter")


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_replaced_where_it_was_collected(place: str) -> None:
    request = PLACES[place]("to 🦆 now")
    passages = passages_of(request, selective=False)
    places = [(passage.text.find("🦆"), passage.fixed) for passage in passages]
    masks = [[(at, at + 1, "{X}")] if at >= 0 and not fixed else [] for at, fixed in places]
    changed = replaced_passages(request, masks, selective=False)
    assert "to {X} now" in everything(changed)
    assert "🦆" not in everything(changed)


@pytest.mark.parametrize("place", PLACES | NAMES)
def test_without_a_mask_the_request_is_the_same_object(place: str) -> None:
    request = (PLACES | NAMES)[place]("to 🦆 now")
    masks: list[list[tuple[int, int, str]]] = [[] for _ in passages_of(request, selective=False)]
    assert replaced_passages(request, masks, selective=False) is request


@settings(max_examples=60, deadline=None)
@given(text=LONG)
def test_windows_cover_a_text_to_its_end(text: str) -> None:
    places = window_places(text)
    assert places[0][0] == 0
    assert places[-1][1] == len(text)
    for (start, end), (after, after_end) in pairwise(places):
        assert start < after <= end < after_end
        assert end - after <= OVERLAP_CHARS
        assert end - after >= OVERLAP_CHARS // 2
    assert all(end - start <= WINDOW_CHARS for start, end in places)
    assert windows_of(text) == [text[start:end] for start, end in places]


def test_windows_end_at_sentences_then_at_spaces_then_anywhere() -> None:
    sentences = "All is well here. " * 200
    assert all(window.endswith(". ") for window in windows_of(sentences)[:-1])
    assert all(not window[0].isspace() for window in windows_of(sentences))
    words = "word " * 500
    assert all(window.endswith("word ") and window.startswith("word") for window in windows_of(words))
    assert [len(window) for window in windows_of("x" * 1800)] == [1000, 1000]


def test_a_short_text_is_one_window() -> None:
    assert windows_of("") == [""]
    assert windows_of("a. b") == ["a. b"]


def test_cutting_costs_the_length() -> None:
    def seconds(times: int) -> float:
        text = "no end in sight " * 1000 * times
        start = time.process_time()
        windows_of(text)
        return time.process_time() - start

    seconds(1)
    assert min(seconds(8) for _ in range(2)) < 30 * min(seconds(1) for _ in range(3))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(LONG, min_size=1, max_size=4), roles=st.lists(st.sampled_from(Role), min_size=4, max_size=4))
def test_the_windows_of_a_request_cover_every_character_of_every_text(texts: Sequence[str], roles: list[Role]) -> None:
    messages = tuple(
        Message(role=role, parts=(Text(text=text), Text(text=text[::-1])))
        for text, role in zip(texts, roles, strict=False)
    )
    groups = groups_of(passages_of(Request(model="m", messages=messages), selective=False))
    for text, group in zip(texts, groups, strict=True):
        seen = [False] * len(group.text)
        for start, end in window_places(group.text):
            seen[start:end] = [True] * (end - start)
        assert all(seen)
        (first, end), (second, last) = group.places
        assert (group.text[first:end], group.text[second:last]) == (text, text[::-1])


@settings(max_examples=100, deadline=None)
@given(
    value=st.recursive(
        st.one_of(
            st.none(), st.integers(), st.text(max_size=6), st.sampled_from(['{"a": "🦆"}', '["\\ud83e"]', "é🦆"])
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
        max_leaves=8,
    ),
    ascii_only=st.booleans(),
)
def test_arguments_with_replaced_texts_stay_json_and_the_rest_is_untouched(value: object, ascii_only: bool) -> None:
    arguments = json.dumps(value, ensure_ascii=ascii_only)
    texts = argument_texts(arguments)
    assert with_replaced(arguments, {}) is arguments
    for text in texts:
        changed = with_replaced(arguments, {text: "{X}"})
        json.loads(changed)
        assert "{X}" in argument_texts(changed)


def test_arguments_that_are_no_json_are_one_text_decoded() -> None:
    broken = '{"a": "\\u0041da'
    assert argument_texts(broken) == ['{"a": "Ada']
    request = said(ToolCall(id="t", name="f", arguments=broken), role=Role.ASSISTANT)
    changed = replaced_passages(request, [[], [(7, 10, "{NAME}")]], selective=False).messages[0].parts[0]
    assert isinstance(changed, ToolCall)
    assert changed.arguments == '{"a": "{NAME}'


def test_a_span_over_several_passages_is_cut_at_their_edges() -> None:
    [group] = groups_of(passages_of(said(Text(text="my Ada"), Text(text=""), Text(text="Lovelace x")), selective=False))
    assert group.text == "my Ada\n\nLovelace x"
    assert group.split(3, 16) == [(0, 3, 6), (2, 0, 8)]
    assert group.split(6, 8) == []


def test_masks_in_order() -> None:
    assert masked("a🦆b🦆", [(1, 2, "X"), (3, 4, "Y")]) == "aXbY"
    assert masked("a", []) == "a"
