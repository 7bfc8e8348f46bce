"""The resources that an operator declares, as they stand in YAML files and in the `resource` table.

    kind: Provider            kind: Model                 kind: Guardrail           kind: Project
    name: fleet               name: smollm2               name: safe                name: default
    spec:                     spec:                       project: default          spec:
      kind: vllm                provider: fleet           spec:                       guardrail: safe
      urls: [http://...]        upstream_model: smollm2     blockedInputMessaging: ...

    kind: Installation
    name: installation
    spec:
      guardrail: {project: default, name: safe, version: 3}
      judge: {model: llama-guard, format: llama_guard}

Providers and models belong to the installation, guardrails to a project. Guardrails are kept in a table of their own
(`bedplate_gateway.catalogue.guardrail_rows`), where the API for them finds them too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_guardrails.document import GuardrailDocument
from bedplate_providers.base import Profile
from bedplate_providers.endpoints import Endpoint

MAX_ATTEMPTS: Final = 5
MAX_FALLBACKS: Final = 8
INSTALLATION: Final = "installation"


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that clients use, and where it leads. `upstream_model` is the name there; the same when None.

    `attempts` are made to get an answer to begin, with a growing pause between them, where the error says that another
    may succeed; then the models named in `fallbacks` are tried, in order. A fallback's own fallbacks are not followed.
    """

    provider: str
    upstream_model: str | None = None
    profile: Profile = Profile()
    attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS)] = 2
    fallbacks: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_FALLBACKS)] = ()


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a project's conversations live, in seconds; None: as the installation's settings say.

    Conversations and responses are deleted `retention_s` after their last write. A session that nobody writes to for
    `idle_timeout_s`, or that was made `lifetime_s` ago, expires: it can still be read.
    """

    retention_s: Annotated[float, msgspec.Meta(ge=60)] | None = None
    idle_timeout_s: Annotated[float, msgspec.Meta(ge=1)] | None = None
    lifetime_s: Annotated[float, msgspec.Meta(ge=1)] | None = None


class ProjectSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a project.

    Guardrails are named as `name`, which is the draft, or `name:version`. `guardrail` holds for every call;
    `default_guardrail` for those that name none themselves.
    """

    guardrail: str | None = None
    default_guardrail: str | None = None
    sessions: SessionSpec = SessionSpec()


class InstallationGuardrail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guardrail of one project that holds for every call of all of them. `version` None: the draft."""

    project: str
    name: str
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None


class JudgeFormat(StrEnum):
    """How a judge model is asked: a question with yes or no, or as a safety model that has words of its own."""

    YES_NO = "yes_no"
    LLAMA_GUARD = "llama_guard"
    QWEN3GUARD = "qwen3guard"


class JudgeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that evaluates what a guardrail puts into the tier STANDARD. `model` is a name of the catalogue."""

    model: str
    format: JudgeFormat = JudgeFormat.YES_NO


def judged_by(judge: JudgeSpec | None) -> frozenset[str]:
    """The members of a policy document that a judge evaluates: safety models know content filters only."""
    if judge is None:
        return frozenset()
    if judge.format is JudgeFormat.YES_NO:
        return frozenset({"contentPolicyConfig", "topicPolicyConfig", "contextualGroundingPolicyConfig"})
    return frozenset({"contentPolicyConfig"})


class InstallationSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the whole installation."""

    guardrail: InstallationGuardrail | None = None
    judge: JudgeSpec | None = None


class _Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    name: str

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 128 or not self.name.isprintable() or self.name != self.name.strip():
            raise ValueError("name must be 1 to 128 printable characters")


class ProviderResource(_Named, frozen=True, kw_only=True, tag="Provider"):
    """An upstream."""

    spec: Endpoint


class ModelResource(_Named, frozen=True, kw_only=True, tag="Model"):
    """A model name."""

    spec: ModelSpec


class GuardrailResource(_Named, frozen=True, kw_only=True, tag="Guardrail"):
    """A policy of one project."""

    project: str = "default"
    spec: GuardrailDocument


class ProjectResource(_Named, frozen=True, kw_only=True, tag="Project"):
    """A project; made when it does not exist."""

    spec: ProjectSpec = ProjectSpec()


class InstallationResource(_Named, frozen=True, kw_only=True, tag="Installation"):
    """The installation; there is one, whose name is `installation`."""

    name: str = INSTALLATION
    spec: InstallationSpec = InstallationSpec()

    def __post_init__(self) -> None:
        if self.name != INSTALLATION:
            raise ValueError(f"there is one installation, and its name is {INSTALLATION!r}")


Resource: TypeAlias = ProviderResource | ModelResource | GuardrailResource | ProjectResource | InstallationResource


class ResourceError(Exception):
    """A resource cannot be used; the message says which, where and why."""


def decode_resource(value: JSON) -> Resource:
    """The resource that one document describes. Raises `ResourceError` naming the field that does not fit."""
    try:
        return msgspec.convert(value, Resource)
    except msgspec.ValidationError as error:
        kind, name = "resource", ""
        if isinstance(value, dict):
            kind, name = str(value.get("kind", "resource")), str(value.get("name", ""))
        raise ResourceError(f"{kind} {name!r}: {error}") from None


__all__ = [
    "INSTALLATION",
    "GuardrailResource",
    "InstallationGuardrail",
    "InstallationResource",
    "InstallationSpec",
    "JudgeFormat",
    "JudgeSpec",
    "ModelResource",
    "ModelSpec",
    "ProjectResource",
    "ProjectSpec",
    "ProviderResource",
    "Resource",
    "ResourceError",
    "SessionSpec",
    "decode_resource",
    "judged_by",
]
