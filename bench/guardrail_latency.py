"""What each kind of policy adds to a streamed answer: until the first text, and until the end.

    python -m bench.guardrail_latency [--calls 40] [--at-once 4]

The whole gateway in one process, on a Postgres of its own, with the scripted provider in place of a model: it repeats
the question word by word, 50 words a second. What models said about a text is not remembered here, so that every call
pays for its question and its answer as if they were new. Every kind of policy takes its turn in each round, so that
all of them see the same machine; figures are against the calls without a guardrail in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from bedplate_gateway import app
from bedplate_gateway.settings import Settings
from bedplate_guardrails.document import PiiType
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_migrations.runner import upgrade
from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.postgres import FAST, start_server

TEXT = (
    "Thank you for asking about the delivery. The parcel left our warehouse on Monday morning and should reach you "
    "within three working days. If it has not arrived by Friday, please call the number on your receipt, and we will "
    "look for it together. You can follow it on the map as well, where every stop is shown with its time of day."
)
MESSAGES = {"blockedInputMessaging": "no", "blockedOutputsMessaging": "no"}


def policies() -> Mapping[str, Mapping[str, Any]]:
    """A document for each kind of policy, none of which acts on the text."""
    filters = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT")
    patterns = [kind for kind in PiiType if kind not in (PiiType.NAME, PiiType.ADDRESS)]
    return {
        "words": {"wordPolicyConfig": {"wordsConfig": [{"text": f"forbidden {n}"} for n in range(100)]}},
        "profanity": {"wordPolicyConfig": {"managedWordListsConfig": [{"type": "PROFANITY"}]}},
        "personal data, 29 patterns": {
            "sensitiveInformationPolicyConfig": {
                "piiEntitiesConfig": [{"type": kind.value, "action": "ANONYMIZE"} for kind in patterns]
            }
        },
        "regular expressions, 10": {
            "sensitiveInformationPolicyConfig": {
                "regexesConfig": [
                    {"name": f"r{n}", "pattern": rf"X{n}-[0-9]{{4,8}}", "action": "ANONYMIZE"} for n in range(10)
                ]
            }
        },
        "names and addresses": {
            "sensitiveInformationPolicyConfig": {
                "piiEntitiesConfig": [{"type": kind, "action": "ANONYMIZE"} for kind in ("NAME", "ADDRESS")]
            }
        },
        "content filters, 5": {
            "contentPolicyConfig": {
                "filtersConfig": [{"type": kind, "inputStrength": "LOW", "outputStrength": "LOW"} for kind in filters]
            }
        },
        "prompt attack": {
            "contentPolicyConfig": {
                "filtersConfig": [{"type": "PROMPT_ATTACK", "inputStrength": "LOW", "outputStrength": "NONE"}]
            }
        },
        "denied topics, 3": {
            "topicPolicyConfig": {
                "topicsConfig": [
                    {"name": name, "definition": definition, "type": "DENY"}
                    for name, definition in (
                        ("Investments", "Advice on buying or selling shares, bonds or funds."),
                        ("Medicine", "Advice on medicines, their doses and their effects."),
                        ("Politics", "Opinions on parties, elections and politicians."),
                    )
                ]
            }
        },
        "grounding (whole answer)": {
            "contextualGroundingPolicyConfig": {"filtersConfig": [{"type": "RELEVANCE", "threshold": 0.0}]}
        },
        "answer schema (whole answer)": {
            "bedplateConfig": {"answerSchemaConfig": {"schema": {"type": "object"}, "action": "NONE"}}
        },
    }


async def timed(served: InProcess, guardrail: str | None) -> tuple[float, float]:
    """Milliseconds until the first text and until the end of one call."""
    began_s = time.perf_counter()
    first_s: list[float] = []

    async def on_send(_: Exchange, message: Any) -> None:
        if not first_s and b'"content":"' in message.get("body", b"") and b'"content":""' not in message["body"]:
            first_s.append(time.perf_counter())

    headers = {} if guardrail is None else {"x-bedplate-guardrail": guardrail}
    body = {"model": "fake/slow", "stream": True, "messages": [{"role": "user", "content": TEXT}]}
    exchange = await served.post("/v1/chat/completions", body, headers, on_send=on_send)
    if exchange.status != 200:
        raise RuntimeError(b"".join(message.get("body", b"") for message in exchange.sent).decode())
    ended_s = time.perf_counter()
    return ((first_s[0] if first_s else ended_s) - began_s) * 1000, (ended_s - began_s) * 1000


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def measured(
    served: InProcess, names: list[str], calls: int, at_once: int
) -> dict[str, list[tuple[float, float]]]:
    """Samples of every kind, and of calls without a guardrail under the empty name."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in ("", *names)}
    for name in ("", *names):  # models load, caches fill
        await timed(served, slug(name) if name else None)
    for _ in range(-(-calls // at_once)):
        for name in ("", *names):
            guardrail = slug(name) if name else None
            samples[name].extend(await asyncio.gather(*[timed(served, guardrail) for _ in range(at_once)]))
    return samples


def slug(name: str) -> str:
    return "-".join("".join(char if char.isalnum() else " " for char in name).split())


async def run(calls: int, at_once: int) -> None:
    documents = policies()
    with tempfile.TemporaryDirectory(prefix="bedplate-bench-") as folder:
        os.chmod(folder, 0o755)
        server = start_server(Path(folder) / "postgres", FAST)
        try:
            await asyncio.to_thread(upgrade, server.url("postgres"))
            with mock.patch.object(app, "guardrail_pool", forgetful_pool):
                async with in_process(Path(folder), server.url("postgres"), resources=resources(documents)) as served:
                    table(await measured(served, list(documents), calls, at_once))
        finally:
            server.embedded.stop()
            server.embedded.destroy()


def forgetful_pool(_: Settings) -> WorkerPool:
    return WorkerPool(PoolSettings(memory_entries=0))


def resources(documents: Mapping[str, Mapping[str, Any]]) -> str:
    return "---\n".join(
        json.dumps({"kind": "Guardrail", "name": slug(name), "spec": {**MESSAGES, **document}}) + "\n"
        for name, document in documents.items()
    )


def table(samples: dict[str, list[tuple[float, float]]]) -> None:
    """The added milliseconds: medians and 99th percentiles, each less that of the calls without a guardrail."""
    base = {place: [sample[place] for sample in samples[""]] for place in (0, 1)}
    print("| policy | first text p50 | p99 | end p50 | p99 |\n|---|---|---|---|---|")
    for name, taken in samples.items():
        cells: list[str] = []
        for place in (0, 1):
            values = [sample[place] for sample in taken]
            for share in (0.5, 0.99):
                value, bare = quantile(values, share), quantile(base[place], share)
                cells.append(f"{value - bare:+.1f}" if name else f"{value:.1f}")
        print(f"| {name or 'none (milliseconds)'} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    asyncio.run(run(given.calls, given.at_once))


if __name__ == "__main__":
    main()
