"""Bedrock's session operations as stock boto3 sees them: signed and with a bearer key, on a real database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import botocore
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bedplate_gateway.access.principal import Role
from tests.dialects.bedrock_sdk import judge
from tests.fixtures.gateway import RunningGateway
from tests.gateway.bedrock_session_refusals import (
    KMS,
    NOW,
    UNKNOWN,
    arn_of,
    bad_names,
    bad_steps,
    bad_values,
    unknown_things,
)
from tests.gateway.support import eventually, http

TEXT: Any = {"contentBlocks": [{"text": "hello"}]}
TABLES = ("session", "session_invocation", "session_step", "session_key", "session_branch", "invocation")


class Caller:
    """A client of boto3 whose every answer is checked against its own model, required members included."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        method = botocore.xform_name(operation)
        answer = getattr(self.client, method)(**parameters)
        meta = answer.pop("ResponseMetadata")
        model = self.client.meta.service_model.operation_model(operation)
        assert meta["HTTPStatusCode"] == model.http["responseCode"]
        assert meta["RequestId"]
        if model.output_shape is not None:
            judge(answer, model.output_shape)
        return dict(answer)

    def fails(self, operation: str, code: str, **parameters: Any) -> str:
        """The message of the modelled exception that the call ends in."""
        with pytest.raises(getattr(self.client.exceptions, code)) as caught:
            self(operation, **parameters)
        declared = [shape.name for shape in self.client.meta.service_model.operation_model(operation).error_shapes]
        assert code in declared, f"{operation} declares no {code}"
        return str(caught.value.response["message"])

    def session(self, **parameters: Any) -> str:
        """A new session's id."""
        return str(self("CreateSession", **parameters)["sessionId"])

    def invocation(self, session: str, name: str | None = None) -> str:
        """A new invocation's id."""
        more = {} if name is None else {"invocationId": name}
        return str(self("CreateInvocation", sessionIdentifier=session, **more)["invocationId"])

    def put(self, session: str, invocation: str, payload: Any = None, **more: Any) -> str:
        """A new step's id."""
        answer = self(
            "PutInvocationStep",
            sessionIdentifier=session,
            invocationIdentifier=invocation,
            invocationStepTime=NOW,
            payload=payload or TEXT,
            **more,
        )
        return str(answer["invocationStepId"])


def client_of(gateway: RunningGateway, **more: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, **more.pop("config", {}))
    return boto3.client(
        "bedrock-agent-runtime", endpoint_url=gateway.base_url, region_name="eu-central-1", config=config, **more
    )


def bearer(gateway: RunningGateway, key: str, **config: Any) -> Caller:
    client = client_of(gateway, config={"signature_version": botocore.UNSIGNED, **config})

    def authorize(request: Any, **_: Any) -> None:
        request.headers["authorization"] = f"Bearer {key}"

    client.meta.events.register("before-send.bedrock-agent-runtime", authorize)
    return Caller(client)


@pytest.fixture(scope="module")
def signed(gateway: RunningGateway) -> Caller:
    pair = gateway.create_access_key("default")
    assert pair.access_key_id is not None
    assert pair.secret is not None
    return Caller(client_of(gateway, aws_access_key_id=pair.access_key_id, aws_secret_access_key=pair.secret.reveal()))


@pytest.fixture(scope="module")
def call(gateway: RunningGateway) -> Caller:
    """A caller with a bearer key, whose parameters boto3 does not check first."""
    return bearer(gateway, gateway.key, parameter_validation=False)


@pytest.fixture(scope="module")
def raw(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with http(gateway, gateway.key) as client:
        yield client


def counts(gateway: RunningGateway) -> dict[str, int]:
    return {table: int(gateway.query(f"select count(*) as n from {table}")[0]["n"]) for table in TABLES}


@pytest.mark.parametrize("way", ["signed", "bearer"])
def test_every_operation(gateway: RunningGateway, signed: Caller, way: str) -> None:
    call = signed if way == "signed" else bearer(gateway, gateway.key)
    made = call("CreateSession", sessionMetadata={"case": "7", "é": ""}, tags={"team": "x/y"}, encryptionKeyArn=KMS)
    session, arn = made["sessionId"], made["sessionArn"]
    assert made["sessionStatus"] == "ACTIVE"
    assert arn == arn_of(session)
    got = call("GetSession", sessionIdentifier=arn)
    assert got["sessionMetadata"] == {"case": "7", "é": ""}
    assert (got["encryptionKeyArn"], got["createdAt"]) == (KMS, made["createdAt"])
    assert call("UpdateSession", sessionIdentifier=session, sessionMetadata={"b": "2"})["sessionId"] == session
    assert call("UpdateSession", sessionIdentifier=arn)["lastUpdatedAt"] >= got["lastUpdatedAt"]
    assert call("GetSession", sessionIdentifier=session)["sessionMetadata"] == {"b": "2"}
    assert session in [each["sessionId"] for each in call("ListSessions")["sessionSummaries"]]
    elsewhere = f"arn:aws-us-gov:bedrock:us-gov-east-1:111122223333:session/{session}"
    invocation = call("CreateInvocation", sessionIdentifier=elsewhere, description="first")
    assert invocation["sessionId"] == session
    assert call("ListInvocations", sessionIdentifier=arn)["invocationSummaries"] == [invocation]
    name = invocation["invocationId"]
    payload: Any = {
        "contentBlocks": [
            {"text": "nul \0 and \U0001f600"},
            {"image": {"format": "webp", "source": {"bytes": b"\0\1\2\xff"}}},
            {"image": {"format": "gif", "source": {"s3Location": {"uri": "s3://bucket/a key"}}}},
        ]
    }
    step = call.put(arn, name, payload)
    [listed] = call("ListInvocationSteps", sessionIdentifier=arn, invocationIdentifier=name)["invocationStepSummaries"]
    assert listed["invocationStepId"] == step
    assert call("ListInvocationSteps", sessionIdentifier=session)["invocationStepSummaries"] == [listed]
    read = call("GetInvocationStep", sessionIdentifier=arn, invocationIdentifier=name, invocationStepId=step)
    assert read["invocationStep"] == {**listed, "payload": payload}
    assert listed["invocationStepTime"] == NOW
    call("TagResource", resourceArn=arn, tags={"a b": "1", "team": "z"})
    assert call("ListTagsForResource", resourceArn=elsewhere)["tags"] == {"team": "z", "a b": "1"}
    call("UntagResource", resourceArn=arn, tagKeys=["a b", "none"])
    assert call("ListTagsForResource", resourceArn=arn)["tags"] == {"team": "z"}
    assert call("EndSession", sessionIdentifier=arn)["sessionStatus"] == "ENDED"
    call("DeleteSession", sessionIdentifier=arn)
    call.fails("GetSession", "ResourceNotFoundException", sessionIdentifier=session)


def test_a_session_goes_from_active_to_ended_or_expired(gateway: RunningGateway, call: Caller) -> None:
    session = call.session()
    invocation = call.invocation(session)
    step = call.put(session, invocation)
    assert "end it" in call.fails("DeleteSession", "ConflictException", sessionIdentifier=session)

    def only_readable(status: str) -> None:
        assert call("GetSession", sessionIdentifier=session)["sessionStatus"] == status
        before = counts(gateway)
        for operation, more in (
            ("UpdateSession", {"sessionMetadata": {"a": "b"}}),
            ("CreateInvocation", {}),
            (
                "PutInvocationStep",
                {"invocationIdentifier": invocation, "invocationStepTime": NOW, "payload": TEXT},
            ),
        ):
            message = call.fails(operation, "ConflictException", sessionIdentifier=session, **more)
            assert status.lower() in message
        assert counts(gateway) == before
        assert len(call("ListInvocations", sessionIdentifier=session)["invocationSummaries"]) == 1
        read = call(
            "GetInvocationStep", sessionIdentifier=session, invocationIdentifier=invocation, invocationStepId=step
        )
        assert read["invocationStep"]["payload"] == TEXT

    last = call("GetSession", sessionIdentifier=session)["lastUpdatedAt"]
    digits = uuid.UUID(session).hex
    gateway.query("update session set updated_at = now() - interval '59 minutes' where id = $1", f"sess_{digits}")
    assert call("GetSession", sessionIdentifier=session)["sessionStatus"] == "ACTIVE"
    assert call("UpdateSession", sessionIdentifier=session)["lastUpdatedAt"] >= last
    gateway.query("update session set updated_at = now() - interval '61 minutes' where id = $1", f"sess_{digits}")
    only_readable("EXPIRED")
    assert call("EndSession", sessionIdentifier=session)["sessionStatus"] == "ENDED"
    only_readable("ENDED")
    assert call("EndSession", sessionIdentifier=session)["sessionStatus"] == "ENDED"
    call("DeleteSession", sessionIdentifier=session)
    call.fails("DeleteSession", "ResourceNotFoundException", sessionIdentifier=session)
    held = call.session()
    call("EndSession", sessionIdentifier=held)
    gateway.query("update session set legal_hold = true where id = $1", f"sess_{uuid.UUID(held).hex}")
    assert "hold" in call.fails("DeleteSession", "ConflictException", sessionIdentifier=held)


def test_ids_of_clients_are_unique_in_their_session(gateway: RunningGateway, call: Caller) -> None:
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, "any"))
    sessions = [call.session() for _ in range(2)]
    for session in sessions:
        assert call.invocation(session, name) == name
        assert call.put(session, name, invocationStepId=name) == name
        assert call.put(session, name, invocationStepId=name) == name
        before = counts(gateway)
        call.fails("CreateInvocation", "ConflictException", sessionIdentifier=session, invocationId=name)
        with pytest.raises(call.client.exceptions.ConflictException) as caught:
            call.put(session, name, {"contentBlocks": [{"text": "other"}]}, invocationStepId=name)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
        assert counts(gateway) == before


def test_lists_are_read_page_by_page(gateway: RunningGateway, call: Caller) -> None:
    def pages(operation: str, key: str, size: int, **more: Any) -> list[Any]:
        found: list[Any] = []
        token: dict[str, str] = {}
        while True:
            answer = call(operation, maxResults=size, **more, **token)
            found += answer[key]
            if "nextToken" not in answer:
                return found
            assert len(answer[key]) == size
            assert len(answer["nextToken"]) <= 2048
            assert answer["nextToken"].isascii()
            token = {"nextToken": answer["nextToken"]}

    sessions = [call.session() for _ in range(3)]
    listed = [each["sessionId"] for each in pages("ListSessions", "sessionSummaries", 2)]
    assert listed[:3] == sessions[::-1]
    assert listed == [each["sessionId"] for each in call("ListSessions", maxResults=1000)["sessionSummaries"]]
    session = sessions[0]
    invocations = [call.invocation(session) for _ in range(3)]
    found = pages("ListInvocations", "invocationSummaries", 1, sessionIdentifier=session)
    assert [each["invocationId"] for each in found] == invocations[::-1]
    steps = [call.put(session, invocations[number % 2]) for number in range(5)]
    found = pages("ListInvocationSteps", "invocationStepSummaries", 2, sessionIdentifier=session)
    assert [each["invocationStepId"] for each in found] == steps[::-1]
    found = pages(
        "ListInvocationSteps",
        "invocationStepSummaries",
        1,
        sessionIdentifier=session,
        invocationIdentifier=invocations[0],
    )
    assert [each["invocationStepId"] for each in found] == steps[4::-2]
    paginator = call.client.get_paginator("list_invocation_steps")
    paged = paginator.paginate(sessionIdentifier=session, PaginationConfig={"PageSize": 2})
    assert [each["invocationStepId"] for each in paged.search("invocationStepSummaries")] == steps[::-1]


def test_a_list_can_be_read_while_what_it_shows_is_deleted(gateway: RunningGateway) -> None:
    call = bearer(gateway, gateway.create_key("cleaned", Role.SERVICE))
    eventually(lambda: accepts(call), within_s=10)
    made = {call.session() for _ in range(5)}
    seen: set[str] = set()
    token: dict[str, str] = {}
    while True:
        answer = call("ListSessions", maxResults=2, **token)
        for each in answer["sessionSummaries"]:
            seen.add(each["sessionId"])
            call("EndSession", sessionIdentifier=each["sessionId"])
            call("DeleteSession", sessionIdentifier=each["sessionId"])
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert seen == made
    assert call("ListSessions")["sessionSummaries"] == []


def accepts(call: Caller) -> bool:
    """Whether the gateway knows the caller's key by now."""
    try:
        call("ListSessions")
    except ClientError:
        return False
    return True


def test_a_token_is_good_for_its_own_list_only(gateway: RunningGateway, call: Caller) -> None:
    mine, other = call.session(), call.session()
    lists: list[tuple[str, dict[str, Any]]] = [("ListSessions", {})]
    for session in (mine, other):
        names = [call.invocation(session) for _ in range(2)]
        for name in names * 2:
            call.put(session, name)
        lists.append(("ListInvocations", {"sessionIdentifier": session}))
        lists.append(("ListInvocationSteps", {"sessionIdentifier": session}))
        lists += [
            ("ListInvocationSteps", {"sessionIdentifier": session, "invocationIdentifier": name}) for name in names
        ]
    tokens = [call(operation, maxResults=1, **more)["nextToken"] for operation, more in lists]
    assert len(set(tokens)) == len(tokens)
    for number, token in enumerate(tokens):
        for at, (operation, more) in enumerate(lists):
            if at == number:
                call(operation, nextToken=token, **more)
            else:
                assert "nextToken" in call.fails(operation, "ValidationException", nextToken=token, **more)
    stranger = bearer(gateway, gateway.other_key)
    stranger.fails("ListSessions", "ValidationException", nextToken=tokens[0])
    token = tokens[1]
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    for bad in (changed, token[1:], token + "A", "x", "é", "a" * 2048, "a" * 2049, "", "a b", token + "="):
        call.fails("ListInvocations", "ValidationException", sessionIdentifier=mine, nextToken=bad)


def test_bad_input_is_refused_by_name_and_writes_nothing(gateway: RunningGateway, call: Caller) -> None:
    session = call.session()
    invocation = call.invocation(session)
    before = counts(gateway)
    refused = [*bad_steps(session, invocation), *bad_names(session, invocation), *bad_values(session)]
    for code, every in (
        ("ResourceNotFoundException", unknown_things(session, invocation)),
        ("ValidationException", refused),
    ):
        for operation, parameters, named in every:
            message = call.fails(operation, code, **parameters)
            assert named in message, (operation, parameters, message)
            assert len(message) < 1000
    gateway.query("update session set steps = 1000 where id = $1", f"sess_{uuid.UUID(session).hex}")
    with pytest.raises(call.client.exceptions.ServiceQuotaExceededException) as caught:
        call.put(session, invocation)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert counts(gateway) == before
    assert call("GetSession", sessionIdentifier=session)["sessionMetadata"] == {}
    assert call("ListTagsForResource", resourceArn=arn_of(session))["tags"] == {}


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("PUT /sessions/", {"sessionMetadata": {}, "kmsKey": "x"}, "kmsKey"),
        ("PUT /sessions/", [], "object"),
        ("PUT /sessions/", b"{", "JSON"),
        ("PUT /sessions/", b'{"sessionMetadata":{"a":"\xff"}}', "UTF-8"),
        ("PUT /sessions/", {"sessionMetadata": {"a": 1}}, "sessionMetadata"),
        ("POST /sessions/", {"maxResults": 3}, "maxResults"),
        ("POST /sessions/?maxresults=3", {}, "maxresults"),
        ("PATCH /sessions/{session}", {"reason": "done"}, "reason"),
        ("PUT /sessions/{session}/invocationSteps/", {"payload": TEXT}, "invocation"),
        (
            "PUT /sessions/{session}/invocationSteps/",
            {"invocationIdentifier": UNKNOWN, "invocationStepTime": "2026-11-24T13:00:00", "payload": TEXT},
            "invocationStepTime",
        ),
        (
            "PUT /sessions/{session}/invocationSteps/",
            {"invocationIdentifier": UNKNOWN, "invocationStepTime": "0001-01-01T00:00:00+14:00", "payload": TEXT},
            "invocationStepTime",
        ),
        (
            "PUT /sessions/{session}/invocationSteps/",
            {"invocationIdentifier": UNKNOWN, "invocationStepTime": 1764000000, "payload": TEXT},
            "invocationStepTime",
        ),
        *(
            (
                "PUT /sessions/{session}/invocationSteps/",
                {
                    "invocationIdentifier": UNKNOWN,
                    "invocationStepTime": "2026-11-24T13:00:00Z",
                    "payload": {"contentBlocks": [block]},
                },
                named,
            )
            for block, named in (
                ({"text": "x", "image": {"format": "png", "source": {"bytes": "AA=="}}}, "payload.contentBlocks[0]"),
                ({}, "payload.contentBlocks[0]"),
                ({"video": {}}, "payload.contentBlocks[0].video"),
                ({"image": {"format": "png", "source": {}}}, "payload.contentBlocks[0].image.source"),
                (
                    {"image": {"format": "png", "source": {"bytes": "AA==", "s3Location": {"uri": "s3://abc/d"}}}},
                    "payload.contentBlocks[0].image.source",
                ),
                ({"image": {"format": "png", "source": {"bytes": "%"}}}, "payload.contentBlocks[0].image.source.bytes"),
                ({"text": "x", "role": "user"}, "payload.contentBlocks[0].role"),
            )
        ),
    ],
)
def test_what_boto3_would_not_send_is_refused(
    gateway: RunningGateway, call: Caller, raw: httpx.Client, path: str, body: Any, named: str
) -> None:
    session = call.session()
    before = counts(gateway)
    method, _, target = path.replace("{session}", session).partition(" ")
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = raw.request(method, target, content=content)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationException"), answer.text
    assert named in answer.json()["message"]
    assert counts(gateway) == before


def test_another_projects_ids_are_unknown_on_every_operation(gateway: RunningGateway, call: Caller) -> None:
    session = call.session(tags={"a": "b"})
    invocation = call.invocation(session)
    step = call.put(session, invocation)
    stranger = bearer(gateway, gateway.other_key)
    before = counts(gateway)

    def every(identifier: str) -> list[str]:
        of: dict[str, Any] = {"sessionIdentifier": identifier}
        put: dict[str, Any] = {"invocationIdentifier": invocation, "invocationStepTime": NOW, "payload": TEXT}
        arn: dict[str, Any] = {"resourceArn": arn_of(identifier)}
        operations: list[tuple[str, dict[str, Any]]] = [
            ("GetSession", of),
            ("UpdateSession", of),
            ("EndSession", of),
            ("DeleteSession", of),
            ("CreateInvocation", of),
            ("ListInvocations", of),
            ("PutInvocationStep", {**of, **put}),
            ("PutInvocationStep", {**of, **put, "invocationStepId": step}),
            ("GetInvocationStep", {**of, "invocationIdentifier": invocation, "invocationStepId": step}),
            ("ListInvocationSteps", of),
            ("ListInvocationSteps", {**of, "invocationIdentifier": invocation}),
            ("TagResource", {**arn, "tags": {"c": "d"}}),
            ("UntagResource", {**arn, "tagKeys": ["a"]}),
            ("ListTagsForResource", arn),
        ]
        return [stranger.fails(name, "ResourceNotFoundException", **parameters) for name, parameters in operations]

    assert every(session) == every(UNKNOWN)
    assert counts(gateway) == before
    assert session not in [each["sessionId"] for each in stranger("ListSessions")["sessionSummaries"]]
    assert call("ListTagsForResource", resourceArn=arn_of(session))["tags"] == {"a": "b"}


def test_a_step_belongs_to_its_session_and_invocation(call: Caller) -> None:
    session, other = call.session(), call.session()
    first, second = call.invocation(session), call.invocation(session)
    elsewhere = call.invocation(other)
    step = call.put(session, first)
    for where, invocation in ((session, second), (other, first), (other, elsewhere)):
        call.fails(
            "GetInvocationStep",
            "ResourceNotFoundException",
            sessionIdentifier=where,
            invocationIdentifier=invocation,
            invocationStepId=step,
        )


def test_paths_are_taken_with_and_without_a_slash_at_the_end(raw: httpx.Client) -> None:
    made = raw.put("/sessions")
    assert made.status_code == 201
    session = made.json()["sessionId"]
    assert set(made.json()) == {"createdAt", "sessionArn", "sessionId", "sessionStatus"}
    assert made.json()["createdAt"].endswith("Z")
    for end in ("", "/"):
        assert raw.get(f"/sessions/{session}{end}").json()["sessionId"] == session
        assert raw.post(f"/sessions{end}").status_code == 200
        assert raw.put(f"/sessions/{session}/invocations{end}").status_code == 201
        assert raw.patch(f"/sessions/{session}{end}").status_code == 200 if end else True
    encoded = made.json()["sessionArn"].replace(":", "%3A").replace("/", "%2F")
    assert raw.get(f"/tags/{encoded}").json() == {"tags": {}}
    assert raw.get(f"/sessions/{encoded}").json()["sessionStatus"] == "ENDED"
    answer = raw.delete(f"/sessions/{session}/")
    assert (answer.status_code, answer.json()) == (200, {})


def test_one_conversation_in_three_dialects(gateway: RunningGateway, call: Caller, raw: httpx.Client) -> None:
    said = raw.post(
        "/model/fake%2Fecho/converse",
        json={"messages": [{"role": "user", "content": [{"text": "one two"}]}]},
        headers={"x-bedplate-session": "auto"},
    )
    header = said.headers["x-bedplate-session"]
    session = str(uuid.UUID(header.removeprefix("sess_")))
    more = raw.post(
        "/v1/chat/completions",
        json={"model": "fake/echo", "messages": [{"role": "user", "content": "three four"}]},
        headers={"x-bedplate-session": header},
    )
    assert more.status_code == 200
    assert call("GetSession", sessionIdentifier=session)["sessionStatus"] == "ACTIVE"
    invocations = call("ListInvocations", sessionIdentifier=session)["invocationSummaries"]
    assert len(invocations) == 2
    note = call.put(session, invocations[1]["invocationId"])
    steps = call("ListInvocationSteps", sessionIdentifier=session)["invocationStepSummaries"]
    assert steps[0]["invocationStepId"] == note
    read = []
    for step in steps[:0:-1]:
        [block] = call(
            "GetInvocationStep",
            sessionIdentifier=session,
            invocationIdentifier=step["invocationId"],
            invocationStepId=step["invocationStepId"],
        )["invocationStep"]["payload"]["contentBlocks"]
        read.append(block["text"])
    items = raw.get(f"/v1/sessions/{header}/items").json()["data"]
    assert read == [item["parts"][0]["text"] for item in items]
    assert [uuid.UUID(step["invocationStepId"]).hex for step in steps[:0:-1]] == [
        item["id"].removeprefix("item_") for item in items
    ]
    assert (read[0], read[2]) == ("one two", "three four")
    answer = raw.post(
        f"/sessions/{session}/invocationSteps/{steps[1]['invocationStepId']}",
        json={"invocationIdentifier": steps[1]["invocationId"]},
    )
    assert answer.headers["x-bedplate-role"] == "assistant"


def test_errors_have_the_form_of_the_service(gateway: RunningGateway, raw: httpx.Client) -> None:
    answer = raw.get(f"/sessions/{UNKNOWN}/")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    assert set(answer.json()) == {"message"}
    assert answer.headers["x-amzn-requestid"]
    with http(gateway) as nobody:
        assert nobody.get(f"/sessions/{UNKNOWN}/").status_code == 403
    with pytest.raises(ClientError) as caught:
        bearer(gateway, "bp_wrong")("ListSessions")
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    too_large = raw.put("/sessions", content=b"{" + b" " * (25 * 1024 * 1024) + b"}")
    assert (too_large.status_code, too_large.headers["x-amzn-errortype"]) == (400, "ValidationException")


def test_no_record_is_written(gateway: RunningGateway, call: Caller) -> None:
    records = counts(gateway)["invocation"]
    session = call.session()
    call.put(session, call.invocation(session))
    assert counts(gateway)["invocation"] == records
