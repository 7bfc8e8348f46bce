"""Everything that a call needs to know, compiled once per change and read without I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from bedplate_core.errors import GuardrailUnavailable, ModelNotFound, PermissionDenied
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.credentials import KeyEntry, KeyPair
from bedplate_gateway.catalogue.guardrail_index import GuardrailIndex
from bedplate_gateway.catalogue.policy_set import AppliedPolicy, PolicySet
from bedplate_gateway.catalogue.pool import Lease
from bedplate_gateway.catalogue.resources import JudgeSpec, SessionSpec
from bedplate_guardrails.evaluation import Capabilities
from bedplate_providers.base import Profile, Provider

_NO_GUARDRAILS: Final = GuardrailIndex()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model name leads.

    `attempts` (at least 1) are made at it before an answer begins; then at the models named in `fallbacks`, in order.
    """

    name: str
    upstream_model: str
    profile: Profile
    created_s: int
    revision: int
    pooled: Lease
    attempts: int = 1
    fallbacks: tuple[str, ...] = ()

    @property
    def provider(self) -> Provider:
        """The upstream itself."""
        return self.pooled.provider

    def lease(self) -> Callable[[], Awaitable[None]]:
        """Keep the provider open until the returned function is called."""
        return self.pooled.take()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project's settings.

    `mandatory` hold for every call, in this order; `policies` are those and the default. `mandatory_error` says that
    one of the former cannot be enforced: all calls are refused; `default_error` that the default cannot: those that
    name no guardrail are.
    """

    id: ProjectId
    name: str
    mandatory: tuple[AppliedPolicy, ...] = ()
    policies: PolicySet = PolicySet()
    mandatory_error: str | None = None
    default_error: str | None = None
    sessions: SessionSpec = SessionSpec()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The installation at one moment. Immutable and shared by all calls.

    `able` is what guardrails could ask for at that moment; `judge` is the judge model that an administrator named.
    """

    keys: Mapping[bytes, KeyEntry]
    key_pairs: Mapping[str, KeyPair]
    routes: Mapping[str, Route]
    projects: Mapping[ProjectId, Project]
    guardrails: Mapping[ProjectId, GuardrailIndex] = msgspec.field(default_factory=dict[ProjectId, GuardrailIndex])
    judge: JudgeSpec | None = None
    able: Capabilities = Capabilities()

    def route(self, model: str) -> Route:
        """The route of a model name. Raises `ModelNotFound`."""
        try:
            return self.routes[model]
        except KeyError:
            raise ModelNotFound(
                f"the model {model[:128]!r} does not exist or you do not have access to it", param="model"
            ) from None

    def mandatory(self, project: ProjectId) -> tuple[AppliedPolicy, ...]:
        """The guardrails that hold for every call of `project`.

        Raises `GuardrailUnavailable` when one of them cannot be enforced: it fails closed.
        """
        found = self._project(project)
        if found.mandatory_error is not None:
            raise GuardrailUnavailable("a mandatory guardrail cannot be enforced; an administrator must fix it")
        return found.mandatory

    def policies(self, project: ProjectId) -> PolicySet:
        """The guardrails for a call of `project` that names none itself: the mandatory ones and the default.

        Raises `GuardrailUnavailable` when one of them cannot be enforced.
        """
        found = self._project(project)
        if found.mandatory_error is not None or found.default_error is not None:
            self.mandatory(project)
            raise GuardrailUnavailable("the default guardrail cannot be enforced; an administrator must fix it")
        return found.policies

    def guardrails_of(self, project: ProjectId) -> GuardrailIndex:
        """The guardrails of `project`, as they were when this was loaded."""
        return self.guardrails.get(project, _NO_GUARDRAILS)

    def sessions(self, project: ProjectId) -> SessionSpec:
        """How long the project's conversations live."""
        found = self.projects.get(project)
        return SessionSpec() if found is None else found.sessions

    def _project(self, project: ProjectId) -> Project:
        found = self.projects.get(project)
        if found is None:
            raise PermissionDenied("the project of this key does not exist any more")
        return found


EMPTY = Snapshot(keys={}, key_pairs={}, routes={}, projects={})

__all__ = ["EMPTY", "Project", "Route", "Snapshot"]
