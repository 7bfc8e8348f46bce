"""How content becomes the bytes in its row, and back."""

from __future__ import annotations

import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bedplate_core.errors import GatewayError

DATA_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PLAIN: Final = b"\x00"
_AES_256_GCM: Final = b"\x01"


class ContentUnreadable(GatewayError):
    """Stored content cannot be opened: its key is gone, or it was changed. 500: nothing a client can mend."""

    code = "content_unreadable"


class Cipher(Protocol):
    """Seals the content of one owner: a session, a chain of responses, a kept reply.

    The first byte of what is sealed says how. An owner has a data key from its beginning or never: content that is not
    sealed under the key of an owner that has one was put there by somebody else, and does not open.
    """

    def seal(self, content: bytes, place: str) -> bytes:
        """`content` as it is stored. `place` is where: bytes moved to another place do not open."""
        ...

    def open(self, sealed: bytes, place: str) -> bytes:
        """What was sealed for `place`. Raises `ContentUnreadable`."""
        ...


class PlainCipher:
    """No encryption: for an owner without a data key."""

    def seal(self, content: bytes, place: str) -> bytes:
        """See `Cipher.seal`."""
        return _PLAIN + content

    def open(self, sealed: bytes, place: str) -> bytes:
        """See `Cipher.open`."""
        if sealed[:1] == _PLAIN:
            return sealed[1:]
        raise ContentUnreadable("This content is encrypted and its key no longer exists.")


class DataKeyCipher:
    """AES-256-GCM under one data key, with a random nonce for each content and its place authenticated."""

    __slots__ = ("_key",)

    def __init__(self, data_key: bytes) -> None:
        """`data_key` is 32 random bytes. 2^32 contents may be sealed under it (NIST SP 800-38D, 8.3)."""
        if len(data_key) != DATA_KEY_BYTES:
            raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes")
        self._key = AESGCM(data_key)

    def seal(self, content: bytes, place: str) -> bytes:
        """See `Cipher.seal`."""
        nonce = os.urandom(_NONCE_BYTES)
        return _AES_256_GCM + nonce + self._key.encrypt(nonce, content, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """See `Cipher.open`."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _AES_256_GCM:
                raise InvalidTag
            return self._key.decrypt(nonce, text, place.encode())
        except (InvalidTag, ValueError):
            raise ContentUnreadable("This content is not what was stored, or was stored under another key.") from None


__all__ = ["DATA_KEY_BYTES", "Cipher", "ContentUnreadable", "DataKeyCipher", "PlainCipher"]
