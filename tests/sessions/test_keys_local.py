"""Local wrapping keys: what they are bound to, the files they are kept in, the setting that chooses them."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.binding import binding
from bedplate_sessions.keys.cipher import ContentUnreadable, DataKeyCipher, PlainCipher
from bedplate_sessions.keys.config import KeySettingError, key_provider
from bedplate_sessions.keys.key_file import add_version, local_keys_of, read_key_file
from bedplate_sessions.keys.kms_keys import KmsKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.keys.provider import KeyProvider, WrappedKey
from bedplate_sessions.keys.several import SeveralProviders
from bedplate_sessions.keys.unwrap_only import UnwrapOnly
from bedplate_sessions.keys.vault_keys import VaultKeys

PROJECT = ProjectId("proj_a")
OTHER = ProjectId("proj_b")
KEYS = {1: secrets.token_bytes(32), 2: secrets.token_bytes(32)}
DATA_KEY = secrets.token_bytes(32)
MASTER = secrets.token_bytes(32)


def local(*, name: str = "file", keys: dict[int, bytes] | None = None, current: int = 2) -> LocalKeys:
    return LocalKeys(name=name, keys=keys or KEYS, current=current)


# Wrapping.


@pytest.mark.anyio
async def test_a_wrapped_key_unwraps_for_its_project_and_owner_only() -> None:
    keys = local()
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert wrapped.key_id == keys.key_id == "file:2"
    assert DATA_KEY not in wrapped.wrapped
    assert await keys.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    for project, owner in ((OTHER, "sess_1"), (PROJECT, "sess_2"), (ProjectId("proj_asess"), "_1")):
        with pytest.raises(ContentUnreadable):
            await keys.unwrap(project, owner, wrapped)


@pytest.mark.anyio
async def test_the_projects_key_alone_binds_to_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the authenticated data two owners of a project are one, and two projects are still two."""
    monkeypatch.setattr("bedplate_sessions.keys.local_keys.binding", lambda _project, _owner: b"")
    keys = local()
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    assert await keys.unwrap(PROJECT, "sess_2", wrapped) == DATA_KEY
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(OTHER, "sess_1", wrapped)


@pytest.mark.anyio
async def test_two_wraps_of_one_key_differ() -> None:
    keys = local()
    assert await keys.wrap(PROJECT, "sess_1", DATA_KEY) != await keys.wrap(PROJECT, "sess_1", DATA_KEY)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_does_not_unwrap(data: st.DataObject) -> None:
    import asyncio

    async def check() -> None:
        keys = local()
        whole = (await keys.wrap(PROJECT, "sess_1", DATA_KEY)).wrapped
        at = data.draw(st.integers(0, len(whole) - 1))
        flipped = data.draw(st.integers(1, 255))
        changed = whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :]
        short = whole[: data.draw(st.integers(0, len(whole) - 1))]
        for wrapped in (changed, short, whole + b"x"):
            with pytest.raises(ContentUnreadable):
                await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id="file:2", wrapped=wrapped))

    asyncio.run(check())


@pytest.mark.anyio
@pytest.mark.parametrize(
    "key_id", ["file:1", "file:3", "file:02x", "file:", "file", "file:-2", "master:2", "", "file:²"]
)
async def test_another_key_id_does_not_unwrap(key_id: str) -> None:
    keys = local()
    wrapped = (await keys.wrap(PROJECT, "sess_1", DATA_KEY)).wrapped
    with pytest.raises(ContentUnreadable):
        await keys.unwrap(PROJECT, "sess_1", WrappedKey(key_id=key_id, wrapped=wrapped))


@given(st.text(min_size=1, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_one_text_cut_at_two_points_is_two_bindings(whole: str, first: int, second: int) -> None:
    first, second = min(first, len(whole)), min(second, len(whole))
    bound = [binding(ProjectId(whole[:at]), whole[at:]) for at in (first, second)]
    assert (bound[0] == bound[1]) == (first == second)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "file", "keys": {1: bytes(32)}, "current": 2},
        {"name": "file", "keys": {0: bytes(32)}, "current": 0},
        {"name": "file", "keys": {1: bytes(31)}, "current": 1},
        {"name": "a:b", "keys": {1: bytes(32)}, "current": 1},
    ],
)
def test_what_cannot_be_local_keys_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"version|name"):
        LocalKeys(**arguments)  # type: ignore[arg-type]


# Content.


def test_content_opens_at_its_place_only() -> None:
    cipher = DataKeyCipher(DATA_KEY)
    sealed = cipher.seal(b"something that was said", "item/0/1")
    assert b"said" not in sealed
    assert cipher.open(sealed, "item/0/1") == b"something that was said"
    for place in ("item/0/2", "item/1/1", ""):
        with pytest.raises(ContentUnreadable):
            cipher.open(sealed, place)
    with pytest.raises(ContentUnreadable):
        DataKeyCipher(secrets.token_bytes(32)).open(sealed, "item/0/1")


def test_without_the_key_encrypted_content_is_an_error_and_never_garbage() -> None:
    sealed = DataKeyCipher(DATA_KEY).seal(b"something that was said", "item/0/1")
    with pytest.raises(ContentUnreadable):
        PlainCipher().open(sealed, "item/0/1")


# Secrets stay where they are.


@pytest.mark.anyio
async def test_nothing_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = local()
    several = SeveralProviders(keys, local(name="master", keys={1: MASTER}, current=1))
    wrapped = await keys.wrap(PROJECT, "sess_1", DATA_KEY)
    shown = [repr(keys), str(keys), repr(several), repr(UnwrapOnly(several)), repr(DataKeyCipher(DATA_KEY))]
    for project, key_id in ((OTHER, "file:2"), (PROJECT, "file:9"), (PROJECT, "vault:x:1")):
        with pytest.raises(ContentUnreadable) as raised:
            await several.unwrap(project, "sess_1", WrappedKey(key_id=key_id, wrapped=wrapped.wrapped))
        shown += [str(raised.value), repr(raised.value), repr(raised.value.__context__)]
    assert "under file:9" in caplog.text
    assert "under vault:x:1" in caplog.text
    shown.append(caplog.text)
    for secret in (*KEYS.values(), DATA_KEY, MASTER):
        for form in (secret.hex(), repr(secret)[2:-1], repr(secret)):
            assert all(form not in text for text in shown)


# Files.


def written(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


JSON_KEYS = json.dumps({"current": 2, "keys": {str(version): key.hex() for version, key in KEYS.items()}})
YAML_KEYS = f"""
# Written by hand.
current: 2
keys:
  1: "{KEYS[1].hex()}"
  "2": '{KEYS[2].hex()}'
"""


@pytest.mark.anyio
@pytest.mark.parametrize("content", [JSON_KEYS, YAML_KEYS])
async def test_a_file_in_either_form_is_the_same_keys(tmp_path: Path, content: str) -> None:
    keys = read_key_file(written(tmp_path / "keys", content))
    assert keys.key_id == "file:2"
    assert await keys.unwrap(PROJECT, "s", await local(current=1).wrap(PROJECT, "s", DATA_KEY)) == DATA_KEY
    assert await local().unwrap(PROJECT, "s", await keys.wrap(PROJECT, "s", DATA_KEY)) == DATA_KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeySettingError, match="chmod 600"):
        read_key_file(written(tmp_path / "keys", JSON_KEYS, mode))


HEX = KEYS[1].hex()
BAD_CONTENTS = {
    "": "form",
    "[]": "form",
    "{": "form",
    f"{HEX}": "form",
    "current: [": "form",
    f'{{"current": 1, "keys": {{"1": "{HEX}", "1": "{HEX}"}}}}': "twice",
    f'current: 1\ncurrent: 1\nkeys: {{1: "{HEX}"}}': "twice",
    f'{{"current": 1, "keys": {{"1": "{HEX}"}}, "more": 1}}': "two fields",
    f'{{"keys": {{"1": "{HEX}"}}}}': "two fields",
    f'{{"current": "1", "keys": {{"1": "{HEX}"}}}}': "number",
    f'{{"current": true, "keys": {{"1": "{HEX}"}}}}': "number",
    f'{{"current": 2, "keys": {{"1": "{HEX}"}}}}': "current one",
    f'{{"current": 1, "keys": {{"0": "{HEX}"}}}}': "versions",
    f'{{"current": 1, "keys": {{"one": "{HEX}"}}}}': "versions",
    f'{{"current": 1, "keys": {{"1": "{HEX[:-2]}"}}}}': "64 hexadecimal",
    f'{{"current": 1, "keys": {{"1": "{HEX[:-2]}  "}}}}': "64 hexadecimal",
    f'{{"current": 1, "keys": {{"1": "{HEX[:-1]}g"}}}}': "64 hexadecimal",
    '{"current": 1, "keys": {"1": 1234}}': "64 hexadecimal",
    "{'current': 1, 'keys': {'1': 0" + "1" * 63 + "}}": "64 hexadecimal",
}


@pytest.mark.parametrize("content", list(BAD_CONTENTS), ids=list(range(len(BAD_CONTENTS))))
def test_a_file_of_another_form_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "keys", content)
    with pytest.raises(KeySettingError, match=BAD_CONTENTS[content]) as raised:
        read_key_file(path)
    with pytest.raises(KeySettingError, match=BAD_CONTENTS[content]):
        local_keys_of(content, name="environment", where="the variable")
    assert str(path) in str(raised.value)
    assert HEX[:16] not in f"{raised.value!r} {raised.value.__context__!r} {raised.value.__cause__!r}"


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeySettingError, match="there is no key file"):
        read_key_file(tmp_path / "none")
    path = written(tmp_path / "keys", "")
    path.write_bytes(b"\xff\xfe secret")
    with pytest.raises(KeySettingError, match="not a text") as raised:
        read_key_file(path)
    assert raised.value.__context__ is None


@pytest.mark.anyio
async def test_versions_are_added_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "keys.json"
    assert add_version(path) == 1
    first = read_key_file(path)
    wrapped = await first.wrap(PROJECT, "sess_1", DATA_KEY)
    path.chmod(0o400)
    assert add_version(path) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    second = read_key_file(path)
    assert second.key_id == "file:2"
    assert await second.unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    with pytest.raises(ContentUnreadable):
        await first.unwrap(PROJECT, "sess_1", await second.wrap(PROJECT, "sess_1", DATA_KEY))
    assert add_version(path, make_current=False) == 3
    assert read_key_file(path).key_id == "file:2"
    assert {entry.name for entry in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


def test_a_file_that_others_can_read_is_not_added_to(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", JSON_KEYS, 0o644)
    with pytest.raises(KeySettingError, match="chmod 600"):
        add_version(path)
    assert path.read_text() == JSON_KEYS


def test_two_at_once_add_two_versions(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(add_version(path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [1, 2, 3, 4, 5, 6]
    assert len(json.loads(path.read_text())["keys"]) == 6


# Several providers.


class Away:
    """A provider of a kind whose server is away."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.closed = False

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        raise StoreUnavailable("away")

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        raise StoreUnavailable("away")

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.anyio
async def test_the_first_wraps_and_whoever_knows_the_key_unwraps() -> None:
    master = local(name="master", keys={1: MASTER}, current=1)
    old = await master.wrap(PROJECT, "sess_1", DATA_KEY)
    away = Away("vault:transit/key")
    several = SeveralProviders(local(), away, master)
    assert several.key_id == "file:2"
    assert (await several.wrap(PROJECT, "sess_1", DATA_KEY)).key_id == "file:2"
    assert await several.unwrap(PROJECT, "sess_1", old) == DATA_KEY
    with pytest.raises(ContentUnreadable):
        await several.unwrap(OTHER, "sess_1", old)
    with pytest.raises(ContentUnreadable):
        await several.unwrap(PROJECT, "sess_1", WrappedKey(key_id="kms:x", wrapped=old.wrapped))
    with pytest.raises(StoreUnavailable):
        await several.unwrap(PROJECT, "sess_1", WrappedKey(key_id="vault:transit/key:1", wrapped=b"x"))
    await several.aclose()
    assert away.closed


@pytest.mark.anyio
async def test_of_two_of_a_kind_one_that_is_away_does_not_hide_the_other() -> None:
    other = local(name="file", keys={1: MASTER}, current=1)
    wrapped = await other.wrap(PROJECT, "sess_1", DATA_KEY)
    assert await SeveralProviders(Away("file:9"), other).unwrap(PROJECT, "sess_1", wrapped) == DATA_KEY
    for providers in ((Away("file:9"), local()), (local(), Away("file:9"))):
        with pytest.raises(StoreUnavailable):  # it cannot be said that the content is gone
            await SeveralProviders(*providers).unwrap(PROJECT, "sess_1", wrapped)


# The setting.


def chosen(setting: str, *, environment_keys: str | None = None, token: str | None = None) -> KeyProvider:
    return key_provider(
        setting, master=MASTER, environment_keys=environment_keys, vault_token=token, vault_ca=None, region="eu-west-1"
    )


@pytest.mark.anyio
async def test_what_the_master_key_wrapped_stays_readable_wherever_the_keys_move(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", JSON_KEYS)
    owner = "sess_1"
    old = await chosen("master").wrap(PROJECT, owner, DATA_KEY)
    assert old.key_id == "master:1"
    for setting, key_id in {
        "master": "master:1",
        f"file:{path}": "file:2",
        "environment": "environment:2",
        "vault:https://vault.example:8200/transit/bedplate": "vault:transit/bedplate",
        "vault:https://vault.example:8200/a/b/bedplate": "vault:a/b/bedplate",
        "kms:alias/bedplate": "kms:alias/bedplate",
        "none": "none",
        f"none, file:{path}": "none",
        f" environment , file:{path}": "environment:2",
    }.items():
        provider = chosen(setting, environment_keys=JSON_KEYS, token="token")
        assert provider.key_id == key_id, setting
        assert await provider.unwrap(PROJECT, owner, old) == DATA_KEY, setting
        await provider.aclose()
    moved = await chosen(f"file:{path}").wrap(PROJECT, owner, DATA_KEY)
    both = chosen(f"environment,file:{path}", environment_keys=JSON_KEYS)
    assert await both.unwrap(PROJECT, owner, moved) == DATA_KEY


def test_the_providers_that_a_setting_names() -> None:
    assert isinstance(chosen("master"), LocalKeys)
    assert isinstance(chosen("none"), UnwrapOnly)
    assert isinstance(chosen("kms:alias/x"), SeveralProviders)


ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", "is none of master, none"),
        ("Master", "is none of master, none"),
        ("hunter2", "is none of master, none"),
        ("master:hunter2", "is none of master, none"),
        ("file", "is none of master, none"),
        ("file:", "absolute"),
        ("file:keys.json", "absolute"),
        ("environment", "not set"),
        ("master,none", "comes first"),
        ("master, master", "once"),
        ("master,", "is none of"),
        ("vault:", "the form is"),
        ("vault:https://vault.example:8200/name", "the form is"),
        ("vault:https://vault.example:8200//name", "the form is"),
        ("vault:http://vault.example:8200/transit/name", "https"),
        ("vault:ftp://vault.example:8200/transit/name", "https"),
        ("vault:https://hunter2@vault.example:8200/transit/name", "nothing else"),
        ("vault:https://vault.example:8200/transit/name?hunter2", "letters"),
        ("vault:https://vault.example:8200/transit/../name", "letters"),
        ("kms:hunter2", "ARN"),
        ("kms:arn:aws:s3:eu-west-1:111122223333:key/hunter2", "ARN"),
    ],
)
def test_a_wrong_setting_is_refused_without_quoting_it(setting: str, said: str) -> None:
    with pytest.raises(KeySettingError, match=said) as raised:
        chosen(setting, token="token")
    assert "hunter2" not in str(raised.value)


def test_what_a_provider_needs_is_asked_for() -> None:
    with pytest.raises(KeySettingError, match="token"):
        chosen("vault:https://vault.example:8200/transit/name")
    with pytest.raises(KeySettingError, match="certificate"):
        VaultKeys(url="https://v.example", mount="transit", name="n", token="t", ca=Path("/nonexistent"))
    with pytest.raises(KeySettingError, match="ASCII") as raised:
        VaultKeys(url="https://v.example", mount="transit", name="n", token="hunter2\n")
    assert "hunter2" not in str(raised.value)
    with pytest.raises(KeySettingError, match="region"):
        KmsKeys("alias/bedplate")
    assert KmsKeys(ARN).key_id == f"kms:{ARN}"


def test_a_package_that_is_missing_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hvac", None)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(KeySettingError, match=r"bedplate\[vault\]"):
        chosen("vault:https://vault.example:8200/transit/name", token="token")
    with pytest.raises(KeySettingError, match=r"bedplate\[aws\]"):
        chosen(f"kms:{ARN}")
