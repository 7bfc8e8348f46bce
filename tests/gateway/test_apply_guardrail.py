"""ApplyGuardrail as stock boto3 sees it, on a real database: what it decides, says, records and refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import count_records, http
from tests.gateway.test_bedrock_guardrails import MAIL, MESSAGES, SEED, mail, words
from tests.gateway.test_bedrock_invoke import runtime
from tests.gateway.test_bedrock_sessions import Caller
from tests.gateway.test_guardrail_management import Guardrails, bearer, key_of

RULES: dict[str, Any] = {
    "wordPolicyConfig": {"wordsConfig": [{"text": SEED}, {"text": "rose", "inputAction": "NONE"}]},
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}],
        "regexesConfig": [{"name": "ticket", "pattern": "T-[0-9]{4}", "action": "ANONYMIZE", "inputEnabled": False}],
    },
}


@pytest.fixture(scope="module")
def admin(gateway: RunningGateway) -> Guardrails:
    return bearer(gateway, gateway.admin_key)


@pytest.fixture(scope="module")
def guardrail(admin: Guardrails) -> str:
    """The id of a guardrail with one version."""
    return admin.made(versions=1, **MESSAGES, **RULES)


@pytest.fixture(scope="module")
def call(gateway: RunningGateway) -> Caller:
    """A service key's client."""
    return Caller(runtime(gateway))


def texts(*given: str) -> list[dict[str, Any]]:
    return [{"text": {"text": text}} for text in given]


def apply(call: Caller, guardrail: str, *given: str, source: str = "INPUT", **more: Any) -> dict[str, Any]:
    version = more.pop("guardrailVersion", "1")
    content = more.pop("content", texts(*given))
    return call(
        "ApplyGuardrail",
        guardrailIdentifier=guardrail,
        guardrailVersion=version,
        source=source,
        content=content,
        **more,
    )


@pytest.mark.parametrize("source", ["INPUT", "OUTPUT"])
def test_nothing_is_found(call: Caller, guardrail: str, source: str) -> None:
    said = apply(call, guardrail, "a lily", "and more", source=source)
    assert (said["action"], said["actionReason"], said["outputs"]) == ("NONE", "No action.", [])
    (found,) = said["assessments"]
    assert set(found) == {"invocationMetrics", "appliedGuardrailDetails"}
    assert said["guardrailCoverage"]["textCharacters"] == {"guarded": 14, "total": 14}
    assert found["appliedGuardrailDetails"]["guardrailId"] == guardrail
    assert found["appliedGuardrailDetails"]["guardrailOrigin"] == ["REQUEST"]


@pytest.mark.parametrize(("source", "message"), [("INPUT", "Not asked."), ("OUTPUT", "Not answered.")])
def test_a_block_stands_for_all_of_the_content(call: Caller, guardrail: str, source: str, message: str) -> None:
    said = apply(call, guardrail, "harmless", f"a {SEED}, and {MAIL}", source=source)
    assert (said["action"], said["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail blocked.")
    assert said["outputs"] == [{"text": message}]
    blocked = said["assessments"][0]["wordPolicy"]["customWords"]
    assert blocked == [{"match": SEED, "action": "BLOCKED", "detected": True}]


@pytest.mark.parametrize("source", ["INPUT", "OUTPUT"])
def test_masks_keep_the_order_of_the_texts(call: Caller, guardrail: str, source: str) -> None:
    said = apply(call, guardrail, f"one {MAIL}. ", "two. ", f"{MAIL} T-1234 three", source=source)
    ticket = "{ticket}" if source == "OUTPUT" else "T-1234"
    assert said["outputs"] == [{"text": "one {EMAIL}. "}, {"text": "two. "}, {"text": f"{{EMAIL}} {ticket} three"}]
    assert (said["action"], said["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail masked.")
    policy = said["assessments"][0]["sensitiveInformationPolicy"]
    assert [found["match"] for found in policy["piiEntities"]] == [MAIL, MAIL]  # the content is the caller's own
    wanted = [{"name": "ticket", "match": "T-1234", "regex": "T-[0-9]{4}", "action": "ANONYMIZED", "detected": True}]
    assert policy["regexes"] == (wanted if source == "OUTPUT" else [])


def test_what_is_only_reported_is_no_intervention(call: Caller, guardrail: str) -> None:
    said = apply(call, guardrail, "a rose")
    assert (said["action"], said["outputs"]) == ("NONE", [])
    assert said["assessments"][0]["wordPolicy"]["customWords"] == [
        {"match": "rose", "action": "NONE", "detected": True}
    ]


@pytest.mark.parametrize("scope", ["INTERVENTIONS", "FULL"])
def test_words_and_patterns_that_found_nothing_are_in_neither_scope(call: Caller, guardrail: str, scope: str) -> None:
    (found,) = apply(call, guardrail, "a lily", outputScope=scope)["assessments"]
    assert not {"wordPolicy", "contentPolicy"} & set(found)
    assert "regexes" not in str(found)


def test_sources_and_queries_are_not_guarded_themselves(call: Caller, guardrail: str) -> None:
    content = [
        {"text": {"text": f"a {SEED}", "qualifiers": ["grounding_source"]}},
        {"text": {"text": f"about {MAIL}?", "qualifiers": ["query"]}},
        {"text": {"text": "a lily", "qualifiers": ["guard_content"]}},
    ]
    said = apply(call, guardrail, source="OUTPUT", content=content)
    assert (said["action"], said["outputs"]) == ("NONE", [])
    covered = said["guardrailCoverage"]["textCharacters"]
    assert covered["guarded"] == 6
    assert covered["total"] > 6
    content[2]["text"]["text"] = f"a {SEED}"
    assert apply(call, guardrail, source="OUTPUT", content=content)["outputs"] == [{"text": "Not answered."}]


def test_units_are_begun_thousands_of_characters(call: Caller, guardrail: str) -> None:
    usage = apply(call, guardrail, "a" * 700, "b" * 301)["usage"]
    assert usage["wordPolicyUnits"] == usage["sensitiveInformationPolicyUnits"] == 2
    assert (usage["topicPolicyUnits"], usage["contentPolicyUnits"], usage["contextualGroundingPolicyUnits"]) == (
        0,
        0,
        0,
    )


def test_versions_and_arns(admin: Guardrails, call: Caller) -> None:
    name = admin.made(versions=1, **MESSAGES, **words(SEED))
    admin("UpdateGuardrail", guardrailIdentifier=name, name=f"changed-{name}", **MESSAGES, **mail(action="BLOCK"))
    arn = f"arn:aws:bedrock:us-east-1:123456789012:guardrail/{name}"
    for identifier in (name, arn):
        assert apply(call, identifier, f"a {SEED}")["action"] == "GUARDRAIL_INTERVENED"
        assert apply(call, identifier, f"a {SEED}", guardrailVersion="DRAFT")["action"] == "NONE"
        details = apply(call, identifier, MAIL, guardrailVersion="DRAFT")["assessments"][0]["appliedGuardrailDetails"]
        assert (details["guardrailId"], details["guardrailVersion"]) == (name, "DRAFT")


def test_a_call_is_on_record_without_its_content(gateway: RunningGateway, call: Caller, guardrail: str) -> None:
    client = call.client
    answer = client.apply_guardrail(
        guardrailIdentifier=guardrail, guardrailVersion="1", source="INPUT", content=texts(f"a {SEED} for {MAIL}")
    )
    request_id = answer["ResponseMetadata"]["RequestId"]
    (record,) = gateway.query("select * from invocation where id = $1", request_id)
    assert (record["dialect"], record["operation"]) == ("bedrock", "apply_guardrail")
    assert (record["outcome"], record["stop_reason"], record["model"]) == ("completed", "guardrail", None)
    assert SEED not in str(record)
    assert MAIL not in str(record)
    (use,) = json.loads(record["guardrails"])
    assert (use["id"], use["version"], use["side"], use["intervened"]) == (guardrail, "1", "input", True)
    assert use["units"]["word"] == 1
    verdicts = {(each["rule"], each["action"]) for each in json.loads(record["verdicts"])}
    assert ("word", "block") in verdicts


def test_a_guardrail_that_is_not_there(gateway: RunningGateway, call: Caller, guardrail: str) -> None:
    stranger = Caller(runtime(gateway, gateway.other_key))
    said = {
        caller.fails(
            "ApplyGuardrail",
            "ResourceNotFoundException",
            guardrailIdentifier=name,
            guardrailVersion="1",
            source="INPUT",
            content=texts("x"),
        ).replace(name, "")
        for caller, name in ((call, "zzzzzzzzzzzz"), (stranger, guardrail))
    }
    assert len(said) == 1
    call.fails(
        "ApplyGuardrail",
        "ResourceNotFoundException",
        guardrailIdentifier=guardrail,
        guardrailVersion="77",
        source="INPUT",
        content=texts("x"),
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "BOTH"}, "source"),
        ({"content": []}, "content"),
        ({"content": [{"image": {"format": "png", "source": {"bytes": b"x"}}}]}, "content[0].image"),
        ({"content": [{"text": {"text": "x", "qualifiers": ["what"]}}]}, "content[0].text.qualifiers[0]"),
        ({"outputScope": "ALL"}, "outputScope"),
        ({"guardrailVersion": "one"}, "guardrailVersion"),
        ({"guardrailIdentifier": "A-B"}, "guardrailIdentifier"),
    ],
)
def test_what_is_wrong_is_a_validation_exception_that_names_it(
    call: Caller, guardrail: str, fields: dict[str, Any], said: str
) -> None:
    good = {"guardrailIdentifier": guardrail, "guardrailVersion": "1", "source": "INPUT", "content": texts("x")}
    message = call.fails("ApplyGuardrail", "ValidationException", **(good | fields))
    assert message.startswith(f"{said}: ")


def test_what_boto3_cannot_send_is_refused_and_recorded(gateway: RunningGateway, guardrail: str) -> None:
    path = f"/guardrail/{guardrail}/version/1/apply"
    before = count_records(gateway)
    bodies = [b"", b"{", b"[]", b'{"source": "INPUT", "content": [], "colour": 1}']
    with http(gateway, gateway.key) as client:
        for body in bodies:
            reply = client.post(path, content=body, headers={"content-type": "application/json"})
            assert (reply.status_code, reply.headers["x-amzn-errortype"]) == (400, "ValidationException")
        assert client.get(path).status_code == 405
        session = client.post(path, json={}, headers={"x-bedplate-session": "auto"})
        assert session.status_code == 400
    with http(gateway) as client:
        assert client.post(path, json={}).status_code in (401, 403)
    assert count_records(gateway) >= before + len(bodies)


def test_the_enforced_guardrail_of_the_project_does_not_judge_content_by_itself(gateway: RunningGateway) -> None:
    """The operation asks one guardrail a question; there is no call that a mandatory one could protect."""
    own = bearer(gateway, key_of(gateway, "apply-enforced"))
    house = own.made(versions=1, **MESSAGES, **words(SEED))
    asked = own.made(**MESSAGES, **mail(action="BLOCK"))
    enforced = {"guardrailIdentifier": house, "guardrailVersion": "1"}
    own("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=enforced)
    said = apply(
        Caller(runtime(gateway, key_of(gateway, "apply-enforced"))), asked, f"a {SEED}", guardrailVersion="DRAFT"
    )
    assert (said["action"], len(said["assessments"])) == ("NONE", 1)
