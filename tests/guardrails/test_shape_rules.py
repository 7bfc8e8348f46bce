"""Schemas, tools and sizes: what is refused when it is saved, in a request, and in an answer as it comes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.events import Event, PartEnd, PartStart, StopReason
from bedplate_core.messages import GuardContent, Message, Part, Reasoning, Refusal, Role, Text, ToolCall
from bedplate_core.requests import Request, Tool
from bedplate_core.response import Choice, collect
from bedplate_guardrails.answer_schema import MAX_SCHEMA_BYTES, MAX_SCHEMA_STEPS, AnswerSchema
from bedplate_guardrails.document import InvalidPolicy
from bedplate_guardrails.policy import GuardedStream, Policy
from tests.guardrails.guarded import Upstream, checked, drain, guard, text_events, whole_answer
from tests.guardrails.keyword_models import model_policy

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}


async def answered(policy: Policy, events: Sequence[Event], size: int = 0) -> tuple[Choice, GuardedStream]:
    events = whole_answer(events)
    stream = guard(policy, Upstream([events] if size == 0 else [[event] for event in events]))
    return (await collect(Upstream([await drain(stream)]))).choices[0], stream


def summary(stream: GuardedStream) -> list[tuple[str, str]]:
    return [(verdict.rule, verdict.action.value) for verdict in stream.verdicts]


def call(name: str, arguments: str, index: int = 0) -> list[Event]:
    return text_events(list(arguments), part=ToolCall(id="t", name=name, arguments=""), index=index)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "strin"}, ""),
        ({"pattern": "(?=a)"}, ""),
        ({"pattern": "(a{1000}){1000}"}, ""),
        ({"$ref": "https://example.invalid/x.json"}, "leads only into the schema itself"),
        ({"$ref": "file:///etc/passwd"}, "leads only into the schema itself"),
        ({"properties": {"a": {"$dynamicRef": "other.json"}}}, "leads only into the schema itself"),
        ({"items": {"$id": "http://example.invalid/a", "$ref": "#"}}, "only the schema as a whole"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
        ({"$ref": "#/$defs/none"}, ""),
        ({"description": "x" * MAX_SCHEMA_BYTES}, "bytes"),
    ],
)
def test_a_schema_that_cannot_be_evaluated_is_refused_when_it_is_saved(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"^bedplateConfig\.answerSchemaConfig\.schema: .+") as refused:
        model_policy(answerSchemaConfig={"schema": schema})
    assert why in str(refused.value)
    with pytest.raises(InvalidPolicy, match=r"^bedplateConfig\.toolPolicyConfig\.argumentSchemas\.find: .+"):
        model_policy(toolPolicyConfig={"argumentSchemas": {"find": schema}})


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def doubling(levels: int, through: str = "allOf") -> dict[str, Any]:
    """A small schema that comes to two to the power of `levels` subschemas."""
    defs: dict[str, Any] = {"a0": {"type": "string"}}
    for level in range(1, levels + 1):
        twice = [{"$ref": f"#/$defs/a{level - 1}"}] * 2
        below = {through: twice} if through == "allOf" else {"properties": {through: {"allOf": twice}}}
        defs[f"a{level}"] = below
    return {"$ref": f"#/$defs/a{levels}", "$defs": defs}


def chain(length: int) -> dict[str, Any]:
    defs = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{length}": True}}


@pytest.mark.parametrize("schema", [nested(100), doubling(40), doubling(40, "enum"), chain(1500)])
def test_a_schema_that_takes_long_is_refused_when_it_is_saved(schema: dict[str, Any]) -> None:
    began_s = time.perf_counter()
    with pytest.raises(InvalidPolicy):
        AnswerSchema(schema, "here")
    assert time.perf_counter() - began_s < 2


def test_a_schema_at_the_bound_is_quick() -> None:
    schema = AnswerSchema(doubling(10), "here")
    began_s = time.perf_counter()
    assert schema.fits('"x"')
    assert time.perf_counter() - began_s < 0.5
    assert MAX_SCHEMA_STEPS > 2**11


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"$anchor": "top", "type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#top"}}}
    schema = AnswerSchema(tree, "here")
    assert schema.fits('{"l": {"r": {}}}')
    assert not schema.fits('{"l": {"r": 1}}')


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"x": NaN}'])
def test_what_is_no_json_fits_not_even_a_schema_that_allows_everything(text: str) -> None:
    assert not AnswerSchema({}, "here").fits(text)
    assert AnswerSchema({}, "here").fits("null")


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by us nor by the library: a reference that gets past our own look still leads nowhere."""
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where: asked.append(where))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.2)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/schema"
    hidden = {"const": {"inner": {"$ref": address}}, "$ref": "#/const/inner"}
    with listening:
        for schema in ({"$ref": address}, hidden, {"$id": address, "$ref": "other"}, {"$schema": address}):
            with pytest.raises(InvalidPolicy):
                AnswerSchema(schema, "here")
        with pytest.raises(TimeoutError):
            listening.accept()
    assert asked == []


def test_a_pattern_takes_linear_time() -> None:
    schema = AnswerSchema({"pattern": "^(a+)+$"}, "here")
    began_s = time.perf_counter()
    assert not schema.fits(json.dumps("a" * 200_000 + "b"))
    assert time.perf_counter() - began_s < 2


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"x": 1}', True),
        (' \n{"x": 1}\n', True),
        ('{"x": 1.5}', False),
        ('{"x": 1, "y": 2}', False),
        ('{"x": "no", "x": 1}', False),
        ('{"x": 1} and more', False),
        ('```json\n{"x": 1}\n```', False),
        ('{"x": 1', False),
        ("", False),
        ("NaN", False),
        ('{"x": "\\ud800"}', False),
        ("[" * 100_000, False),
        ('{"x": ' + "9" * 5000 + "}", False),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.anyio
async def test_an_answer_is_one_json_value_that_fits(text: str, fits: bool, size: int) -> None:
    policy = model_policy(answerSchemaConfig={"schema": POINT})
    choice, stream = await answered(policy, text_events([text[:3], text[3:]] if text else []), size)
    assert (choice.parts == (Text(text=text),)) == fits
    if not fits:
        assert choice.parts == (Text(text="answer refused"),)
        assert summary(stream) == [("schema", "block")]
    assert policy.hold_back.chars is None


@pytest.mark.anyio
async def test_a_tool_call_or_a_refusal_is_an_answer_without_text() -> None:
    policy = model_policy(answerSchemaConfig={"schema": POINT})
    refusal = text_events(["no"], part=Refusal(text=""))
    for events in (call("find", "{}"), refusal, [*text_events(["  "]), *call("find", "{}", 1)]):
        choice, _ = await answered(policy, events)
        assert choice.stop.reason is StopReason.END
    choice, _ = await answered(policy, [*text_events(["let me look"]), *call("find", "{}", 1)])
    assert choice.parts == (Text(text="answer refused"),)
    thinking: list[Event] = [PartStart(0, 0, Reasoning(text="hm")), PartEnd(0, 0)]
    choice, _ = await answered(policy, thinking)
    assert choice.parts == (Reasoning(text="hm"), Text(text="answer refused"))


@pytest.mark.anyio
async def test_an_answer_schema_may_only_watch() -> None:
    policy = model_policy(answerSchemaConfig={"schema": POINT, "action": "NONE"})
    choice, stream = await answered(policy, text_events(["not json"]))
    assert choice.parts == (Text(text="not json"),)
    assert summary(stream) == [("schema", "detect")]
    assert "not json" not in stream.assessment.detections[0].reason


@pytest.mark.parametrize(
    ("name", "arguments", "rule"),
    [
        ("find", '{"x": 1}', None),
        ("other", '{"anything": true}', None),
        ("hidden", "{}", "tool:allowedTools"),
        ("Find", "{}", "tool:allowedTools"),
        ("find", '{"x": "1"}', "tool:find"),
        ("find", '{"x": 1}}', "tool:find"),
        ("find", "", "tool:find"),
        ("find", '{"x": "a", "x": 1}', "tool:find"),
        ("other", '{"x": "' + "y" * 100 + '"}', "size:maxArgumentCharacters"),
        ("hidden", '{"x": "' + "y" * 100 + '"}', "size:maxArgumentCharacters"),
    ],
)
@pytest.mark.parametrize("action", ["BLOCK", "NONE"])
@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.anyio
async def test_tools(name: str, arguments: str, rule: str | None, action: str, size: int) -> None:
    policy = model_policy(
        toolPolicyConfig={"allowedTools": ["find", "other"], "argumentSchemas": {"find": POINT}, "action": action},
        sizePolicyConfig={"maxArgumentCharacters": 50},
    )
    choice, stream = await answered(policy, [*text_events(["I look."]), *call(name, arguments, 1)], size)
    blocks = rule is not None and (action == "BLOCK" or rule.startswith("size"))
    kept: tuple[Part, ...] = (Text(text="I look."),)
    end: Part = Text(text="\n\nanswer refused") if blocks else ToolCall(id="t", name=name, arguments=arguments)
    assert choice.parts == (*kept, end)
    if rule is not None:
        assert summary(stream) == [(rule, "block" if blocks else "detect")]
        assert "hidden" not in repr(stream.assessment.detections)


@pytest.mark.parametrize("kind", [Text, Reasoning, Refusal])
@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 60), cut=st.integers(1, 30), text=st.text("ab .é🦆\n", max_size=80))
@pytest.mark.anyio
async def test_an_answer_ends_at_its_limit(kind: type[Part], limit: int, cut: int, text: str) -> None:
    policy = model_policy(sizePolicyConfig={"maxOutputCharacters": limit}, words=["zebra"])
    pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
    choice, stream = await answered(policy, text_events(pieces, part=kind(text="")), 1)
    assert choice.parts[0].text == text[:limit]
    if len(text) > limit:
        assert choice.parts[-1].text.strip() == "answer refused"
        assert choice.stop.reason is StopReason.GUARDRAIL
        assert summary(stream) == [("size:maxOutputCharacters", "block")]
    else:
        assert len(choice.parts) == 1
        assert summary(stream) == [("*", "allow")]


@pytest.mark.anyio
async def test_the_limit_is_of_all_text_of_a_choice_together() -> None:
    policy = model_policy(sizePolicyConfig={"maxOutputCharacters": 6})
    events = [*text_events(["1234"], part=Reasoning(text="")), *text_events(["5678"], index=1)]
    choice, _ = await answered(policy, events)
    assert choice.parts == (Reasoning(text="1234"), Text(text="56"), Text(text="\n\nanswer refused"))
    both = whole_answer([*text_events(["1234"]), *text_events(["5678"], choice=1)], choices=2)
    response = await collect(Upstream([await drain(guard(policy, Upstream([both])))]))
    assert [choice.parts for choice in response.choices] == [(Text(text="1234"),), (Text(text="5678"),)]


def test_requests_are_measured_with_everything_that_a_model_sees() -> None:
    policy = model_policy(sizePolicyConfig={"maxInputCharacters": 10})

    def blocked(**what: Any) -> bool:
        return checked(policy, Request(model="m", **what)).blocked_message is not None

    def user(*parts: Part) -> tuple[Message, ...]:
        return (Message(role=Role.USER, parts=parts),)

    assert not blocked(messages=user(Text(text="1234567890")))
    assert blocked(messages=user(Text(text="1234567890"), Text(text="1")))
    assert blocked(messages=user(GuardContent(content=Text(text="12345678901"))))
    assert blocked(messages=user(Text(text="1")), prompts=("1234567890",))
    assert blocked(messages=user(Text(text="1")), tools=(Tool(name="f", description="1234567890"),))


def test_a_request_may_only_offer_tools_on_the_list() -> None:
    policy = model_policy(toolPolicyConfig={"allowedTools": ["find"]})
    request = Request(model="m", messages=(Message(role=Role.USER, parts=(Text(text="hi"),)),))
    for names, blocks in ((["find"], False), (["find", "hidden"], True), ([], False)):
        tools = tuple(Tool(name=name) for name in names)
        check = checked(policy, Request(model="m", messages=request.messages, tools=tools))
        assert (check.blocked_message is not None) == blocks
        if blocks:
            assert [(verdict.rule, verdict.action.value) for verdict in check.verdicts] == [
                ("tool:allowedTools", "block")
            ]
