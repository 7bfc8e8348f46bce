"""What a stored response is, and how it looks in its row."""

from __future__ import annotations

import msgspec
from sqlalchemy import RowMapping

from bedplate_core.errors import StoreUnavailable
from bedplate_core.events import StopReason
from bedplate_core.messages import SCHEMA_VERSION, Message
from bedplate_core.usage import Usage
from bedplate_sessions.keys.cipher import Cipher

_USAGE = msgspec.json.Decoder(Usage)

RESPONSE_COLUMNS = (
    "id, parent_id, model, created_s, stop_reason, usage::text as usage, schema_version, key_owner, "
    r"coalesce(sealed, '\x00'::bytea || convert_to(json_build_object("
    "'input', input, 'output', output, 'settings', settings)::text, 'UTF8')) as sealed"
)
"""The columns that `decoded` and `ancestor` read. Version 0003 stored the content as JSON in columns of its own."""


class _Content(msgspec.Struct, frozen=True):
    """What is sealed of a response."""

    input: tuple[Message, ...]
    output: Message
    settings: msgspec.Raw


_CONTENT = msgspec.json.Decoder(_Content)


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request, as it was released: texts that a policy masked are masked here.

    `input` holds the messages of this request alone; what came before is reached through `parent_id`. `settings` is a
    JSON object that belongs to the dialect. `created_s` is when the answer began, in seconds since 1970.
    """

    id: str
    parent_id: str | None
    model: str
    created_s: int
    input: tuple[Message, ...]
    output: Message
    stop_reason: StopReason
    usage: Usage
    settings: bytes


class Ancestor(msgspec.Struct, frozen=True, kw_only=True):
    """What a later request needs of a response that it builds on. `key_owner` has the data key of the whole chain."""

    id: str
    parent_id: str | None
    key_owner: str | None
    input: tuple[Message, ...]
    output: Message


def encoded(response: StoredResponse, cipher: Cipher) -> dict[str, str | int | bytes | None]:
    """The values of the response's row that do not depend on who stores it."""
    content = msgspec.json.encode(_Content(response.input, response.output, msgspec.Raw(response.settings)))
    return {
        "id": response.id,
        "parent": response.parent_id,
        "model": response.model,
        "created_s": response.created_s,
        "sealed": cipher.seal(content, response.id),
        "stop_reason": response.stop_reason.value,
        "usage": msgspec.json.encode(response.usage).decode(),
        "schema_version": SCHEMA_VERSION,
        "size_bytes": len(content),
    }


def decoded(row: RowMapping, cipher: Cipher) -> StoredResponse:
    """The response in `row`.

    Raises `StoreUnavailable` for a row of a newer version than this code knows, and `ContentUnreadable`.
    """
    content = _content(row, cipher)
    return StoredResponse(
        id=row["id"],
        parent_id=row["parent_id"],
        model=row["model"],
        created_s=row["created_s"],
        input=content.input,
        output=content.output,
        stop_reason=StopReason(row["stop_reason"]),
        usage=_USAGE.decode(row["usage"]),
        settings=bytes(content.settings),
    )


def ancestor(row: RowMapping, cipher: Cipher) -> Ancestor:
    """The ancestor in `row`; raises like `decoded`."""
    content = _content(row, cipher)
    return Ancestor(
        id=row["id"],
        parent_id=row["parent_id"],
        key_owner=row["key_owner"],
        input=content.input,
        output=content.output,
    )


def _content(row: RowMapping, cipher: Cipher) -> _Content:
    if row["schema_version"] > SCHEMA_VERSION:
        raise StoreUnavailable(
            "This response was written by a newer version of the gateway; try again when its update is done.",
            retry_after_s=30.0,
        )
    return _CONTENT.decode(cipher.open(row["sealed"], row["id"]))


__all__ = ["RESPONSE_COLUMNS", "Ancestor", "StoredResponse", "ancestor", "decoded", "encoded"]
