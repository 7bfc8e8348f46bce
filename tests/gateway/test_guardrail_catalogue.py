"""Which guardrails a call gets: mandatory first, then its choice or the default; by project, version and revision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from bedplate_core.assessment import Origin
from bedplate_core.errors import GuardrailUnavailable, NotFound, PermissionDenied
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.ids import KeyId, ProjectId
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.catalogue import catalogue as catalogues
from bedplate_gateway.catalogue.apply import apply_resources, read_resources
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.catalogue.guardrail_rows import Change
from bedplate_gateway.catalogue.guardrail_store import Enforcement, GuardrailStore, Made, Repeatable
from bedplate_gateway.catalogue.policy_cache import PolicyCache, PolicyKey
from bedplate_gateway.catalogue.policy_set import PolicySet
from bedplate_gateway.catalogue.repository import ensure_project
from bedplate_gateway.catalogue.resources import JudgeFormat, ResourceError
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_guardrails.evaluation import Capabilities
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

pytestmark = pytest.mark.anyio

BY = KeyId("key_1")
TOPIC = (
    "contentPolicyConfig: {filtersConfig: [{type: HATE, inputStrength: HIGH, outputStrength: HIGH}],"
    " tierConfig: {tierName: STANDARD}}"
)


def words(word: str) -> dict[str, Any]:
    """A document that blocks one word, which is also its message."""
    return {
        "blockedInputMessaging": word,
        "blockedOutputsMessaging": word,
        "wordPolicyConfig": {"wordsConfig": [{"text": word}]},
    }


def declared(name: str, word: str, project: str = "default") -> str:
    return (
        f"---\nkind: Guardrail\nname: {name}\nproject: {project}\nspec: {{blockedInputMessaging: {word},"
        f" blockedOutputsMessaging: {word}, wordPolicyConfig: {{wordsConfig: [{{text: {word}}}]}}}}\n"
    )


class Setting:
    """A database, its catalogue and two projects."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.database = Database(DatabaseConfig(url=url, pool_size=2))
        self.store = GuardrailStore(self.database)
        self.able = Capabilities()
        self.catalogue = self.another()
        self.project = self.other = ProjectId("")

    def another(self) -> Catalogue:
        """The catalogue of another gateway, or of this one after a restart."""
        return Catalogue(self.database, Secrets(self.home), Keyring(bytes(32)), 1.0, lambda: self.able)

    async def begin(self) -> None:
        async with self.database.installation() as connection:
            self.project = await ensure_project(connection, "default")
            self.other = await ensure_project(connection, "other")
        await self.catalogue.load()

    async def apply(self, text: str, *, source: str = "files", prune: bool = False) -> list[bool]:
        path = self.home / "files.yaml"
        path.write_text(text)
        done = await apply_resources(
            self.database,
            Secrets(self.home),
            read_resources([path]),
            source=source,
            changed_by="me",
            prune=prune,
            able=self.able,
        )
        await self.catalogue.load()
        return [each.changed for each in done]

    async def make(self, name: str, word: str, *, versions: int = 0, project: ProjectId | None = None) -> str:
        """A guardrail by the API; its id."""
        project = project or self.project
        change = Change(name=name, description=None, document=words(word))
        made = await self.store.create(project, change, {}, BY, None)
        for _ in range(versions):
            await self.store.freeze(project, made.id, None, None)
        await self.catalogue.load()
        return made.id

    async def change(self, name: str, word: str, *, called: str) -> None:
        await self.store.update(self.project, name, Change(name=called, description=None, document=words(word)), BY)

    async def policies(
        self, identifier: str | None = None, version: str = "DRAFT", *, project: ProjectId | None = None
    ) -> PolicySet:
        choice = None if identifier is None else GuardrailChoice(identifier=identifier, version=version)
        return await self.catalogue.policies(project or self.project, choice)

    async def said(self, identifier: str | None = None, version: str = "DRAFT", **more: Any) -> list[tuple[str, str]]:
        """The blocking word and the version's label of every policy, in order."""
        found = await self.policies(identifier, version, **more)
        return [(each.policy.document.blocked_input_messaging, each.policy.ref.label) for each in found.applied]

    async def refused(self, identifier: str, version: str = "DRAFT", **more: Any) -> str:
        with pytest.raises(NotFound) as caught:
            await self.policies(identifier, version, **more)
        assert caught.value.param == "guardrailIdentifier"
        return caught.value.message


@pytest.fixture
async def setting(database_url: str, tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(database_url, tmp_path)
    await made.begin()
    yield made
    await made.catalogue.aclose()
    await made.database.aclose()


async def test_a_choice_is_by_id_name_or_arn_and_by_version(setting: Setting) -> None:
    name = await setting.make("mine", "one", versions=1)
    await setting.change(name, "two", called="mine")
    await setting.catalogue.load()
    arn = f"arn:aws-cn:bedrock:cn-north-1:123456789012:guardrail/{name}"
    for identifier in (name, "mine", arn):
        assert await setting.said(identifier) == [("two", "DRAFT.2")]
        assert await setting.said(identifier, "1") == [("one", "1")]
    found = (await setting.policies(name)).applied[0]
    assert (found.origin, found.selective, found.holds_for("any")) == (Origin.REQUEST, True, True)
    assert (found.policy.ref.id, found.policy.ref.name) == (name, "mine")
    assert await setting.said() == []


async def test_what_is_not_there_and_what_is_anothers_are_refused_alike(setting: Setting) -> None:
    name = await setting.make("mine", "one", versions=1)
    theirs = await setting.make("theirs", "x", versions=2, project=setting.other)
    arn = f"arn:aws:bedrock:local:000000000000:guardrail/{theirs}"
    said = {
        await setting.refused(identifier, version)
        for identifier, version in (
            ("absent", "DRAFT"), (theirs, "DRAFT"), (theirs, "1"), ("theirs", "2"), (arn, "1"),
            (name, "2"), (name, "0"), (name, "01"), (name, "draft"), (name, "1\n"), ("", "DRAFT"), (name.upper(), "1"),
            (arn.replace(theirs, "mine"), "1"), (f"{name}:1", "DRAFT"), (arn.replace(theirs, f"{name}x"), "1"),
        )
    }  # fmt: skip
    assert len(said) == 1
    await setting.refused(name, project=setting.other)
    with pytest.raises(PermissionDenied):
        await setting.policies(name, project=ProjectId("proj_gone"))


async def test_mandatory_ones_come_first_and_the_default_only_for_who_chooses_none(setting: Setting) -> None:
    chosen = await setting.make("chosen", "chosen")
    enforced = await setting.make("enforced", "enforced", versions=1)
    await setting.store.enforce(
        setting.project,
        None,
        Enforcement(
            id=enforced,
            version=1,
            selective={"system": "SELECTIVE", "messages": "SELECTIVE"},
            model_enforcement={"includedModels": ["a", "b"], "excludedModels": ["b"]},
        ),
        BY,
    )
    await setting.apply(
        declared("safe", "safe") + declared("usual", "usual") + declared("house", "house", "other") + "---\n"
        "kind: Project\nname: default\nspec: {guardrail: safe, default_guardrail: usual}\n---\n"
        "kind: Installation\nname: installation\nspec: {guardrail: {project: other, name: house}}\n"
    )
    held = ["house", "safe", "enforced"]
    assert [word for word, _ in await setting.said()] == [*held, "usual"]
    assert [word for word, _ in await setting.said(chosen)] == [*held, "chosen"]
    assert [word for word, _ in await setting.said(project=setting.other)] == ["house"]
    found = (await setting.policies()).applied
    assert [each.origin.value for each in found] == ["installation", "project", "project", "request"]
    assert [each.selective for each in found] == [False, False, True, False]
    sets = await setting.policies()
    assert len(sets.for_model("a")) == 4
    assert len(sets.for_model("b")) == len(sets.for_model("c")) == 3
    assert setting.catalogue.snapshot.policies(setting.project) == sets
    after = setting.another()
    await after.load()
    restarted = await after.policies(setting.project, None)
    assert [each.policy.ref for each in restarted.applied] == [each.policy.ref for each in found]
    await after.aclose()


async def test_files_name_a_version_as_name_and_number(setting: Setting) -> None:
    name = await setting.make("safe", "frozen", versions=1)
    await setting.change(name, "draft", called="safe")
    for text, said in (
        ("safe", ("draft", "DRAFT.2")),
        ("safe:1", ("frozen", "1")),
        ("safe:DRAFT", ("draft", "DRAFT.2")),
    ):
        await setting.apply(f"kind: Project\nname: default\nspec: {{guardrail: '{text}'}}\n")
        assert await setting.said() == [said]
    await setting.apply(declared("'safe:1'", "exact"))
    await setting.apply("kind: Project\nname: default\nspec: {guardrail: 'safe:1'}\n")
    assert [word for word, _ in await setting.said()] == ["exact"]
    for text in ("safe:2", "safe:0", "safe:x", "none:1", ":1"):
        with pytest.raises(ResourceError, match="does not exist"):
            await setting.apply(f"kind: Project\nname: default\nspec: {{default_guardrail: '{text}'}}\n")


async def test_a_call_keeps_the_draft_that_it_began_with(setting: Setting) -> None:
    name = await setting.make("mine", "one")
    began = (await setting.policies(name)).applied[0].policy
    await setting.change(name, "two", called="mine")
    await setting.catalogue.load()
    assert began.document.blocked_input_messaging == "one"
    assert await setting.said(name) == [("two", "DRAFT.2")]
    # While the draft changes, a call sees one revision whole: the label says which, and the words are that one's.
    stop = asyncio.Event()

    async def changing() -> None:
        for number in range(3, 12):
            await setting.change(name, f"w{number}", called="mine")
            if number % 3 == 0:
                await setting.catalogue.load()
        stop.set()

    async def calling() -> None:
        while not stop.is_set():
            [(word, label)] = await setting.said(name)
            assert label == ("DRAFT.2" if word == "two" else f"DRAFT.{word[1:]}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(changing())
        for _ in range(3):
            group.create_task(calling())


async def test_what_another_gateway_made_is_found_at_once_and_looked_up_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = GuardrailStore(setting.database)
    made = await elsewhere.create(
        setting.project, Change(name="new", description=None, document=words("n")), {}, BY, None
    )
    await elsewhere.freeze(setting.project, made.id, None, None)
    assert await setting.said(made.id, "1") == [("n", "1")]
    await setting.catalogue.load()
    reads: list[Any] = []
    compiled = catalogues.compiled

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return compiled(*arguments)

    monkeypatch.setattr(catalogues, "compiled", counted)
    await asyncio.gather(*[setting.said(made.id) for _ in range(5)])
    assert len(reads) == 1

    def unreachable(*_: Any) -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(setting.database, "transaction", unreachable)
    assert await setting.said(made.id, "1") == [("n", "1")]
    assert await setting.said(made.id) == [("n", "DRAFT.1")]
    assert await setting.said() == []


async def test_the_least_asked_for_policy_goes_first() -> None:
    cache = PolicyCache(max_chosen=2)
    keys = [
        PolicyKey(project=ProjectId("p"), id=str(number), version=1, revision=0, able=Capabilities())
        for number in range(3)
    ]
    kept: Any = object()
    cache.choose(keys[0], kept)
    cache.choose(keys[1], kept)
    assert cache.get(keys[0]) is kept
    cache.choose(keys[2], kept)
    assert [cache.get(key) is kept for key in keys] == [True, False, True]


async def run(setting: Setting, statement: str) -> None:
    """As the database's owner, past the gateway."""

    connection = await asyncpg.connect(setting.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_what_cannot_be_enforced_closes_as_many_projects_as_it_is_for(setting: Setting) -> None:
    name = await setting.make("mine", "mine", versions=1)
    project = "---\nkind: Project\nname: default\nspec: {default_guardrail: usual}\n"
    house = "---\nkind: Installation\nname: installation\nspec: {guardrail: {project: other, name: house}}\n"
    await setting.apply(declared("usual", "usual") + declared("house", "house", "other") + project + house)
    broken = "update guardrail set document = '{}', revision = revision + 1 where name = "
    await run(setting, broken + "'usual'")
    await setting.catalogue.load()
    with pytest.raises(GuardrailUnavailable, match="default"):
        await setting.policies()
    assert [word for word, _ in await setting.said(name)] == ["house", "mine"]
    assert [word for word, _ in await setting.said(project=setting.other)] == ["house"]
    await run(setting, broken + "'house'")
    await setting.catalogue.load()
    for each in (setting.project, setting.other):
        for identifier in (None, name):
            with pytest.raises(GuardrailUnavailable, match="mandatory"):
                await setting.policies(identifier, project=each)
        with pytest.raises(GuardrailUnavailable):
            setting.catalogue.snapshot.policies(each)
    await run(setting, "update resource set spec = '7' where kind = 'Installation'")
    await setting.catalogue.load()
    with pytest.raises(GuardrailUnavailable, match="mandatory"):
        await setting.policies(project=setting.other)
    await run(setting, "delete from resource where kind = 'Installation'")
    await setting.catalogue.load()
    assert await setting.said(project=setting.other) == []
    await run(setting, "update guardrail_version set document = '{}'")
    with pytest.raises(GuardrailUnavailable, match="names"):
        await setting.policies(name, "1")


async def test_a_guardrail_asks_only_for_what_is_installed(setting: Setting) -> None:
    judged = (
        f"---\nkind: Guardrail\nname: judged\nspec: {{blockedInputMessaging: a, blockedOutputsMessaging: b, {TOPIC}}}\n"
    )
    fleet = "kind: Provider\nname: fake\nspec: {kind: fake}\n---\nkind: Model\nname: m\nspec: {provider: fake}\n"
    judge = "---\nkind: Installation\nname: installation\nspec: {judge: {model: m, format: qwen3guard}}\n"
    with pytest.raises(ResourceError, match=r"'judged'.*STANDARD needs a judge"):
        await setting.apply(fleet + judged)
    with pytest.raises(ResourceError, match="model 'none' does not exist"):
        await setting.apply(fleet + judge.replace("model: m", "model: none"))
    assert not setting.catalogue.capabilities.judged
    assert await setting.apply(fleet + judge + judged) == [True] * 4
    assert setting.catalogue.capabilities.judged
    assert setting.catalogue.snapshot.judge is not None
    assert setting.catalogue.snapshot.judge.format is JudgeFormat.QWEN3GUARD
    await setting.policies("judged")
    await setting.apply("kind: Project\nname: default\nspec: {guardrail: judged}\n")
    assert len((await setting.policies()).applied) == 1
    # The judge goes: the policy that was compiled with one must not be taken for one that can be enforced.
    await setting.apply("kind: Installation\nname: installation\nspec: {}\n")
    with pytest.raises(GuardrailUnavailable):
        await setting.policies()
    setting.able = Capabilities(models=frozenset({"content"}))
    await setting.catalogue.load()
    with pytest.raises(GuardrailUnavailable):
        await setting.policies()
    assert setting.catalogue.capabilities == setting.able


async def test_files_and_the_api_write_the_same_drafts(setting: Setting) -> None:
    assert await setting.apply(declared("safe", "one")) == [True]
    assert await setting.apply(declared("safe", "one")) == [False]
    [row] = await setting.store.page(setting.project, limit=9, after=None)
    assert (row.name, row.revision, row.source) == ("safe", 1, "files")
    await setting.change(row.id, "api", called="safe")
    assert await setting.apply(declared("safe", "one")) == [True]
    after = await setting.store.draft(setting.project, row.id)
    assert (after.revision, after.source) == (3, "files")
    # Renamed by the API, it is another to the files, which still own it: pruning takes it away.
    await setting.change(row.id, "one", called="renamed")
    assert await setting.apply(declared("safe", "one")) == [True]
    assert {each.name for each in await setting.store.page(setting.project, limit=9, after=None)} == {"safe", "renamed"}
    await setting.make("kept", "kept")
    await setting.apply(declared("safe", "one"), prune=True)
    rows = await setting.store.page(setting.project, limit=9, after=None)
    assert {each.name for each in rows} == {"safe", "kept"}
    assert row.id not in [each.id for each in rows]
    async with setting.database.installation() as connection:
        history = await connection.exec_driver_sql(
            "select name, revision, spec is null as gone from resource_revision where kind = 'Guardrail' order by 1, 2"
        )
        assert [tuple(each) for each in history] == [
            ("kept", 1, False),
            ("renamed", 4, False),
            ("renamed", 5, True),
            ("safe", 1, False),
            ("safe", 2, False),
            ("safe", 3, False),
            ("safe", 4, True),
            ("safe", 5, False),
        ]


async def test_the_first_wall_stands_alone(setting: Setting, database_url: str) -> None:
    """As a superuser, whom row-level security does not bind, the statements alone keep projects apart."""
    name = await setting.make("mine", "mine", versions=1)
    enforced = await setting.store.enforce(
        setting.project, None, Enforcement(id=name, version=1, selective=None, model_enforcement=None), BY
    )
    await setting.store.add_tags(setting.project, name, {"a": "b"}, name)
    bare = Database(DatabaseConfig(url=database_url, role="none"))
    store, other = GuardrailStore(bare), setting.other
    change = Change(name="x", description=None, document=words("x"))
    new = Enforcement(id=name, version=1, selective=None, model_enforcement=None)
    for attempt in (
        lambda: store.draft(other, name),
        lambda: store.version(other, name, 1),
        lambda: store.versions(other, name),
        lambda: store.document(other, name, 1),
        lambda: store.update(other, name, change, BY),
        lambda: store.freeze(other, name, None, None),
        lambda: store.delete(other, name, None, BY),
        lambda: store.delete(other, name, 1, BY),
        lambda: store.add_tags(other, name, {"c": "d"}, name),
        lambda: store.remove_tags(other, name, ["a"]),
        lambda: store.enforce(other, None, new, BY),
        lambda: store.enforce(other, enforced.config_id, new, BY),
        lambda: store.release(other, enforced.config_id),
    ):
        with pytest.raises(NotFound):
            await attempt()
    assert await store.page(other, limit=9, after=None) == []
    assert (await store.enforced(other)).rows == []
    token = Repeatable(token="t", operation="o", request_hash=b"1")
    mine = await store.create(setting.project, change, {}, BY, token)
    theirs = await store.create(other, change, {}, BY, msgspec.structs.replace(token, request_hash=b"2"))
    assert mine.id != theirs.id
    mine_again = await store.create(setting.project, change, {}, BY, token)
    assert mine_again == mine
    catalogue = Catalogue(bare, Secrets(setting.home), Keyring(bytes(32)), 1.0)
    await catalogue.load()
    for identifier, version in ((name, "1"), (name, "DRAFT"), ("mine", "1")):
        with pytest.raises(NotFound):
            await catalogue.policies(other, GuardrailChoice(identifier=identifier, version=version))
    assert (await catalogue.policies(other, None)).applied == ()
    assert len((await catalogue.policies(setting.project, None)).applied) == 1
    row = await setting.store.draft(setting.project, name)
    assert (row.name, row.tags, row.revision, row.next_version) == ("mine", {"a": "b"}, 1, 2)
    await catalogue.aclose()
    await bare.aclose()


async def test_requests_that_come_together_are_done_one_after_the_other(setting: Setting) -> None:
    await asyncio.gather(setting.database.ping(), setting.database.ping())  # so that no request waits for a connection
    change = Change(name="same", description=None, document=words("x"))
    made: list[Made] = []
    for number in range(5):
        token = Repeatable(token=f"t{number}", operation="o", request_hash=b"1")
        each = msgspec.structs.replace(change, name=f"same{number}")
        made = await asyncio.gather(*[setting.store.create(setting.project, each, {}, BY, token) for _ in range(4)])
        assert len({one.id for one in made}) == 1
    name = made[0].id
    frozen = await asyncio.gather(*[setting.store.freeze(setting.project, name, None, None) for _ in range(6)])
    assert sorted(each.version for each in frozen) == [1, 2, 3, 4, 5, 6]
    results = await asyncio.gather(
        *[setting.store.create(setting.project, change, {}, BY, None) for _ in range(4)], return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in results) == ["Conflict", "Conflict", "Conflict", "Made"]
    new = Enforcement(id=name, version=1, selective=None, model_enforcement=None)
    await asyncio.gather(
        setting.store.enforce(setting.project, None, new, BY),
        setting.store.delete(setting.project, name, None, BY),
        return_exceptions=True,
    )
    # One of the two came first: enforced and there, or gone and not enforced.
    rows = await setting.store.page(setting.project, limit=9, after=None)
    assert len((await setting.store.enforced(setting.project)).rows) == [row.id for row in rows].count(name)


async def test_pruning_leaves_what_is_needed_and_a_hundred_are_enough(setting: Setting) -> None:
    await setting.apply(declared("safe", "safe"), source="one")
    await setting.apply("kind: Project\nname: default\nspec: {guardrail: safe}\n", source="two")
    for source, text, said in (
        ("one", "kind: Project\nname: third\n", "'safe' cannot be deleted"),
        ("two", "".join(declared(f"g{number}", "x") for number in range(100)), "at most 100"),
    ):
        with pytest.raises(ResourceError, match=said):
            await setting.apply(text, source=source, prune=True)
    assert len(await setting.store.page(setting.project, limit=9, after=None)) == 1
    assert [word for word, _ in await setting.said()] == ["safe"]
    await setting.apply("kind: Project\nname: default\nspec: {}\n", source="two")
    await setting.apply("kind: Project\nname: third\n", source="one", prune=True)
    assert await setting.store.page(setting.project, limit=9, after=None) == []
