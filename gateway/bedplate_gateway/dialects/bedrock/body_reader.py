"""Reading the body of one management operation."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from bedplate_gateway.dialects.decoding import FieldRules, decode_body

T = TypeVar("T", bound=msgspec.Struct)


class BodyReader(Generic[T]):
    """Decodes one operation's bodies; no body is one without members."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        # The struct refuses what it does not know itself.
        mapped = frozenset([field.encode_name for field in msgspec.structs.fields(kind)])
        self._rules = FieldRules(mapped=mapped, ignored={}, refused={})

    def __call__(self, body: bytes) -> T:
        """The body as its struct. Raises `InvalidRequest`, naming the member, for one that is not."""
        return decode_body(self._decoder, body or b"{}", self._rules)[0]


__all__ = ["BodyReader"]
