"""The caller, once known, and what a caller may do."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bedplate_core.errors import PermissionDenied
from bedplate_core.ids import KeyId, ProjectId


class Action(StrEnum):
    """What a route does, in Bedrock's style. Every route that is not public declares one."""

    INVOKE_MODEL = "bedrock:InvokeModel"
    LIST_MODELS = "bedrock:ListFoundationModels"
    CREATE_SESSION = "bedrock:CreateSession"
    READ_SESSION = "bedrock:GetSession"
    UPDATE_SESSION = "bedrock:UpdateSession"
    END_SESSION = "bedrock:EndSession"
    DELETE_SESSION = "bedrock:DeleteSession"
    LIST_SESSIONS = "bedrock:ListSessions"
    CREATE_INVOCATION = "bedrock:CreateInvocation"
    LIST_INVOCATIONS = "bedrock:ListInvocations"
    PUT_STEP = "bedrock:PutInvocationStep"
    READ_STEP = "bedrock:GetInvocationStep"
    LIST_STEPS = "bedrock:ListInvocationSteps"
    TAG_RESOURCE = "bedrock:TagResource"
    UNTAG_RESOURCE = "bedrock:UntagResource"
    LIST_TAGS = "bedrock:ListTagsForResource"
    CREATE_GUARDRAIL = "bedrock:CreateGuardrail"
    READ_GUARDRAIL = "bedrock:GetGuardrail"
    """Its tags included."""
    UPDATE_GUARDRAIL = "bedrock:UpdateGuardrail"
    """Its tags included, which are another action (`bedrock:TagResource`) only for sessions."""
    DELETE_GUARDRAIL = "bedrock:DeleteGuardrail"
    LIST_GUARDRAILS = "bedrock:ListGuardrails"
    VERSION_GUARDRAIL = "bedrock:CreateGuardrailVersion"
    APPLY_GUARDRAIL = "bedrock:ApplyGuardrail"
    ENFORCE_GUARDRAIL = "bedrock:PutEnforcedGuardrailConfiguration"
    """Ending it included."""
    LIST_ENFORCED = "bedrock:ListEnforcedGuardrailsConfiguration"
    MANAGE_SESSIONS = "bedplate:ManageSessions"
    """Legal holds, export and import."""
    READ_METRICS = "bedplate:ReadMetrics"
    READ_DOCUMENTATION = "bedplate:ReadDocumentation"


class Role(StrEnum):
    """A ready-made set of actions."""

    ADMINISTRATOR = "administrator"
    SERVICE = "service"


PERMITTED: dict[Role, frozenset[Action]] = {
    Role.ADMINISTRATOR: frozenset(Action),
    Role.SERVICE: frozenset(Action)
    - {
        Action.READ_METRICS,
        Action.MANAGE_SESSIONS,
        Action.CREATE_GUARDRAIL,
        Action.UPDATE_GUARDRAIL,
        Action.DELETE_GUARDRAIL,
        Action.VERSION_GUARDRAIL,
        Action.ENFORCE_GUARDRAIL,
    },
}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller. There is no principal without a project."""

    key_id: KeyId
    project: ProjectId
    role: Role

    def require(self, action: Action) -> None:
        """Raise `PermissionDenied` unless this principal may do `action`."""
        if action not in PERMITTED[self.role]:
            raise PermissionDenied(f"this key has the role {self.role.value!r}, which does not permit {action.value}")


__all__ = ["PERMITTED", "Action", "Principal", "Role"]
