"""From the bytes of a body to a checked wire struct, with errors that say where.

msgspec checks types, names and ranges while it decodes. What it says is turned into an error that names the path
as the client would write it (`messages[2].content[0].type`), JSON's names for types, and the same path in
`param`. Every way in which decoding can fail ends in `InvalidRequest`.

A body is read twice: once into the struct of the fields that we know, once into the raw fields by name, so
that what the struct does not know is found (msgspec drops it silently) and sorted by a `FieldRules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.dialects.limits import MAX_JSON_DEPTH, MAX_MESSAGE_CHARS, MAX_NAME_CHARS, MAX_SCHEMA_BYTES

T = TypeVar("T")


Tags: TypeAlias = tuple[tuple[re.Pattern[str], str], ...]


class Refused(msgspec.Struct, frozen=True):
    """A field of the wire that is not served: why, and the values that ask for nothing and are accepted."""

    reason: str
    neutral: tuple[JSON, ...] = ()


class FieldRules(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of each top-level field of one operation.

    `mapped` are decoded into the canonical request, `ignored` change nothing (with the reason), `refused`
    raise `UnsupportedFeature`. Any other field is an extension, unless only the gateway sets it. `tags` are the
    values that a tagged union takes at a path, for the message about one that it does not take.
    """

    mapped: frozenset[str]
    ignored: Mapping[str, str]
    refused: Mapping[str, Refused]
    tags: Tags = ()


GATEWAY_ONLY: Final = frozenset(
    {
        "cache_salt",
        "priority",
        "kv_transfer_params",
        "ec_transfer_params",
        "request_id",
        "vllm_xargs",
        "data_parallel_rank",
        "api_base",
        "api_version",
        "spec_path",
        "user_config",
    }
)
"""What the gateway alone tells an upstream: a client that chose these could read another tenant's cached
prefixes, overtake others, or name the machine that a provider's key is sent to."""

_GATEWAY_ONLY_WORDS: Final = frozenset(
    {
        "apibase",
        "apikey",
        "authorization",
        "baseurl",
        "callback",
        "credential",
        "credentials",
        "endpoint",
        "endpoints",
        "header",
        "headers",
        "host",
        "hostname",
        "password",
        "proxies",
        "proxy",
        "secret",
        "uri",
        "url",
        "urls",
        "webhook",
    }
)
_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")

_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANYTHING: Final = msgspec.json.Decoder(Any)

_TYPE_NAMES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_QUOTED: Final = re.compile(r"`([^`]*)`")


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes, rules: FieldRules) -> tuple[T, dict[str, JSON]]:
    """The wire struct and the extensions of `body`.

    Raises `InvalidRequest` for what is no JSON or does not have the struct's shape and for fields that only
    the gateway sets; `UnsupportedFeature` for refused fields. Extensions that are null are left out.
    """
    wire = _decode(decoder, body, rules.tags)
    raw = _decode(_RAW_FIELDS, body)
    extensions: dict[str, JSON] = {}
    if raw.keys() <= rules.mapped:
        return wire, extensions
    for name in raw:
        if name in rules.mapped or name in rules.ignored:
            continue
        if only_gateway_sets(name):
            shown = clip(name, MAX_NAME_CHARS)
            raise InvalidRequest(f"{shown}: is set by the gateway and cannot be sent by a client", param=shown)
        value = _extension(name, raw[name])
        refused = rules.refused.get(name)
        if refused is not None:
            if value is not None and value not in refused.neutral:
                raise UnsupportedFeature(f"{name}: is not supported. {refused.reason}", param=name)
        elif value is not None:
            extensions[name] = value
    return wire, extensions


def raw_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of `body`, undecoded. Raises `InvalidRequest` for what is no JSON object."""
    return _decode(_RAW_FIELDS, body)


def only_gateway_sets(name: str) -> bool:
    """Whether a top-level field of this name is never a client's to send, however it is spelt."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not _GATEWAY_ONLY_WORDS.isdisjoint(words) or any(pair == ("api", "key") for pair in pairwise(words)):
        return True
    return "_".join(words) in GATEWAY_ONLY


def bounded_schema(schema: Mapping[str, Any], param: str) -> JSONObject:
    """`schema` itself. Raises `InvalidRequest` when it is deeper or larger than an engine should compile."""
    value = cast("JSONObject", schema)
    _bounded_depth(value, param)
    if len(msgspec.json.encode(value)) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"{param}: the schema is larger than {MAX_SCHEMA_BYTES} bytes", param=param)
    return value


def bounded_json(value: JSON, param: str) -> JSON:
    """`value` itself. Raises `InvalidRequest` when it is deeper than `MAX_JSON_DEPTH`, whatever its size."""
    _bounded_depth(value, param)
    return value


def clip(text: str, chars: int = MAX_MESSAGE_CHARS) -> str:
    """`text`, cut to `chars` characters, so that an error cannot be made to carry a body back."""
    return text if len(text) <= chars else f"{text[: chars - 3]}..."


def _extension(name: str, raw: msgspec.Raw) -> JSON:
    param = clip(name, MAX_NAME_CHARS)
    if param != name:  # no upstream has such a field, and an upstream's refusal would repeat the whole name
        raise InvalidRequest(f"{param}: is not a field; names have at most {MAX_NAME_CHARS} characters", param=param)
    if len(memoryview(raw)) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"{param}: is larger than {MAX_SCHEMA_BYTES} bytes", param=param)
    try:
        value = cast("JSON", _decode(_ANYTHING, bytes(raw)))
    except InvalidRequest as error:
        raise InvalidRequest(f"{param}: {error.message}", param=param) from None
    _bounded_depth(value, param)
    return value


def _bounded_depth(value: JSON, param: str) -> None:
    level: list[JSON] = [value]
    for _ in range(MAX_JSON_DEPTH):
        inner: list[JSON] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return
        level = inner
    raise InvalidRequest(f"{param}: is nested deeper than {MAX_JSON_DEPTH} levels", param=param)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, tags: Tags = ()) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(str(error), tags) from None
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRequest(f"The body is not valid JSON: {reason}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8") from None
    except ValueError:  # a number with thousands of digits
        raise InvalidRequest("The body holds a number that is out of range") from None


def invalid(reason: str, tags: Tags = ()) -> InvalidRequest:
    """The error for what msgspec says of a value, such as ``Expected `str`, got `int` - at `$.model` ``."""
    what, _, where = reason.rpartition(" - at ")
    if not what:
        what, where = reason, ""
    path = where.replace("`key` in ", "").strip("`").removeprefix("$").removeprefix(".")
    if what.startswith(("Object contains unknown field", "Object missing required field")):
        name = what.split("`")[1] if "`" in what else ""
        path = f"{path}.{name}" if path else name
        what = "unknown field" if "unknown" in what else "required, but missing"
    elif what.startswith(("Invalid value ", "Invalid enum value ")):
        got = what.partition("value ")[2]
        allowed = next((names for pattern, names in tags if pattern.match(path)), None)
        what = f"{got} is not supported" if allowed is None else f"expected one of {allowed}, got {got}"
    else:
        what = _QUOTED.sub(lambda match: _type_names(match.group(1)), what[:1].lower() + what[1:])
    param = clip(path, 128) or None
    return InvalidRequest(clip(f"{param}: {what}" if param else what), param=param)


def _type_names(types: str) -> str:
    return " or ".join(_TYPE_NAMES.get(name, name) for name in types.split(" | "))


__all__ = [
    "GATEWAY_ONLY",
    "FieldRules",
    "Refused",
    "Tags",
    "bounded_json",
    "bounded_schema",
    "clip",
    "decode_body",
    "invalid",
    "only_gateway_sets",
    "raw_fields",
]
