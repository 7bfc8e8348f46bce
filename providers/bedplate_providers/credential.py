"""A secret that does not show itself."""

from __future__ import annotations


class Credential:
    """Holds a secret text. `repr`, `str` and formatting show a mask; only `reveal` gives the text.

    Raises `ValueError` for a text that could not stand in an HTTP header, without quoting it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("a credential is printable ASCII without spaces")
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return "Credential(***)"


__all__ = ["Credential"]
