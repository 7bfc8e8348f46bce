"""Why an answer ended, in Converse's words (`StopReason` of botocore 1.44.8, compared November 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bedplate_core.events import StopReason

STOP_REASONS: Final[Mapping[StopReason, str]] = MappingProxyType(
    {
        StopReason.END: "end_turn",
        StopReason.LENGTH: "max_tokens",
        StopReason.CONTEXT: "model_context_window_exceeded",
        StopReason.STOP_SEQUENCE: "stop_sequence",
        StopReason.TOOL: "tool_use",
        StopReason.GUARDRAIL: "guardrail_intervened",
        StopReason.CONTENT_FILTER: "content_filtered",
        StopReason.REFUSAL: "content_filtered",
        StopReason.PAUSE: "end_turn",
    }
)
"""Converse has no word for a refusal of the model's own, which a safety rule of its vendor caused as well, and none
for a pause, which only tools that run at the provider lead to; those are refused in requests."""

MALFORMED_TOOL_USE: Final = "malformed_tool_use"
"""The model ended its turn with a tool call whose arguments are no JSON."""

_ENDS_OF_TURN: Final = frozenset({StopReason.TOOL, StopReason.END})


def stop_reason(reason: StopReason, *, malformed: bool) -> str:
    """The wire's word. `malformed`: a tool call's arguments do not parse.

    That is the model's mistake only when it ended the turn itself: an answer that was cut off is `max_tokens` or
    `guardrail_intervened` with half a call in it.
    """
    return MALFORMED_TOOL_USE if malformed and reason in _ENDS_OF_TURN else STOP_REASONS[reason]


__all__ = ["MALFORMED_TOOL_USE", "STOP_REASONS", "stop_reason"]
