"""Guardrails in Converse and InvokeModel as stock boto3 sees them, streamed and not, on a real database."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from bedplate_gateway.access.principal import Role
from bedplate_providers.fake import EMBEDDING_MODEL
from tests.dialects.bedrock_sdk import judge, operation
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import http, record_of
from tests.gateway.test_bedrock_invoke import BODIES, invoke, runtime, stream, text_of
from tests.gateway.test_guardrail_management import Guardrails, bearer, key_of

MESSAGES = {"blockedInputMessaging": "Not asked.", "blockedOutputsMessaging": "Not answered."}
MAIL = "ada@example.org"
SEED = "tulip"
ACTION = "amazon-bedrock-guardrailAction"
TRACE = "amazon-bedrock-trace"
CONFIG = "amazon-bedrock-guardrailConfig"
ASSESSMENT = operation("ApplyGuardrail").output_shape.members["assessments"].member


def words(text: str, **more: Any) -> dict[str, Any]:
    return {"wordPolicyConfig": {"wordsConfig": [{"text": text, **more}]}}


def mail(**more: Any) -> dict[str, Any]:
    return {"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "EMAIL", **more}]}}


ONLY_INPUT: dict[str, Any] = {"inputEnabled": True, "outputEnabled": False}
ONLY_OUTPUT: dict[str, Any] = {"inputEnabled": False, "outputEnabled": True}
POLICIES: dict[str, dict[str, Any]] = {
    "block_in": words(SEED, **ONLY_INPUT),
    "block_out": words(SEED, **ONLY_OUTPUT),
    "mask_in": mail(action="ANONYMIZE", **ONLY_INPUT),
    "mask_out": mail(action="ANONYMIZE", **ONLY_OUTPUT),
}


@pytest.fixture(scope="module")
def admin(gateway: RunningGateway) -> Guardrails:
    return bearer(gateway, gateway.admin_key)


@pytest.fixture(scope="module")
def ids(admin: Guardrails) -> dict[str, str]:
    """The ids of guardrails that each have one rule; version 1 of all of them is what the draft is."""
    return {name: admin.made(versions=1, **MESSAGES, **policy) for name, policy in POLICIES.items()}


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> Any:
    return runtime(gateway)


def config(name: str, version: str = "1", **more: Any) -> dict[str, Any]:
    return {"guardrailIdentifier": name, "guardrailVersion": version, **more}


class Said:
    """One answer of Converse, whole or put together of a stream's events."""

    def __init__(self, text: str, stop: str, usage: dict[str, Any], trace: Any, request_id: str) -> None:
        self.text = text
        self.stop = stop
        self.usage = usage
        self.trace = trace
        self.request_id = request_id


def converse(client: Any, text: str, model: str = "fake/echo", **fields: Any) -> Said:
    answer = client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": text}]}], **fields)
    request_id = answer.pop("ResponseMetadata")["RequestId"]
    judge(answer, operation("Converse").output_shape)
    content = answer["output"]["message"]["content"]
    said = "".join(block["text"] for block in content)
    return Said(said, answer["stopReason"], answer["usage"], answer.get("trace"), request_id)


def converse_stream(client: Any, text: str, model: str = "fake/echo", **fields: Any) -> Said:
    messages = [{"role": "user", "content": [{"text": text}]}]
    answer = client.converse_stream(modelId=model, messages=messages, **fields)
    members = operation("ConverseStream").output_shape.members["stream"].members
    said, stop, end = "", "", {}
    for event in answer["stream"]:
        ((kind, value),) = event.items()
        judge(value, members[kind])
        if kind == "contentBlockDelta":
            said += value["delta"]["text"]
        elif kind == "messageStop":
            stop = value["stopReason"]
        elif kind == "metadata":
            end = value
    return Said(said, stop, end["usage"], end.get("trace"), answer["ResponseMetadata"]["RequestId"])


Converse = Callable[..., Said]
WAYS = pytest.mark.parametrize("ask", [converse, converse_stream])


# Converse.


@WAYS
def test_a_question_is_blocked(gateway: RunningGateway, client: Any, ids: dict[str, str], ask: Converse) -> None:
    said = ask(client, f"a {SEED}", guardrailConfig=config(ids["block_in"], trace="enabled"))
    assert (said.text, said.stop) == ("Not asked.", "guardrail_intervened")
    assert (said.usage["inputTokens"], said.usage["outputTokens"], said.usage["totalTokens"]) == (0, 0, 0)
    guardrail = said.trace["guardrail"]
    assert set(guardrail) == {"inputAssessment", "actionReason"}
    found = guardrail["inputAssessment"][ids["block_in"]]
    assert found["wordPolicy"]["customWords"] == [{"match": SEED, "action": "BLOCKED", "detected": True}]
    assert found["appliedGuardrailDetails"]["guardrailVersion"] == "1"
    assert found["appliedGuardrailDetails"]["guardrailOrigin"] == ["REQUEST"]
    assert found["invocationMetrics"]["usage"]["wordPolicyUnits"] == 1
    record = record_of(gateway, said.request_id)
    assert (record["outcome"], record["stop_reason"]) == ("completed", "guardrail")
    assert SEED not in str(record)
    (use,) = json.loads(record["guardrails"])
    assert (use["id"], use["version"], use["side"], use["intervened"]) == (ids["block_in"], "1", "input", True)


@WAYS
def test_an_answer_is_blocked_and_its_trace_says_nothing_of_it(client: Any, ids: dict[str, str], ask: Converse) -> None:
    for trace in ("disabled", "enabled", "enabled_full"):
        said = ask(
            client, f"say: here is a {SEED}, so", "fake/script", guardrailConfig=config(ids["block_out"], trace=trace)
        )
        assert said.text.endswith("Not answered.")
        assert SEED not in said.text
        assert said.stop == "guardrail_intervened"
        assert (said.trace is None) is (trace == "disabled")
        if said.trace is not None:
            assert SEED not in json.dumps(said.trace)
            (found,) = said.trace["guardrail"]["outputAssessments"][ids["block_out"]]
            assert found["wordPolicy"]["customWords"][0]["action"] == "BLOCKED"
            assert "modelOutput" not in said.trace["guardrail"]


@WAYS
def test_an_answer_is_masked_and_keeps_its_reason(client: Any, ids: dict[str, str], ask: Converse) -> None:
    for trace in ("disabled", "enabled_full"):
        said = ask(
            client, f"say: write to {MAIL} now", "fake/script", guardrailConfig=config(ids["mask_out"], trace=trace)
        )
        assert (said.text, said.stop) == ("write to {EMAIL} now", "end_turn")
        assert said.usage["outputTokens"] > 0
        if said.trace is not None:
            assert MAIL not in json.dumps(said.trace)
            (found,) = said.trace["guardrail"]["outputAssessments"][ids["mask_out"]]
            assert found["sensitiveInformationPolicy"]["piiEntities"] == [
                {"match": "{EMAIL}", "type": "EMAIL", "action": "ANONYMIZED", "detected": True}
            ]
            assert said.trace["guardrail"]["actionReason"] == "Guardrail masked."


@WAYS
def test_a_question_is_masked_before_the_model_sees_it(client: Any, ids: dict[str, str], ask: Converse) -> None:
    said = ask(client, f"write to {MAIL} now", guardrailConfig=config(ids["mask_in"], trace="enabled"))
    assert (said.text, said.stop) == ("write to {EMAIL} now", "end_turn")
    found = said.trace["guardrail"]["inputAssessment"][ids["mask_in"]]
    assert found["sensitiveInformationPolicy"]["piiEntities"][0]["match"] == MAIL  # the caller's own


@WAYS
def test_a_trace_is_shown_where_nothing_was_found_and_only_when_asked(
    client: Any, ids: dict[str, str], ask: Converse
) -> None:
    said = ask(client, "a rose", guardrailConfig=config(ids["block_in"], trace="enabled"))
    assert (said.text, said.stop) == ("a rose", "end_turn")
    assert set(said.trace["guardrail"]) == {"inputAssessment"}
    for fields in ({}, {"guardrailConfig": config(ids["block_in"])}):
        assert ask(client, "a rose", **fields).trace is None
    none = ask(client, f"a {SEED}", guardrailConfig={"trace": "enabled"})
    assert (none.text, none.trace) == (f"a {SEED}", None)  # no guardrail holds here


@WAYS
def test_nothing_that_was_kept_back_is_in_any_byte(gateway: RunningGateway, ids: dict[str, str], ask: Converse) -> None:
    path = "converse" if ask is converse else "converse-stream"
    for name, seed in (("block_out", SEED), ("mask_out", MAIL)):
        body = {
            "messages": [{"role": "user", "content": [{"text": f"say: here: {seed}, so"}]}],
            "guardrailConfig": config(ids[name], trace="enabled_full"),
        }
        with http(gateway, gateway.key) as raw:
            reply = raw.post(f"/model/fake%2Fscript/{path}", json=body)
        assert reply.status_code == 200
        assert b"outputAssessments" in reply.content
        assert seed.encode() not in reply.content


@WAYS
def test_a_draft_changes_and_a_version_does_not(admin: Guardrails, client: Any, ask: Converse) -> None:
    name = admin.made(versions=1, **MESSAGES, **words(SEED))
    admin("UpdateGuardrail", guardrailIdentifier=name, name=f"changed-{name}", **MESSAGES, **words("rose"))
    for version, blocked in (("1", SEED), ("DRAFT", "rose")):
        for word in (SEED, "rose"):
            said = ask(client, f"a {word}", guardrailConfig=config(name, version))
            assert (said.stop == "guardrail_intervened") is (word == blocked), (version, word)


@WAYS
def test_a_guardrail_is_named_by_its_arn(client: Any, ids: dict[str, str], ask: Converse) -> None:
    arn = f"arn:aws:bedrock:eu-central-1:123456789012:guardrail/{ids['block_in']}"
    assert ask(client, f"a {SEED}", guardrailConfig=config(arn)).text == "Not asked."


def test_only_what_is_marked_is_evaluated(client: Any, ids: dict[str, str]) -> None:
    def asked(*blocks: dict[str, Any]) -> Any:
        messages = [{"role": "user", "content": list(blocks)}]
        return client.converse(
            modelId="fake/echo", messages=messages, guardrailConfig=config(ids["block_in"], trace="enabled")
        )

    def marked(text: str) -> dict[str, Any]:
        return {"guardContent": {"text": {"text": text, "qualifiers": ["guard_content"]}}}

    passed = asked({"text": f"a {SEED}"}, marked("a rose"))
    assert passed["stopReason"] == "end_turn"
    found = passed["trace"]["guardrail"]["inputAssessment"][ids["block_in"]]
    covered = found["invocationMetrics"]["guardrailCoverage"]["textCharacters"]
    assert 0 < covered["guarded"] < covered["total"]
    assert asked({"text": "a rose"}, marked(f"a {SEED}"))["stopReason"] == "guardrail_intervened"


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"guardrailIdentifier": "zzzzzzzzzzzz", "guardrailVersion": "DRAFT"}, "ResourceNotFoundException", ""),
        ({"guardrailVersion": "77"}, "ResourceNotFoundException", ""),
        ({"guardrailIdentifier": "x"}, "ValidationException", "guardrailConfig.guardrailVersion"),
        ({"guardrailVersion": "x"}, "ValidationException", "guardrailConfig.guardrailVersion"),
        ({"trace": "on"}, "ValidationException", "guardrailConfig.trace"),
    ],
)
@WAYS
def test_what_cannot_be_is_refused_and_nothing_is_generated(
    gateway: RunningGateway, client: Any, ids: dict[str, str], fields: Any, code: str, said: str, ask: Converse
) -> None:
    whole = fields if "guardrailIdentifier" in fields else config(ids["block_in"]) | fields
    with pytest.raises(getattr(client.exceptions, code)) as caught:
        ask(client, "a rose", guardrailConfig=whole)
    assert said in caught.value.response["Error"]["Message"]
    record = record_of(gateway, caught.value.response["ResponseMetadata"]["RequestId"])
    assert record["output_tokens"] is None
    assert record["outcome"] in ("invalid_request", "not_found")


def test_another_projects_guardrail_is_the_same_as_none(gateway: RunningGateway, ids: dict[str, str]) -> None:
    stranger = runtime(gateway, gateway.other_key)
    texts: list[str] = []
    for name in (ids["block_in"], "zzzzzzzzzzzz"):
        with pytest.raises(stranger.exceptions.ResourceNotFoundException) as caught:
            converse(stranger, "a rose", guardrailConfig=config(name))
        texts.append(caught.value.response["Error"]["Message"].replace(name, ""))
    assert texts[0] == texts[1]


def test_text_leaves_first_only_where_the_policy_allows_it(
    gateway: RunningGateway, client: Any, ids: dict[str, str]
) -> None:
    first = {"streamProcessingMode": "async"}
    with pytest.raises(client.exceptions.ValidationException, match="streamProcessingMode"):
        converse_stream(client, "a rose", guardrailConfig=config(ids["block_in"], **first))
    with pytest.raises(client.exceptions.ValidationException, match="streamProcessingMode"):
        stream(client, {CONFIG: {"streamProcessingMode": "ASYNCHRONOUS"}, **BODIES["llama"]}, **named(ids["block_in"]))
    held = config(ids["block_in"], streamProcessingMode="sync")
    assert converse_stream(client, "a rose", guardrailConfig=held).text == "a rose"
    allowing = {"name": "allowing", **MESSAGES, **words(SEED), "bedplateConfig": {"asyncStreaming": True}}
    with http(gateway, gateway.admin_key) as raw:
        made = raw.post("/guardrails", json=allowing)
    assert made.status_code == 202, made.text
    said = converse_stream(client, "a rose", guardrailConfig=config(made.json()["guardrailId"], "DRAFT", **first))
    assert (said.text, said.stop) == ("a rose", "end_turn")


def test_the_header_of_ours_and_the_body_do_not_both_choose(gateway: RunningGateway, ids: dict[str, str]) -> None:
    both = runtime(gateway, **{"x-bedplate-guardrail": ids["block_in"]})
    with pytest.raises(both.exceptions.ValidationException, match=r"guardrailConfig\.guardrailIdentifier"):
        converse(both, "a rose", guardrailConfig=config(ids["mask_in"]))
    said = converse(both, f"a {SEED}", guardrailConfig={"trace": "enabled"})
    assert (said.text, list(said.trace["guardrail"]["inputAssessment"])) == ("Not asked.", [ids["block_in"]])


@WAYS
def test_the_projects_guardrail_is_applied_beside_the_requests(
    gateway: RunningGateway, client: Any, ask: Converse
) -> None:
    project = f"enforcing-{ask.__name__.replace('_', '-')}"
    own = bearer(gateway, key_of(gateway, project))
    house = own.made(versions=1, **MESSAGES, **mail(action="ANONYMIZE"))
    asked = own.made(versions=1, **MESSAGES, **words(SEED))
    enforced = {"guardrailIdentifier": house, "guardrailVersion": "1"}
    own("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=enforced)
    service = runtime(gateway, key_of(gateway, project, Role.SERVICE))
    said = ask(service, f"mail {MAIL}", guardrailConfig=config(asked, trace="enabled"))
    assert said.text == "mail {EMAIL}"
    found = said.trace["guardrail"]["inputAssessment"]
    origins = {name: one["appliedGuardrailDetails"]["guardrailOrigin"] for name, one in found.items()}
    assert origins == {house: ["ACCOUNT_ENFORCED"], asked: ["REQUEST"]}
    assert ask(service, f"a {SEED}", guardrailConfig=config(asked)).text == "Not asked."
    assert ask(service, f"mail {MAIL}").text == "mail {EMAIL}"
    same = ask(service, f"mail {MAIL}", guardrailConfig=config(house, trace="enabled"))
    once = same.trace["guardrail"]["inputAssessment"][house]
    assert once["appliedGuardrailDetails"]["guardrailOrigin"] == ["ACCOUNT_ENFORCED", "REQUEST"]
    assert len(once["sensitiveInformationPolicy"]["piiEntities"]) == 1


# InvokeModel.


def body_of(family: str, text: str) -> dict[str, Any]:
    return json.loads(json.dumps(BODIES[family]).replace("one two three", text))


def named(name: str, **more: str) -> dict[str, str]:
    return {"guardrailIdentifier": name, "guardrailVersion": "1", **more}


def ends(family: str, call: Any, client: Any, body: Any, model: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """The text of an answer, and the document that has what Bedrock says of it: all of it, or the last chunk."""
    documents, _ = call(client, body, model, **fields)
    documents = documents if isinstance(documents, list) else [documents]
    assert not any(member in document for document in documents[:-1] for member in (ACTION, TRACE))
    return text_of(family, *documents), documents[-1]


CALLS = pytest.mark.parametrize("call", [invoke, stream])
FAMILIES = pytest.mark.parametrize("family", sorted(BODIES))


@CALLS
@FAMILIES
def test_every_family_is_blocked_and_says_so(client: Any, ids: dict[str, str], family: str, call: Any) -> None:
    body = body_of(family, f"a {SEED}")
    fields = named(ids["block_in"], trace="ENABLED")
    text, last = ends(family, call, client, body, "fake/echo", **fields)
    assert (text, last[ACTION]) == ("Not asked.", "INTERVENED")
    guardrail = last[TRACE]["guardrail"]
    assert guardrail["actionReason"] == "Guardrail blocked."
    found = guardrail["input"][ids["block_in"]]
    judge(found, ASSESSMENT)
    assert found["wordPolicy"]["customWords"][0]["match"] == SEED
    text, last = ends(family, call, client, body, "fake/echo", **named(ids["block_in"]))
    assert (last[ACTION], TRACE in last) == ("INTERVENED", False)


@CALLS
@FAMILIES
def test_every_family_is_masked_and_its_trace_says_nothing_of_it(
    client: Any, ids: dict[str, str], family: str, call: Any
) -> None:
    body = body_of(family, f"say: to {MAIL} now")
    text, last = ends(family, call, client, body, "fake/script", **named(ids["mask_out"], trace="ENABLED_FULL"))
    assert text == "to {EMAIL} now"
    assert last[ACTION] == "INTERVENED"
    assert MAIL not in json.dumps(last)
    (found,) = last[TRACE]["guardrail"]["outputs"]
    assert found[ids["mask_out"]]["sensitiveInformationPolicy"]["piiEntities"][0]["match"] == "{EMAIL}"


@CALLS
@FAMILIES
def test_every_family_says_that_nothing_was_done_only_when_one_was_named(
    client: Any, ids: dict[str, str], family: str, call: Any
) -> None:
    body = body_of(family, "a rose")
    text, last = ends(family, call, client, body, "fake/echo", **named(ids["block_in"]))
    assert (text, last[ACTION], TRACE in last) == ("a rose", "NONE", False)
    _, last = ends(family, call, client, body, "fake/echo", trace="ENABLED")
    assert not {ACTION, TRACE} & set(last)  # no guardrail holds here


@CALLS
@FAMILIES
def test_input_tags_mark_what_is_evaluated_and_no_model_sees_them(
    client: Any, ids: dict[str, str], family: str, call: Any
) -> None:
    def tagged(before: str, inside: str) -> dict[str, Any]:
        tag = "amazon-bedrock-guardrails-guardContent_xyz"
        return {CONFIG: {"tagSuffix": "xyz"}, **body_of(family, f"{before} <{tag}>{inside}</{tag}>")}

    text, _ = ends(family, call, client, tagged("one", SEED), "fake/echo", **named(ids["block_in"]))
    assert text == "Not asked."
    text, last = ends(family, call, client, tagged(SEED, "one"), "fake/echo", **named(ids["block_in"]))
    if family in ("llama", "mistral"):  # a raw prompt is evaluated whole
        assert text == "Not asked."
    else:
        assert last[ACTION] == "NONE"
        assert "amazon-bedrock" not in text
    unclosed = {CONFIG: {"tagSuffix": "xyz"}, **body_of(family, "<amazon-bedrock-guardrails-guardContent_xyz>one")}
    with pytest.raises(client.exceptions.ValidationException):
        call(client, unclosed, **named(ids["block_in"]))


@CALLS
def test_what_invoke_model_cannot_say_is_refused_and_nothing_is_generated(
    gateway: RunningGateway, client: Any, ids: dict[str, str], call: Any
) -> None:
    tag = {CONFIG: {"tagSuffix": "xyz"}}
    cases: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({}, {"guardrailIdentifier": ids["block_in"]}, "x-amzn-bedrock-guardrailversion"),
        ({}, {"guardrailVersion": "1"}, "x-amzn-bedrock-guardrailidentifier"),
        ({}, {"trace": "on"}, "x-amzn-bedrock-trace"),
        (tag, {}, CONFIG),
        (tag, {"trace": "ENABLED"}, CONFIG),
        ({CONFIG: {"tagSuffix": "a b"}}, named(ids["block_in"]), f"{CONFIG}.tagSuffix"),
        ({CONFIG: {"colour": "x"}}, named(ids["block_in"]), f"{CONFIG}.colour"),
        ({TRACE: "ENABLED"}, named(ids["block_in"]), TRACE),
    ]
    for more, fields, said in cases:
        with pytest.raises(client.exceptions.ValidationException) as caught:
            call(client, {**more, **BODIES["openai"]}, **fields)
        assert caught.value.response["Error"]["Message"].startswith(f"{said}: "), (more, fields)
        record = record_of(gateway, caught.value.response["ResponseMetadata"]["RequestId"])
        assert record["output_tokens"] is None
        assert record["outcome"] in ("invalid_request", "unsupported_feature")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        call(client, BODIES["llama"], **named("zzzzzzzzzzzz"))
    own = runtime(gateway, **{"x-bedplate-guardrail": f"{ids['block_in']}:1"})
    text, _ = ends("openai", call, own, {**tag, **body_of("openai", f"a {SEED}")}, "fake/echo")
    assert text == "Not asked."


def test_an_embedding_is_guarded_and_has_no_trace(client: Any, ids: dict[str, str]) -> None:
    body = {"inputText": f"a {SEED}"}
    with pytest.raises(client.exceptions.ValidationException, match="blocked by the guardrail"):
        invoke(client, body, EMBEDDING_MODEL, **named(ids["block_in"]))
    with pytest.raises(client.exceptions.ValidationException, match="x-amzn-bedrock-trace"):
        invoke(client, {"inputText": "a rose"}, EMBEDDING_MODEL, **named(ids["block_in"], trace="ENABLED"))
    answer, _ = invoke(client, {"inputText": "a rose"}, EMBEDDING_MODEL, **named(ids["block_in"]))
    assert answer["embedding"]


def test_nothing_that_was_kept_back_is_in_any_byte_of_a_chunk(gateway: RunningGateway, ids: dict[str, str]) -> None:
    headers = {
        "x-amzn-bedrock-guardrailidentifier": ids["block_out"],
        "x-amzn-bedrock-guardrailversion": "1",
        "x-amzn-bedrock-trace": "ENABLED_FULL",
    }
    for family in sorted(BODIES):
        body = body_of(family, f"say: here is a {SEED}, so")
        with http(gateway, gateway.key, **headers) as raw:
            reply = raw.post("/model/fake%2Fscript/invoke-with-response-stream", json=body)
        pieces = [piece.split(b'"', 1)[0] for piece in reply.content.split(b'{"bytes":"')[1:]]
        chunks = b"".join(base64.b64decode(piece) for piece in pieces)
        assert b'"outputs":[' in chunks
        assert SEED.encode() not in chunks + reply.content
