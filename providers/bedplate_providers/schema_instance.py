"""The smallest value that a JSON schema allows, for the scripted provider's tool arguments and JSON
answers.
"""

from __future__ import annotations

import math
from typing import cast

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject

_DEPTH = 32


def minimal_instance(schema: JSONObject) -> JSON:
    """A value valid under `schema`: required properties only, the first of `enum` or `anyOf`, the least
    length.

    Understands `const`, `enum`, `type`, `properties`, `required`, `items`, `prefixItems`, the bounds,
    `anyOf`, `oneOf`, `allOf` and local `$ref`. Raises `UnsupportedFeature` for what it cannot satisfy
    (`pattern`, `not`, a reference to elsewhere, recursion deeper than 32) and for what is no JSON schema.
    """
    try:
        return _instance(schema, schema, 0)
    except (AttributeError, TypeError, ValueError):  # a keyword's value is not of the keyword's type
        raise UnsupportedFeature("the scripted provider cannot read this JSON schema") from None


def _instance(schema: JSON, root: JSONObject, depth: int) -> JSON:
    if schema is True:
        return {}
    if not isinstance(schema, dict) or depth > _DEPTH:
        raise UnsupportedFeature("the scripted provider cannot build an instance of this JSON schema")
    for word in ("not", "if", "pattern", "patternProperties", "dependentSchemas"):
        if word in schema:
            raise UnsupportedFeature(f"the scripted provider cannot build an instance of a JSON schema with {word}")
    if "const" in schema:
        return schema["const"]
    enum = schema.get("enum")
    if isinstance(enum, list) and enum:
        return enum[0]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _instance(_resolve(reference, root), root, depth + 1)
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list) and options:
            return _instance(options[0], root, depth + 1)
    merged = _merged(schema, root, depth)
    kind = _kind(merged)
    if kind == "object":
        return _object(merged, root, depth)
    if kind == "array":
        return _array(merged, root, depth)
    return _scalar(kind, merged)


def _resolve(reference: str, root: JSONObject) -> JSON:
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        raise UnsupportedFeature("the scripted provider follows only references inside a JSON schema")
    found: JSON = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise UnsupportedFeature(f"the JSON schema has no {reference}")
        found = found[name]
    return found


def _merged(schema: JSONObject, root: JSONObject, depth: int) -> JSONObject:
    """`schema` with its `allOf` members folded in."""
    members = schema.get("allOf")
    if not isinstance(members, list):
        return schema
    merged: JSONObject = {name: value for name, value in schema.items() if name != "allOf"}
    properties: JSONObject = dict(cast("JSONObject", merged.get("properties") or {}))
    required: list[JSON] = list(cast("list[JSON]", merged.get("required") or []))
    for member in members:
        reference = member.get("$ref") if isinstance(member, dict) else None
        resolved = _resolve(reference, root) if isinstance(reference, str) else member
        if not isinstance(resolved, dict) or depth > _DEPTH:
            raise UnsupportedFeature("the scripted provider cannot build an instance of this JSON schema")
        flat = _merged(resolved, root, depth + 1)
        properties.update(cast("JSONObject", flat.get("properties") or {}))
        required.extend(cast("list[JSON]", flat.get("required") or []))
        merged = {**flat, **merged}
    return {**merged, "properties": properties, "required": required}


def _kind(schema: JSONObject) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if isinstance(kind, str):
        return kind
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "object"


def _object(schema: JSONObject, root: JSONObject, depth: int) -> JSON:
    properties = cast("JSONObject", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    return {name: _instance(properties.get(name, True), root, depth + 1) for name in dict.fromkeys(required)}


def _array(schema: JSONObject, root: JSONObject, depth: int) -> JSON:
    least = cast("int", schema.get("minItems") or 0)
    prefix = cast("list[JSON]", schema.get("prefixItems") or [])
    items = schema.get("items", True)
    return [_instance(prefix[n] if n < len(prefix) else items, root, depth + 1) for n in range(least)]


def _scalar(kind: str, schema: JSONObject) -> JSON:
    if kind == "string":
        return "x" * cast("int", schema.get("minLength") or 0)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    number: float = 0
    bound = schema.get("minimum")
    if isinstance(bound, int | float):
        number = max(number, bound)
    bound = schema.get("exclusiveMinimum")
    if isinstance(bound, int | float) and number <= bound:
        number = bound + 1
    bound = schema.get("maximum")
    if isinstance(bound, int | float):
        number = min(number, bound)
    bound = schema.get("exclusiveMaximum")
    if isinstance(bound, int | float) and number >= bound:
        number = bound - 1
    return math.ceil(number) if kind == "integer" else number


__all__ = ["minimal_instance"]
