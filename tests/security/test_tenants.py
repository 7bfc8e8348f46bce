"""A project sees its own sessions and nothing of any other's, not even that they exist."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, http

UNKNOWN = "sess_" + "0" * 32


@pytest.fixture(scope="module")
def session(gateway: RunningGateway) -> str:
    """A session of the project `default`."""
    with http(gateway, gateway.key, **{"x-bedplate-session": "auto"}) as client:
        response = client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES})
    assert response.status_code == 200
    return response.headers["x-bedplate-session"]


def test_ids_are_random(session: str) -> None:
    assert re.fullmatch(r"sess_[0-9a-f]{32}", session)


def test_the_owner_reads_and_goes_on(gateway: RunningGateway, session: str) -> None:
    for key in (gateway.key, gateway.admin_key):
        with http(gateway, key) as client:
            items = client.get(f"/v1/sessions/{session}/items").json()
            assert [item["role"] for item in items["data"]][:2] == ["user", "assistant"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_another_project_cannot_go_on(gateway: RunningGateway, session: str, path: str, stream: bool) -> None:
    before = gateway.query("select count(*) as n from session_item")[0]["n"]
    content: dict[str, Any] = {"messages": MESSAGES} if path == CHAT else {"prompt": "x"}
    answers: list[Any] = []
    for key, name in ((gateway.other_key, session), (gateway.other_key, UNKNOWN), (gateway.key, UNKNOWN)):
        with http(gateway, key, **{"x-bedplate-session": name}) as client:
            response = client.post(path, json={"model": "fake/echo", "stream": stream, **content})
        answers.append((response.status_code, response.json()))
        assert "x-bedplate-session" not in response.headers
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 404
    assert gateway.query("select count(*) as n from session_item")[0]["n"] == before


def test_another_project_cannot_read(gateway: RunningGateway, session: str) -> None:
    with http(gateway, gateway.other_key) as client:
        foreign = client.get(f"/v1/sessions/{session}/items")
        unknown = client.get(f"/v1/sessions/{UNKNOWN}/items")
    assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    assert foreign.status_code == 404


STRANGE = [
    "%00", "a%00b", "..", "%2e%2e", "'%20or%20'1'='1", "sess_%25", "%F0%9F%98%80", "%FF", "sess_*", "null",
    "'); drop table session; --", "x" * 5000, "%0d%0ax-injected:1", "auto",
]  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_id_is_not_found(gateway: RunningGateway, session: str, name: str) -> None:
    with http(gateway, gateway.key) as client:
        response = client.get(f"/v1/sessions/{name}/items")
        assert response.status_code in (400, 404), response.text
        assert "x-injected" not in response.headers
        if "%" not in name and name != "auto":
            header = {"x-bedplate-session": name}
            turn = client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES}, headers=header)
            # 400 where it is not even the form of a header's value: a semicolon begins a parameter.
            assert turn.status_code == (400 if ";" in name else 404), turn.text
        assert client.get(f"/v1/sessions/{session}/items").status_code == 200


def test_the_session_header_twice_or_empty(gateway: RunningGateway, session: str) -> None:
    with http(gateway, gateway.other_key) as client:
        body = {"model": "fake/echo", "messages": MESSAGES}
        for headers in ([("x-bedplate-session", ""), ("x-bedplate-session", session)], [("x-bedplate-session", "")]):
            assert client.post(CHAT, json=body, headers=headers).status_code in (400, 404)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=-1",
        "after=1;drop",
        "limit=1e9",
        "after=99999999999999999999",
        "limit=",
    ],
)
def test_a_page_that_does_not_exist(gateway: RunningGateway, session: str, query: str) -> None:
    with http(gateway, gateway.key) as client:
        response = client.get(f"/v1/sessions/{session}/items?{query}")
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert query.partition("=")[0] in error["message"]


def test_lists_of_one_project_are_not_mixed_with_anothers_keys(gateway: RunningGateway) -> None:
    for key in (gateway.key, gateway.other_key):
        with http(gateway, key, **{"x-bedplate-session": "auto"}) as client:
            client.post(CHAT, json={"model": "fake/echo", "messages": [{"role": "user", "content": "mine"}]})
    rows = gateway.query(
        "select distinct s.project_id, i.project_id as item from session s join session_item i on i.session_id = s.id"
    )
    assert rows
    assert all(row["project_id"] == row["item"] for row in rows)
