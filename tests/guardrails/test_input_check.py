"""A checked request: no place in it lets a match through to the model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import GuardrailUnavailable, UnsupportedFeature
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.messages import (
    Audio,
    Document,
    GuardContent,
    GuardQualifier,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import JsonSchemaFormat, NamedTool, Request, TokenPrompt, Tool
from bedplate_guardrails.detectors.email_address import EmailAddress
from bedplate_guardrails.policy import GuardrailFailed, InputCheck
from tests.guardrails.guarded import PII, checked, make_policy

POLICY = make_policy(words=["tulip"], pii=dict.fromkeys(PII, "ANONYMIZE"), regexes={"badge": (r"B-\d{4}", "BLOCK")})
URL = MediaUrl(url="https://x/y")


def said(*parts: Part, role: Role = Role.USER) -> Request:
    return Request(model="m", messages=(Message(role=role, parts=parts),))


def document(data: bytes, media_type: str = "text/plain", **fields: str) -> Document:
    return Document(media=MediaBytes(data=data, media_type=media_type), **fields)


def tool(name: str = "f", description: str | None = None, parameters: JSONObject | None = None) -> Request:
    return Request(model="m", tools=(Tool(name=name, description=description, parameters=parameters),))


PLACES: dict[str, Callable[[str], Request]] = {
    **{f"{role} text": lambda text, role=role: said(Text(text=text), role=role) for role in Role},
    "second message": lambda text: Request(
        model="m", messages=(Message(role=Role.USER, parts=(Text(text="x"),)), *said(Text(text=text)).messages)
    ),
    "participant": lambda text: Request(
        model="m", messages=(Message(role=Role.USER, parts=(Text(text="x"),), name=text),)
    ),
    "guard content": lambda text: said(
        GuardContent(content=Text(text=text), qualifiers=(GuardQualifier.QUERY,)), Text(text="x")
    ),
    "beside guard content": lambda text: said(GuardContent(content=Text(text="x")), Text(text=text)),
    "reasoning": lambda text: said(Reasoning(text=text), role=Role.ASSISTANT),
    "refusal": lambda text: said(Refusal(text=text), role=Role.ASSISTANT),
    "tool arguments": lambda text: said(
        ToolCall(id="t", name="f", arguments=json.dumps({"a": [text]})), role=Role.ASSISTANT
    ),
    "broken tool arguments": lambda text: said(
        ToolCall(id="t", name="f", arguments='{"a": "' + text), role=Role.ASSISTANT
    ),
    "tool result": lambda text: said(ToolResult(call_id="t", parts=(Text(text=text), Text(text="x"))), role=Role.TOOL),
    "tool result as JSON": lambda text: said(
        ToolResult(call_id="t", parts=(Text(text=json.dumps({"a": text})),)), role=Role.TOOL
    ),
    "document in a tool result": lambda text: said(
        ToolResult(call_id="t", parts=(document(text.encode()),)), role=Role.TOOL
    ),
    "document": lambda text: said(document(text.encode())),
    "document in another charset": lambda text: said(document(text.encode("utf-16"), "text/csv; charset=UTF-16")),
    "JSON document": lambda text: said(document(json.dumps([text]).encode(), "application/json")),
    "document name": lambda text: said(document(b"%PDF", "application/pdf", name=text)),
    "document context": lambda text: said(document(b"%PDF", "application/pdf", context=text)),
    "transcript": lambda text: said(Audio(media=URL, transcript=text)),
    "raw prompt": lambda text: Request(model="m", prompts=("x", text)),
    "suffix": lambda text: Request(model="m", prompts=("x",), suffix=text),
    "tool description": lambda text: tool(description=text),
    "parameter description": lambda text: tool(parameters={"properties": {"a": {"description": text}}}),
    "schema description": lambda text: Request(
        model="m", response_format=JsonSchemaFormat(name="s", schema={}, description=text)
    ),
    "schema": lambda text: Request(model="m", response_format=JsonSchemaFormat(name="s", schema={"title": text})),
    "passed-on field": lambda text: Request(model="m", extensions={"documents": [{"text": text}]}),
}
NAMES: dict[str, Callable[[str], Request]] = {
    "tool name": lambda text: tool(name=text),
    "chosen tool": lambda text: Request(model="m", tool_choice=NamedTool(text)),
    "called tool": lambda text: said(ToolCall(id="t", name=text, arguments="{}"), role=Role.ASSISTANT),
    "parameter": lambda text: tool(parameters={"properties": {text: {}}}),
    "schema name": lambda text: Request(model="m", response_format=JsonSchemaFormat(name=text, schema={})),
}


def actions(check: InputCheck) -> dict[str, tuple[str, int]]:
    return {verdict.rule: (verdict.action.value, verdict.count) for verdict in check.verdicts}


def everything(request: Request) -> str:
    """All that is in a request, documents decoded."""
    texts = [msgspec.json.encode(request).decode()]
    for message in request.messages:
        for part in message.parts:
            for inner in part.parts if isinstance(part, ToolResult) else (part,):
                if isinstance(inner, Document) and isinstance(inner.media, MediaBytes):
                    texts += [inner.media.data.decode("utf-8", "ignore"), inner.media.data.decode("utf-16", "ignore")]
    return "\n".join(texts)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_masked(place: str) -> None:
    check = checked(POLICY, PLACES[place]("to a@b.co now"))
    assert check.blocked_message is None
    assert "a@b.co" not in everything(check.request)
    assert "to {EMAIL} now" in everything(check.request)
    assert actions(check)["EMAIL"] == ("mask", 1)
    assert "*" not in actions(check)


@pytest.mark.parametrize("place", PLACES | NAMES)
@pytest.mark.parametrize(("match", "rule"), [("tulip", "word"), ("tu\u200blip", "word"), ("B-1234", "regex:badge")])
def test_every_place_is_blocked(place: str, match: str, rule: str) -> None:
    check = checked(POLICY, (PLACES | NAMES)[place](match))
    assert check.blocked_message == "input refused"
    assert actions(check)[rule] == ("block", 1)


@pytest.mark.parametrize("place", NAMES)
def test_a_name_cannot_be_masked_and_so_blocks(place: str) -> None:
    check = checked(POLICY, NAMES[place]("f_a@b.co"))
    assert check.blocked_message == "input refused"
    assert actions(check)["EMAIL"] == ("block", 1)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_fine_is_not_touched(place: str) -> None:
    request = PLACES[place]("nothing here")
    check = checked(POLICY, request)
    assert check.request == request
    assert check.blocked_message is None
    assert actions(check)["*"] == ("allow", 0)


@pytest.mark.parametrize(
    "parts",
    [
        (Text(text="a tu"), Text(text="lip")),
        (Text(text="a tu"), GuardContent(content=Text(text="lip"))),
        (Text(text="a tu"), Image(media=URL), Text(text="lip")),
        (Text(text="x"), Text(text="tulip"), Text(text="x")),
        (Reasoning(text="tu"), Reasoning(text="lip")),
        (ToolResult(call_id="t", parts=(Text(text="tu"), Text(text="lip"))),),
    ],
)
def test_a_match_over_the_edge_of_parts_blocks(parts: tuple[Part, ...]) -> None:
    assert checked(POLICY, said(*parts)).blocked_message == "input refused"


def test_a_mask_over_the_edge_of_parts_stands_where_the_match_began() -> None:
    check = checked(POLICY, said(Text(text="my 4111 1111 "), Text(text="1111 11"), Text(text="11, ok")))
    assert check.request.messages[0].parts == (
        Text(text="my {CREDIT_DEBIT_CARD_NUMBER}"),
        Text(text=""),
        Text(text=", ok"),
    )


def test_masked_arguments_stay_json() -> None:
    arguments = '{"to": "a\\u0040b.co", "card": 4111111111111111, "ok": [1, 2.5, null, "\\n"]}'
    check = checked(POLICY, said(ToolCall(id="t", name="f", arguments=arguments), role=Role.ASSISTANT))
    call = check.request.messages[0].parts[0]
    assert isinstance(call, ToolCall)
    expected = '{"to": "{EMAIL}", "card": "{CREDIT_DEBIT_CARD_NUMBER}", "ok": [1, 2.5, null, "\\n"]}'
    assert call.arguments == expected


def test_a_mask_in_a_mask_name_stays_json() -> None:
    policy = make_policy(regexes={'odd "name\\': ("zz+", "ANONYMIZE")})
    call = ToolCall(id="t", name="f", arguments='{"a": "zzz"}')
    masked = checked(policy, said(call, role=Role.ASSISTANT)).request.messages[0].parts[0]
    assert isinstance(masked, ToolCall)
    assert json.loads(masked.arguments) == {"a": '{odd "name\\}'}


def test_masked_reasoning_loses_its_signature() -> None:
    signature = Signature(origin="p", value="s")
    parts = (Reasoning(text="fine. ", signature=signature), Reasoning(text="a@b.co", signature=signature))
    check = checked(POLICY, said(*parts, role=Role.ASSISTANT))
    assert check.request.messages[0].parts == (parts[0], Reasoning(text="{EMAIL}"))


def test_media_pass_and_are_not_claimed_as_scanned() -> None:
    parts = (
        Image(media=URL),
        Video(media=URL),
        Audio(media=URL),
        document(b"%PDF tulip", "application/pdf"),
        Document(media=URL),
        RedactedReasoning(data=b"x", origin="p"),
        GuardContent(content=Image(media=URL)),
    )
    request = said(*parts)
    check = checked(POLICY, request)
    assert check.request == request
    assert actions(check) == {"*": ("allow", 0), "media": ("skipped", 7)}


@pytest.mark.parametrize(
    "part", [document(b"\xff\xfe\x00", "text/plain"), document(b"x", "text/plain; charset=klingon")]
)
def test_a_text_document_that_cannot_be_read_is_refused(part: Document) -> None:
    with pytest.raises(UnsupportedFeature, match="UTF-8"):
        checked(POLICY, said(part))


def test_token_prompts_are_refused_when_a_rule_runs_on_requests() -> None:
    request = Request(model="m", prompts=("x", TokenPrompt((1, 2))))
    with pytest.raises(UnsupportedFeature, match="token ids") as refused:
        checked(POLICY, request)
    assert refused.value.param == "prompt"
    passive = make_policy(words=["tulip"], inputEnabled=False)
    assert checked(passive, request).request is request


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(model="m", top_logprobs=0), "top_logprobs"),
        (Request(model="m", top_logprobs=5), "top_logprobs"),
        (Request(model="m", extensions={"return_token_ids": True}), "return_token_ids"),
        (Request(model="m", extensions={"prompt_logprobs": 0}), "prompt_logprobs"),
    ],
)
def test_tokens_beside_the_text_are_refused_when_a_rule_runs_on_answers(request_: Request, field: str) -> None:
    for policy in (POLICY, make_policy(words=["tulip"], inputEnabled=False)):
        with pytest.raises(UnsupportedFeature, match=field) as refused:
            checked(policy, request_)
        assert refused.value.param == field
    checked(make_policy(words=["tulip"], outputEnabled=False), request_)


def test_without_rules_for_requests_the_request_passes_as_it_is() -> None:
    request = said(Text(text="tulip"))
    check = checked(make_policy(words=["tulip"], inputEnabled=False), request)
    assert check.request is request
    assert check.verdicts == ()


def test_the_sides_have_their_own_actions() -> None:
    policy = make_policy(pii={"EMAIL": "ANONYMIZE"}, inputAction="BLOCK", outputAction="NONE")
    assert checked(policy, said(Text(text="a@b.co"))).blocked_message == "input refused"


def test_a_rule_that_only_watches_changes_nothing_and_is_reported() -> None:
    check = checked(make_policy(pii={"EMAIL": "NONE"}), said(Text(text="a@b.co and a@b.co")))
    assert check.request == said(Text(text="a@b.co and a@b.co"))
    assert actions(check) == {"EMAIL": ("detect", 2)}


def test_a_failing_detector_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(pii={"EMAIL": "ANONYMIZE"})

    def broken(*_: object) -> None:
        raise RuntimeError("a bug with a@b.co in its message")

    monkeypatch.setattr(EmailAddress, "decide", broken)
    with pytest.raises(GuardrailUnavailable) as failed:
        checked(policy, said(Text(text="a@b.co")))
    assert isinstance(failed.value, GuardrailFailed)
    assert "a@b.co" not in str(failed.value)
    assert [(verdict.rule, verdict.action.value) for verdict in failed.value.verdicts] == [("EMAIL", "failed_closed")]


def test_one_policy_serves_many_threads() -> None:
    texts = {f"n{number}é@b.co ok ": "{EMAIL} ok " for number in range(8)}
    wrong: list[object] = []

    def work(text: str, masked: str) -> None:
        for _ in range(150):
            parts = checked(POLICY, said(Text(text=text * 3))).request.messages[0].parts
            if parts != (Text(text=masked * 3),):
                wrong.append(parts)

    threads = [threading.Thread(target=work, args=item) for item in texts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_long_request_costs_its_length() -> None:
    """Every tenth of the text may begin a match; eight times the text takes about eight times as long."""
    seed = "11 22 33 44 4111 1111 a.b.c.d tuli tuli B-12 " * 600

    def seconds(times: int) -> float:
        request = said(Text(text=seed * times))
        start = time.process_time()
        assert checked(POLICY, request).blocked_message is None
        return time.process_time() - start

    seconds(1)
    assert min(seconds(8) for _ in range(2)) < 30 * min(seconds(1) for _ in range(3))


@settings(max_examples=100, deadline=None)
@given(value=st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6),
              st.sampled_from(["a@b.co", "x\\u0040", '{"a": "a@b.co"}', "4111111111111111"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
))  # fmt: skip
def test_json_arguments_stay_json_of_the_same_shape(value: object) -> None:
    for ascii_only in (True, False):
        call = ToolCall(id="t", name="f", arguments=json.dumps(value, ensure_ascii=ascii_only))
        check = checked(POLICY, said(call, role=Role.ASSISTANT))
        masked = check.request.messages[0].parts[0]
        assert isinstance(masked, ToolCall)
        decoded = json.loads(masked.arguments)
        assert "a@b.co" not in json.dumps(decoded, ensure_ascii=False)
        if check.verdicts[0].rule == "*":
            assert masked == call
