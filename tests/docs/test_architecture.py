"""The page on architecture says what really happens: one request is traced through the code it names."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest

from tests.fixtures.asgi import in_process
from tests.providers.mini_vllm import MODEL, mini_vllm
from tests.providers.wire_server import WireServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
RESOURCES = f"""
kind: Guardrail
name: careful
spec:
  blockedInputMessaging: Not here.
  blockedOutputsMessaging: Not here.
  wordPolicyConfig: {{wordsConfig: [{{text: heliotrope}}]}}
---
kind: Project
name: default
spec: {{guardrail: careful}}
---
kind: Model
name: {MODEL}
spec: {{provider: mini}}
---
kind: Provider
name: mini
spec: {{kind: vllm, urls: [URL]}}
"""


class Step(NamedTuple):
    """A function that the page names, by its file in the repository."""

    file: str
    function: str


def steps() -> list[Step]:
    """The steps of the numbered list, in order."""
    section = PAGE.read_text().split("## One request", 1)[1].split("\n## ", 1)[0]
    numbered = re.findall(r"^\d+\. (?:.+\n)(?: {3,}.+\n)*", section, re.MULTILINE)
    assert len(numbered) >= 7
    found = re.findall(r"\[`[\w/]+\.py`\]\(\.\./([\w/]+\.py)\)((?:\s+`[\w.]+`,?)+)", "".join(numbered))
    return [Step(file, function) for file, functions in found for function in re.findall(r"`([\w.]+)`", functions)]


class Trace:
    """The first call of every function of ours, in order."""

    def __init__(self) -> None:
        self.calls: dict[Step, int] = {}

    def __enter__(self) -> Trace:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and "/bedplate_" in code.co_filename:
            path = Path(code.co_filename)
            if path.is_relative_to(ROOT):
                function = code.co_qualname.rpartition("<locals>.")[2]
                self.calls.setdefault(Step(str(path.relative_to(ROOT)), function), len(self.calls))


@pytest.mark.anyio
async def test_a_request_passes_the_named_functions_in_the_order_of_the_page(database_url: str, tmp_path: Path) -> None:
    async with WireServer(mini_vllm) as server:
        resources = RESOURCES.replace("URL", server.url)
        async with in_process(tmp_path, database_url, resources=resources) as gateway:
            with Trace() as trace:
                exchange = await gateway.chat(MODEL, stream=True, session="auto")
    assert exchange.status == 200, exchange.body
    assert exchange.body.endswith(b"[DONE]\n\n")
    wanted = steps()
    assert len(wanted) >= 20
    missing = [step for step in wanted if step not in trace.calls]
    assert not missing, f"the page names what such a request does not call: {missing}"
    assert wanted == sorted(wanted, key=trace.calls.__getitem__)


def test_the_page_stays_short() -> None:
    assert len(PAGE.read_text().splitlines()) < 165
