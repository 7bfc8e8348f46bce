"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import pytest

pytest_plugins = [
    # A module comes before those that import it, so that pytest can rewrite its assertions.
    "tests.fixtures.postgres",
    "tests.fixtures.sessions",
    "tests.fixtures.engine",
    "tests.fixtures.gateway",
]


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio."""
    return "asyncio"
