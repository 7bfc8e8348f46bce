"""One scenario in every dialect: the same request reaches the provider, the same events come out of the engine, and
every official SDK, streamed or not, tells its application the same answer.
"""

from __future__ import annotations

import ast
import json
from typing import Any, Protocol

import msgspec
import pytest

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start
from bedplate_core.messages import Image, Message, Role, ToolCall
from bedplate_core.requests import JsonSchemaFormat, Request
from tests.fixtures.served import Served
from tests.scenario.case import Case, Seen, read_cases
from tests.scenario.log import Logs
from tests.scenario.speak_anthropic import Messages
from tests.scenario.speak_bedrock import Converse, Invoke
from tests.scenario.speak_openai import Chat, Responses

CASES = read_cases()


class Speaker(Protocol):
    name: str
    can_say_stop_sequence: bool

    def speak(self, case: Case, *, stream: bool) -> Seen: ...


@pytest.fixture(scope="module")
def speakers(served: Served) -> dict[str, Speaker]:
    pair = (served.access_key_id, served.secret_access_key)
    made: list[Speaker] = [
        Chat(served.base_url, served.key),
        Responses(served.base_url, served.key),
        Messages(served.base_url, served.key),
        Converse(served.base_url, *pair),
        Invoke(served.base_url, *pair),
    ]
    return {speaker.name: speaker for speaker in made}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_dialect_tells_the_same(case: Case, logs: Logs, speakers: dict[str, Speaker]) -> None:
    assert set(case.not_in) <= set(speakers)
    logs.forget()
    requests: dict[str, Any] = {}
    events: dict[str, Any] = {}
    for name, speaker in speakers.items():
        if name in case.not_in:
            continue
        answers = {stream: speaker.speak(case, stream=stream) for stream in (False, True)}
        for stream, seen in answers.items():
            label = f"{name} {'streamed' if stream else 'whole'}"
            log = logs.take()
            requests[label] = plain_request(log.request) if log.request is not None else None
            events[label] = plain_events(log.events)
            check(case, seen, speaker, label)
        if case.error is None and not case.unparsable:
            twin(answers[False], answers[True], name)
    first = next(iter(requests))
    for label in requests:
        assert requests[label] == requests[first], f"{label} and {first} ask the provider for different things"
        assert events[label] == events[first], f"{label} and {first} have different events"
    if case.error is None:
        assert events[first], "no events were logged"


def check(case: Case, seen: Seen, speaker: Speaker, label: str) -> None:
    """What the client saw is what the case says."""
    if case.error is not None:
        if case.midway:
            # Once an answer has begun, wires name the failure more or less exactly; none may hide it.
            assert seen.error is not None, f"{label}: the failure does not show"
            assert seen.stop is None, f"{label}: a broken answer looks finished"
        else:
            assert seen.error == case.error, label
        return
    assert seen.error is None, (label, seen.error)
    assert case.stop is not None
    assert seen.stop in stops_of(case.stop, speaker), label
    text = "".join(text for kind, text in seen.parts if kind in ("text", "refusal"))
    calls = [call(text) for kind, text in seen.parts if kind == "call"]
    for part in case.parts:
        match part:
            case {"call": name}:
                assert name in [made for made, _ in calls], label
            case {"reasoning": thought}:
                assert ("reasoning", thought) in seen.parts, label
            case {"json": keys}:
                assert list(json.loads(text)) == keys, label
            case {"words": count}:
                assert len(text.split()) == count, label
            case _:
                pass
    assert len(calls) == sum("call" in part for part in case.parts), label
    if not case.loose and not any("json" in part or "words" in part for part in case.parts):
        wanted = "".join(part.get("text") or part.get("refusal") or "" for part in case.parts)
        assert text == wanted, label
    if case.name == "output_blocked":
        assert "verboten" not in text, label
        assert text.endswith("Blocked."), label
    if case.name == "output_masked":
        assert "jane@example.org" not in text, label


def twin(whole: Seen, streamed: Seen, name: str) -> None:
    """A stream tells what its non-streamed twin tells."""
    assert joined(whole) == joined(streamed), name
    assert whole.stop == streamed.stop, name
    if streamed.output_tokens is not None:
        assert whole.output_tokens == streamed.output_tokens, name
    if streamed.input_tokens is not None:
        assert whole.input_tokens == streamed.input_tokens, name


def joined(seen: Seen) -> list[tuple[str, Any]]:
    """The parts by kind; wires differ in whether text that a guardrail cut is one part or two."""
    kinds: dict[str, Any] = {}
    for kind, text in seen.parts:
        if kind == "call":
            kinds.setdefault("call", []).append(call(text))
        else:
            kinds[kind] = kinds.get(kind, "") + text
    return sorted(kinds.items())


def call(text: str) -> tuple[str, str]:
    """A call's name and its arguments in one form; what is no JSON stays as it came."""
    name, _, arguments = text.partition(" ")
    try:
        return name, json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except ValueError:
        pass
    try:
        return name, json.dumps(ast.literal_eval(arguments), sort_keys=True)
    except (ValueError, SyntaxError):
        return name, arguments


def stops_of(stop: str, speaker: Speaker) -> set[str]:
    """How a wire may say a stop reason; some have no word of their own for it."""
    match stop:
        case "refusal":
            return {"end", "guardrail"}
        case "stop_sequence" if not speaker.can_say_stop_sequence:
            return {"end"}
        case _:
            return {stop}


def plain_request(request: Request) -> dict[str, Any]:
    """The request without what only some wires can say: whether it streams, schema names, a picture's detail."""
    messages: list[Message] = []
    for message in request.messages:
        parts = tuple(msgspec.structs.replace(p, detail=None) if isinstance(p, Image) else p for p in message.parts)
        if messages and messages[-1].role is message.role is Role.TOOL:
            parts = messages.pop().parts + parts  # OpenAI has a message for each result, the others one for all
        messages.append(Message(role=message.role, parts=parts))
    wanted = request.response_format
    if isinstance(wanted, JsonSchemaFormat):
        wanted = JsonSchemaFormat(name="", schema=wanted.schema)
    plain = msgspec.structs.replace(request, messages=tuple(messages), stream=False, response_format=wanted)
    found = msgspec.to_builtins(plain)
    for tool_call in _calls(found["messages"]):
        tool_call["arguments"] = json.dumps(json.loads(tool_call["arguments"]), sort_keys=True)
    return found


def _calls(messages: list[Any]) -> list[dict[str, Any]]:
    return [part for message in messages for part in message["parts"] if part["kind"] == "tool_call"]


def plain_events(events: list[Event]) -> list[Any]:
    """The events without ids and times, with what arrived in several deltas in one."""
    plain: list[Any] = []
    for event in events:
        match event:
            case Start():
                plain.append(["start", event.choices])
            case PartStart(part=ToolCall() as part):
                plain.append(["part", event.choice, event.index, "tool_call", part.name])
            case PartStart():
                plain.append(["part", event.choice, event.index, msgspec.to_builtins(event.part)])
            case Delta():
                if plain[-1][0] == "delta" and plain[-1][1:3] == [event.choice, event.index]:
                    plain[-1][3] += event.text
                else:
                    plain.append(["delta", event.choice, event.index, event.text])
            case PartEnd():
                plain.append(["end", event.choice, event.index, event.signature])
            case Progress():
                pass
            case Finish():
                plain.append(["finish", msgspec.to_builtins(msgspec.structs.replace(event, guardrail=None))])
                plain.append(["guardrail", _plain_trace(event)])
    return plain


def _plain_trace(finish: Finish) -> list[Any]:
    """What guardrails found, without the time they took."""
    trace = finish.guardrail
    if trace is None:
        return []
    return [
        [each.side.value, msgspec.to_builtins(each.detections), each.guarded_chars]
        for each in (*trace.input, *trace.output)
    ]
