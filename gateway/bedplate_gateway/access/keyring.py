"""The installation's master key and what is derived from it: one key per purpose, never the master itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32
_TOKEN_PREFIX = "bp_"  # noqa: S105 - a public prefix that lets scanners recognise a leaked key
_SECRET_PREFIX = "bps_"  # noqa: S105 - likewise
_ACCESS_KEY_PREFIX = "BPAK"
_ACCESS_KEY_BYTES = 10
_NONCE_BYTES = 12
_SEAL_VERSION = b"\x01"


class KeyringError(Exception):
    """The master key cannot be read or made."""


class Keyring:
    """Derives every key of the installation from one master key by HKDF with a label per purpose."""

    def __init__(self, master: bytes) -> None:
        if len(master) != _KEY_BYTES:
            raise KeyringError(f"a master key has {_KEY_BYTES} bytes, this one has {len(master)}")
        self._token_mac = hmac.new(_derived(master, "api-key-hash"), digestmod=hashlib.sha256)
        self._cache_salt = _derived(master, "cache-salt")
        self._session_cache_salt = _derived(master, "session-cache-salt")
        self._secret_cipher = AESGCM(_derived(master, "access-key-secret"))
        self.session_keys_master = _derived(master, "session-keys")
        """What wraps the data keys of conversations where nothing else is set up."""
        self.page_token_key = _derived(master, "page-tokens")
        """What authenticates the tokens with which lists go on."""

    def token_hash(self, token: str) -> bytes:
        """The keyed hash under which an API key is stored and looked up. The hash is no credential."""
        mac = self._token_mac.copy()  # half the price of a new one, for every request
        mac.update(token.encode("utf-8", "surrogatepass"))
        return mac.digest()

    def cache_salt(self, project: str, session: str | None = None) -> str:
        """The salt that keeps this project's cached prefixes from every other's on a shared engine.

        With `session`, those of one session of the project from all others as well. 64 hexadecimal digits that nobody
        without the master key can find, choose or bring about for another project or session.
        """
        if session is None:
            return hmac.new(self._cache_salt, project.encode(), hashlib.sha256).hexdigest()
        names = (project.encode("utf-8", "surrogatepass"), session.encode("utf-8", "surrogatepass"))
        framed = b"".join(len(name).to_bytes(8, "big") + name for name in names)  # ("a", "bc") is not ("ab", "c")
        return hmac.new(self._session_cache_salt, framed, hashlib.sha256).hexdigest()

    def seal_secret(self, access_key_id: str, secret: str) -> bytes:
        """A key pair's secret as it is stored: AES-256-GCM, bound to the pair's id, with a random nonce."""
        nonce = os.urandom(_NONCE_BYTES)
        return _SEAL_VERSION + nonce + self._secret_cipher.encrypt(nonce, secret.encode(), access_key_id.encode())

    def open_secret(self, access_key_id: str, sealed: bytes) -> str:
        """What `seal_secret` sealed. Raises `KeyringError` for another master key or id, or when changed."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _SEAL_VERSION:
                raise KeyringError(f"the secret of {access_key_id} was stored by another version")
            return self._secret_cipher.decrypt(nonce, text, access_key_id.encode()).decode()
        except (InvalidTag, ValueError):
            raise KeyringError(f"the secret of {access_key_id} was not sealed with this master key") from None


def new_token() -> str:
    """A new API key: 256 random bits behind a prefix that secret scanners can recognise."""
    return _TOKEN_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def new_access_key() -> tuple[str, str]:
    """A new key pair: an id of 80 random bits in the form that AWS tools expect, and a secret of 256."""
    number = base64.b32encode(os.urandom(_ACCESS_KEY_BYTES)).decode("ascii")
    return _ACCESS_KEY_PREFIX + number, _SECRET_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def read_keyring(path: Path) -> Keyring:
    """The keyring of the master key in `path`. Raises `KeyringError` when there is none or others can read it."""
    try:
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
            raise KeyringError(f"{path} can be read by other users; run: chmod 600 {path}")
        return Keyring(bytes.fromhex(path.read_text().strip()))
    except FileNotFoundError:
        raise KeyringError(
            f"there is no master key at {path}; `bedplate up` makes one, or set BEDPLATE_MASTER_KEY_FILE"
        ) from None
    except ValueError:
        raise KeyringError(f"{path} does not hold 64 hexadecimal digits") from None


def ensure_master_key(path: Path) -> None:
    """Make a master key at `path` unless there is one. Atomic, readable by its owner only."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # fails when another process was first, and then its key counts
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _derived(master: bytes, label: str) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=f"bedplate/{label}".encode()).derive(master)


__all__ = ["Keyring", "KeyringError", "ensure_master_key", "new_access_key", "new_token", "read_keyring"]
