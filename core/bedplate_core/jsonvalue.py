"""The type of a decoded JSON value."""

from __future__ import annotations

from typing import TypeAlias, Union

JSON: TypeAlias = Union[None, bool, int, float, str, list["JSON"], dict[str, "JSON"]]
JSONObject: TypeAlias = dict[str, JSON]

__all__ = ["JSON", "JSONObject"]
