"""Folders and waiting for the tests of the local stack."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every account may pass through, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="bedplate-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], float], None]:
    """Wait until a condition holds, and fail when it does not in time."""

    def wait(holds: Callable[[], object], timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.02)

    return wait
