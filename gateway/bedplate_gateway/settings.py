"""Settings: the one place that reads the environment.

Built once by the command line and passed down, so tests need no environment tricks. Every field can be set by
the environment variable named in its comment; the command line's own options win over it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

DEFAULT_PORT = 8080
LOG_FORMATS = ("auto", "console", "json")
_DAY_S = 86_400.0
_BOUNDS: dict[str, tuple[float, float]] = {
    "port": (1, 65_535),
    "workers": (1, 128),
    "max_body_bytes": (1, 2**40),
    "response_timeout_s": (0.001, _DAY_S),
    "drain_timeout_s": (0, _DAY_S),
    "keep_alive_s": (0.001, _DAY_S),
    "database_pool_size": (1, 1000),
    "database_timeout_s": (0.001, _DAY_S),
    "session_wait_s": (0, _DAY_S),
    "session_idle_s": (1, 365 * _DAY_S),
    "session_retention_s": (60, 36_500 * _DAY_S),
    "session_steps": (1, 10_000_000),
    "session_step_bytes": (1, 2**31),
    "reply_retention_s": (60, 365 * _DAY_S),
    "guardrail_processes": (1, 32),
    "guardrail_queue": (1, 1_000_000),
}
_VARIABLES = {"postgres_bin": "BEDPLATE_PG_BIN"}


class SettingsError(Exception):
    """A setting cannot be used; the message names it and says what would work."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one gateway process is set up."""

    home: Path
    """State of a local installation: embedded Postgres, credentials, logs. BEDPLATE_HOME, default ~/.bedplate."""
    cache: Path
    """Engine environments and converted models, shared by installations. BEDPLATE_CACHE, default the user's
    cache folder."""
    host: str = "127.0.0.1"
    """Address to listen on. BEDPLATE_HOST."""
    port: int = DEFAULT_PORT
    """TCP port to listen on. BEDPLATE_PORT."""
    tls_certificate: Path | None = None
    """File with the certificate (PEM, with its chain) for TLS; without it the gateway speaks plain HTTP.
    BEDPLATE_TLS_CERTIFICATE."""
    tls_key: Path | None = None
    """File with the certificate's key (PEM). BEDPLATE_TLS_KEY."""
    tls_ca: Path | None = None
    """File with the authority (PEM) by which clients on this machine check the certificate, if not one of the
    system's. BEDPLATE_TLS_CA."""
    workers: int = 1
    """Gateway processes. BEDPLATE_WORKERS."""
    database_url: str | None = None
    """An existing Postgres instead of the embedded one. BEDPLATE_DATABASE_URL."""
    postgres_bin: Path | None = None
    """Folder of `postgres` and `initdb` for the embedded server. BEDPLATE_PG_BIN."""
    master_key_file: Path | None = None
    """File with the installation's master key. BEDPLATE_MASTER_KEY_FILE, default `master.key` in home."""
    secrets_dir: Path | None = None
    """Folder that `file:` secret references resolve in. BEDPLATE_SECRETS_DIR, default `secrets` in home."""
    spool_dir: Path | None = None
    """Folder for records while Postgres is away. BEDPLATE_SPOOL_DIR, default `spool` in home."""
    log_format: str = "auto"
    """`json`, `console` or `auto` (console on a terminal). BEDPLATE_LOG_FORMAT."""
    max_body_bytes: int = 25 * 1024 * 1024
    """Largest request body; InvokeModel's own limit is 25,000,000 bytes. BEDPLATE_MAX_BODY_BYTES."""
    media_fetch: bool = False
    """Whether pictures, sound and files that a client names by `https:` address are fetched from the public internet.
    BEDPLATE_MEDIA_FETCH."""
    response_timeout_s: float = 900.0
    """Longest time one answer may take, the client's reading included. BEDPLATE_RESPONSE_TIMEOUT_S."""
    drain_timeout_s: float = 30.0
    """How long running answers get to end when the gateway stops. BEDPLATE_DRAIN_TIMEOUT_S."""
    keep_alive_s: float = 15.0
    """Silence on a stream after which a keep-alive frame is sent. BEDPLATE_KEEP_ALIVE_S."""
    database_pool_size: int = 10
    """Postgres connections per process. BEDPLATE_DATABASE_POOL_SIZE."""
    database_timeout_s: float = 5.0
    """Longest wait for one database operation on a request. BEDPLATE_DATABASE_TIMEOUT_S."""
    session_wait_s: float = 30.0
    """How long a turn waits for another turn of its session. BEDPLATE_SESSION_WAIT_S."""
    session_keys: str = "master"
    """What wraps the data keys of conversations: `master` (derived from the master key), `none` (new conversations are
    not encrypted), `file:PATH`, `environment`, `vault:URL/MOUNT/NAME` or `kms:KEY`. BEDPLATE_SESSION_KEYS."""
    session_key_material: str | None = None
    """The keys themselves for `environment`, as JSON. A secret. BEDPLATE_SESSION_KEY_MATERIAL."""
    key_database_url: str | None = None
    """Another Postgres that has only the data keys, so that a backup of the one with the content cannot be read alone.
    BEDPLATE_KEY_DATABASE_URL."""
    vault_token: str | None = None
    """Token for Vault. A secret. BEDPLATE_VAULT_TOKEN."""
    vault_ca_file: Path | None = None
    """File with the authority (PEM) of Vault's certificate. BEDPLATE_VAULT_CA_FILE."""
    kms_region: str | None = None
    """AWS region of the key in KMS. BEDPLATE_KMS_REGION."""
    session_idle_s: float = 3600.0
    """After how long without a write a session that Bedrock's operations made expires. BEDPLATE_SESSION_IDLE_S."""
    session_retention_s: float = 30 * _DAY_S
    """How long conversations and responses are kept after their last write. BEDPLATE_SESSION_RETENTION_S."""
    session_steps: int = 1000
    """Most steps that Bedrock's operations put into one session. BEDPLATE_SESSION_STEPS."""
    session_step_bytes: int = 50_000_000
    """Largest step. The body limit holds as well. BEDPLATE_SESSION_STEP_BYTES."""
    reply_retention_s: float = _DAY_S
    """How long the answer to a request with an idempotency key can be had again. BEDPLATE_REPLY_RETENTION_S."""

    guardrail_processes: int = 1
    """Processes for the local models of guardrails, for each gateway process; started when the first text is to be
    evaluated. BEDPLATE_GUARDRAIL_PROCESSES."""
    guardrail_queue: int = 2000
    """Most texts that wait for the local models; more are refused at once. BEDPLATE_GUARDRAIL_QUEUE."""
    guardrail_models: Path | None = None
    """Folder with other weights for the local models, in place of the packages'. BEDPLATE_GUARDRAIL_MODELS."""
    guardrail_validators: Path | None = None
    """File (YAML) with the validators that policies may name. BEDPLATE_GUARDRAIL_VALIDATORS."""

    @property
    def base_url(self) -> str:
        """Where a client on this machine reaches the gateway."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        scheme = "http" if self.tls_certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def master_key_path(self) -> Path:
        """Where the master key is read from."""
        return self.master_key_file or self.home / "master.key"

    @property
    def secrets_path(self) -> Path:
        """Where secret references resolve."""
        return self.secrets_dir or self.home / "secrets"

    @property
    def spool_path(self) -> Path:
        """Where records wait while Postgres is away."""
        return self.spool_dir or self.home / "spool"

    @property
    def credentials_path(self) -> Path:
        """Where `bedplate up` leaves the first administrator key."""
        return self.home / "credentials"

    @property
    def key_pair_path(self) -> Path:
        """Where `bedplate up` leaves that key's pair: the access key id and the secret, a line each."""
        return self.home / "credentials.aws"


def settings_from_environment(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The settings that the environment (default: this process's) describes.

    `overrides` are the command line's options by field name; those that are None do not count. Raises
    `SettingsError` naming the variable whose value does not fit.
    """
    source = os.environ if environ is None else environ
    user_home = Path(source.get("HOME") or Path.home())
    cache_root = Path(source.get("XDG_CACHE_HOME") or user_home / ".cache")
    values: dict[str, object] = {"home": user_home / ".bedplate", "cache": cache_root / "bedplate"}
    for field in msgspec.structs.fields(Settings):
        name = _VARIABLES.get(field.name, f"BEDPLATE_{field.name.upper()}")
        text = source.get(name)
        if text and not text.startswith("tcp://"):  # what Kubernetes sets for a Service called `bedplate`
            values[field.name] = _converted(name, text, field.type)
    values |= {name: value for name, value in overrides.items() if value is not None}
    settings = Settings(**values)  # type: ignore[arg-type]  # every value was converted to its field's type
    for name, (least, most) in _BOUNDS.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise SettingsError(f"BEDPLATE_{name.upper()}: {value} is not between {least} and {most}")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError("BEDPLATE_TLS_CERTIFICATE and BEDPLATE_TLS_KEY: TLS needs both or neither")
    if settings.log_format not in LOG_FORMATS:
        raise SettingsError(f"BEDPLATE_LOG_FORMAT: {settings.log_format!r} is none of {', '.join(LOG_FORMATS)}")
    return settings


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that describe `settings`, so that a child process comes to the same ones."""
    variables: dict[str, str] = {}
    for field in msgspec.structs.fields(Settings):
        value = getattr(settings, field.name)
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            variables[_VARIABLES.get(field.name, f"BEDPLATE_{field.name.upper()}")] = text
    return variables


def export_settings(settings: Settings, metrics_dir: Path | None = None) -> None:
    """Put the settings into this process's environment, from where worker processes read them.

    `metrics_dir` is where the workers' metrics meet; prometheus_client takes it from the environment only.
    """
    os.environ.update(environment_of(settings))
    if metrics_dir is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)


def process_environment() -> dict[str, str]:
    """A copy of this process's environment, for the programs that the launcher starts."""
    return dict(os.environ)


def _converted(name: str, text: str, kind: object) -> object:
    if kind in (Path, Path | None):
        return Path(text).expanduser()
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name}: {text!r} does not fit: {error}") from None


__all__ = [
    "DEFAULT_PORT",
    "Settings",
    "SettingsError",
    "environment_of",
    "export_settings",
    "process_environment",
    "settings_from_environment",
]
