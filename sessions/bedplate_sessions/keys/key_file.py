"""Wrapping keys as an operator keeps them: in a file, or in a variable of the same content.

{"current": 2, "keys": {"1": "<64 hexadecimal digits>", "2": "<64 hexadecimal digits>"}}
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import yaml

from bedplate_sessions.keys.local_keys import WRAPPING_KEY_BYTES, LocalKeys
from bedplate_sessions.keys.setting_error import KeySettingError
from bedplate_store.file_lock import FileLock

MAX_FILE_BYTES: Final = 1024 * 1024
LOCK_WAIT_S: Final = 5.0


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    current: int
    keys: Mapping[int, bytes]

    def __repr__(self) -> str:
        return f"_KeyFile(current={self.current}, versions={sorted(self.keys)})"


def local_keys_of(text: str, *, name: str, where: str) -> LocalKeys:
    """The keys in `text`, JSON or YAML, as a provider whose key ids begin with `name`.

    `where` names the text in messages. Raises `KeySettingError`, which quotes nothing of it.
    """
    return _provider(_decoded(text, where), name, where)


def read_key_file(path: Path, *, name: str = "file") -> LocalKeys:
    """The keys in `path`. Raises `KeySettingError` when it is not there, is none, or others can read it."""
    return _provider(_read(path), name, str(path))


def add_version(path: Path, *, make_current: bool = True) -> int:
    """Add a new random key to the file `path`, made if it is not there, and return its version.

    The file is replaced as a whole, durably, and can be read by its owner only; two calls at once add two versions.
    `make_current` says whether data keys are wrapped under it from now on. Raises `KeySettingError`, `OSError`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")) as lock:
        if not lock.acquire(wait_s=LOCK_WAIT_S):
            raise KeySettingError(f"{path}: another process changes it; try again")
        found = _read(path) if path.exists() else None
        if found is not None:
            _provider(found, "file", str(path))  # one that nobody could use is not made worse
        keys = {} if found is None else dict(found.keys)
        version = max(keys, default=0) + 1
        keys[version] = secrets.token_bytes(WRAPPING_KEY_BYTES)
        current = version if found is None or make_current else found.current
        content = {"current": current, "keys": {str(each): keys[each].hex() for each in sorted(keys)}}
        _replace(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return version


def _read(path: Path) -> _KeyFile:
    try:
        state = path.stat()
        if state.st_mode & 0o077 and state.st_uid == os.geteuid():
            raise KeySettingError(f"{path} can be read by other users; run: chmod 600 {path}")
        if state.st_size > MAX_FILE_BYTES:
            raise KeySettingError(f"{path}: a key file has at most {MAX_FILE_BYTES} bytes")
        text = path.read_text()
    except FileNotFoundError:
        raise KeySettingError(f"there is no key file at {path}; make one: bedplate session-keys new {path}") from None
    except OSError as error:
        raise KeySettingError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = None
    if text is None:  # outside of `except`: the error at hand holds what the file holds
        raise KeySettingError(f"{path}: not a text")
    return _decoded(text, str(path))


def _decoded(text: str, where: str) -> _KeyFile:
    content: object = None
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader that refuses what is said twice
    if not isinstance(content, dict):
        raise KeySettingError(f"{where}: neither JSON nor YAML of the form current, keys, or something is said twice")
    fields = cast(dict[object, object], content)
    if set(fields) != {"current", "keys"}:
        raise KeySettingError(f"{where}: it has two fields, current and keys")
    current, keys = fields["current"], fields["keys"]
    if type(current) is not int or not isinstance(keys, dict):
        raise KeySettingError(f"{where}: current is a version's number, and keys are versions with their keys")
    found: dict[int, bytes] = {}
    for version, key in cast(dict[object, object], keys).items():
        number = _number(version)
        if number is None or number in found:
            raise KeySettingError(f"{where}: keys: versions are numbers from 1, each once")
        found[number] = _key(key, f"{where}: keys: version {number}")
    return _KeyFile(current=current, keys=found)


def _number(version: object) -> int | None:
    text = str(version) if type(version) in (int, str) else ""
    return int(text) if text.isascii() and text.isdecimal() and not text.startswith("0") and len(text) < 10 else None


def _key(key: object, where: str) -> bytes:
    if isinstance(key, str) and len(key) == 2 * WRAPPING_KEY_BYTES:
        with contextlib.suppress(ValueError):
            decoded = bytes.fromhex(key)
            if len(decoded) == WRAPPING_KEY_BYTES:
                return decoded
    raise KeySettingError(f"{where}: a key is {2 * WRAPPING_KEY_BYTES} hexadecimal digits, in quotes")


def _provider(found: _KeyFile, name: str, where: str) -> LocalKeys:
    try:
        return LocalKeys(name=name, keys=found.keys, current=found.current)
    except ValueError as error:
        raise KeySettingError(f"{where}: {error}") from None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key that wrapped something must not be gone after a power cut
    finally:
        os.close(folder)


class _Loader(yaml.SafeLoader):
    """Refuses a field that is there twice, of which YAML's own loader would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        names = [str(key.value) for key, _ in node.value]
        if len(set(names)) < len(names):
            raise ValueError("said twice")
        return super().construct_mapping(node, deep=deep)


__all__ = ["LOCK_WAIT_S", "MAX_FILE_BYTES", "add_version", "local_keys_of", "read_key_file"]
