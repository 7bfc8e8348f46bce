"""What a call tells a guardrail beside the content: who evaluates, for whom, and what the caller may see."""

from __future__ import annotations

import msgspec

from bedplate_core.assessment import Origin
from bedplate_guardrails.evaluation import Evaluators


class Guarding(msgspec.Struct, frozen=True, kw_only=True):
    """How one guardrail is applied to one call.

    `tenant` keeps what evaluators remember apart. `selective` says that only what the request marked for the guardrail
    (`GuardContent`) is evaluated by it where anything is marked; without it marks exempt nothing. `releases_first` asks
    that answers leave before models judged them. `matches` puts the matched text of requests into assessments, `full`
    also what ran and found nothing.
    """

    evaluators: Evaluators
    tenant: str
    origin: Origin = Origin.PROJECT
    selective: bool = False
    releases_first: bool = False
    matches: bool = False
    full: bool = False


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request its answer is judged by.

    `sources` and `query` are what the request marked as grounding source and query, joined; the query is the last
    user's text where none is marked. `question` is the last user's text, for judge models.
    """

    sources: str = ""
    query: str = ""
    question: str = ""


__all__ = ["AnswerContext", "Guarding"]
