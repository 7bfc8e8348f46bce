"""The gateway that the scenario is spoken to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.postgres import PostgresServer
from tests.fixtures.served import Served, serve
from tests.scenario.log import Logs

POLICY = """
kind: Guardrail
name: scenario
spec:
  blockedInputMessaging: Not that.
  blockedOutputsMessaging: Blocked.
  wordPolicyConfig: {wordsConfig: [{text: verboten, inputEnabled: false}, {text: interdit}]}
  sensitiveInformationPolicyConfig: {piiEntitiesConfig: [{type: EMAIL, action: ANONYMIZE}]}
---
kind: Project
name: default
spec: {guardrail: scenario}
"""


@pytest.fixture(scope="module")
def logs() -> Iterator[Logs]:
    """The logs of all calls."""
    kept = Logs()
    with pytest.MonkeyPatch.context() as patch:
        kept.keep(patch)
        yield kept


@pytest.fixture(scope="module")
def served(logs: Logs, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with a policy."""
    with serve(postgres_server, tmp_path_factory.mktemp("served"), resources=POLICY) as running:
        yield running
