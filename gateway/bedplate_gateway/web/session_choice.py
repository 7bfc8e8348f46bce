"""Which conversation a call is a turn of, and how: the header `x-bedplate-session`, or `session` in the body.

    x-bedplate-session: auto
    x-bedplate-session: sess_...; on_busy=reject; context=summarize
    {"session": "auto"}            {"session": {"id": "conv_...", "branch": 1, "on_interrupted": "continue"}}

In Converse the body's place is `additionalModelRequestFields`. The header and the body have the same parameters.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from bedplate_core.errors import InvalidRequest, NotFound
from bedplate_core.ids import ItemId, ProjectId, SessionId
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.engine.memory import SessionMemory
from bedplate_gateway.web.new_session import new_session
from bedplate_gateway.web.services import Services
from bedplate_sessions.context.policy import ContextPolicy, Strategy
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.session import Face
from bedplate_sessions.turn_options import OnBusy, OnInterrupted, TurnOptions

SESSION_FIELD: Final = "session"
AUTO: Final = "auto"
_FLAGS: Final = frozenset({"pin"})
"""Parameters of the header that may stand without a value."""


class SessionChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`id` is `auto` for a new conversation, or one of the three ids of an old one; see `TurnOptions` for the rest."""

    id: str
    branch: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    fork_at: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    on_busy: OnBusy = OnBusy.WAIT
    on_interrupted: OnInterrupted = OnInterrupted.DROP
    pin: bool = False
    context: Strategy = "truncate"
    context_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    summary_model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None

    def memory(self, services: Services, project: ProjectId) -> SessionMemory:
        """The conversation itself, or a new one of the project.

        Raises `NotFound` for an id that can name none, and `InvalidRequest`.
        """
        session: SessionId | None = None
        if self.id != AUTO:
            session = session_of(self.id)
            if session is None:
                raise NotFound("There is no session with this id in your project.", param=SESSION_FIELD)
        elif self.branch or self.fork_at is not None:
            raise InvalidRequest(
                f"{SESSION_FIELD}: a new session has no branch and no item to begin at", param=SESSION_FIELD
            )
        if self.fork_at is not None and "\0" in self.fork_at:  # Postgres has no text with this character in it
            raise NotFound("There is no item with this id in the branch.", param=SESSION_FIELD)
        options = TurnOptions(
            branch=self.branch,
            fork_at=None if self.fork_at is None else ItemId(self.fork_at),
            on_busy=self.on_busy,
            on_interrupted=self.on_interrupted,
            pin=self.pin,
            context=ContextPolicy(
                strategy=self.context, max_tokens=self.context_tokens, summary_model=self.summary_model
            ),
        )
        return SessionMemory(
            services.sessions,
            session,
            services.settings.session_wait_s,
            options=options,
            new=new_session(services, project, Face.CHAT),
        )


def choice_of_header(value: str) -> SessionChoice:
    """What the header says. Raises `InvalidRequest` naming it."""
    name, *parameters = [part.strip() for part in value.split(";")]
    fields: JSONObject = {"id": name}
    for parameter in parameters:
        key, equals, text = parameter.partition("=")
        key = key.strip()
        if key in fields:
            raise InvalidRequest(f"x-bedplate-session: {key[:32]!r} is there twice", param="x-bedplate-session")
        fields[key] = text.strip() if equals or key not in _FLAGS else True
    return _converted(fields, "x-bedplate-session", strict=False)


def choice_of_field(value: JSON) -> SessionChoice:
    """What the body's field says. Raises `InvalidRequest` naming it."""
    return _converted({"id": value} if isinstance(value, str) else value, SESSION_FIELD, strict=True)


def _converted(fields: JSON, place: str, *, strict: bool) -> SessionChoice:
    try:
        return msgspec.convert(fields, SessionChoice, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{place}: {error}", param=place) from None


__all__ = ["AUTO", "SESSION_FIELD", "SessionChoice", "choice_of_field", "choice_of_header"]
