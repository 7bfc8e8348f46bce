"""The `bedplate` command as someone at a terminal meets it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate_gateway.cli.main import bedplate
from bedplate_gateway.settings import environment_of
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import eventually, http

COMMANDS = sorted(bedplate.commands)


def _run(
    gateway: RunningGateway | None, *arguments: str, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, in a bare environment that knows the gateway's installation."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200", "LANG": "C.UTF-8"}
    base |= environment_of(gateway.settings) if gateway else {}
    return subprocess.run(
        [sys.executable, "-m", "bedplate_gateway", *arguments],
        input=stdin, env=base | environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command says."""
    assert ran.returncode == 1, ran
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    # What Postgres did is a line of the log; it says more than a client of the gateway may be told.
    lines = [line for line in ran.stderr.strip().splitlines() if not line.startswith("postgres is unavailable: ")]
    assert len(lines) == 1, ran.stderr
    assert lines[0].lower().startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("name", ["", *COMMANDS, "certificates create", "keys create", "keys list", "keys revoke"])
def test_every_command_explains_itself(name: str) -> None:
    ran = _run(None, *name.split(), "--help")
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith("Usage: ")
    described = ran.stdout.split("\n\n")[1].strip()
    assert len(described) > 20
    for line in ran.stdout.splitlines():
        assert len(line) <= 100
    assert _run(None, *name.split(), "-h").stdout == ran.stdout


def test_version_and_mistakes() -> None:
    assert re.fullmatch(r"bedplate, version \d+\.\d+\.\S+\n", _run(None, "--version").stdout)
    for arguments in (["nonsense"], ["keys", "create"], ["keys", "create", "--name", "x", "--role", "god"]):
        ran = _run(None, *arguments)
        assert ran.returncode == 2
        assert "Traceback" not in ran.stderr
        assert "Usage: " in ran.stderr


def test_keys_are_made_listed_and_revoked(gateway: RunningGateway) -> None:
    made = _run(gateway, "keys", "create", "--name", "for-tests", "--project", "from-cli", "--expires-in-days", "2")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert re.fullmatch(r"bp_[A-Za-z0-9_-]{43}", token), "only the key is on standard output"
    key_id = made.stderr.split()[0]
    assert "service, project from-cli" in made.stderr
    with http(gateway, token) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200, within_s=1)
        assert client.get("/metrics").status_code == 403

        listed = _run(gateway, "keys", "list")
        (line,) = [line for line in listed.stdout.splitlines() if key_id in line]
        assert "for-tests" in line
        assert "from-cli" in line
        assert token[-4:] in line
        assert "until " in line
        assert token not in listed.stdout + listed.stderr

        revoked = _run(gateway, "keys", "revoke", key_id)
        assert (revoked.returncode, revoked.stdout) == (0, f"{key_id} is revoked\n")
        eventually(lambda: client.get("/v1/models").status_code == 401, within_s=1)
    assert _run(gateway, "keys", "revoke", key_id).returncode == 0
    (line,) = [line for line in _run(gateway, "keys", "list").stdout.splitlines() if key_id in line]
    assert "revoked" in line
    assert "no key key_none" in _refused(_run(gateway, "keys", "revoke", "key_none"))


def test_apply(gateway: RunningGateway, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("kind: Model\nname: from-cli\nspec: {provider: fake, upstream_model: fake/echo}\n")
    assert _run(gateway, "apply", "-f", str(file)).stdout == "model from-cli: changed\n"
    assert _run(gateway, "apply", "-f", str(file)).stdout == "model from-cli: unchanged\n"
    with http(gateway, gateway.key) as client:
        eventually(lambda: client.get("/v1/models/from-cli").status_code == 200, within_s=1)
    file.write_text("kind: Model\nname: from-cli\nspec: {provider: nowhere}\n")
    assert "provider 'nowhere' does not exist" in _refused(_run(gateway, "apply", "-f", str(file)))
    file.write_text("kind: Model\nname: from-cli\nspec: {colour: red}\n")
    said = _refused(_run(gateway, "apply", "-f", str(file)))
    assert str(file) in said
    assert "colour" in said
    file.write_text("kind: [\n")
    assert str(file) in _refused(_run(gateway, "apply", "-f", str(file)))
    assert _run(gateway, "apply", "-f", str(tmp_path / "absent.yaml")).returncode == 2


def test_migrate(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.run("create database cli_bare")
    try:
        url = postgres_server.url("cli_bare")
        checked = _run(None, "migrate", "--check", "--home", str(tmp_path), "--database-url", url)
        assert checked.returncode == 1
        assert checked.stdout.startswith("schema at none, this version needs ")
        assert "run: bedplate migrate" in checked.stderr
        done = _run(None, "migrate", "--home", str(tmp_path), "--database-url", url)
        assert done.returncode == 0, done.stderr
        again = _run(None, "migrate", "--check", "--home", str(tmp_path), "--database-url", url)
        assert (again.returncode, again.stdout) == (0, done.stdout)
    finally:
        postgres_server.drop_database("cli_bare")


def test_commands_on_a_database_that_is_not_migrated_say_so(
    gateway: RunningGateway, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    file = tmp_path / "project.yaml"
    file.write_text("kind: Project\nname: x\n")
    postgres_server.run("create database cli_empty")
    try:
        url = postgres_server.url("cli_empty")
        for arguments in (["keys", "list"], ["keys", "create", "--name", "x"], ["apply", "-f", str(file)]):
            said = _refused(_run(gateway, *arguments, BEDPLATE_DATABASE_URL=url))
            assert "bedplate migrate" in said
    finally:
        postgres_server.drop_database("cli_empty")


def test_commands_without_a_database_say_so(gateway: RunningGateway, tmp_path: Path) -> None:
    away = "postgresql://someone:password-canary@127.0.0.1:1/none"
    file = tmp_path / "project.yaml"
    file.write_text("kind: Project\nname: x\n")
    for arguments in (["keys", "list"], ["keys", "revoke", "x"], ["apply", "-f", str(file)], ["migrate"], ["serve"]):
        said = _refused(_run(gateway, *arguments, BEDPLATE_DATABASE_URL=away))
        assert "password-canary" not in said
    nothing = {"BEDPLATE_HOME": str(tmp_path / "none")}
    assert "BEDPLATE_DATABASE_URL is not set" in _refused(_run(None, "migrate", **nothing))
    assert "master key" in _refused(_run(gateway, "keys", "create", "--name", "x", **nothing))
    assert "must begin with postgresql://" in _refused(_run(gateway, "keys", "list", BEDPLATE_DATABASE_URL="mysql://x"))
    for url in ("postgresql://a:password-canary@h:port/x", "postgresql://a:password-canary@[::1/x"):
        for arguments in (["keys", "list"], ["migrate"]):
            assert "password-canary" not in _refused(_run(gateway, *arguments, BEDPLATE_DATABASE_URL=url))
    assert "BEDPLATE_PORT: 'x'" in _refused(_run(gateway, "keys", "list", BEDPLATE_PORT="x"))


@pytest.mark.parametrize("shell", ["posix", "fish"])
def test_env_is_commands_for_a_shell(gateway: RunningGateway, shell: str) -> None:
    token = 'bp_it\'s a "test" $HOME'
    gateway.settings.credentials_path.write_text(f"{token}\n")
    try:
        ran = _run(gateway, "env", "--shell", shell)
    finally:
        gateway.settings.credentials_path.unlink()
    assert ran.returncode == 0
    if shell == "posix":
        script = f'{ran.stdout}\nprintf "%s\\n" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
        assert said == [f"{gateway.base_url}/v1", token]
    else:
        names = re.findall(r"^set -gx (\w+) .*;$", ran.stdout, re.M)
        assert names[:4] == ["OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"]
        assert len(names) == len(ran.stdout.splitlines())
        assert shlex.split(ran.stdout.splitlines()[0].rstrip(";"))[3] == f"{gateway.base_url}/v1"


def test_env_without_a_key_says_how_to_get_one(gateway: RunningGateway) -> None:
    assert "bedplate keys create" in _refused(_run(gateway, "env"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_takes(shell: str) -> None:
    ran = _run(None, "completion", shell)
    assert ran.returncode == 0, ran.stderr
    assert "_BEDPLATE_COMPLETE" in ran.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ran.stdout, text=True, check=True, capture_output=True)
    assert _run(None, "completion", "cmd").returncode == 2


def test_doctor(gateway: RunningGateway, tmp_path: Path) -> None:
    gateway.settings.credentials_path.write_text(f"{gateway.key}\n")
    try:
        ran = _run(gateway, "doctor")
    finally:
        gateway.settings.credentials_path.unlink()
    for subject in ("version", "master key", "database", "gateway"):
        assert re.search(rf"^ +ok  {subject} ", ran.stdout, re.M), ran.stdout
    assert "models: fake/bad-tool-arguments" in ran.stdout
    assert gateway.key not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.returncode == (1 if "WRONG" in ran.stdout else 0)

    away = _run(gateway, "doctor", BEDPLATE_DATABASE_URL="postgresql://a:password-canary@127.0.0.1:1/x")
    assert away.returncode == 1
    assert re.search(r"WRONG\s+database", away.stdout)
    assert "password-canary" not in away.stdout + away.stderr

    bare = _run(None, "doctor", "--home", str(tmp_path / "none"), "--port", "1")
    assert re.search(r"-\s+gateway\s+nothing answers", bare.stdout)
    assert "bedplate up" in bare.stdout
    assert not (tmp_path / "none").exists()


def test_chat_keeps_its_session(gateway: RunningGateway) -> None:
    key = {"OPENAI_API_KEY": gateway.key}
    first = _run(gateway, "chat", "--model", "fake/echo", "--system", "Be brief.", stdin="one two\n\nthree\n", **key)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == ["one two", "three"]
    session = re.search(r"--session (sess_[0-9a-f]{32})", first.stderr)
    assert session is not None
    second = _run(gateway, "chat", "--model", "fake/echo", "--session", session[1], stdin="four\n", **key)
    assert "four" in second.stdout
    with http(gateway, gateway.key) as client:
        items = client.get(f"/v1/sessions/{session[1]}/items").json()["data"]
    said = [(item["role"], item["parts"][0]["text"]) for item in items]
    assert said == [
        ("system", "Be brief."),
        ("user", "one two"),
        ("assistant", "one two"),
        ("user", "three"),
        ("assistant", "three"),
        ("user", "four"),
        ("assistant", "four"),
    ]


def test_chat_takes_the_first_model_and_says_what_fails(gateway: RunningGateway) -> None:
    key = {"OPENAI_API_KEY": gateway.key}
    ran = _run(gateway, "chat", stdin="", **key)
    assert ran.returncode == 0
    assert "fake/bad-tool-arguments" in ran.stderr

    def said(*arguments: str, stdin: str = "hello there you all\n", **environ: str) -> str:
        ran = _run(gateway, "chat", *arguments, stdin=stdin, **{**key, **environ})
        assert ran.returncode == 1, ran
        assert "Traceback" not in ran.stderr
        return ran.stderr.strip().splitlines()[-1]

    assert "'no-such' does not exist" in said("--model", "no-such")
    assert "no session with this id" in said("--model", "fake/echo", "--session", "sess_none")
    assert "not available" in said("--model", "fake/error")
    assert "failed while it answered" in said("--model", "fake/error-midstream")
    assert "API key is not valid" in said("--model", "fake/echo", OPENAI_API_KEY="bp_wrong")
    assert "does not answer" in said("--model", "fake/echo", "--url", "http://127.0.0.1:1")
    assert "bp_wrong" not in said("--model", "fake/echo", OPENAI_API_KEY="bp_wrong")
