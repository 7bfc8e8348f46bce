"""Holds, export and import through the gateway and the command line: who may, what comes, what goes wrong."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from bedplate_core.errors import Conflict, NotFound
from bedplate_core.ids import SessionId
from bedplate_gateway.access.principal import Role
from bedplate_gateway.cli.sessions import sessions
from bedplate_gateway.settings import environment_of
from bedplate_sessions.archive.lines import ArchiveDamaged
from bedplate_sessions.face_ids import conversation_id, session_uuid
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import eventually, http, sdk

ROUTES = [
    ("PUT", "/v1/sessions/{id}/hold"),
    ("DELETE", "/v1/sessions/{id}/hold"),
    ("GET", "/v1/sessions/{id}/export"),
    ("POST", "/v1/sessions/import"),
]


@pytest.fixture
def admin(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with http(gateway, gateway.admin_key) as client:
        yield client


@pytest.fixture(scope="module")
def other_admin_key(gateway: RunningGateway) -> str:
    """An administrator of another project."""
    key = gateway.create_key("other", Role.ADMINISTRATOR)
    with http(gateway, key) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200, within_s=10)
    return key


def talk(gateway: RunningGateway, content: str, session: str = "auto") -> str:
    """A turn; the session's id."""
    made = sdk(gateway).chat.completions.with_raw_response.create(
        model="fake/echo",
        messages=[{"role": "user", "content": content}],
        extra_headers={"x-bedplate-session": session},
    )
    return made.headers["x-bedplate-session"]


def items(gateway: RunningGateway, session: str, key: str | None = None) -> list[str]:
    with http(gateway, key or gateway.key) as client:
        found = client.get(f"/v1/sessions/{session}/items").json()
    return ["".join(part.get("text", "") for part in item["parts"]) for item in found["data"]]


def export(client: httpx.Client, session: str) -> bytes:
    answer = client.get(f"/v1/sessions/{session}/export")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_an_administrator_may(gateway: RunningGateway, method: str, path: str) -> None:
    session = talk(gateway, "one two three")
    with http(gateway, gateway.key) as client:
        assert client.request(method, path.format(id=session)).status_code == 403
    with http(gateway) as client:
        assert client.request(method, path.format(id=session)).status_code == 401


@pytest.mark.parametrize(("method", "path"), ROUTES[:3])
def test_an_unknown_session_and_another_projects_are_the_same_404(
    gateway: RunningGateway, other_admin_key: str, admin: httpx.Client, method: str, path: str
) -> None:
    session = talk(gateway, "one two three")
    with http(gateway, other_admin_key) as client:
        theirs = client.request(method, path.format(id=session))
    unknown = [admin.request(method, path.format(id=name)) for name in ("sess_" + "0" * 32, "tulip", "%00")]
    assert {answer.status_code for answer in (theirs, *unknown)} == {404}
    assert len({answer.json()["error"]["message"] for answer in (theirs, *unknown)}) == 1


def test_a_hold_is_laid_and_ended_as_often_as_one_likes(gateway: RunningGateway, admin: httpx.Client) -> None:
    session = talk(gateway, "one two three")
    held = admin.put(f"/v1/sessions/{session}/hold")
    assert (held.status_code, held.json()["legal_hold"]) == (200, True)
    assert admin.put(f"/v1/sessions/{session}/hold").json() == held.json()
    assert gateway.query("select legal_hold from session where id = $1", session) == [{"legal_hold": True}]
    ended = admin.delete(f"/v1/sessions/{session}/hold")
    assert (ended.status_code, ended.json()) == (
        200,
        {"id": session, "object": "session.hold", "legal_hold": False},
    )


def test_every_form_of_the_id_names_the_session(gateway: RunningGateway, admin: httpx.Client) -> None:
    session = talk(gateway, "one two three")
    archives = [export(admin, name(SessionId(session))) for name in (str, conversation_id, session_uuid)]
    assert len({len(archive.splitlines()) for archive in archives}) == 1


def test_a_session_goes_out_and_comes_back(gateway: RunningGateway, admin: httpx.Client, other_admin_key: str) -> None:
    session = talk(gateway, "one two three")
    talk(gateway, "four five", session)
    answer = admin.get(f"/v1/sessions/{session}/export")
    assert answer.headers["content-type"].split(";")[0] == "application/jsonl"
    assert f"{session}.jsonl" in answer.headers["content-disposition"]
    lines = [json.loads(line)["record"] for line in answer.content.splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["header", "manifest"]
    with http(gateway, other_admin_key) as client:
        assert client.post("/v1/sessions/import", content=answer.content).status_code == 409
        made = client.post("/v1/sessions/import?new_ids=true", content=answer.content)
    assert made.status_code == 200, made.text
    [found] = made.json()["sessions"]
    assert found["archive_id"] == session
    assert items(gateway, found["id"], gateway.other_key) == items(gateway, session)
    assert made.json()["counts"]["item"] == 4


def test_a_damaged_archive_is_refused_with_its_line(gateway: RunningGateway, admin: httpx.Client) -> None:
    archive = export(admin, talk(gateway, "one two three"))
    before = gateway.query("select count(*) as n from session")
    answer = admin.post("/v1/sessions/import?new_ids=true", content=archive.replace(b"one two", b"one too", 1))
    assert answer.status_code == 400
    assert "was changed" in answer.json()["error"]["message"]
    for content in (b"", b"{}", archive[:-3], b"\xff\xfe\n"):
        assert admin.post("/v1/sessions/import", content=content).status_code == 400
    assert gateway.query("select count(*) as n from session") == before


def test_an_import_is_bounded_like_every_body(gateway: RunningGateway, admin: httpx.Client) -> None:
    size = gateway.settings.max_body_bytes + 1
    assert admin.post("/v1/sessions/import", content=b"x" * size).status_code == 413


def command(gateway: RunningGateway, *arguments: str) -> Result:
    return CliRunner().invoke(sessions, arguments, env=environment_of(gateway.settings), catch_exceptions=True)


def test_the_command_line_exports_and_imports(gateway: RunningGateway, tmp_path: Path) -> None:
    session = talk(gateway, "one two three")
    file = tmp_path / "archive.jsonl"
    done = command(gateway, "export", "--project", "default", "--session", session, str(file))
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["archive.jsonl"]
    assert isinstance(command(gateway, "import", "--project", "other", str(file)).exception, Conflict)
    made = command(gateway, "import", "--project", "other", "--new-ids", str(file))
    assert f"{session} is sess_" in made.stdout
    new = made.stdout.split()[2]
    assert items(gateway, new, gateway.other_key) == items(gateway, session)
    file.write_bytes(file.read_bytes().replace(b"one two", b"one too", 1))
    broken = command(gateway, "import", "--project", "other", "--new-ids", str(file))
    assert isinstance(broken.exception, ArchiveDamaged)


def test_the_command_line_exports_a_whole_project(gateway: RunningGateway, tmp_path: Path) -> None:
    talk(gateway, "one two three")
    file = tmp_path / "archive.jsonl"
    assert command(gateway, "export", "--project", "default", str(file)).exit_code == 0
    sessions_there = gateway.query(
        "select count(*) as n from session join project on project.id = project_id where project.name = 'default'"
    )
    manifest = json.loads(file.read_bytes().splitlines()[-1])["record"]
    assert manifest["counts"]["session"] == sessions_there[0]["n"]


def test_the_command_line_holds(gateway: RunningGateway) -> None:
    session = talk(gateway, "one two three")
    assert command(gateway, "hold", session, "--project", "default").exit_code == 0
    assert gateway.query("select legal_hold from session where id = $1", session) == [{"legal_hold": True}]
    assert command(gateway, "hold", session, "--project", "default", "--off").exit_code == 0
    assert gateway.query("select legal_hold from session where id = $1", session) == [{"legal_hold": False}]
    for arguments in (("hold", session, "--project", "other"), ("hold", session, "--project", "tulip")):
        assert isinstance(command(gateway, *arguments).exception, NotFound)


def test_an_export_that_fails_leaves_no_file(gateway: RunningGateway, tmp_path: Path) -> None:
    file = tmp_path / "archive.jsonl"
    failed = command(gateway, "export", "--project", "default", "--session", "sess_" + "0" * 32, str(file))
    assert isinstance(failed.exception, NotFound)
    assert list(tmp_path.iterdir()) == []
