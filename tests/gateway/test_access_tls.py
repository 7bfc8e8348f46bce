"""TLS of our own making: what AWS's SDKs need before they send a bearer key."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from cryptography import x509

from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.cli.environment import client_variables
from bedplate_gateway.cli.keys import NewKey, make_key, write_key
from bedplate_gateway.cli.tls import with_local_tls
from bedplate_gateway.local.certificates import SERVER_LIFETIME, Certificates, ensure_certificates
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.settings import Settings, SettingsError, environment_of, settings_from_environment
from bedplate_store.database import Database
from tests.fixtures.aws import short_term_key, signed_request
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import eventually, record_of

MESSAGES: Any = [{"role": "user", "content": [{"text": "one two"}]}]


class SecureGateway(RunningGateway):
    """A gateway that speaks TLS; `pair` is a key with its pair."""

    pair: NewKey

    def start(self) -> None:
        self.settings = with_local_tls(self.settings, names=("models.example.com",))
        keyring = read_keyring(self.settings.master_key_path)

        async def make(database: Database) -> NewKey:
            async with database.installation() as connection:
                return await make_key(connection, keyring, name="pair", role=Role.SERVICE, project="default", pair=True)

        self.pair = self.with_database(make)
        write_key(self.settings, self.pair)
        super().start()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/readyz", verify=self.trust, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.settings.tls_ca)


@pytest.fixture(scope="module")
def secure(postgres_server: PostgresServer) -> Iterator[SecureGateway]:
    name = postgres_server.create_database()
    with tempfile.TemporaryDirectory(prefix="bedplate-gateway-") as folder:
        running = SecureGateway(Path(folder), postgres_server.url(name))
        running.start()
        try:
            yield running
        finally:
            running.stop()
            postgres_server.drop_database(name)


@pytest.fixture
def sdk_environment(secure: SecureGateway, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a reader after `eval "$(bedplate env --tls)"`."""
    variables = client_variables(secure.settings)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return variables


def _converse(client: Any) -> str:
    said = client.converse(modelId="fake/echo", messages=MESSAGES)
    return said["ResponseMetadata"]["RequestId"] if said["output"]["message"]["content"][0]["text"] else ""


ONCE = Config(retries={"total_max_attempts": 1})


def test_boto3_sends_the_key_over_tls(secure: SecureGateway, sdk_environment: dict[str, str]) -> None:
    client = boto3.client("bedrock-runtime", config=ONCE)
    sent: list[bytes] = []
    client.meta.events.register("before-send", lambda request, **_: sent.append(request.headers["Authorization"]))  # type: ignore[misc]
    record = record_of(secure, _converse(client))
    assert sent == [f"Bearer {secure.pair.token.reveal()}".encode()]
    assert (record["key_id"], record["dialect"]) == (secure.pair.id, "bedrock")


def test_boto3_signs_over_tls_where_it_cannot_send_the_key(
    secure: SecureGateway, sdk_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert boto3.client("bedrock-agent-runtime", config=ONCE).list_sessions()["sessionSummaries"] == []
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
    assert record_of(secure, _converse(boto3.client("bedrock-runtime", config=ONCE)))["key_id"] == secure.pair.id


def test_a_short_term_key_in_boto3(
    secure: SecureGateway, sdk_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secure.pair.access_key_id is not None
    assert secure.pair.secret is not None
    pair = {"key": secure.pair.access_key_id, "secret": secure.pair.secret.reveal()}
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", short_term_key(**pair))
    assert record_of(secure, _converse(boto3.client("bedrock-runtime", config=ONCE)))["key_id"] == secure.pair.id
    hours_ago = datetime.now(UTC) - timedelta(hours=13)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", short_term_key(**pair, at=hours_ago))
    with pytest.raises(ClientError) as caught:
        _converse(boto3.client("bedrock-runtime", config=ONCE))
    assert caught.value.response["Error"]["Code"] == "ExpiredTokenException"


def test_who_does_not_trust_the_authority_sends_nothing(
    secure: SecureGateway, sdk_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(SSLError):
        _converse(boto3.client("bedrock-runtime", config=ONCE))


def test_a_body_may_go_unsigned_over_tls_only(secure: SecureGateway) -> None:
    assert secure.pair.access_key_id is not None
    assert secure.pair.secret is not None
    request = signed_request(
        "POST",
        f"{secure.base_url}/model/fake%2Fecho/converse",
        b"{}",
        key=secure.pair.access_key_id,
        secret=secure.pair.secret.reveal(),
        headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )
    body = b'{"messages": [{"role": "user", "content": [{"text": "x"}]}]}'
    answer = httpx.post(
        f"{secure.base_url}/model/fake%2Fecho/converse",
        headers=[(name.decode(), value.decode()) for name, value in request.headers],
        content=body,
        verify=secure.trust,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def test_every_name_is_in_the_certificate(secure: SecureGateway) -> None:
    for name in ("localhost", "127.0.0.1", "models.example.com"):
        with (
            socket.create_connection(("127.0.0.1", secure.settings.port), timeout=5) as plain,
            secure.trust.wrap_socket(plain, server_hostname=name) as connection,
        ):
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        socket.create_connection(("127.0.0.1", secure.settings.port), timeout=5) as plain,
    ):
        secure.trust.wrap_socket(plain, server_hostname="other.example.com")


def test_plain_http_is_not_served_beside_it(secure: SecureGateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", secure.settings.port, timeout=5)
    connection.request("GET", "/healthz")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()


def _command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200"} | environment_of(settings)
    return subprocess.run(
        [sys.executable, "-m", "bedplate_gateway", *arguments],
        env=environ, input="hello\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_our_own_commands_check_the_certificate(secure: SecureGateway) -> None:
    plain = msgspec.structs.replace(secure.settings, tls_certificate=None, tls_key=None, tls_ca=None)
    doctor = _command(plain, "doctor", "--tls").stdout
    assert f"ready at {secure.base_url}" in doctor
    chat = _command(plain, "chat", "--tls", "--model", "fake/echo")
    assert chat.stdout == "hello\n", chat.stderr
    exports = _command(plain, "env", "--tls").stdout.splitlines()
    said = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in exports)
    assert said == client_variables(secure.settings)
    assert said["AWS_CA_BUNDLE"] == str(secure.settings.tls_ca)
    assert said["AWS_ENDPOINT_URL"] == secure.base_url
    without = _command(plain, "env").stdout
    assert "AWS_BEARER_TOKEN_BEDROCK" not in without, "boto3 refuses to send it over plain HTTP"
    assert "AWS_ACCESS_KEY_ID" in without


def test_a_key_pair_in_the_home_is_private(secure: SecureGateway) -> None:
    for path in (secure.settings.key_pair_path, secure.settings.credentials_path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_up_makes_the_certificates_itself(tmp_path: Path, postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    made = Settings(home=tmp_path, cache=tmp_path / "c", port=port, database_url=postgres_server.url(name))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment_of(made)
    command = [sys.executable, "-m", "bedplate_gateway", "up", "--fake", "--tls"]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        said = tmp_path / "up.log"
        eventually(lambda: "Bedplate is ready" in said.read_text() or process.poll() is not None, within_s=60)
        text = said.read_text()
        assert f"ready at https://127.0.0.1:{port}" in text, text
        secure = with_local_tls(made)
        assert str(secure.tls_ca) in text
        variables = client_variables(secure)
        answer = httpx.get(
            f"{secure.base_url}/v1/models",
            headers={"x-api-key": variables["OPENAI_API_KEY"]},
            verify=ssl.create_default_context(cafile=secure.tls_ca),
            trust_env=False,
        )
        assert answer.status_code == 200
        assert variables["AWS_SECRET_ACCESS_KEY"] not in text
    finally:
        process.terminate()
        process.wait(60)


# The files -----------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _state(files: Certificates) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.folder.iterdir()}


def test_certificates_are_private_sane_and_kept(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path / "tls", ["models.example.com", "10.1.2.3"], now=NOW)
    assert sorted(_state(files)) == ["ca.key", "ca.pem", "server.key", "server.pem"]
    assert files.folder.stat().st_mode & 0o777 == 0o700
    for key in (files.authority_key, files.server_key):
        assert key.stat().st_mode & 0o777 == 0o600
    server = x509.load_pem_x509_certificate(files.server.read_bytes())
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    server.verify_directly_issued_by(authority)
    assert server.not_valid_after_utc - NOW == SERVER_LIFETIME <= timedelta(days=398)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    before = _state(files)
    ensure_certificates(files.folder, ["models.example.com"], now=NOW + timedelta(days=300))
    assert _state(files) == before


def test_certificates_are_made_anew_when_they_must(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, ["a.example"], now=NOW)
    first = _state(files)

    def names() -> set[str]:
        certificate = x509.load_pem_x509_certificate(files.server.read_bytes())
        return set(
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.DNSName
            )
        )

    ensure_certificates(tmp_path, ["b.example"], now=NOW)
    second = _state(files)
    assert (second["ca.pem"], second["ca.key"]) == (first["ca.pem"], first["ca.key"]), "clients trust this one"
    assert names() == {"localhost", "a.example", "b.example"}
    ensure_certificates(tmp_path, now=NOW + timedelta(days=380))
    third = _state(files)
    assert third["server.pem"] != second["server.pem"]
    assert third["ca.pem"] == first["ca.pem"]
    ensure_certificates(tmp_path, now=NOW + timedelta(days=3640))
    assert _state(files)["ca.pem"] != first["ca.pem"]
    server = x509.load_pem_x509_certificate(files.server.read_bytes())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(files.authority.read_bytes()))


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path / "tls")
    files.server.write_text("nonsense")
    with pytest.raises(LaunchError, match="tls"):
        ensure_certificates(files.folder)
    settings = Settings(
        home=tmp_path, cache=tmp_path, database_url="x", tls_certificate=files.server, tls_key=files.server_key
    )
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError):
        ensure_certificates(tmp_path / "file")
    with pytest.raises(SettingsError, match="both or neither"):
        settings_from_environment({"HOME": "/h", "BEDPLATE_TLS_CERTIFICATE": "c"})
    assert settings.base_url.startswith("https://")


def test_serve_refuses_a_certificate_that_cannot_be_used(secure: SecureGateway, tmp_path: Path) -> None:
    started = time.monotonic()
    (tmp_path / "server.pem").write_text("nonsense")
    settings = msgspec.structs.replace(secure.settings, tls_certificate=tmp_path / "server.pem", port=1)
    ran = _command(settings, "serve")
    assert ran.returncode == 1
    assert "BEDPLATE_TLS_CERTIFICATE" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert time.monotonic() - started < 30
