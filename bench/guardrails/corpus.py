"""Labelled rows from a data folder: one JSON object a line, `text` and labels, one file a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of the set `name` in file order. Raises `FileNotFoundError` where the folder has no such set."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


__all__ = ["read_rows"]
