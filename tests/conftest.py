"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.engine",
    "tests.fixtures.gateway",
    "tests.fixtures.postgres",
    "tests.fixtures.sessions",
]


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio."""
    return "asyncio"
