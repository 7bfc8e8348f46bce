"""A case of `scenario.yaml`, and what a client saw of its answer, whichever SDK it used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
TOOLS: dict[str, dict[str, Any]] = {
    "weather": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "clock": {"type": "object", "properties": {}},
}


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case; see the head of `scenario.yaml`."""

    name: str
    model: str
    turns: list[dict[str, Any]]
    system: str | None = None
    tools: list[str] = []
    tool_choice: str | None = None
    max_tokens: int = 100
    stop_sequences: list[str] = []
    schema: dict[str, Any] | None = None
    parts: list[dict[str, Any]] = []
    stop: str | None = None
    error: str | None = None
    midway: bool = False
    loose: bool = False
    unparsable: bool = False
    not_in: dict[str, str] = {}


class Seen(msgspec.Struct, kw_only=True):
    """What the client saw. `parts` are pairs of a kind and a text; of a call, its name and arguments as JSON text."""

    parts: list[tuple[str, str]] = []
    stop: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


def read_cases() -> list[Case]:
    """All cases in the file's order."""
    text = (Path(__file__).parent / "scenario.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), list[Case])
