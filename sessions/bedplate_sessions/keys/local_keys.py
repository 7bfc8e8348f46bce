"""Wrapping keys that this process holds in memory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.binding import binding
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.provider import WrappedKey

logger = logging.getLogger(__name__)

WRAPPING_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORM: Final = b"\x01"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


class LocalKeys:
    """Versions of one wrapping key, named `name:version`, of which the current one wraps.

    Each project has a key of its own, derived by HKDF-SHA256 from the version's key, so that no key is used for two
    projects; project and owner are authenticated with the wrapped key (AES-256-GCM, a random nonce for each).
    """

    __slots__ = ("_current", "_keys", "_name")

    def __init__(self, *, name: str, keys: Mapping[int, bytes], current: int) -> None:
        """`keys` are 32 bytes for each version, counted from 1. Raises `ValueError`, which holds none of them."""
        if _NAME.fullmatch(name) is None:
            raise ValueError("the name of local keys is lower-case letters, digits and dashes")
        if current not in keys:
            raise ValueError(f"version {current} is to be the current one, and there is no key of it")
        for version, key in keys.items():
            if version < 1 or len(key) != WRAPPING_KEY_BYTES:
                raise ValueError(f"version {version}: versions count from 1, and a key has {WRAPPING_KEY_BYTES} bytes")
        self._name = name
        self._keys = dict(keys)
        self._current = current

    def __repr__(self) -> str:
        return f"LocalKeys(name={self._name!r}, versions={sorted(self._keys)}, current={self._current})"

    @property
    def key_id(self) -> str:
        """See `KeyProvider.key_id`."""
        return f"{self._name}:{self._current}"

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """See `KeyProvider.wrap`. Never raises."""
        nonce = os.urandom(_NONCE_BYTES)
        text = _of_project(self._keys[self._current], project).encrypt(nonce, data_key, binding(project, owner))
        return WrappedKey(key_id=self.key_id, wrapped=_FORM + nonce + text)

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """See `KeyProvider.unwrap`. Raises `ContentUnreadable`."""
        key = self._keys.get(self._version(wrapped.key_id))
        if key is None:
            logger.warning("a data key is wrapped under %s, which this process does not have", wrapped.key_id)
            raise ContentUnreadable("This content is encrypted under a key that the gateway does not have.")
        nonce, text = wrapped.wrapped[1 : 1 + _NONCE_BYTES], wrapped.wrapped[1 + _NONCE_BYTES :]
        try:
            if wrapped.wrapped[:1] != _FORM:
                raise ValueError("another form")
            return _of_project(key, project).decrypt(nonce, text, binding(project, owner))
        except (InvalidTag, ValueError):
            pass
        logger.warning("a data key that is wrapped under %s does not unwrap with it", wrapped.key_id)
        raise ContentUnreadable("The key of this content is not what was stored, or was stored elsewhere.")

    async def aclose(self) -> None:
        """See `KeyProvider.aclose`. Nothing is open."""

    def _version(self, key_id: str) -> int:
        """The version that `key_id` names; 0, which no key has, when it is none of ours."""
        name, _, version = key_id.partition(":")
        return int(version) if name == self._name and version.isascii() and version.isdecimal() else 0


def _of_project(key: bytes, project: ProjectId) -> AESGCM:
    info = b"bedplate/data-keys-of/" + project.encode()
    return AESGCM(HKDF(hashes.SHA256(), WRAPPING_KEY_BYTES, salt=None, info=info).derive(key))


__all__ = ["WRAPPING_KEY_BYTES", "LocalKeys"]
