"""What scanning costs: microseconds for a thousand characters, whole and in pieces of four.

    python -m bench.guardrails.scan_cost [--data FOLDER] [--rounds 5]

Each row is a policy with that rule alone, compiled as the gateway compiles it and run as an answer's text is; the last
are all 29 types, all of them with 100 words and the managed list, and the same with leetspeak. Best of the rounds, in
CPU time of this process. `prose` holds nothing to be found, `dense` little else. With `--data`, prose is 60,000
characters of
different labelled texts in place of one paragraph, and the first pass over it is shown too: an automaton makes its
states as it meets them, once for each policy.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_core.verdicts import Side
from bedplate_guardrails.document import MODEL_PII, PiiType, convert_document
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.rules import compile_lanes
from bedplate_guardrails.run import TextRun
from bench.guardrails.corpus import read_rows

PIECE_CHARS = 4
MESSAGES = {"blockedInputMessaging": "no", "blockedOutputsMessaging": "no"}
PROSE = (
    "Thank you for asking about the delivery. The parcel left our warehouse on Monday morning and should reach you "
    "within three working days. If it has not arrived by Friday, please ask at the desk, and we will look for it "
    "together. You can follow it on the map as well, where every stop is shown with its time of day. "
) * 4
DENSE = (
    "Ann Lee, ann.lee@mail.example.com, +44 20 7946 0958, 10.0.0.1, card 4111 1111 1111 1111 12/27 123, "
    "SSN 123-45-6789, IBAN GB29 NWBK 6016 1331 9268 19, password: hunter2, PIN 4821, routing number 021000021, "
    "account number 000123456789, "
    "https://example.com/a?b=c, 45 years old, passport C01234567, VIN 1HGCM82633A004352, MAC 00:1B:44:11:3A:B7. "
) * 3
SETS = ("topic_clinc150_val", "pi_wildguard_benign_dev", "topic_banking77_train")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    prose = PROSE if given.data is None else varied(given.data)
    print(f"{'rules':44}{'compile ms':>11}{'first':>8}{'prose':>8}{'pieces':>8}{'a piece':>8}{'dense':>8}{'pieces':>8}")
    for name, document in policies():
        began = time.process_time()
        plans = compile_lanes(convert_document({**MESSAGES, **document}), Side.OUTPUT)
        compiled_ms = (time.process_time() - began) * 1e3
        first = once(plans, [prose])
        whole, pieces = (best(plans, cut, given.rounds) for cut in ([prose], pieces_of(prose)))
        dense, dense_pieces = (best(plans, cut, given.rounds) for cut in ([DENSE], pieces_of(DENSE)))
        print(
            f"{name:44}{compiled_ms:11.1f}{first:8.1f}{whole:8.1f}{pieces:8.0f}{pieces * PIECE_CHARS / 1000:8.1f}"
            f"{dense:8.0f}{dense_pieces:8.0f}"
        )


def varied(data: Path) -> str:
    """Prose of many hands."""
    rows = itertools.zip_longest(*(read_rows(data, name)[:300] for name in SETS))
    return " ".join(row["text"] for several in rows for row in several if row)[:60_000]


def policies() -> list[tuple[str, dict[str, Any]]]:
    """A policy for each rule, and those with all of them."""
    kinds = [kind.value for kind in PiiType if kind not in MODEL_PII]
    words = {"wordsConfig": [{"text": f"forbidden {number}"} for number in range(100)]}
    managed = {"managedWordListsConfig": [{"type": "PROFANITY"}]}
    leetspeak = {"bedplateConfig": {"leetspeak": True}}
    everything = {"wordPolicyConfig": {**words, **managed}, **sensitive(*kinds)}
    return [
        *((kind, sensitive(kind)) for kind in kinds),
        ("100 words", {"wordPolicyConfig": words}),
        ("profanity", {"wordPolicyConfig": managed}),
        ("profanity, leetspeak", {"wordPolicyConfig": managed, **leetspeak}),
        ("29 types", sensitive(*kinds)),
        ("29 types, 100 words, profanity", everything),
        ("29 types, 100 words, profanity, leetspeak", {**everything, **leetspeak}),
    ]


def sensitive(*kinds: str) -> dict[str, Any]:
    """Types of personal information, masked."""
    entities = [{"type": kind, "action": "ANONYMIZE"} for kind in kinds]
    return {"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": entities}}


def pieces_of(text: str) -> list[str]:
    """A text in pieces of four characters."""
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def best(plans: Sequence[LanePlan], pieces: Sequence[str], rounds: int) -> float:
    """Microseconds for a thousand characters, the least of some rounds."""
    return min(once(plans, pieces) for _ in range(rounds))


def once(plans: Sequence[LanePlan], pieces: Sequence[str]) -> float:
    """Microseconds for a thousand characters, this time."""
    began = time.process_time()
    run: TextRun[int] = TextRun(plans, lambda _finding, _text: None)
    for piece in pieces:
        run.append(piece)
    run.close()
    return (time.process_time() - began) * 1e9 / sum(map(len, pieces))


if __name__ == "__main__":
    main()
