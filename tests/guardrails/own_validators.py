"""Validators as an administrator may have them, told by the text what to do. Imported only in a worker."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from guardrails import OnFailAction, Validator, register_validator
from guardrails.validator_base import FailResult, PassResult, ValidationResult


@register_validator(name="tests/no-word", data_type="string")
class NoWord(Validator):
    """Fails where a word is in the text; the fix is the text without it. `metadata["allowed"]` lets it pass."""

    def __init__(self, word: str, on_fail: Any = None) -> None:
        super().__init__(on_fail=on_fail, word=word)
        self._word = word

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        allowed = metadata.get("allowed", [])
        passes = self._word not in value or self._word in allowed
        allowed.clear()  # must not reach the next text
        if passes:
            return PassResult()
        return FailResult(error_message=f"has the word {self._word}", fix_value=value.replace(self._word, "..."))


@register_validator(name="tests/slow", data_type="string")
class Asynchronous(Validator):
    """Asynchronous, without `on_fail` in its constructor and without a fix."""

    def __init__(self) -> None:
        super().__init__(on_fail=OnFailAction.EXCEPTION)

    async def async_validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        await asyncio.sleep(0.01)
        return FailResult(error_message="always") if "bad" in value else PassResult()


@register_validator(name="tests/behaves", data_type="string")
class Behaves(Validator):
    """`hang`, `raise`, `die`, `exit`, `none`, `wrong`, `fixes`, `environment FILE`, `history FILE`, `print`."""

    def _validate(self, value: Any, metadata: dict[str, Any]) -> Any:
        word, _, argument = value.partition(" ")
        match word:
            case "hang":
                time.sleep(3600)
            case "raise":
                raise RuntimeError(f"a secret text: {value}")
            case "die":
                os.abort()
            case "exit":
                raise SystemExit(0)
            case "none":
                return None
            case "wrong":
                return True
            case "fixes":
                return FailResult(error_message="fixed", fix_value=["no", "text"])
            case "environment":
                Path(argument).write_bytes(Path("/proc/self/environ").read_bytes())
            case "pid":
                Path(argument).write_text(str(os.getpid()))
            case "print":
                print("something on standard output", flush=True)
            case _:
                pass
        return PassResult()


@register_validator(name="tests/rewrites", data_type="string")
class Rewrites(Validator):
    """Passes and would put another text in place."""

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        return PassResult(value_override="something else")


@register_validator(name="tests/broken", data_type="string")
class Broken(Validator):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("a secret of the constructor")


class NoValidator:
    """Is none."""
