"""The official SDKs, in an environment of their own, against a running gateway: scripted models and real vLLM."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bedplate_gateway.access.principal import Role
from tests.clients.test_main_job import CLIENTS_PYTHON, FOLDER
from tests.fixtures.engine import EngineEndpoint
from tests.fixtures.gateway import RunningGateway

JOBS = ["openai_job", "anthropic_job", "bedrock_job"]


def environment(gateway: RunningGateway, model: str) -> dict[str, str]:
    """What the scripts need to know, and nothing of this machine's AWS settings."""
    pair = gateway.create_access_key("default")
    assert pair.access_key_id is not None
    assert pair.secret is not None
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "BEDPLATE_URL": gateway.base_url,
        "BEDPLATE_KEY": gateway.key,
        "BEDPLATE_MODEL": model,
        "AWS_ACCESS_KEY_ID": pair.access_key_id,
        "AWS_SECRET_ACCESS_KEY": pair.secret.reveal(),
    }


def run(job: str, gateway: RunningGateway, model: str, **variables: str) -> None:
    """Run a job's script to its end; its output is the failure's message."""
    done = subprocess.run(
        [CLIENTS_PYTHON, FOLDER / f"{job}.py"],
        env=environment(gateway, model) | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.endswith(": passed\n")


@pytest.mark.parametrize("job", JOBS)
def test_on_scripted_models(job: str, gateway: RunningGateway) -> None:
    run(job, gateway, "fake")


@pytest.mark.engine
@pytest.mark.parametrize("job", JOBS)
def test_on_real_vllm(job: str, gateway: RunningGateway, engine_endpoint: EngineEndpoint) -> None:
    gateway.add_engine(engine_endpoint)
    run(job, gateway, engine_endpoint.model)


def test_every_kind_of_policy(gateway: RunningGateway) -> None:
    admin = gateway.create_access_key("default", Role.ADMINISTRATOR)
    assert admin.access_key_id is not None
    assert admin.secret is not None
    run(
        "guardrail_job",
        gateway,
        "fake",
        ADMIN_ACCESS_KEY_ID=admin.access_key_id,
        ADMIN_SECRET_ACCESS_KEY=admin.secret.reveal(),
        GUARDRAIL_MODELS="installed",
    )


LANGCHAIN_EXCEPTIONS: dict[str, str] = {
    "TestChatBedrockConverse::test_pdf_inputs": (
        "the client names the document test_file.pdf; Bedrock's rule for names, which holds here too, has no dot and "
        "no underscore"
    ),
}
"""Standard tests that do not pass, by a part of their id, and why."""


def test_langchain(gateway: RunningGateway, tmp_path: Path) -> None:
    exceptions = [f"--deselect=langchain_suite.py::{name}" for name in LANGCHAIN_EXCEPTIONS]
    isolated = ["-c", os.devnull, f"--rootdir={FOLDER}", f"--confcutdir={FOLDER}", "-p", "no:cacheprovider"]
    one_loop = ["--asyncio-mode=auto", "-o", "asyncio_default_test_loop_scope=module"]  # clients keep their connections
    done = subprocess.run(
        [CLIENTS_PYTHON, "-m", "pytest", "-q", "-rs", *isolated, *one_loop, *exceptions, FOLDER / "langchain_suite.py"],
        cwd=tmp_path,
        env=environment(gateway, "fake"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:]
