"""Bedrock's guardrail operations as stock boto3 sees them: signed and with a bearer key, on a real database."""

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

from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.cli.keys import NewKey, make_key
from bedplate_store.database import Database
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.guardrail_refusals import MESSAGES, ONLY_CREATE, RAW, REFUSED, WORDS
from tests.gateway.support import CHAT, eventually, http, own_gateway
from tests.gateway.test_bedrock_sessions import Caller

TABLES = ("guardrail", "guardrail_version", "guardrail_request", "enforced_guardrail", "resource_revision")
WHOLE: dict[str, Any] = {
    **MESSAGES,
    "description": "All that is patterns.",
    "wordPolicyConfig": {
        "wordsConfig": [{"text": "tulip", "inputAction": "NONE", "outputEnabled": True}, {"text": "a rose"}],
        "managedWordListsConfig": [{"type": "PROFANITY", "inputEnabled": False}],
    },
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE", "inputAction": "BLOCK"}],
        "regexesConfig": [{"name": "ticket", "description": "A ticket.", "pattern": "T-[0-9]{4}", "action": "BLOCK"}],
    },
    "crossRegionConfig": {"guardrailProfileIdentifier": "eu.guardrail.v1:0"},
}
CONFIG_NAMES = {
    "words": "wordsConfig",
    "managedWordLists": "managedWordListsConfig",
    "piiEntities": "piiEntitiesConfig",
    "regexes": "regexesConfig",
    "topics": "topicsConfig",
    "filters": "filtersConfig",
    "tier": "tierConfig",
}


class Guardrails(Caller):
    """A client of boto3's `bedrock`, whose every answer is checked against its own model."""

    def made(self, name: str | None = None, *, versions: int = 0, **more: Any) -> str:
        """A new guardrail's id."""
        made = self("CreateGuardrail", name=name or f"g-{uuid.uuid4().hex[:12]}", **(more or WORDS))
        for _ in range(versions):
            self("CreateGuardrailVersion", guardrailIdentifier=made["guardrailId"])
        return str(made["guardrailId"])


def client_of(gateway: RunningGateway, **more: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, **more.pop("config", {}))
    return boto3.client("bedrock", endpoint_url=gateway.base_url, region_name="eu-central-1", config=config, **more)


def bearer(gateway: RunningGateway, key: str) -> Guardrails:
    """A caller with a bearer key, whose parameters boto3 does not check first."""
    client = client_of(gateway, config={"signature_version": botocore.UNSIGNED, "parameter_validation": False})

    def authorize(request: Any, **_: Any) -> None:
        request.headers["authorization"] = f"Bearer {key}"

    client.meta.events.register("before-send.bedrock", authorize)
    return Guardrails(client)


def key_of(gateway: RunningGateway, project: str, role: Role = Role.ADMINISTRATOR) -> str:
    """A new key that the gateway knows."""
    key = gateway.create_key(project, role)

    def accepted() -> bool:
        with http(gateway, key) as client:
            return client.get("/v1/models").status_code == 200

    eventually(accepted, within_s=10)
    return key


@pytest.fixture(scope="module")
def call(gateway: RunningGateway) -> Guardrails:
    """An administrator of the project `default`."""
    return bearer(gateway, gateway.admin_key)


@pytest.fixture(scope="module")
def stranger(gateway: RunningGateway) -> Guardrails:
    """An administrator of another project."""
    return bearer(gateway, key_of(gateway, "other"))


@pytest.fixture(scope="module")
def signed(gateway: RunningGateway) -> Guardrails:
    keyring = read_keyring(gateway.settings.master_key_path)

    async def create(database: Database) -> NewKey:
        async with database.installation() as connection:
            return await make_key(
                connection, keyring, name="pair", role=Role.ADMINISTRATOR, project="default", pair=True
            )

    pair = gateway.with_database(create)
    assert pair.secret is not None
    token = pair.token.reveal()
    with http(gateway, token) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200, within_s=10)
    return Guardrails(
        client_of(gateway, aws_access_key_id=pair.access_key_id, aws_secret_access_key=pair.secret.reveal())
    )


@pytest.fixture(scope="module")
def raw(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with http(gateway, gateway.admin_key) as client:
        yield client


def counts(gateway: RunningGateway) -> dict[str, int]:
    return {table: int(gateway.query(f"select count(*) as n from {table}")[0]["n"]) for table in TABLES}


def arn_of(name: str) -> str:
    return f"arn:aws:bedrock:local:000000000000:guardrail/{name}"


def as_config(got: dict[str, Any]) -> dict[str, Any]:
    """What GetGuardrail gave, under the names that UpdateGuardrail takes."""
    config: dict[str, Any] = {}
    for member in ("name", "description", "blockedInputMessaging", "blockedOutputsMessaging"):
        if member in got:
            config[member] = got[member]
    for member, value in got.items():
        if member.endswith("Policy"):
            config[f"{member}Config"] = {CONFIG_NAMES[name]: inner for name, inner in value.items()}
    if "crossRegionDetails" in got:
        profile = got["crossRegionDetails"]["guardrailProfileArn"]
        config["crossRegionConfig"] = {"guardrailProfileIdentifier": profile}
    return config


@pytest.mark.parametrize("way", ["signed", "bearer"])
def test_every_operation(gateway: RunningGateway, signed: Guardrails, call: Guardrails, way: str) -> None:
    call = signed if way == "signed" else call
    made = call("CreateGuardrail", name=f"whole-{way}", tags=[{"key": "team", "value": "x/y"}], **WHOLE)
    name, arn = made["guardrailId"], made["guardrailArn"]
    assert (made["version"], arn) == ("DRAFT", arn_of(name))
    elsewhere = f"arn:aws-us-gov:bedrock:us-gov-east-1:111122223333:guardrail/{name}"
    got = call("GetGuardrail", guardrailIdentifier=elsewhere)
    assert (got["status"], got["version"], got["createdAt"]) == ("READY", "DRAFT", made["createdAt"])
    assert got["wordPolicy"] == {
        "words": WHOLE["wordPolicyConfig"]["wordsConfig"],
        "managedWordLists": WHOLE["wordPolicyConfig"]["managedWordListsConfig"],
    }
    assert got["crossRegionDetails"]["guardrailProfileId"] == "eu.guardrail.v1:0"
    first = call("CreateGuardrailVersion", guardrailIdentifier=arn, description="one")
    assert first == {"guardrailId": name, "version": "1"}
    changed = call("UpdateGuardrail", guardrailIdentifier=name, name=f"new-{way}", **WORDS)
    assert (changed["guardrailId"], changed["version"]) == (name, "DRAFT")
    draft = call("GetGuardrail", guardrailIdentifier=name, guardrailVersion="DRAFT")
    assert (draft["name"], draft["updatedAt"]) == (f"new-{way}", changed["updatedAt"])
    assert not {"description", "sensitiveInformationPolicy", "crossRegionDetails"} & draft.keys()  # replaced whole
    version = call("GetGuardrail", guardrailIdentifier=name, guardrailVersion="1")
    assert {**version, "description": 0, "version": 0, "createdAt": 0, "updatedAt": 0} == {
        **got, "description": 0, "version": 0, "createdAt": 0, "updatedAt": 0,
    }  # fmt: skip
    assert (version["description"], version["version"], version["name"]) == ("one", "1", f"whole-{way}")
    assert call("CreateGuardrailVersion", guardrailIdentifier=name)["version"] == "2"
    listed = call("ListGuardrails", guardrailIdentifier=arn)["guardrails"]
    assert [each["version"] for each in listed] == ["DRAFT", "2", "1"]
    assert [each["name"] for each in listed] == [f"new-{way}", f"new-{way}", f"whole-{way}"]
    every = call("ListGuardrails", maxResults=1000)["guardrails"]
    assert (every[0]["id"], every[0]["version"]) == (name, "DRAFT")
    call("TagResource", resourceARN=arn, tags=[{"key": "a b", "value": ""}, {"key": "team", "value": "z"}])
    tags = call("ListTagsForResource", resourceARN=elsewhere)["tags"]
    assert tags == [{"key": "a b", "value": ""}, {"key": "team", "value": "z"}]
    call("UntagResource", resourceARN=arn, tagKeys=["a b", "none"])
    assert call("ListTagsForResource", resourceARN=arn)["tags"] == [{"key": "team", "value": "z"}]
    put = call(
        "PutEnforcedGuardrailConfiguration",
        guardrailInferenceConfig={"guardrailIdentifier": arn, "guardrailVersion": "2"},
    )
    [config] = call("ListEnforcedGuardrailsConfiguration")["guardrailsConfig"]
    assert (config["configId"], config["guardrailArn"], config["guardrailVersion"]) == (put["configId"], arn, "2")
    assert (config["owner"], config["updatedBy"], config["inputTags"]) == ("ACCOUNT", put["updatedBy"], "IGNORE")
    call("DeleteEnforcedGuardrailConfiguration", configId=put["configId"])
    call("DeleteGuardrail", guardrailIdentifier=arn, guardrailVersion="2")
    # A number is not used again.
    assert call("CreateGuardrailVersion", guardrailIdentifier=name)["version"] == "3"
    call("DeleteGuardrail", guardrailIdentifier=name)
    for more in ({}, {"guardrailVersion": "1"}):
        call.fails("GetGuardrail", "ResourceNotFoundException", guardrailIdentifier=name, **more)
    assert gateway.query("select 1 from guardrail_version where guardrail_id = $1", name) == []


def test_what_get_gave_can_be_put_back(call: Guardrails) -> None:
    name = call.made(**WHOLE)
    before = call("GetGuardrail", guardrailIdentifier=name)
    call("UpdateGuardrail", guardrailIdentifier=name, **as_config(before))
    after = call("GetGuardrail", guardrailIdentifier=name)
    assert {**after, "updatedAt": 0} == {**before, "updatedAt": 0}


def test_our_own_member_is_kept_as_it_is(raw: httpx.Client, gateway: RunningGateway) -> None:
    own = {
        "answerSchemaConfig": {"schema": {"enum": [None, 1.5], "const": None, "description": "\\u0000"}},
        "sizePolicyConfig": {"maxInputCharacters": 7},
        "failureMode": "CLOSED",
    }
    made = raw.post("/guardrails", json={"name": "own", **MESSAGES, "bedplateConfig": own, "description": None})
    assert made.status_code == 202, made.text
    got = raw.get(f"/guardrails/{made.json()['guardrailId']}").json()
    assert got["bedplateConfig"] == own
    assert "description" not in got
    assert "wordPolicy" not in got


def test_what_is_held_back_is_declared(raw: httpx.Client) -> None:
    word = {"wordPolicyConfig": {"wordsConfig": [{"text": "sesame", "outputAction": "BLOCK"}]}}
    schema = {"bedplateConfig": {"answerSchemaConfig": {"schema": {}}, "evaluationTimeoutMs": 700}}
    declared: list[object] = []
    for number, config in enumerate((word, schema)):
        made = raw.post("/guardrails", json={"name": f"held-{number}", **MESSAGES, **config}).json()
        declared.append(raw.get(f"/guardrails/{made['guardrailId']}").json()["bedplateHoldBack"])
    assert declared == [
        {"bytes": 24, "evaluationMs": 0},
        {"bytes": None, "evaluationMs": 700},
    ]


def test_a_token_makes_a_request_once(gateway: RunningGateway, call: Guardrails, stranger: Guardrails) -> None:
    token, other = uuid.uuid4().hex, uuid.uuid4().hex
    create: dict[str, Any] = {"name": f"t-{token[:8]}", **WORDS, "tags": [{"key": "a", "value": "b"}]}
    made = call("CreateGuardrail", clientRequestToken=token, **create)
    name = made["guardrailId"]
    version: dict[str, Any] = {"guardrailIdentifier": name, "description": "d"}
    frozen = call("CreateGuardrailVersion", clientRequestToken=other, **version)
    before = counts(gateway)
    assert call("CreateGuardrail", clientRequestToken=token, **create) == made
    assert call("CreateGuardrailVersion", clientRequestToken=other, **version) == frozen
    for operation, parameters in (
        ("CreateGuardrail", {**create, "clientRequestToken": token, "name": "another"}),
        ("CreateGuardrail", {**create, "clientRequestToken": token, "tags": []}),
        ("CreateGuardrail", {**create, "clientRequestToken": other}),
        ("CreateGuardrailVersion", {**version, "clientRequestToken": other, "description": "e"}),
        ("CreateGuardrailVersion", {**version, "clientRequestToken": token}),
    ):
        assert "clientRequestToken" in call.fails(operation, "ConflictException", **parameters)
    assert counts(gateway) == before
    # Another project's tokens are its own, and after a day a token is new.
    assert stranger("CreateGuardrail", clientRequestToken=token, **create)["guardrailId"] != name
    gateway.query("update guardrail_request set created_at = now() - interval '25 hours'")
    assert call("CreateGuardrailVersion", clientRequestToken=other, **version)["version"] == "2"


def test_lists_are_read_page_by_page(gateway: RunningGateway) -> None:
    call = bearer(gateway, key_of(gateway, "paged"))
    names = [call.made(versions=3 if number == 4 else 0) for number in range(5)]

    def pages(size: int, **more: Any) -> list[Any]:
        found: list[Any] = []
        token: dict[str, str] = {}
        while True:
            answer = call("ListGuardrails", maxResults=size, **more, **token)
            found += answer["guardrails"]
            if "nextToken" not in answer:
                return found
            assert len(answer["guardrails"]) == size
            token = {"nextToken": answer["nextToken"]}

    for size in (1, 2, 5, 1000):
        assert [each["id"] for each in pages(size)] == names[::-1]
        listed = pages(size, guardrailIdentifier=names[4])
        assert [each["version"] for each in listed] == ["DRAFT", "3", "2", "1"]
    paginator = call.client.get_paginator("list_guardrails").paginate(PaginationConfig={"PageSize": 2})
    assert len(list(paginator.search("guardrails"))) == 5
    # A token is good for its own list only.
    first = call("ListGuardrails", maxResults=1)["nextToken"]
    versions = call("ListGuardrails", maxResults=1, guardrailIdentifier=names[4])["nextToken"]
    for token, more in (
        (first, {"guardrailIdentifier": names[4]}),
        (versions, {}),
        (versions, {"guardrailIdentifier": names[3]}),
        (first[:-1], {}),
        ("", {}),
    ):
        assert "nextToken" in call.fails("ListGuardrails", "ValidationException", nextToken=token, **more)
    bearer(gateway, gateway.key).fails("ListGuardrails", "ValidationException", nextToken=first)
    call("ListGuardrails", maxResults=2, nextToken=first)
    call.fails("ListEnforcedGuardrailsConfiguration", "ValidationException", nextToken=first)
    for bad in (0, 1001, "x"):
        call.fails("ListGuardrails", "ValidationException", maxResults=bad)


def test_bad_input_is_refused_by_name_and_writes_nothing(gateway: RunningGateway, call: Guardrails) -> None:
    name = call.made("kept-as-is", versions=1)
    got = call("GetGuardrail", guardrailIdentifier=name)
    before = counts(gateway)
    whole = {"name": "bad", **WORDS}
    for more, named in [*REFUSED, *ONLY_CREATE]:
        message = call.fails("CreateGuardrail", "ValidationException", **{**whole, **more})
        assert named in message, (more, message)
        assert len(message) < 1000
    for more, named in REFUSED:
        message = call.fails("UpdateGuardrail", "ValidationException", guardrailIdentifier=name, **{**whole, **more})
        assert named in message, (more, message)
    put = "PutEnforcedGuardrailConfiguration"
    at = "guardrailInferenceConfig"
    good = {"guardrailIdentifier": name, "guardrailVersion": "1"}
    models = {"includedModels": ["ALL"], "excludedModels": []}
    of: dict[str, Any] = {"guardrailIdentifier": name}
    arn = {"resourceARN": arn_of(name)}
    others: list[tuple[str, dict[str, Any], str]] = [
        (put, {at: {**good, "guardrailVersion": "DRAFT"}}, f"{at}.guardrailVersion"),
        (put, {at: {**good, "guardrailIdentifier": "A"}}, f"{at}.guardrailIdentifier"),
        (put, {at: {**good, "selectiveContentGuarding": {"system": "SELECTIVE"}}}, "selectiveContentGuarding"),
        (put, {at: {**good, "selectiveContentGuarding": {"system": "SOME"}}}, "selectiveContentGuarding.system"),
        (put, {at: {**good, "modelEnforcement": {**models, "includedModels": []}}}, "includedModels"),
        (put, {at: {**good, "modelEnforcement": {**models, "includedModels": ["no"]}}}, "includedModels"),
        (put, {at: {**good, "modelEnforcement": {**models, "excludedModels": ["no"]}}}, "excludedModels"),
        (put, {at: {**good, "modelEnforcement": {"includedModels": ["ALL"]}}}, "modelEnforcement.excludedModels"),
        (put, {at: good, "configId": "A"}, "configId"),
        (put, {at: good, "configId": "declared"}, "configId"),
        (put, {}, at),
        ("DeleteEnforcedGuardrailConfiguration", {"configId": "declared"}, "configId"),
        ("GetGuardrail", {"guardrailIdentifier": "A-b"}, "guardrailIdentifier"),
        (
            "GetGuardrail",
            {"guardrailIdentifier": arn_of(name).replace("guardrail/", "session/")},
            "guardrailIdentifier",
        ),
        ("GetGuardrail", {**of, "guardrailVersion": "0"}, "guardrailVersion"),
        ("GetGuardrail", {**of, "guardrailVersion": "draft"}, "guardrailVersion"),
        ("DeleteGuardrail", {**of, "guardrailVersion": "DRAFT"}, "guardrailVersion"),
        ("ListGuardrails", {"guardrailIdentifier": "A"}, "guardrailIdentifier"),
        ("CreateGuardrailVersion", {**of, "description": ""}, "description"),
        ("CreateGuardrailVersion", {**of, "description": "\0"}, "description"),
        ("TagResource", {"resourceARN": name, "tags": []}, "resourceARN"),
        ("TagResource", {**arn, "tags": [{"key": "", "value": ""}]}, "tags[0].key"),
        ("TagResource", {**arn, "tags": [{"key": "a", "value": ""}] * 2}, "tags[1].key"),
        ("UntagResource", {**arn, "tagKeys": ["a!"]}, "tagKeys[0]"),
    ]
    for operation, parameters, named in others:
        message = call.fails(operation, "ValidationException", **parameters)
        assert named in message, (operation, parameters, message)
    assert counts(gateway) == before
    assert call("GetGuardrail", guardrailIdentifier=name) == got


@pytest.mark.parametrize(("path", "body", "named"), RAW)
def test_what_boto3_would_not_send_is_refused(
    gateway: RunningGateway, call: Guardrails, raw: httpx.Client, path: str, body: Any, named: str
) -> None:
    name = call.made()
    before = counts(gateway)
    method, _, target = path.replace("{id}", name).partition(" ")
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    answer = raw.request(method, target, content=content)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationException"), answer.text
    assert named in answer.json()["message"]
    assert counts(gateway) == before


def every_operation(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Every operation on a guardrail with a version 1."""
    of: dict[str, Any] = {"guardrailIdentifier": name}
    arn: dict[str, Any] = {"resourceARN": arn_of(name)}
    return [
        ("GetGuardrail", of),
        ("GetGuardrail", {"guardrailIdentifier": arn_of(name)}),
        ("GetGuardrail", {**of, "guardrailVersion": "1"}),
        ("UpdateGuardrail", {**of, "name": "stolen", **WORDS}),
        ("CreateGuardrailVersion", of),
        ("ListGuardrails", of),
        ("DeleteGuardrail", of),
        ("DeleteGuardrail", {**of, "guardrailVersion": "1"}),
        ("TagResource", {**arn, "tags": [{"key": "a", "value": "b"}]}),
        ("UntagResource", {**arn, "tagKeys": ["a"]}),
        ("ListTagsForResource", arn),
        (
            "PutEnforcedGuardrailConfiguration",
            {"guardrailInferenceConfig": {"guardrailIdentifier": name, "guardrailVersion": "1"}},
        ),
    ]


def test_another_projects_ids_are_unknown_on_every_operation(
    gateway: RunningGateway, call: Guardrails, stranger: Guardrails
) -> None:
    name = call.made(versions=1)
    put = call(
        "PutEnforcedGuardrailConfiguration",
        guardrailInferenceConfig={"guardrailIdentifier": name, "guardrailVersion": "1"},
    )
    before = counts(gateway)
    said: dict[str, set[str]] = {}
    for identifier in (name, "0123456789ab"):
        for number, (operation, parameters) in enumerate(every_operation(identifier)):
            message = stranger.fails(operation, "ResourceNotFoundException", **parameters)
            said.setdefault(f"{number} {operation}", set()).add(message)
    for config in (put["configId"], "0123456789ab"):
        message = stranger.fails("DeleteEnforcedGuardrailConfiguration", "ResourceNotFoundException", configId=config)
        said.setdefault("release", set()).add(message)
    mine = stranger.made(versions=1)
    changed = {
        "configId": put["configId"],
        "guardrailInferenceConfig": {"guardrailIdentifier": mine, "guardrailVersion": "1"},
    }
    stranger.fails("PutEnforcedGuardrailConfiguration", "ResourceNotFoundException", **changed)
    stranger("DeleteGuardrail", guardrailIdentifier=mine)
    assert all(len(messages) == 1 for messages in said.values()), said
    assert name not in [each["id"] for each in stranger("ListGuardrails", maxResults=1000)["guardrails"]]
    assert stranger("ListEnforcedGuardrailsConfiguration")["guardrailsConfig"] == []
    after = counts(gateway)
    after["guardrail_request"] = before["guardrail_request"]  # the stranger's own guardrail, and its history
    after["resource_revision"] -= 2
    assert after == before
    [config] = call("ListEnforcedGuardrailsConfiguration")["guardrailsConfig"]
    assert config["configId"] == put["configId"]
    call("DeleteEnforcedGuardrailConfiguration", configId=put["configId"])
    missing = [
        *every_operation("0123456789ab"),
        ("GetGuardrail", {"guardrailIdentifier": name, "guardrailVersion": "2"}),
    ]
    missing.append(("DeleteGuardrail", {"guardrailIdentifier": name, "guardrailVersion": "2"}))
    missing.append(("ListTagsForResource", {"resourceARN": arn_of(name).replace("guardrail/", "custom-model/")}))
    for operation, parameters in missing:
        call.fails(operation, "ResourceNotFoundException", **parameters)


def test_a_service_key_reads_and_changes_nothing(gateway: RunningGateway, call: Guardrails) -> None:
    name = call.made(versions=1)
    service = bearer(gateway, gateway.key)
    before = counts(gateway)
    allowed = {"GetGuardrail", "ListGuardrails", "ListTagsForResource"}
    for operation, parameters in every_operation(name):
        if operation in allowed:
            service(operation, **parameters)
        else:
            service.fails(operation, "AccessDeniedException", **parameters)
    service.fails("CreateGuardrail", "AccessDeniedException", name="x", **WORDS)
    service.fails("DeleteEnforcedGuardrailConfiguration", "AccessDeniedException", configId="x")
    service("ListEnforcedGuardrailsConfiguration")
    nobody = bearer(gateway, "bp_none")
    for operation, parameters in every_operation(name):
        with pytest.raises(ClientError) as caught:
            nobody(operation, **parameters)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert counts(gateway) == before


def test_names_are_unique_in_a_project_and_quotas_hold(gateway: RunningGateway) -> None:
    call = bearer(gateway, key_of(gateway, "full"))
    name, second = call.made("one"), call.made("two")
    before = counts(gateway)
    assert "one" in call.fails("CreateGuardrail", "ConflictException", name="one", **WORDS)
    message = call.fails("UpdateGuardrail", "ConflictException", guardrailIdentifier=second, name="one", **WORDS)
    assert "one" in message
    tags = [{"key": f"k{number}", "value": ""} for number in range(201)]
    for operation, more in (
        ("CreateGuardrail", {"name": "tagged", **WORDS, "tags": tags}),
        ("TagResource", {"resourceARN": arn_of(name), "tags": tags}),
    ):
        with pytest.raises(call.client.exceptions.TooManyTagsException) as caught:
            call(operation, **more)
        assert caught.value.response["resourceName"] in ("tagged", arn_of(name))
    assert counts(gateway) == before
    call("TagResource", resourceARN=arn_of(name), tags=tags[:200])
    call.fails("TagResource", "TooManyTagsException", resourceARN=arn_of(name), tags=tags[200:])
    call("TagResource", resourceARN=arn_of(name), tags=tags[:5])
    gateway.query(
        "insert into guardrail (id, project_id, name, revision, document, source, updated_by)"
        " select 'full' || lpad(n::text, 8, '0'), project_id, 'x' || n, 1, document, 'api', 'me'"
        " from guardrail, generate_series(1, 97) n where id = $1",
        name,
    )
    call.made("last")
    gateway.query(
        "insert into guardrail_version (project_id, guardrail_id, version, name, document)"
        " select project_id, id, n, name, document from guardrail, generate_series(1, 20) n where id = $1",
        name,
    )
    gateway.query("update guardrail set next_version = 21 where id = $1", name)
    before = counts(gateway)
    call.fails("CreateGuardrail", "ServiceQuotaExceededException", name="more", **WORDS)
    call.fails("CreateGuardrailVersion", "ServiceQuotaExceededException", guardrailIdentifier=name)
    assert counts(gateway) == before
    call("DeleteGuardrail", guardrailIdentifier=name, guardrailVersion="20")
    assert call("CreateGuardrailVersion", guardrailIdentifier=name)["version"] == "21"


def test_what_is_needed_cannot_be_deleted(gateway: RunningGateway) -> None:
    call = bearer(gateway, key_of(gateway, "needing"))
    name = call.made("safe", versions=3)
    put = call(
        "PutEnforcedGuardrailConfiguration",
        guardrailInferenceConfig={"guardrailIdentifier": name, "guardrailVersion": "1"},
    )
    gateway.apply_text("kind: Project\nname: needing\nspec: {default_guardrail: 'safe:2'}\n")
    before = counts(gateway)
    for more in ({}, {"guardrailVersion": "1"}, {"guardrailVersion": "2"}):
        call.fails("DeleteGuardrail", "ResourceInUseException", guardrailIdentifier=name, **more)
    renamed = {"guardrailIdentifier": name, "name": "other", **WORDS}
    assert "safe" in call.fails("UpdateGuardrail", "ConflictException", **renamed)
    assert counts(gateway) == before
    call("DeleteGuardrail", guardrailIdentifier=name, guardrailVersion="3")
    call("DeleteEnforcedGuardrailConfiguration", configId=put["configId"])
    call("DeleteGuardrail", guardrailIdentifier=name, guardrailVersion="1")
    call.fails("DeleteGuardrail", "ResourceInUseException", guardrailIdentifier=name)
    gateway.apply_text("kind: Project\nname: needing\nspec: {guardrail: safe}\n")
    [declared] = call("ListEnforcedGuardrailsConfiguration")["guardrailsConfig"]
    assert (declared["configId"], declared["guardrailId"]) == ("declared", name)
    assert "guardrailVersion" not in declared
    call.fails("DeleteEnforcedGuardrailConfiguration", "ValidationException", configId="declared")
    call.fails("DeleteGuardrail", "ResourceInUseException", guardrailIdentifier=name)
    everywhere = (
        "kind: Installation\nname: installation\nspec: {guardrail: {project: needing, name: safe, version: 2}}\n"
    )
    gateway.apply_text("kind: Project\nname: needing\nspec: {}\n---\n" + everywhere)
    call.fails("DeleteGuardrail", "ResourceInUseException", guardrailIdentifier=name, guardrailVersion="2")
    call.fails("DeleteGuardrail", "ResourceInUseException", guardrailIdentifier=name)
    gateway.apply_text("kind: Installation\nname: installation\nspec: {}\n")
    call("DeleteGuardrail", guardrailIdentifier=name)


def chat(gateway: RunningGateway, key: str, said: str = "a tulip", model: str = "fake/echo") -> str:
    """What the model answers, or the message of the guardrail that blocked."""
    with http(gateway, key) as client:
        body = {"model": model, "messages": [{"role": "user", "content": said}]}
        return str(client.post(CHAT, json=body).json()["choices"][0]["message"]["content"])


def test_what_is_enforced_is_in_force_when_it_is_answered(gateway: RunningGateway) -> None:
    key = key_of(gateway, "guarded")
    call = bearer(gateway, key)
    name = call.made(versions=1)
    config: dict[str, Any] = {"guardrailIdentifier": name, "guardrailVersion": "1"}
    assert chat(gateway, key) != "No."
    # Without the notification, so that only the process that takes the change can know of it.
    gateway.query("alter table enforced_guardrail disable trigger notify_config")
    put = call("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=config)
    assert chat(gateway, key) == "No."
    assert chat(gateway, gateway.key) != "No."
    # The same again is the same; another needs the first one's id.
    assert call("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=config) == put
    both = {"system": "SELECTIVE", "messages": "SELECTIVE"}
    changed = {
        **config,
        "selectiveContentGuarding": both,
        "modelEnforcement": {"includedModels": ["ALL"], "excludedModels": ["fake/echo"]},
    }
    message = call.fails("PutEnforcedGuardrailConfiguration", "ConflictException", guardrailInferenceConfig=changed)
    assert put["configId"] in message
    again = call("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=changed, configId=put["configId"])
    assert again["configId"] == put["configId"]
    [shown] = call("ListEnforcedGuardrailsConfiguration")["guardrailsConfig"]
    assert (shown["selectiveContentGuarding"], shown["inputTags"]) == (both, "HONOR")
    assert shown["modelEnforcement"] == changed["modelEnforcement"]
    assert shown["createdAt"] < shown["updatedAt"] == again["updatedAt"]
    assert chat(gateway, key) != "No."
    call("PutEnforcedGuardrailConfiguration", guardrailInferenceConfig=config, configId=put["configId"])
    # The version does not follow the draft.
    other = {**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "rose"}]}}
    call("UpdateGuardrail", guardrailIdentifier=name, name="changed", **other)
    assert chat(gateway, key) == "No."
    assert chat(gateway, key, "a rose") != "No."
    call("DeleteEnforcedGuardrailConfiguration", configId=put["configId"])
    assert chat(gateway, key) != "No."
    call.fails("DeleteEnforcedGuardrailConfiguration", "ResourceNotFoundException", configId=put["configId"])
    gateway.query("alter table enforced_guardrail enable trigger notify_config")


def test_guardrails_outlive_the_process(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    try:
        with own_gateway(postgres_server, database=name) as gateway:
            key = key_of(gateway, "default")
            call = bearer(gateway, key)
            made = call.made("kept", versions=1, **WHOLE)
            got = call("GetGuardrail", guardrailIdentifier=made, guardrailVersion="1")
            call(
                "PutEnforcedGuardrailConfiguration",
                guardrailInferenceConfig={"guardrailIdentifier": made, "guardrailVersion": "1"},
            )
            gateway.kill()
            gateway.start()
            assert call("GetGuardrail", guardrailIdentifier=made, guardrailVersion="1") == got
            assert chat(gateway, key, "T-1234") == "No."
    finally:
        postgres_server.drop_database(name)
