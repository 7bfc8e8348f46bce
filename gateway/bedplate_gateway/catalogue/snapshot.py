"""Everything that a call needs to know, compiled once per change and read without I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from bedplate_core.errors import GuardrailUnavailable, ModelNotFound, PermissionDenied
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.credentials import KeyEntry, KeyPair
from bedplate_gateway.catalogue.pool import Lease
from bedplate_gateway.catalogue.resources import SessionSpec
from bedplate_guardrails.policy import Policy
from bedplate_providers.base import Profile, Provider


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
    """A project's settings. `policy_error` says that its guardrail does not compile: its calls are refused."""

    id: ProjectId
    name: str
    policy: Policy | None = None
    policy_error: str | None = None
    sessions: SessionSpec = SessionSpec()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The installation at one moment. Immutable and shared by all calls."""

    keys: Mapping[bytes, KeyEntry]
    key_pairs: Mapping[str, KeyPair]
    routes: Mapping[str, Route]
    projects: Mapping[ProjectId, Project]

    def route(self, model: str) -> Route:
        """The route of a model name. Raises `ModelNotFound`."""
        try:
            return self.routes[model]
        except KeyError:
            raise ModelNotFound(
                f"the model {model[:128]!r} does not exist or you do not have access to it", param="model"
            ) from None

    def policy(self, project: ProjectId) -> Policy | None:
        """The guardrail that holds for every call of `project`, or None.

        Raises `GuardrailUnavailable` when the project has one that cannot be enforced: it fails closed.
        """
        found = self.projects.get(project)
        if found is None:
            raise PermissionDenied("the project of this key does not exist any more")
        if found.policy_error is not None:
            raise GuardrailUnavailable("the guardrail of this project cannot be enforced; an administrator must fix it")
        return found.policy

    def sessions(self, project: ProjectId) -> SessionSpec:
        """How long the project's conversations live."""
        found = self.projects.get(project)
        return SessionSpec() if found is None else found.sessions


EMPTY = Snapshot(keys={}, key_pairs={}, routes={}, projects={})

__all__ = ["EMPTY", "Project", "Route", "Snapshot"]
