"""The path of every call after its dialect and before its encoder, the same for all of them.

    admit -> route -> session -> input guardrail -> upstream's first event -> output guardrail -> session -> record

The order of the stages is the order of the lines in `Engine._prepare`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.events import (
    Batch,
    EventStream,
    Finish,
    PartEnd,
    PartStart,
    Start,
    Stop,
    StopReason,
)
from bedplate_core.ids import ProjectId, SessionId, new_response_id
from bedplate_core.messages import Document, MediaBytes, Reasoning, Text, ToolCall, ToolResult
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_core.usage import Usage
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.engine.answer import Answer, Call
from bedplate_gateway.engine.capabilities import require_capabilities
from bedplate_gateway.engine.committed import Committed, commit
from bedplate_gateway.engine.settlement import Settlements
from bedplate_gateway.records.recorder import Recorder
from bedplate_guardrails.policy import GuardrailFailed, Policy
from bedplate_providers.base import Embeds
from bedplate_sessions.store import Sessions

AUTO_SESSION = "auto"
_INLINE_CHECK_CHARS = 20_000
"""Input up to this length is checked on the event loop, which takes a few milliseconds at most; more, in a thread."""


class Engine:
    """Runs calls. One per process; knows no dialect and no HTTP."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        sessions: Sessions,
        recorder: Recorder,
        keyring: Keyring,
        session_wait_s: float,
    ) -> None:
        self._catalogue = catalogue
        self._sessions = sessions
        self._recorder = recorder
        self._keyring = keyring
        self._cache_salts: dict[ProjectId, str] = {}
        self._session_wait_s = session_wait_s
        self._settlements = Settlements()

    async def refuse(self, call: Call, error: BaseException) -> None:
        """Put a call on record that ended with `error` before its request was understood."""
        await Answer(call, False, None, self._recorder, self._settlements).fail(error)

    async def generate(self, call: Call, request: Request, session: str | None) -> Answer:
        """The answer to `request`, whose upstream has already sent its first event.

        `session` is None, `auto` for a new session, or the id of one. Whoever gets the answer closes it. Raises
        `GatewayError` when there will be no answer; that, too, is on record by then.
        """
        self._recorder.admit()
        answer = Answer(call, request.stream, request.model, self._recorder, self._settlements)
        try:
            await self._prepare(answer, request, session)
        except BaseException as error:
            await answer.fail(error)
            raise
        return answer

    async def _prepare(self, answer: Answer, request: Request, session: str | None) -> None:
        call = answer.call
        snapshot = self._catalogue.snapshot
        route = snapshot.route(request.model)
        self._claim(answer, route)
        require_capabilities(request, route.profile)
        turn = None
        if session is not None:
            turn = await self._sessions.open_turn(
                project=call.principal.project,
                session=None if session == AUTO_SESSION else SessionId(session),
                call=call.id,
                key=call.principal.key_id,
                wait_s=self._session_wait_s,
            )
            answer.hold(turn.aclose)
            answer.session_id = turn.session_id
            request = turn.compose(request)
        policy = snapshot.policy(call.principal.project)
        if policy is not None:
            request, blocked = await self._check_input(answer, policy, request)
            if blocked is not None:
                answer.follow(_blocked(route.name, blocked, request.choices))
                return
        events: EventStream = await self._first_event(answer, route, request)
        if policy is not None and policy.guards_output:
            guarded = policy.guard_output(events)
            answer.verdicts_from(lambda: guarded.verdicts)
            answer.hold(guarded.aclose)
            events = guarded
        if turn is not None:
            events = turn.follow(request, events)
        answer.follow(events)

    def _claim(self, answer: Answer, route: Route) -> None:
        answer.provider = route.provider.name
        answer.upstream_model = route.upstream_model
        answer.versions["model"] = f"{route.name}:{route.revision}"
        answer.hold(route.lease())

    async def _check_input(self, answer: Answer, policy: Policy, request: Request) -> tuple[Request, str | None]:
        answer.versions["guardrail"] = f"{policy.name}:{policy.version}"
        try:
            if _text_chars(request) <= _INLINE_CHECK_CHARS:
                check = policy.check_input(request)
            else:
                check = await asyncio.to_thread(policy.check_input, request)
        except GuardrailFailed as error:
            failed = error.verdicts
            answer.verdicts_from(lambda: failed)
            raise
        answer.verdicts_from(lambda: check.verdicts)
        return check.request, check.blocked_message

    async def _first_event(self, answer: Answer, route: Route, request: Request) -> Committed:
        call = answer.call
        dispatch = Dispatch(
            call_id=call.id,
            cache_salt=self._cache_salt(call.principal.project),
            affinity=answer.session_id,
        )
        upstream = route.provider.generate(_addressed(request, route), dispatch)
        answer.hold(upstream.aclose)
        answer.replica_from(lambda: upstream.replica)
        committed = await commit(upstream)
        answer.first_event()
        return committed

    def _cache_salt(self, project: ProjectId) -> str:
        """The project's salt, derived once."""
        salt = self._cache_salts.get(project)
        if salt is None:
            salt = self._cache_salts[project] = self._keyring.cache_salt(project)
        return salt

    async def embed(self, call: Call, request: EmbedRequest) -> tuple[Embeddings, Answer]:
        """Vectors for `request`; recorded when this returns or raises. Raises `GatewayError`."""
        self._recorder.admit()
        answer = Answer(call, False, request.model, self._recorder, self._settlements)
        try:
            route = self._catalogue.snapshot.route(request.model)
            self._claim(answer, route)
            provider = route.provider
            if not route.profile.embeddings or not isinstance(provider, Embeds):
                raise UnsupportedFeature(f"model {request.model!r} has no embeddings", param="model")
            policy = self._catalogue.snapshot.policy(call.principal.project)
            if policy is not None:
                request = await self._check_embed_input(answer, policy, request)
            dispatch = Dispatch(call_id=call.id)
            addressed = msgspec.structs.replace(request, model=route.upstream_model)
            embeddings = await provider.embed(addressed, dispatch)
            answer.usage = embeddings.usage
        except BaseException as error:
            await answer.fail(error)
            raise
        await answer.complete()
        return embeddings, answer

    async def _check_embed_input(self, answer: Answer, policy: Policy, request: EmbedRequest) -> EmbedRequest:
        """The inputs as the policy lets them through; a blocked text has no vector, so it is a refusal."""
        raw = Request(model=request.model, prompts=request.inputs)
        checked, blocked = await self._check_input(answer, policy, raw)
        if blocked is not None:
            raise InvalidRequest(f"the input was blocked by the guardrail: {blocked}", param="input")
        return msgspec.structs.replace(request, inputs=checked.prompts)

    async def aclose(self, timeout_s: float) -> None:
        """Wait until every call that has ended is on record, for at most `timeout_s`."""
        await self._settlements.aclose(timeout_s)


def _text_chars(request: Request) -> int:
    """About how much text a policy has to read."""
    said = 0
    for message in request.messages:
        for part in message.parts:
            match part:
                case Text() | Reasoning():
                    said += len(part.text)
                case ToolCall():
                    said += len(part.arguments)
                case ToolResult():
                    said += sum(len(inner.text) for inner in part.parts if isinstance(inner, Text))
                case Document(media=MediaBytes() as media):
                    said += len(media.data)
                case _:
                    pass
    return said + sum(len(prompt) for prompt in request.prompts if isinstance(prompt, str))


def _addressed(request: Request, route: Route) -> Request:
    """The request under the upstream's own name for the model."""
    if request.model == route.upstream_model:
        return request
    return msgspec.structs.replace(request, model=route.upstream_model)


async def _blocked(model: str, message: str, choices: int) -> AsyncGenerator[Batch, None]:
    """The answer that the policy gives in the model's place when it stops the input."""
    yield [Start(id=new_response_id(), model=model, created_s=int(time.time()), choices=choices)]
    batch: list[PartStart | PartEnd] = []
    for choice in range(choices):
        batch += [PartStart(choice, 0, Text(text=message)), PartEnd(choice, 0)]
    yield batch
    stops = tuple(Stop(choice=choice, reason=StopReason.GUARDRAIL) for choice in range(choices))
    yield [Finish(stops=stops, usage=Usage())]


__all__ = ["AUTO_SESSION", "Engine"]
