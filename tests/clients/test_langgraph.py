"""`langgraph_job.py` in the environment of the official SDKs, with a gateway that is killed in the middle of it."""

from __future__ import annotations

import subprocess

from tests.clients.test_main_job import CLIENTS_PYTHON, FOLDER
from tests.clients.test_sdks import environment
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import own_gateway

TIMEOUT_S = 120


def test_a_graph_goes_on_after_the_gateway_was_killed(postgres_server: PostgresServer) -> None:
    with own_gateway(postgres_server) as gateway:
        job = subprocess.Popen(
            [CLIENTS_PYTHON, FOLDER / "langgraph_job.py"],
            env=environment(gateway, "fake"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert job.stdin is not None
        assert job.stdout is not None
        try:
            said: list[str] = []
            for line in job.stdout:
                said.append(line)
                if line == "restart\n":
                    gateway.kill()
                    gateway.start()
                    job.stdin.write("restarted\n")
                    job.stdin.flush()
            assert job.wait(TIMEOUT_S) == 0, "".join(said[-40:])
            assert said[-1] == "langgraph job: passed\n"
            assert "restart\n" in said
        finally:
            job.kill()
            job.wait()
        assert gateway.query("select count(*) as n from session_step")[0]["n"] == 0, "deleted with their sessions"
