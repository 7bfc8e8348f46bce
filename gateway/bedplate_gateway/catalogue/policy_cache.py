"""Compiled policies, so that none is compiled twice: those that always hold, and the last that requests chose."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from bedplate_core.assessment import GuardrailRef
from bedplate_core.ids import ProjectId
from bedplate_gateway.catalogue.guardrail_index import DRAFT, Version
from bedplate_gateway.catalogue.guardrail_rows import StoredDocument
from bedplate_guardrails.document import convert_document
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import Policy, compile_policy

MAX_CHOSEN: Final = 128
"""Policies that requests chose and that are kept; one with 10,000 words takes some megabytes."""


class PolicyKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy was compiled from. `revision` is the draft's, 0 for a version, which never changes."""

    project: ProjectId
    id: str
    version: Version
    revision: int
    able: Capabilities


class PolicyCache:
    """Policies by what they were compiled from. Belongs to one event loop."""

    def __init__(self, max_chosen: int = MAX_CHOSEN) -> None:
        self._held: Mapping[PolicyKey, Policy] = {}
        self._chosen: OrderedDict[PolicyKey, Policy] = OrderedDict()
        self._max_chosen = max_chosen

    def get(self, key: PolicyKey) -> Policy | None:
        """The policy, if it is there."""
        held = self._held.get(key)
        if held is not None:
            return held
        chosen = self._chosen.get(key)
        if chosen is not None:
            self._chosen.move_to_end(key)
        return chosen

    def hold(self, policies: Mapping[PolicyKey, Policy]) -> None:
        """Keep these for as long as they hold, and no others that did before."""
        self._held = policies

    def choose(self, key: PolicyKey, policy: Policy) -> None:
        """Keep one that a request chose; the one that was not asked for the longest goes, where there are too many."""
        self._chosen[key] = policy
        self._chosen.move_to_end(key)
        while len(self._chosen) > self._max_chosen:
            self._chosen.popitem(last=False)


def compiled(name: str, version: Version, stored: StoredDocument, able: Capabilities) -> Policy:
    """The policy of a stored document; `name` is the guardrail's id. Takes milliseconds. Raises `InvalidPolicy`."""
    ref = GuardrailRef(
        id=name,
        name=stored.name,
        version=DRAFT if version is None else str(version),
        revision=stored.revision if version is None else 0,
    )
    return compile_policy(ref, convert_document(stored.document), able)


__all__ = ["MAX_CHOSEN", "PolicyCache", "PolicyKey", "compiled"]
