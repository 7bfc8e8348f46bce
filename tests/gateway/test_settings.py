"""Each setting by its variable; and a value that does not fit is named with its variable."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bedplate_gateway.settings import Settings, SettingsError, environment_of, settings_from_environment

VARIABLES: dict[str, tuple[str, str, object]] = {
    "BEDPLATE_HOME": ("home", "/srv/bedplate", Path("/srv/bedplate")),
    "BEDPLATE_CACHE": ("cache", "~/cache", Path("~/cache").expanduser()),
    "BEDPLATE_HOST": ("host", "::1", "::1"),
    "BEDPLATE_PORT": ("port", "9000", 9000),
    "BEDPLATE_WORKERS": ("workers", "4", 4),
    "BEDPLATE_DATABASE_URL": ("database_url", "postgresql://u:p@h/d", "postgresql://u:p@h/d"),
    "BEDPLATE_PG_BIN": ("postgres_bin", "/usr/lib/postgresql/bin", Path("/usr/lib/postgresql/bin")),
    "BEDPLATE_MASTER_KEY_FILE": ("master_key_file", "/run/key", Path("/run/key")),
    "BEDPLATE_SECRETS_DIR": ("secrets_dir", "/run/secrets", Path("/run/secrets")),
    "BEDPLATE_SPOOL_DIR": ("spool_dir", "/var/spool/b", Path("/var/spool/b")),
    "BEDPLATE_LOG_FORMAT": ("log_format", "json", "json"),
    "BEDPLATE_MAX_BODY_BYTES": ("max_body_bytes", "1000", 1000),
    "BEDPLATE_MEDIA_FETCH": ("media_fetch", "true", True),
    "BEDPLATE_RESPONSE_TIMEOUT_S": ("response_timeout_s", "1.5", 1.5),
    "BEDPLATE_DRAIN_TIMEOUT_S": ("drain_timeout_s", "0", 0.0),
    "BEDPLATE_KEEP_ALIVE_S": ("keep_alive_s", "2", 2.0),
    "BEDPLATE_DATABASE_POOL_SIZE": ("database_pool_size", "3", 3),
    "BEDPLATE_DATABASE_TIMEOUT_S": ("database_timeout_s", "7", 7.0),
    "BEDPLATE_TLS_CERTIFICATE": ("tls_certificate", "/tls/server.pem", Path("/tls/server.pem")),
    "BEDPLATE_TLS_KEY": ("tls_key", "/tls/server.key", Path("/tls/server.key")),
    "BEDPLATE_TLS_CA": ("tls_ca", "/tls/ca.pem", Path("/tls/ca.pem")),
    "BEDPLATE_SESSION_WAIT_S": ("session_wait_s", "9", 9.0),
    "BEDPLATE_SESSION_KEYS": ("session_keys", "none", "none"),
    "BEDPLATE_SESSION_KEY_MATERIAL": ("session_key_material", "{}", "{}"),
    "BEDPLATE_KEY_DATABASE_URL": ("key_database_url", "postgresql://k", "postgresql://k"),
    "BEDPLATE_VAULT_TOKEN": ("vault_token", "t", "t"),
    "BEDPLATE_VAULT_CA_FILE": ("vault_ca_file", "/vault/ca.pem", Path("/vault/ca.pem")),
    "BEDPLATE_KMS_REGION": ("kms_region", "eu-west-1", "eu-west-1"),
    "BEDPLATE_SESSION_IDLE_S": ("session_idle_s", "60", 60.0),
    "BEDPLATE_SESSION_RETENTION_S": ("session_retention_s", "3600", 3600.0),
    "BEDPLATE_SESSION_STEPS": ("session_steps", "10", 10),
    "BEDPLATE_SESSION_STEP_BYTES": ("session_step_bytes", "1000", 1000),
    "BEDPLATE_REPLY_RETENTION_S": ("reply_retention_s", "600", 600.0),
    "BEDPLATE_GUARDRAIL_PROCESSES": ("guardrail_processes", "2", 2),
    "BEDPLATE_GUARDRAIL_QUEUE": ("guardrail_queue", "50", 50),
    "BEDPLATE_GUARDRAIL_MODELS": ("guardrail_models", "/weights", Path("/weights")),
    "BEDPLATE_GUARDRAIL_VALIDATORS": ("guardrail_validators", "/validators.yaml", Path("/validators.yaml")),
}


def test_every_field_has_a_variable_that_is_tried_here() -> None:
    assert {field for field, _, _ in VARIABLES.values()} == {field.name for field in msgspec.structs.fields(Settings)}


PAIR = {"BEDPLATE_TLS_CERTIFICATE", "BEDPLATE_TLS_KEY"}


def test_a_certificate_and_its_key_come_together() -> None:
    for name in PAIR:
        with pytest.raises(SettingsError, match="both or neither"):
            settings_from_environment({"HOME": "/h", name: "/tls/file"})
    settings = settings_from_environment({"HOME": "/h", **dict.fromkeys(PAIR, "/tls/file")})
    assert settings.tls_certificate == settings.tls_key == Path("/tls/file")
    assert settings.base_url.startswith("https://")


@pytest.mark.parametrize("name", sorted(VARIABLES.keys() - PAIR))
def test_a_variable_sets_its_field_and_no_other(name: str) -> None:
    field, text, value = VARIABLES[name]
    base = {"HOME": "/home/someone"}
    plain = settings_from_environment(base)
    assert settings_from_environment({**base, name: text}) == msgspec.structs.replace(plain, **{field: value})
    assert settings_from_environment({**base, name: ""}) == plain


def test_an_option_wins_over_its_variable_and_none_is_no_option() -> None:
    environ = {"HOME": "/h", "BEDPLATE_PORT": "9000"}
    assert settings_from_environment(environ, port=9001).port == 9001
    assert settings_from_environment(environ, port=None).port == 9000


def test_a_child_process_comes_to_the_same_settings() -> None:
    environ = {name: text for name, (_, text, _) in VARIABLES.items()}
    settings = settings_from_environment({"HOME": "/h", **environ})
    assert settings_from_environment({"HOME": "/elsewhere", **environment_of(settings)}) == settings


WRONG = [
    ("BEDPLATE_PORT", "eighty"),
    ("BEDPLATE_PORT", "0"),
    ("BEDPLATE_PORT", "65536"),
    ("BEDPLATE_PORT", "80.5"),
    ("BEDPLATE_WORKERS", "0"),
    ("BEDPLATE_WORKERS", "many"),
    ("BEDPLATE_LOG_FORMAT", "xml"),
    ("BEDPLATE_MAX_BODY_BYTES", "0"),
    ("BEDPLATE_MAX_BODY_BYTES", "20MB"),
    ("BEDPLATE_RESPONSE_TIMEOUT_S", "0"),
    ("BEDPLATE_RESPONSE_TIMEOUT_S", "-1"),
    ("BEDPLATE_RESPONSE_TIMEOUT_S", "nan"),
    ("BEDPLATE_RESPONSE_TIMEOUT_S", "inf"),
    ("BEDPLATE_DRAIN_TIMEOUT_S", "-1"),
    ("BEDPLATE_KEEP_ALIVE_S", "0"),
    ("BEDPLATE_DATABASE_POOL_SIZE", "0"),
    ("BEDPLATE_DATABASE_TIMEOUT_S", "0"),
    ("BEDPLATE_SESSION_WAIT_S", "-0.1"),
    ("BEDPLATE_SESSION_IDLE_S", "0"),
    ("BEDPLATE_SESSION_RETENTION_S", "1"),
    ("BEDPLATE_SESSION_STEPS", "0"),
    ("BEDPLATE_SESSION_STEP_BYTES", "0"),
    ("BEDPLATE_REPLY_RETENTION_S", "1"),
    ("BEDPLATE_GUARDRAIL_PROCESSES", "0"),
    ("BEDPLATE_GUARDRAIL_QUEUE", "0"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_value_that_does_not_fit_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from_environment({"HOME": "/h", name: text})
    assert name in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("gateway.internal", "http://gateway.internal:8080"),
    ],
)
def test_where_a_client_on_this_machine_reaches_it(host: str, url: str) -> None:
    assert settings_from_environment({"HOME": "/h", "BEDPLATE_HOST": host}).base_url == url


def test_places_follow_the_home_unless_they_are_set() -> None:
    settings = settings_from_environment({"HOME": "/h", "XDG_CACHE_HOME": "/c", "BEDPLATE_HOME": "/srv"})
    assert settings.master_key_path == Path("/srv/master.key")
    assert settings.secrets_path == Path("/srv/secrets")
    assert settings.spool_path == Path("/srv/spool")
    assert settings.credentials_path == Path("/srv/credentials")
    assert settings.cache == Path("/c/bedplate")
    assert settings_from_environment({"HOME": "/h"}).home == Path("/h/.bedplate")
