"""The commands and programs of the README and the examples, run as a reader would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate_gateway.cli.environment import client_variables
from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.gateway import RunningGateway

BIN = Path(sys.executable).parent
NOT_RUN_HERE = {"make up", "make test"}
"""Blocks that start everything or run this very test; `tests/clients` runs the first one's command."""

README = [block for block in blocks(ROOT / "README.md") if block.language in ("sh", "python")]


@pytest.fixture(scope="module")
def reader(gateway: RunningGateway) -> dict[str, str]:
    """The environment of a reader beside a running installation, whose `smollm2` says what it hears."""
    pair = gateway.create_access_key("default")
    assert pair.secret is not None
    gateway.settings.credentials_path.write_text(gateway.admin_key + "\n")
    gateway.settings.key_pair_path.write_text(f"{pair.access_key_id}\n{pair.secret.reveal()}\n")
    gateway.apply_text("kind: Model\nname: smollm2\nspec: {provider: fake, upstream_model: fake/echo}\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return (
        environ
        | client_variables(gateway.settings)
        | {
            "BEDPLATE_HOME": str(gateway.home),
            "BEDPLATE_PORT": str(gateway.settings.port),
            "BEDPLATE_DATABASE_URL": gateway.settings.database_url or "",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
        }
    )


def run(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environ, cwd=ROOT, input="Hello there\n", capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_block(block: Block, environ: dict[str, str]) -> str:
    if block.language == "python":
        return run([sys.executable, "-c", block.text], environ)
    script = block.text.replace(".venv/bin/", f"{BIN}/")
    return run(["bash", "-euo", "pipefail", "-c", script], environ)


def test_only_the_blocks_that_start_everything_are_not_run() -> None:
    skipped = [block.text.strip() for block in README if block.text.strip() in NOT_RUN_HERE]
    assert sorted(skipped) == sorted(NOT_RUN_HERE)
    assert len(README) - len(skipped) >= 10


def test_every_block_of_the_readme_does_what_the_text_says(reader: dict[str, str]) -> None:
    outputs: list[tuple[str, str]] = []
    for block in README:
        if block.text.strip() not in NOT_RUN_HERE:
            outputs.append((block.text, run_block(block, reader)))
    said = dict(outputs)

    def of(fragment: str) -> str:
        (found,) = [output for text, output in said.items() if fragment in text]
        return found

    assert "Hello there" in of("bedplate chat")
    assert of("Say hello.") == "Say hello.\n"
    assert of("Count to three.") == "Count to three.\n"
    assert of("Say good morning.") == "Say good morning.\n"
    assert of("Say good evening.") == "Say good evening.\n"
    assert of("My name is Grace.") == "6 messages in ACTIVE session\n"
    assert of("Idempotency-Key") == "true True\n"
    assert of("background=True") == "Say good night.\n"
    (purged,) = [line for line in of("jobs --once").splitlines() if line.startswith("default: ")]
    assert purged == "default: 0 sessions, 0 responses, 0 replies and 0 keys deleted"
    assert of("session-keys status").endswith("new data keys: master:1\n")
    session, answer = of("My name is Ada.").strip().split(" ", 1)
    assert session.startswith("sess_")
    assert answer
    assert json.loads(of('"content": "Hello"'))["choices"][0]["message"]["content"] == "Hello"
    assert of("apply -f").splitlines() == ["guardrail careful: changed", "project default: changed"]
    blocked = json.loads(of("What is project heliotrope?"))["choices"][0]
    assert blocked["finish_reason"] == "content_filter"
    assert blocked["message"]["content"] == "This cannot be asked here."
    key, *table = of("keys create").splitlines()
    assert key.startswith("bp_")
    assert [line for line in table if "billing-assistant" in line and key[-4:] in line]
    assert "smollm2" in of("doctor") or "fake/" in of("doctor")


def test_the_guardrail_example_masks_and_blocks_on_both_ways(reader: dict[str, str], gateway: RunningGateway) -> None:
    run([str(BIN / "bedplate"), "apply", "-f", "examples/guardrail.yaml"], reader)
    program = (
        "import sys; from openai import OpenAI\n"
        "print(OpenAI().chat.completions.create(model='smollm2', messages=[{'role': 'user', 'content': sys.argv[1]}])"
        ".choices[0].message.content)"
    )

    def ask(text: str) -> str:
        return run([sys.executable, "-c", program, text], reader).strip()

    assert ask("write to ada@example.com with BADGE-123456") == "write to {EMAIL} with {badge}"
    assert ask("my card is 4111 1111 1111 1111") == "This cannot be asked here."
    verdicts = json.loads(gateway.records()[-1]["verdicts"])
    assert {(each["rule"], each["action"]) for each in verdicts} == {("CREDIT_DEBIT_CARD_NUMBER", "block")}


def test_the_example_program_runs(reader: dict[str, str]) -> None:
    lines = run([sys.executable, "examples/openai_chat.py", "fake/echo"], reader).splitlines()
    assert lines[:2] == ["Say hello.", "Count to three."]
    assert lines[2].startswith("sess_")


def test_the_example_of_every_sdk_in_one_conversation_runs(reader: dict[str, str]) -> None:
    lines = run([sys.executable, "examples/any_sdk.py", "fake/echo"], reader).splitlines()
    said = ["My name is Ada.", "I live in London.", "What is my name, and where do I live?"]
    assert lines[0].startswith("sess_")
    assert lines[0].endswith(said[-1])
    assert lines[1:] == [text for text in said for _ in range(2)]


def test_the_fleet_example_applies_once_its_secret_is_there(reader: dict[str, str], gateway: RunningGateway) -> None:
    command = [str(BIN / "bedplate"), "apply", "-f", "examples/fleet.yaml"]
    refused = subprocess.run(command, env=reader, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "file:fleet" in refused.stderr
    gateway.settings.secrets_path.mkdir(exist_ok=True)
    (gateway.settings.secrets_path / "fleet").write_text("key\n")
    assert run(command, reader).splitlines() == ["provider fleet: changed", "model chat: changed"]


def test_the_vendors_example_applies_once_its_secrets_are_there(
    reader: dict[str, str], gateway: RunningGateway
) -> None:
    gateway.settings.secrets_path.mkdir(exist_ok=True)
    for name in ("openai", "anthropic", "bedrock"):
        (gateway.settings.secrets_path / name).write_text("key\n")
    lines = run([str(BIN / "bedplate"), "apply", "-f", "examples/vendors.yaml"], reader).splitlines()
    assert len(lines) == 6
    assert all(line.endswith(": changed") for line in lines)
