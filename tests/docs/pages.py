"""The pages people read, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A fenced block. `text` is without the indentation of its fence."""

    page: Path
    language: str
    text: str


def pages() -> list[Path]:
    """Every page of the project's own, by path."""
    folders = ("docs", "helm", "console", "examples")
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in (ROOT / folder).rglob("*.md"))]
    return sorted(page for page in found if "node_modules" not in page.parts)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [
        Block(page, language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> list[str]:
    """Every line of shell and every span of code in a page."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    lines = [line.strip() for block in blocks(page) if block.language in ("sh", "") for line in block.text.splitlines()]
    return spans + lines
