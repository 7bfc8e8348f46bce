"""The part of a policy document that Bedrock does not have: schemas, tools, sizes, validators, and how to evaluate."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from bedplate_core.verdicts import Side
from bedplate_guardrails.config import Config, RuleAction, SidedConfig, Text100, refuse_twice

MAX_VALIDATORS = 20
MAX_TOOLS = 200


class FailureMode(StrEnum):
    """What happens when a model or validator cannot run: `CLOSED` ends the call with an error, `OPEN` goes on without.

    Words, patterns, schemas and sizes always fail closed.
    """

    CLOSED = "CLOSED"
    OPEN = "OPEN"


class AnswerSchemaConfig(Config, frozen=True, kw_only=True):
    """The answer's text must be one JSON value that `schema` (JSON Schema, draft 2020-12) allows."""

    schema: dict[str, Any]
    action: RuleAction = RuleAction.BLOCK

    def __post_init__(self) -> None:
        if self.action is RuleAction.ANONYMIZE:
            raise ValueError("action: an answer that does not fit can only BLOCK or NONE, not ANONYMIZE")


class ToolPolicyConfig(Config, frozen=True, kw_only=True):
    """Which tools a request may offer and an answer may call, and what their arguments must be.

    `allowed_tools` None allows all. `argument_schemas` are JSON schemas by the tool's name.
    """

    allowed_tools: Annotated[tuple[Text100, ...], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    argument_schemas: Annotated[dict[str, dict[str, Any]], msgspec.Meta(max_length=MAX_TOOLS)] = msgspec.field(
        default_factory=dict[str, dict[str, Any]]
    )
    action: RuleAction = RuleAction.BLOCK

    def __post_init__(self) -> None:
        if self.action is RuleAction.ANONYMIZE:
            raise ValueError("action: a tool can only BLOCK or NONE, not ANONYMIZE")
        if self.allowed_tools is None and not self.argument_schemas:
            raise ValueError("needs allowedTools or argumentSchemas")


class SizePolicyConfig(Config, frozen=True, kw_only=True):
    """The most characters of text that a request may have, an answer (each choice), and a tool call's arguments."""

    max_input_characters: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_output_characters: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_argument_characters: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ValidatorConfig(SidedConfig, frozen=True, kw_only=True):
    """A validator that the administrator registered under `name`. `ANONYMIZE` uses the validator's own fix."""

    name: Text100
    action: RuleAction = RuleAction.BLOCK

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, self.action)


class OwnConfig(Config, frozen=True, kw_only=True):
    """`bedplateConfig`.

    `async_streaming` allows requests to ask that text leaves before models evaluated it. `leetspeak` also finds words
    with digits and signs for letters. `evaluation_timeout_ms` bounds the time that evaluating one window may take.
    """

    answer_schema_config: AnswerSchemaConfig | None = None
    tool_policy_config: ToolPolicyConfig | None = None
    size_policy_config: SizePolicyConfig | None = None
    validators_config: Annotated[tuple[ValidatorConfig, ...], msgspec.Meta(max_length=MAX_VALIDATORS)] = ()
    failure_mode: FailureMode = FailureMode.CLOSED
    async_streaming: bool = False
    leetspeak: bool = False
    evaluation_timeout_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 5_000

    def __post_init__(self) -> None:
        refuse_twice([validator.name for validator in self.validators_config], "validatorsConfig", "name")

    @property
    def has_rules(self) -> bool:
        """Whether anything here is a rule, not only a way of evaluating others."""
        return bool(
            self.answer_schema_config or self.tool_policy_config or self.size_policy_config or self.validators_config
        )


__all__ = [
    "AnswerSchemaConfig",
    "FailureMode",
    "OwnConfig",
    "SizePolicyConfig",
    "ToolPolicyConfig",
    "ValidatorConfig",
]
