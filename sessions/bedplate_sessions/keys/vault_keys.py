"""Wrapping keys in HashiCorp Vault's transit engine, which never leave it."""

from __future__ import annotations

import base64
import hmac
import importlib
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.binding import binding
from bedplate_sessions.keys.bounded_calls import DEADLINE_S, BoundedCalls
from bedplate_sessions.keys.cipher import DATA_KEY_BYTES, ContentUnreadable
from bedplate_sessions.keys.provider import WrappedKey
from bedplate_sessions.keys.setting_error import KeySettingError

logger = logging.getLogger(__name__)

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]+")
_TAG_BYTES: Final = 32


class VaultKeys:
    """Wraps by transit's `encrypt/NAME` and unwraps by `decrypt/NAME`: the token needs `update` on both, no more.

    What is wrapped is bound three times to its project and owner: by `context`, from which Vault derives a key for the
    project if the key was made with `derived=true` (do that); by `associated_data`, which Vault authenticates from
    1.13 on for AES-GCM and ChaCha20 keys; and by a hash of both inside, for a Vault that ignores the other two.
    Key ids are `vault:MOUNT/NAME:VERSION`. The Vault API, read November 2026:
    https://developer.hashicorp.com/vault/api-docs/secret/transit

    No redirect is followed and no proxy or credential is taken from the environment. The token is not renewed: give
    one that lasts, such as a periodic one that something else renews.
    """

    def __init__(
        self, *, url: str, mount: str, name: str, token: str, ca: Path | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        """`url` is the server's, `https:` except on this machine. `ca` is a file with the authority's certificate.

        Nothing is connected. Raises `KeySettingError`, also when the package `hvac` is not installed.
        """
        parsed = urlsplit(url)
        if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.hostname in _LOOPBACK):
            raise KeySettingError("Vault: the address begins with https://; http:// is for this machine alone")
        if not parsed.hostname or "@" in parsed.netloc or parsed.path.strip("/") or parsed.query or parsed.fragment:
            raise KeySettingError("Vault: the address is https://host:port and nothing else")
        if _PATH.fullmatch(mount) is None or _NAME.fullmatch(name) is None:
            raise KeySettingError("Vault: the mount and the key's name are letters, digits, _ and -")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise KeySettingError("Vault: a token is needed, printable ASCII without spaces")
        if ca is not None and not ca.is_file():
            raise KeySettingError(f"Vault: there is no certificate at {ca}")
        try:
            hvac: Any = importlib.import_module("hvac")
            requests: Any = importlib.import_module("requests")
        except ImportError:
            raise KeySettingError("Vault: a package is missing; install bedplate[vault]") from None
        session = requests.Session()
        session.trust_env = False
        session.verify = True if ca is None else str(ca)
        self._hvac_errors: Any = hvac.exceptions
        self._client: Any = hvac.Client(
            url=url, token=token, session=session, timeout=deadline_s, allow_redirects=False
        )
        self._session: Any = session
        self._mount = mount
        self._name = name
        self._calls = BoundedCalls("vault", deadline_s=deadline_s)

    def __repr__(self) -> str:
        return f"VaultKeys({self.key_id!r})"

    @property
    def key_id(self) -> str:
        """See `KeyProvider.key_id`. Without a version, which only Vault knows."""
        return f"vault:{self._mount}/{self._name}"

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """See `KeyProvider.wrap`. Raises `StoreUnavailable`, also when Vault refuses."""
        bound = binding(project, owner)
        plain = _base64(_tag(data_key, bound) + data_key)
        transit = self._client.secrets.transit
        ciphertext = await self._ask(
            partial(transit.encrypt_data, self._name, plaintext=plain, **self._parameters(project, bound)), "ciphertext"
        )
        found = _CIPHERTEXT.fullmatch(ciphertext or "")
        if ciphertext is None or found is None:
            raise _away("InvalidRequest" if ciphertext is None else "a ciphertext of another form")
        return WrappedKey(key_id=f"{self.key_id}:{found[1]}", wrapped=ciphertext.encode())

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """See `KeyProvider.unwrap`.

        Vault's 400 (another project or owner, a changed text, a version that may no longer decrypt, a key that was
        deleted) is `ContentUnreadable`; a refused token, a missing mount (404), a redirect, a sealed or silent Vault
        is `StoreUnavailable`, since those can be mended.
        """
        text = wrapped.wrapped.decode("ascii", "replace")
        if wrapped.key_id.rpartition(":")[0] != self.key_id or _CIPHERTEXT.fullmatch(text) is None:
            logger.warning("a data key is wrapped under %s, and only %s is set up", wrapped.key_id, self.key_id)
            raise ContentUnreadable("This content is encrypted under a key that the gateway does not have.")
        bound = binding(project, owner)
        transit = self._client.secrets.transit
        answer = await self._ask(
            partial(transit.decrypt_data, self._name, ciphertext=text, **self._parameters(project, bound)), "plaintext"
        )
        plain = _decoded(answer or "")
        tag, data_key = plain[:_TAG_BYTES], plain[_TAG_BYTES:]
        if len(data_key) == DATA_KEY_BYTES and hmac.compare_digest(tag, _tag(data_key, bound)):
            return data_key
        logger.warning("Vault does not unwrap a data key that is wrapped under %s", wrapped.key_id)
        raise ContentUnreadable("The key of this content is not what was stored, or was stored elsewhere.")

    async def aclose(self) -> None:
        """See `KeyProvider.aclose`."""
        self._calls.close()
        self._session.close()

    def _parameters(self, project: ProjectId, bound: bytes) -> dict[str, str]:
        context, associated = _base64(project.encode()), _base64(bound)
        return {"context": context, "associated_data": associated, "mount_point": self._mount}

    async def _ask(self, call: Callable[[], Any], field: str) -> str | None:
        """The text `field` of Vault's answer; None when Vault says that the request is wrong."""
        try:
            answer = await self._calls.run(call)
            value: object = answer["data"][field]  # what is no answer of Vault's, such as a redirect, has none
            if isinstance(value, str):
                return value
            reason = "an answer of another form"
        except self._hvac_errors.InvalidRequest:
            return None
        except Exception as error:
            # Its text has the address, and the chain of causes the request with its token.
            reason = type(error).__name__
        raise _away(reason)


def _tag(data_key: bytes, bound: bytes) -> bytes:
    return hmac.digest(data_key, bound, "sha256")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _away(reason: str) -> StoreUnavailable:
    logger.warning("Vault does not wrap or unwrap data keys: %s", reason)
    return StoreUnavailable("The gateway's key service is unavailable; try again shortly.", retry_after_s=5.0)


__all__ = ["VaultKeys"]
