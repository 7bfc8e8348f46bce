"""The file in which an administrator registers validators for policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from bedplate_guardrails.pool.wire import Registered

_MAX_NAME_CHARS = 100
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class InvalidRegistry(ValueError):
    """The file cannot be used. The message names the file, the entry and what is wrong."""


def read_registry(path: Path) -> dict[str, Registered]:
    """The validators registered in a YAML file, by name: a list of `name`, `validator`, `arguments`, `metadata`.

    `validator` is `package.module:Class`. Nothing is imported here. `on_fail` is not an argument: what happens on
    failure is the policy's. Raises `InvalidRegistry`.
    """
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRegistry(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRegistry(f"{path}: this is not YAML") from error
    try:
        entries = msgspec.convert(document or [], list[Registered])
    except msgspec.ValidationError as error:
        raise InvalidRegistry(f"{path}: {error}") from error
    registered: dict[str, Registered] = {}
    for place, entry in enumerate(entries):
        wrong = _wrong_with(entry, registered)
        if wrong:
            raise InvalidRegistry(f"{path}: [{place}].{wrong}")
        registered[entry.name] = entry
    return registered


def _wrong_with(entry: Registered, before: dict[str, Registered]) -> str:
    if not 1 <= len(entry.name) <= _MAX_NAME_CHARS:
        return f"name: must have 1 to {_MAX_NAME_CHARS} characters"
    if entry.name in before:
        return f"name: {entry.name!r} occurs twice"
    if _CLASS.fullmatch(entry.validator) is None:
        return f"validator: {entry.validator!r} is not 'package.module:Class'"
    if "on_fail" in entry.arguments:
        return "arguments.on_fail: is not for the registry; the policy's action says what happens"
    for member, value in (("arguments", entry.arguments), ("metadata", entry.metadata)):
        if not _is_plain(value):
            return (
                f"{member}: must be made of texts, numbers of 64 bits, booleans, lists and mappings with texts as keys"
            )
    return ""


def _is_plain(value: object) -> bool:
    match value:
        case None | str() | bool() | float():
            return True
        case int():
            return -(2**63) <= value < 2**64
        case list():
            return all(map(_is_plain, cast(list[object], value)))
        case dict():
            members = cast(dict[object, object], value)
            return all(isinstance(name, str) and _is_plain(each) for name, each in members.items())
        case _:
            return False


__all__ = ["InvalidRegistry", "read_registry"]
