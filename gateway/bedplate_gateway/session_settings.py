"""What the settings say of conversations: limits, and who wraps their data keys."""

from __future__ import annotations

import msgspec

from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import Settings, SettingsError
from bedplate_sessions.keys.config import key_provider
from bedplate_sessions.keys.provider import KeyProvider
from bedplate_sessions.keys.setting_error import KeySettingError
from bedplate_sessions.limits import SessionLimits
from bedplate_store.database import Database


def session_limits(settings: Settings) -> SessionLimits:
    """How much a session may hold, and how long it is kept."""
    return SessionLimits(
        steps=settings.session_steps,
        step_bytes=settings.session_step_bytes,
        idle_timeout_s=settings.session_idle_s,
        retention_s=settings.session_retention_s,
        reply_retention_s=settings.reply_retention_s,
    )


def session_key_provider(settings: Settings, keyring: Keyring) -> KeyProvider | None:
    """Who wraps data keys; None: nobody, what is new is not encrypted. Raises `SettingsError`, with no secret in it."""
    try:
        return key_provider(
            settings.session_keys,
            master=keyring.session_keys_master,
            environment_keys=settings.session_key_material,
            vault_token=settings.vault_token,
            vault_ca=settings.vault_ca_file,
            region=settings.kms_region,
        )
    except KeySettingError as error:
        raise SettingsError(f"BEDPLATE_SESSION_KEYS: {error}") from None


def key_database(settings: Settings) -> Database | None:
    """The database that has only the data keys; None: they are beside the content. Nothing is connected."""
    if settings.key_database_url is None:
        return None
    config = database_config(msgspec.structs.replace(settings, database_url=settings.key_database_url))
    return Database(config)


__all__ = ["key_database", "session_key_provider", "session_limits"]
