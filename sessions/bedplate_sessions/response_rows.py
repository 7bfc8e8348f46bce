"""What a stored response is, and how it looks in its row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import RowMapping

from bedplate_core.errors import StoreUnavailable
from bedplate_core.events import StopReason
from bedplate_core.messages import SCHEMA_VERSION, Message
from bedplate_core.usage import Usage

_MESSAGES = msgspec.json.Decoder(tuple[Message, ...])
_MESSAGE = msgspec.json.Decoder(Message)
_USAGE = msgspec.json.Decoder(Usage)


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
    """What a later request needs of a response that it builds on."""

    id: str
    parent_id: str | None
    input: tuple[Message, ...]
    output: Message


def encoded(response: StoredResponse) -> dict[str, str | int | None]:
    """The values of the response's row that do not depend on who stores it."""
    said, answered = _text(response.input), _text(response.output)
    return {
        "id": response.id,
        "parent": response.parent_id,
        "model": response.model,
        "created_s": response.created_s,
        "input": said,
        "output": answered,
        "stop_reason": response.stop_reason.value,
        "usage": _text(response.usage),
        "settings": response.settings.decode(),
        "schema_version": SCHEMA_VERSION,
        "size_bytes": len(said.encode()) + len(answered.encode()),
    }


def decoded(row: RowMapping) -> StoredResponse:
    """The response in `row`. Raises `StoreUnavailable` for a row of a newer version than this code knows."""
    _known(row)
    return StoredResponse(
        id=row["id"],
        parent_id=row["parent_id"],
        model=row["model"],
        created_s=row["created_s"],
        input=_MESSAGES.decode(row["input"]),
        output=_MESSAGE.decode(row["output"]),
        stop_reason=StopReason(row["stop_reason"]),
        usage=_USAGE.decode(row["usage"]),
        settings=row["settings"].encode(),
    )


def ancestor(row: RowMapping) -> Ancestor:
    """The ancestor in `row`; raises like `decoded`."""
    _known(row)
    return Ancestor(
        id=row["id"],
        parent_id=row["parent_id"],
        input=_MESSAGES.decode(row["input"]),
        output=_MESSAGE.decode(row["output"]),
    )


def _known(row: RowMapping) -> None:
    if row["schema_version"] > SCHEMA_VERSION:
        raise StoreUnavailable(
            "This response was written by a newer version of the gateway; try again when its update is done.",
            retry_after_s=30.0,
        )


def _text(value: Sequence[Message] | Message | Usage) -> str:
    return msgspec.json.encode(value).decode()


__all__ = ["Ancestor", "StoredResponse", "ancestor", "decoded", "encoded"]
