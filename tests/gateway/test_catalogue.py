"""Resources: all or nothing, checked first, in force within a second; and a bad one harms no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bedplate_gateway.access.principal import Role
from bedplate_gateway.catalogue.apply import Applied, apply_resources, read_resources
from bedplate_gateway.catalogue.resources import ResourceError
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_gateway.cli.local_engine import write_secret
from bedplate_store.database import Database
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, eventually, http

MODEL = "kind: Model\nname: {name}\nspec: {{provider: {provider}, upstream_model: fake/echo}}\n"
GUARDRAIL = """
kind: Guardrail
name: {name}
project: {project}
spec:
  blockedInputMessaging: Stopped.
  blockedOutputsMessaging: Stopped.
  wordPolicyConfig: {{wordsConfig: [{{text: {word}}}]}}
"""


def _apply(gateway: RunningGateway, text: str, *, source: str = "test", prune: bool = False) -> list[Applied]:
    path = gateway.home / "more.yaml"
    path.write_text(text)
    resources = read_resources([path])

    async def apply(database: Database) -> list[Applied]:
        return await apply_resources(
            database,
            Secrets(gateway.settings.secrets_path),
            resources,
            source=source,
            changed_by="someone",
            prune=prune,
        )

    return gateway.with_database(apply)


def _models(gateway: RunningGateway) -> set[str]:
    with http(gateway, gateway.key) as client:
        return {model["id"] for model in client.get("/v1/models").json()["data"]}


def _rows(gateway: RunningGateway) -> list[dict[str, Any]]:
    return [
        *gateway.query("select kind, scope, name, spec::text, revision from resource order by 1, 2, 3"),
        *gateway.query("select project_id, name, document::text, revision, source from guardrail order by 1, 2"),
        *gateway.query("select count(*) from resource_revision"),
    ]


GOOD = MODEL.format(name="good", provider="fake")
REFUSED: dict[str, tuple[str, str]] = {
    "unknown provider": (MODEL.format(name="bad", provider="nowhere"), "provider 'nowhere' does not exist"),
    "unknown guardrail": ("kind: Project\nname: bad\nspec: {guardrail: none}\n", "guardrail 'none' does not exist"),
    "another project's guardrail": (
        "kind: Project\nname: one\n---\n"
        + GUARDRAIL.format(name="theirs", project="one", word="x")
        + "---\nkind: Project\nname: two\nspec: {guardrail: theirs}\n",
        "guardrail 'theirs' does not exist",
    ),
    "unknown project": (GUARDRAIL.format(name="g", project="nowhere", word="x"), "project 'nowhere' does not exist"),
    "unknown kind": ("kind: Wizard\nname: x\nspec: {}\n", "Wizard"),
    "unknown field": ("kind: Model\nname: x\nspec: {provider: fake, colour: red}\n", "colour"),
    "no name": ("kind: Model\nspec: {provider: fake}\n", "name"),
    "wrong type": ("kind: Model\nname: x\nspec: {provider: 7}\n", "spec.provider"),
    "a guardrail without rules": (
        "kind: Guardrail\nname: g\nspec: {blockedInputMessaging: a, blockedOutputsMessaging: b}\n",
        "at least one policy",
    ),
    "a guardrail that this version does not enforce": (
        "kind: Guardrail\nname: g\nspec: {blockedInputMessaging: a, blockedOutputsMessaging: b,"
        " contentPolicyConfig: {filtersConfig: []}}\n",
        "contentPolicyConfig",
    ),
    "a pattern that is none": (
        "kind: Guardrail\nname: g\nspec: {blockedInputMessaging: a, blockedOutputsMessaging: b,"
        " sensitiveInformationPolicyConfig: {regexesConfig: [{name: r, pattern: '(', action: BLOCK}]}}\n",
        "r",
    ),
    "a secret that is not there": (
        "kind: Provider\nname: p\nspec: {kind: vllm, urls: ['http://127.0.0.1:1'], api_key: 'file:absent'}\n",
        "file:absent cannot be read",
    ),
    "a secret in plain text": (
        "kind: Provider\nname: p\nspec: {kind: vllm, urls: ['http://127.0.0.1:1'], api_key: plain-canary}\n",
        "file:NAME",
    ),
    "a secret of the environment": (
        "kind: Provider\nname: p\nspec: {kind: vllm, urls: ['http://127.0.0.1:1'], api_key: 'env:HOME'}\n",
        "file:NAME",
    ),
    "a secret that is no text": (
        "kind: Provider\nname: p\nspec: {kind: vllm, urls: ['http://127.0.0.1:1'], api_key: 'file:binary'}\n",
        "file:binary",
    ),
    "a secret that is no header": (
        "kind: Provider\nname: p\nspec: {kind: vllm, urls: ['http://127.0.0.1:1'], api_key: 'file:twolines'}\n",
        "file:twolines",
    ),
    "not YAML": ("kind: [", "this is not YAML"),
    "a tag that makes objects": ("!!python/object/apply:os.system ['true']\n", "this is not YAML"),
    "a list": ("- 1\n", "document 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_work_is_refused_and_nothing_is_stored(gateway: RunningGateway, name: str) -> None:
    text, said = REFUSED[name]
    write_secret(gateway.settings.secrets_path, "twolines", "one\ntwo-canary")
    (gateway.settings.secrets_path / "binary").write_bytes(b"\xff\xfe\x00canary")
    before = _rows(gateway), gateway.query("select name from project order by name")
    with pytest.raises(ResourceError) as caught:
        _apply(gateway, f"{GOOD}---\n{text}")
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert (_rows(gateway), gateway.query("select name from project order by name")) == before


def test_a_change_is_in_force_within_a_second_and_kept_as_a_revision(gateway: RunningGateway) -> None:
    first = _apply(gateway, MODEL.format(name="changing", provider="fake"))
    assert first == [Applied("Model", "changing", True)]
    eventually(lambda: "changing" in _models(gateway), within_s=1)
    assert _apply(gateway, MODEL.format(name="changing", provider="fake")) == [Applied("Model", "changing", False)]
    changed = MODEL.format(name="changing", provider="fake").replace("fake/echo", "fake/refusal")
    assert _apply(gateway, changed) == [Applied("Model", "changing", True)]

    def refuses() -> bool:
        with http(gateway, gateway.key) as client:
            answer = client.post(CHAT, json={"model": "changing", "messages": MESSAGES}).json()
        return bool(answer["choices"][0]["message"]["refusal"])

    eventually(refuses, within_s=1)
    revisions = gateway.query(
        "select revision, changed_by, source, spec::text from resource_revision where name = 'changing' order by 1"
    )
    assert [(row["revision"], row["changed_by"], row["source"]) for row in revisions] == [
        (1, "someone", "test"),
        (2, "someone", "test"),
    ]
    assert "fake/refusal" in revisions[1]["spec"]


def test_pruning_deletes_what_its_source_no_longer_names(gateway: RunningGateway) -> None:
    two = MODEL.format(name="first", provider="fake") + "---\n" + MODEL.format(name="second", provider="fake")
    _apply(gateway, two, source="folder")
    _apply(gateway, MODEL.format(name="elsewhere", provider="fake"), source="another")
    eventually(lambda: {"first", "second", "elsewhere"} <= _models(gateway), within_s=1)
    _apply(gateway, MODEL.format(name="first", provider="fake"), source="folder", prune=True)
    eventually(lambda: "second" not in _models(gateway), within_s=1)
    assert {"first", "elsewhere", "fake/echo"} <= _models(gateway)
    (gone,) = gateway.query("select spec, revision from resource_revision where name = 'second' and revision > 1")
    assert gone == {"spec": None, "revision": 2}
    _apply(gateway, two, source="folder")  # and what comes back goes on where its history ended
    eventually(lambda: "second" in _models(gateway), within_s=1)
    assert [row["revision"] for row in gateway.query("select revision from resource where name = 'second'")] == [3]


def test_pruning_does_not_take_away_what_is_still_needed(gateway: RunningGateway) -> None:
    provider = "kind: Provider\nname: own\nspec: {kind: fake}\n"
    model = MODEL.format(name="needs-own", provider="own")
    _apply(gateway, f"{provider}---\n{model}", source="needed")
    with pytest.raises(ResourceError, match="provider 'own' does not exist"):
        _apply(gateway, model, source="needed", prune=True)
    assert gateway.query("select 1 from resource where kind = 'Provider' and name = 'own'")


@pytest.fixture(scope="module")
def closing_key(gateway: RunningGateway) -> str:
    _apply(gateway, "kind: Project\nname: closing\n")
    return gateway.create_key("closing", Role.SERVICE)


@pytest.mark.parametrize(
    "spec",
    [
        '{"blockedInputMessaging": "a", "blockedOutputsMessaging": "b", "futurePolicyConfig": {"x": 1}}',
        '{"blockedInputMessaging": "a", "blockedOutputsMessaging": "b"}',
        '"not a document"',
        '{"blockedInputMessaging": "a", "blockedOutputsMessaging": "b", "sensitiveInformationPolicyConfig":'
        ' {"regexesConfig": [{"name": "r", "pattern": "(", "action": "BLOCK"}]}}',
        None,
    ],
    ids=["of a newer version", "without rules", "no document", "does not compile", "gone"],
)
def test_a_guardrail_that_cannot_be_enforced_closes_its_project_and_no_other(
    gateway: RunningGateway, closing_key: str, spec: str | None
) -> None:
    _apply(
        gateway,
        GUARDRAIL.format(name="fragile", project="closing", word="forbidden")
        + "---\nkind: Project\nname: closing\nspec: {guardrail: fragile}\n",
    )

    def status(key: str, stream: bool = False) -> int:
        with http(gateway, key) as client:
            body = {"model": "fake/echo", "messages": MESSAGES, "stream": stream}
            return client.post(CHAT, json=body).status_code

    eventually(lambda: status(closing_key) == 200, within_s=2)
    if spec is None:
        gateway.query("delete from guardrail where name = 'fragile'")
    else:
        gateway.query("update guardrail set document = $1::jsonb, revision = revision + 1 where name = 'fragile'", spec)
    eventually(lambda: status(closing_key) == 503, within_s=2)
    with http(gateway, closing_key) as client:
        for body in ({"stream": False}, {"stream": True}):
            refused = client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES, **body})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "guardrail_unavailable")
        refused = client.post("/v1/embeddings", json={"model": "fake/embed", "input": "x"})
        assert refused.json()["error"]["code"] == "guardrail_unavailable"
        refused = client.post("/v1/completions", json={"model": "fake/echo", "prompt": "x"})
        assert refused.json()["error"]["code"] == "guardrail_unavailable"
    assert status(gateway.key) == status(gateway.other_key) == 200


def _vllm(name: str, **fields: str) -> str:
    extra = "".join(f", {field}: '{value}'" for field, value in fields.items())
    return f"kind: Provider\nname: {name}\nspec: {{kind: vllm, urls: ['http://127.0.0.1:1']{extra}}}\n"


@pytest.mark.parametrize("what", ["secret gone", "secret no text", "secret no header", "authority gone", "row no spec"])
def test_a_provider_that_cannot_be_opened_harms_nothing_else(
    gateway: RunningGateway, tmp_path: Path, what: str
) -> None:
    name = what.replace(" ", "-")
    secret = gateway.settings.secrets_path / name
    write_secret(gateway.settings.secrets_path, name, "fine")
    fields = {"ca_file": str(tmp_path / "absent.pem")} if what == "authority gone" else {"api_key": f"file:{name}"}
    if what == "secret gone":
        _apply(gateway, _vllm(name, **fields))
        secret.unlink()
    elif what == "secret no text":
        _apply(gateway, _vllm(name, **fields))
        secret.write_bytes(b"\xff\xfe")
    elif what == "secret no header":
        _apply(gateway, _vllm(name, **fields))
        secret.write_text("one\ntwo")
    elif what == "row no spec":
        _apply(gateway, _vllm(name, **fields))
        gateway.query("update resource set spec = '7' where name = $1", name)
    else:
        values = "'Provider', '', $1, jsonb_build_object('kind', 'vllm', 'urls', array['https://127.0.0.1:1'],"
        values += " 'ca_file', $2::text), 1, 'test', 'test'"
        gateway.query(
            f"insert into resource (kind, scope, name, spec, revision, source, updated_by) values ({values})",
            name,
            fields["ca_file"],
        )
    key = gateway.create_key("default", Role.SERVICE)  # a change, so that all is loaded again

    def accepted() -> bool:
        with http(gateway, key) as client:
            return client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES}).status_code == 200

    try:
        eventually(accepted, within_s=2)
    finally:
        gateway.query("delete from resource where name = $1", name)


def test_secrets_come_only_from_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "good").write_text("  value\n")
    (tmp_path / "outside").write_text("outside-canary")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "inside").symlink_to(folder / "good")
    (folder / "sub").mkdir()
    (folder / "sub" / "deep").write_text("deep-canary")
    secrets = Secrets(folder)
    assert secrets.resolve("file:good") == secrets.resolve("file:inside") == "value"
    for reference in (
        "good", "file:", "file:../outside", "file:/etc/passwd", "file:sub/deep", "file:link", "file:sub", "file:absent",
        "file:.hidden", "file:good\n", "file:go\0od", "env:HOME", "$HOME", "file:good/../good", "FILE:good", "",
    ):  # fmt: skip
        with pytest.raises(SecretError) as caught:
            secrets.resolve(reference)
        assert "canary" not in str(caught.value)


def test_files_are_read_in_order_and_errors_name_them(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("kind: Project\nname: b\n---\n---\nkind: Project\nname: c\n")
    (tmp_path / "a.yaml").write_text("kind: Project\nname: a\n")
    (tmp_path / "ignored.txt").write_text("{")
    assert [resource.name for resource in read_resources([tmp_path])] == ["a", "b", "c"]
    (tmp_path / "c.yaml").write_text("kind: Project\nname: ''\n")
    with pytest.raises(ResourceError, match=re.escape(f"{tmp_path / 'c.yaml'}, document 1")):
        read_resources([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResourceError, match=r"no \.yaml"):
        read_resources([tmp_path / "empty"])
