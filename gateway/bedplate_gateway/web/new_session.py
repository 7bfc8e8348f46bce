"""How a project's new sessions are made."""

from __future__ import annotations

from bedplate_core.ids import ProjectId
from bedplate_gateway.web.services import Services
from bedplate_sessions.session import Face, NewSession


def new_session(services: Services, project: ProjectId, face: Face) -> NewSession:
    """An empty session of the project that expires as the project's settings say.

    Where they say nothing, only sessions that Bedrock's operations make expire by idleness, as they do there.
    """
    spec = services.catalogue.snapshot.sessions(project)
    usual_s = services.sessions.limits.idle_timeout_s if face is Face.BEDROCK else None
    return NewSession(face=face, idle_timeout_s=spec.idle_timeout_s or usual_s, lifetime_s=spec.lifetime_s)


__all__ = ["new_session"]
