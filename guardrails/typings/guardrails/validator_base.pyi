from collections.abc import Callable
from typing import Any, TypeVar

from guardrails.types.on_fail import OnFailAction

class ErrorSpan:
    start: int
    end: int
    reason: str
    def __init__(self, *, start: int, end: int, reason: str) -> None: ...

class ValidationResult: ...

class PassResult(ValidationResult):
    def __init__(self) -> None: ...

class FailResult(ValidationResult):
    error_message: str
    fix_value: Any
    error_spans: list[ErrorSpan] | None
    def __init__(
        self, *, error_message: str, fix_value: Any = ..., error_spans: list[ErrorSpan] | None = ...
    ) -> None: ...

class Validator:
    rail_alias: str
    on_fail_descriptor: str | OnFailAction
    def __init__(
        self, on_fail: Callable[[Any, FailResult], Any] | OnFailAction | None = ..., **kwargs: Any
    ) -> None: ...
    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult: ...
    def validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult: ...
    async def async_validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult: ...

V = TypeVar("V", bound=type[Validator])

def register_validator(name: str, data_type: str | list[str]) -> Callable[[V], V]: ...

validators_registry: dict[str, type[Validator]]
