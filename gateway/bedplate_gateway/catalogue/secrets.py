"""Secret references: a resource names where a secret is, and never holds it."""

from __future__ import annotations

import re
from pathlib import Path

_REFERENCE = re.compile(r"file:([A-Za-z0-9][A-Za-z0-9._-]{0,127})")


class SecretError(Exception):
    """A reference does not resolve. The message names the reference, never a value."""


class Secrets:
    """Resolves `file:NAME` to the content of a file in one folder of the operator's.

    Nothing else resolves: no other folder, no environment variable, no link out of the folder (links inside it are how
    Kubernetes lays out a mounted Secret). So whoever may write
    resources can name only what the operator put there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve(self, reference: str) -> str:
        """The secret, without surrounding white space: printable ASCII without spaces. Raises `SecretError`."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise SecretError("a secret is given as file:NAME, a file in the installation's secrets folder")
        path = self._folder / match[1]
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise SecretError(f"{reference} leads out of the secrets folder")
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise SecretError(f"{reference} cannot be read: {error.strerror}") from None
        if not secret or not all(0x21 <= byte <= 0x7E for byte in secret):
            raise SecretError(f"{reference} is not printable ASCII without spaces")
        return secret.decode("ascii")


__all__ = ["SecretError", "Secrets"]
