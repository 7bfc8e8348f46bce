"""Validators of guardrails-ai, registered by an administrator, each in one `AsyncGuard` that is kept.

Of guardrails-ai this uses one call on a whole text, with `noop` on failure. Its streaming, fixes of several validators,
history and hub are not used: they release, lose or keep text.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from bedplate_guardrails.evaluation import Result, Task, Validated, ValidatorTask
from bedplate_guardrails.pool.wire import Registered
from bedplate_guardrails.worker.evaluating import CannotLoad, where

_FRAME = "bedplate_guardrails.validators.frame"
_MAX_REASON_CHARS = 1000


class CustomValidators:
    """The registered validators, made when the first text for each comes. A unit is `validator:NAME`."""

    def __init__(self) -> None:
        self._guarded: dict[str, _Guarded] = {}
        self._runner = asyncio.Runner()

    def load(self, unit: str, registered: Registered | None) -> None:
        """Import a validator's class and make it. Raises `CannotLoad`."""
        if registered is None:
            raise CannotLoad(f"{unit} is not registered")
        try:
            frame = importlib.import_module(_FRAME)  # first of all: it switches telemetry off
        except ImportError as error:
            raise CannotLoad(
                f"{unit} needs guardrails-ai, which is not installed: pip install 'bedplate[guardrails]'", str(error)
            ) from error
        try:
            self._guarded[unit] = self._runner.run(_made(frame, registered))
        except CannotLoad:
            raise
        except Exception as error:
            detail = str(error) if isinstance(error, ImportError | AttributeError | TypeError) else where(error)
            raise CannotLoad(f"{unit} cannot be loaded", detail) from error

    def evaluate(self, unit: str, tasks: Sequence[Task]) -> Sequence[Result]:
        """What the validator says of each text. Raises what it raises."""
        guarded = self._guarded[unit]
        return [self._runner.run(guarded.judge(task.text)) for task in tasks if isinstance(task, ValidatorTask)]


class _Guarded:
    """A validator in its guard, and what it said last."""

    def __init__(self, frame: Any, validator: Any, metadata: dict[str, Any]) -> None:
        self._frame = frame
        self._metadata = metadata
        self._said: list[Any] = []
        validator.on_fail_descriptor = frame.OnFailAction.NOOP  # also where its class has no such argument
        validator.on_fail_method = None
        validator.async_validate = self._keeping(validator.async_validate)
        self._guard: Any = frame.AsyncGuard(history_max_length=1).use(validator)
        self._guard.configure(allow_metrics_collection=False)

    async def judge(self, text: str) -> Validated:
        """What the validator says of a text that is not empty.

        The outcome of a guard does not tell a passed text from a fixed one, nor has it the fix; so the validator's own
        result is what counts. What the guard remembers is forgotten each time.
        """
        self._said.clear()
        try:
            await self._guard.validate(text, metadata=copy.deepcopy(self._metadata))
            if len(self._said) != 1:
                raise RuntimeError("the validator was not called once")
            return self._validated(self._said[0])
        finally:
            self._said.clear()
            self._guard.history.clear()

    def _validated(self, said: Any) -> Validated:
        if said is None or isinstance(said, self._frame.PassResult):  # None is a pass, by guardrails-ai's contract
            return Validated(passed=True)
        if not isinstance(said, self._frame.FailResult):
            raise TypeError("the validator's result is none of guardrails-ai's")
        fixed = said.fix_value if isinstance(said.fix_value, str) else None
        return Validated(passed=False, reason=str(said.error_message)[:_MAX_REASON_CHARS], fixed=fixed)

    def _keeping(self, validate: Callable[..., Any]) -> Callable[..., Any]:
        async def keep(value: Any, metadata: dict[str, Any], **more: Any) -> Any:
            said = await validate(value, metadata, **more)
            self._said.append(said)
            return said

        return keep


async def _made(frame: Any, registered: Registered) -> _Guarded:
    """A coroutine, so that a validator that looks for the event loop finds the one on which it will run."""
    module, _, name = registered.validator.partition(":")
    made: object = getattr(importlib.import_module(module), name)
    if not (isinstance(made, type) and issubclass(made, frame.Validator)):
        raise CannotLoad(
            f"validator:{registered.name} cannot be loaded", f"{registered.validator} is no Validator of guardrails-ai"
        )
    return _Guarded(frame, cast(Callable[..., Any], made)(**registered.arguments), registered.metadata)


__all__ = ["CustomValidators"]
