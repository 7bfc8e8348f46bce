"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import signal

import pytest

# A run that was started in the background of a shell has SIGINT ignored, and so have its children: then no test could
# end a program as Ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
