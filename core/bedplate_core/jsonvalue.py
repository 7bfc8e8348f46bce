"""The type of a decoded JSON value.

The recursive alias is for the type checker. msgspec cannot build a decoder for a recursive alias, so at run time, where
structs with such fields are stored and read back, the type is `Any`: a JSON decoder gives nothing else anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
else:
    JSON = Any

JSONObject: TypeAlias = dict[str, JSON]

__all__ = ["JSON", "JSONObject"]
