"""JSON Schemas that answers and tool calls must fit, draft 2020-12.

A schema is bounded when it is saved, because it is written by one project and evaluated in a process that all share:
its length, its depth, and how many subschemas it comes to once its references are followed. References lead only into
the schema itself; nothing is ever fetched. Patterns are matched in linear time, so look-around and back-references are
refused. `format` is an annotation, as the draft has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol, cast

import jsonschema_rs

from bedplate_guardrails.document import InvalidPolicy

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_SCHEMA_STEPS = 10_000
"""Subschemas with all references followed. A schema that refers to itself counts once more for each such reference."""

_DRAFTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"})
_DATA = frozenset({"const", "enum", "default", "examples"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_MAPS = _DEFINITIONS | {"dependentSchemas", "patternProperties", "properties"}


class _Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...


class AnswerSchema:
    """A compiled schema. Immutable, safe to share between threads."""

    __slots__ = ("_validator",)

    def __init__(self, schema: dict[str, Any], place: str) -> None:
        """Raises `InvalidPolicy` naming `place` for what is no schema, or is over a bound."""
        try:
            written = json.dumps(schema)
        except (RecursionError, ValueError) as error:
            raise InvalidPolicy(f"{place}: is nested too deeply") from error
        if len(written) > MAX_SCHEMA_BYTES:
            raise InvalidPolicy(f"{place}: is longer than {MAX_SCHEMA_BYTES} bytes")
        if _depth(schema) > MAX_SCHEMA_DEPTH:
            raise InvalidPolicy(f"{place}: is nested more than {MAX_SCHEMA_DEPTH} deep")
        try:
            _References(schema).check()
            library = cast(Any, jsonschema_rs)
            options = library.RegexOptions()
            self._validator = cast(
                _Validator, library.Draft202012Validator(schema, pattern_options=options, offline=True)
            )
        except RecursionError as error:
            raise InvalidPolicy(f"{place}: its references follow each other too far") from error
        except ValueError as error:
            raise InvalidPolicy(f"{place}: {str(error).splitlines()[0][:300]}") from error

    def fits(self, text: str) -> bool:
        """Whether `text` is one JSON value that the schema allows.

        JSON is taken strictly: NaN and Infinity are not JSON, and an object with a key twice does not fit, because
        readers differ in which of the two they take.
        """
        try:
            value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
            return self._validator.is_valid(value)
        except (ValueError, RecursionError):
            return False


class _References:
    """Counts what a schema comes to when its references are followed."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._anchors = {
            node[name]: node
            for node in _subschemas(schema)
            for name in ("$anchor", "$dynamicAnchor")
            if isinstance(node.get(name), str)
        }
        self._steps: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self) -> None:
        """Raise `ValueError` for references that lead out, other drafts, and too many steps."""
        declared = self._schema.get("$schema")
        if declared is not None and declared not in _DRAFTS:
            raise ValueError(f"$schema: only draft 2020-12 is evaluated, not {str(declared)[:100]}")
        for node in _subschemas(self._schema):
            if node is not self._schema and isinstance(node.get("$id"), str):
                raise ValueError("$id: only the schema as a whole may have one")
            for name in ("$ref", "$dynamicRef"):
                target = node.get(name)
                if isinstance(target, str) and not target.startswith("#"):
                    raise ValueError(f"{name}: leads only into the schema itself, with #, and not to {target[:100]}")
        if self._count(self._schema) > MAX_SCHEMA_STEPS:
            raise ValueError(f"comes to more than {MAX_SCHEMA_STEPS} subschemas when its references are followed")

    def _count(self, node: dict[str, Any]) -> int:
        known = self._steps.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            return 1
        self._open.add(id(node))
        steps = 1 + sum(map(self._count, _children(node, without=_DEFINITIONS)))
        for name in ("$ref", "$dynamicRef"):
            target = self._target(node.get(name))
            if target is not None:
                steps += self._count(target)
        self._open.discard(id(node))
        steps = min(steps, MAX_SCHEMA_STEPS + 1)
        self._steps[id(node)] = steps
        return steps

    def _target(self, reference: object) -> dict[str, Any] | None:
        if not isinstance(reference, str):
            return None
        if reference in ("#", "#/"):
            return self._schema
        if not reference.startswith("#/"):
            return self._anchors.get(reference[1:])
        at: Any = self._schema
        for step in reference[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict) and key in at:
                at = cast("dict[str, Any]", at)[key]
            elif isinstance(at, list) and key.isdecimal() and int(key) < len(cast("list[Any]", at)):
                at = cast("list[Any]", at)[int(key)]
            else:
                return None
        return cast("dict[str, Any]", at) if isinstance(at, dict) else None


def _children(node: dict[str, Any], without: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """The objects right below a subschema, in lists and by name too; what is data is left out."""
    for key, value in node.items():
        if key in without:
            continue
        if key in _MAPS and isinstance(value, dict):
            for named in cast("dict[str, Any]", value).values():
                yield from _objects(named)
        elif key not in _DATA:
            yield from _objects(value)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield cast("dict[str, Any]", value)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _objects(item)


def _subschemas(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in _children(node):
        yield from _subschemas(child)


def _depth(value: Any) -> int:
    depth = 0
    level: list[Any] = [value]
    while level and depth <= MAX_SCHEMA_DEPTH:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (cast("dict[str, Any]", each).values() if isinstance(each, dict) else cast("list[Any]", each))
        ]
    return depth


def _refuse_constant(written: str) -> Any:
    raise ValueError(f"{written} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has a key twice")
    return value


__all__ = ["MAX_SCHEMA_BYTES", "MAX_SCHEMA_DEPTH", "MAX_SCHEMA_STEPS", "AnswerSchema"]
