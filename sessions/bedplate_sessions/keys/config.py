"""The setting that says who wraps data keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bedplate_sessions.keys.key_file import local_keys_of, read_key_file
from bedplate_sessions.keys.kms_keys import KmsKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.keys.provider import KeyProvider
from bedplate_sessions.keys.setting_error import KeySettingError
from bedplate_sessions.keys.several import SeveralProviders
from bedplate_sessions.keys.unwrap_only import UnwrapOnly
from bedplate_sessions.keys.vault_keys import VaultKeys

MASTER: Final = "master"
NONE: Final = "none"
ENVIRONMENT: Final = "environment"
_FORMS: Final = f"{MASTER}, {NONE}, file:/PATH, {ENVIRONMENT}, vault:https://HOST:8200/MOUNT/KEY, kms:ARN or alias/NAME"


def key_provider(
    setting: str,
    *,
    master: bytes,
    environment_keys: str | None,
    vault_token: str | None,
    vault_ca: Path | None,
    region: str | None,
) -> KeyProvider:
    """Who wraps data keys: the first of `setting`, whose parts are separated by commas; all of them unwrap.

    Parts are `master` (a key that comes with the installation: `master` is its 32 bytes, from which others are
    derived), `none` (first: what is new is not encrypted), `file:/path`, `environment` (`environment_keys` is the same
    content), `vault:https://host:8200/mount/key` and `kms:` with an ARN or an alias. The installation's own key always
    unwraps, so that what it wrapped stays readable. Nothing is connected. Raises `KeySettingError`, which quotes
    neither the setting nor a secret.
    """
    parts = [part.strip() for part in setting.split(",")]
    if len(set(parts)) < len(parts):
        raise KeySettingError("session keys: each provider once")
    if NONE in parts[1:]:
        raise KeySettingError(f"session keys: {NONE} comes first: nothing wraps new keys, the others unwrap")

    def provider(part: str) -> KeyProvider:
        kind, colon, rest = part.partition(":")
        match kind, bool(colon):
            case "master", False:
                return LocalKeys(name=MASTER, keys={1: master}, current=1)
            case "environment", False:
                if not environment_keys:
                    raise KeySettingError("session keys: environment: the variable with the keys is not set")
                return local_keys_of(environment_keys, name=ENVIRONMENT, where="session keys: the variable")
            case "file", True:
                path = Path(rest)
                if not path.is_absolute():
                    raise KeySettingError("session keys: file: needs an absolute path")
                return read_key_file(path)
            case "vault", True:
                return _vault(rest, vault_token, vault_ca)
            case "kms", True:
                return KmsKeys(rest, region=region)
            case _:
                raise KeySettingError(f"session keys: a part is none of {_FORMS}")

    wrapping = [provider(part) for part in parts if part != NONE]
    if MASTER not in parts:
        wrapping.append(provider(MASTER))
    whole = wrapping[0] if len(wrapping) == 1 else SeveralProviders(*wrapping)
    return UnwrapOnly(whole) if parts[0] == NONE else whole


def _vault(address: str, token: str | None, ca: Path | None) -> VaultKeys:
    scheme, separator, rest = address.partition("://")
    host, _, path = rest.partition("/")
    mount, _, name = path.rpartition("/")
    if not separator or not host or not mount or not name:
        raise KeySettingError("session keys: vault: the form is vault:https://HOST:8200/MOUNT/KEY")
    if not token:
        raise KeySettingError("session keys: vault: a token is needed")
    return VaultKeys(url=f"{scheme}://{host}", mount=mount, name=name, token=token, ca=ca)


__all__ = ["ENVIRONMENT", "MASTER", "NONE", "KeySettingError", "key_provider"]
