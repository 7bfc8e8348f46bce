# The part of guardrails-ai that Bedplate uses. guardrails-ai has no type information of its own.
from typing import Any

from guardrails.classes.validation_outcome import ValidationOutcome
from guardrails.types.on_fail import OnFailAction as OnFailAction
from guardrails.validator_base import Validator as Validator
from guardrails.validator_base import register_validator as register_validator

class Guard:
    def use(self, *validators: Validator, on: str = ...) -> Guard: ...
    def validate(self, llm_output: str, *, metadata: dict[str, Any] | None = ...) -> ValidationOutcome: ...

class AsyncGuard:
    def use(self, *validators: Validator, on: str = ...) -> AsyncGuard: ...
    async def validate(self, llm_output: str, *, metadata: dict[str, Any] | None = ...) -> ValidationOutcome: ...
