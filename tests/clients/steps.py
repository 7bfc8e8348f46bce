"""What the SDK jobs share: one printed line a step, and an end with the first that fails."""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable
from typing import Any

URL = os.environ["BEDPLATE_URL"]
KEY = os.environ["BEDPLATE_KEY"]
MODEL = os.environ["BEDPLATE_MODEL"]
"""A real model's name, or `fake`: then the scripted models are used, and what only they can show is shown."""

FAKE = MODEL == "fake"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def model(scripted: str = "fake/echo") -> str:
    """The model to call: the real one, or the scripted one of that name."""
    return scripted if FAKE else MODEL


def check(condition: object, step: str, detail: object = "") -> None:
    """Print the step; end the job when `condition` does not hold."""
    print(f"{'ok  ' if condition else 'FAIL'} {step}: {str(detail)[:200]}", flush=True)
    if not condition:
        sys.exit(1)


def raises(kind: type[BaseException], step: str, work: Callable[[], object]) -> Any:
    """The error of exactly that class that `work` raises; ends the job when it raises another or none."""
    try:
        got = work()
    except kind as error:
        check(type(error) is kind, step, f"{type(error).__name__}: {error}")
        return error
    except Exception as error:
        check(False, step, f"{type(error).__name__} instead of {kind.__name__}: {error}")
    check(False, step, f"no error, but {got!r}")
    raise SystemExit(1)


def within(seconds: float, step: str, work: Callable[[], object]) -> None:
    """Do `work`, which must not take longer."""
    started = time.monotonic()
    work()
    took = time.monotonic() - started
    check(took < seconds, step, f"{took:.2f} s")
