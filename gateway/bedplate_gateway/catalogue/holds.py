"""Which guardrails hold in each project whatever a request says, and which for requests that name none.

This is decided by name and without the documents, so that only those documents are read that are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import msgspec

from bedplate_core.assessment import Origin
from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSONObject
from bedplate_gateway.catalogue.guardrail_index import GuardrailIndex, Version
from bedplate_gateway.catalogue.guardrail_rows import EnforcedRow
from bedplate_gateway.catalogue.repository import ProjectRow
from bedplate_gateway.catalogue.resources import InstallationSpec, ProjectSpec

ALL_MODELS: Final = "ALL"
SELECTIVE: Final = "SELECTIVE"
_NONE: Final = GuardrailIndex()


class GuardrailKey(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one guardrail. `version` None: the draft."""

    project: ProjectId
    id: str
    version: Version


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail that holds: which, or why it cannot (`problem`, when `key` is None); and for what.

    The other fields are those of `AppliedPolicy`.
    """

    origin: Origin
    key: GuardrailKey | None = None
    problem: str = ""
    selective: bool = False
    included: frozenset[str] | None = None
    excluded: frozenset[str] = frozenset()


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """What holds in one project, in order; and what does for requests that name no guardrail."""

    mandatory: tuple[Hold, ...] = ()
    default: Hold | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say, decoded. A project in `unreadable` has settings that do not decode; None likewise."""

    installation: InstallationSpec | None
    projects: Mapping[str, ProjectSpec]
    unreadable: frozenset[str] = frozenset()


def holds_of(
    projects: Sequence[ProjectRow],
    settings: Settings,
    indexes: Mapping[ProjectId, GuardrailIndex],
    enforced: Sequence[EnforcedRow],
) -> dict[ProjectId, Holds]:
    """What holds in every project: the installation's first, then what its files declare, then what is enforced."""
    ids = {project.name: project.id for project in projects}
    everywhere = _installation(settings.installation, ids, indexes)
    return {
        project.id: Holds(
            mandatory=(
                *everywhere,
                *_declared(project, settings, indexes.get(project.id, _NONE)),
                *(_enforced(row) for row in enforced if row.project_id == project.id),
            ),
            default=_default(project, settings, indexes.get(project.id, _NONE)),
        )
        for project in projects
    }


def wanted(holds: Mapping[ProjectId, Holds]) -> set[GuardrailKey]:
    """The versions whose documents are needed."""
    every = (hold for each in holds.values() for hold in (*each.mandatory, each.default) if hold is not None)
    return {hold.key for hold in every if hold.key is not None}


def _installation(
    spec: InstallationSpec | None, ids: Mapping[str, ProjectId], indexes: Mapping[ProjectId, GuardrailIndex]
) -> tuple[Hold, ...]:
    if spec is None:
        return (Hold(origin=Origin.INSTALLATION, problem="the installation's settings cannot be read"),)
    if spec.guardrail is None:
        return ()
    named = spec.guardrail
    project = ids.get(named.project)
    entry = None if project is None else indexes.get(project, _NONE).by_name(named.name)
    if project is None or entry is None or not entry.has(named.version):
        return (
            Hold(origin=Origin.INSTALLATION, problem=f"the installation's guardrail {named.name!r} does not exist"),
        )
    key = GuardrailKey(project=project, id=entry.id, version=named.version)
    return (Hold(origin=Origin.INSTALLATION, key=key),)


def _declared(project: ProjectRow, settings: Settings, index: GuardrailIndex) -> tuple[Hold, ...]:
    if project.name in settings.unreadable:
        return (Hold(origin=Origin.PROJECT, problem="the project's settings cannot be read"),)
    spec = settings.projects.get(project.name)
    if spec is None or spec.guardrail is None:
        return ()
    return (_named(project, spec.guardrail, index, Origin.PROJECT),)


def _default(project: ProjectRow, settings: Settings, index: GuardrailIndex) -> Hold | None:
    spec = settings.projects.get(project.name)
    if spec is None or spec.default_guardrail is None:
        return None
    return _named(project, spec.default_guardrail, index, Origin.REQUEST)


def _named(project: ProjectRow, text: str, index: GuardrailIndex, origin: Origin) -> Hold:
    found = index.named(text)
    if found is None:
        return Hold(origin=origin, problem=f"guardrail {text!r} does not exist")
    entry, version = found
    return Hold(origin=origin, key=GuardrailKey(project=project.id, id=entry.id, version=version))


def _enforced(row: EnforcedRow) -> Hold:
    included, excluded = models_of(row.model_enforcement)
    return Hold(
        origin=Origin.PROJECT,
        key=GuardrailKey(project=row.project_id, id=row.guardrail_id, version=row.version),
        selective=is_selective(row.selective),
        included=included,
        excluded=excluded,
    )


def is_selective(given: JSONObject | None) -> bool:
    """Whether marks in a request count. What is not said in full means that all content is evaluated."""
    return given is not None and given.get("system") == SELECTIVE and given.get("messages") == SELECTIVE


def models_of(given: JSONObject | None) -> tuple[frozenset[str] | None, frozenset[str]]:
    """The models of `modelEnforcement`: those included, None for all, and those excluded."""
    if given is None:
        return None, frozenset()
    included = frozenset(cast("list[str]", given.get("includedModels") or [ALL_MODELS]))
    excluded = frozenset(cast("list[str]", given.get("excludedModels") or []))
    return None if ALL_MODELS in included else included, excluded


__all__ = [
    "ALL_MODELS",
    "SELECTIVE",
    "GuardrailKey",
    "Hold",
    "Holds",
    "Settings",
    "holds_of",
    "is_selective",
    "models_of",
    "wanted",
]
