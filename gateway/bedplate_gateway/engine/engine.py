"""The path of every call after its dialect and before its encoder, the same for all of them.

    admit -> route -> media -> session -> input guardrail -> the turn's input is durable
          -> upstream's first event -> output guardrail -> turn and record are durable -> last event

The order of the stages is the order of the lines in `Engine._prepare`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

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
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.ids import ProjectId, SessionId, new_call_id, new_response_id
from bedplate_core.messages import Text
from bedplate_core.requests import Dispatch, EmbedRequest, RawPrompt, Request
from bedplate_core.response import Response, collect
from bedplate_core.usage import Usage
from bedplate_core.verdicts import Side
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.catalogue.snapshot import Route, Snapshot
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.attempts import first_event
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.call_guard import CallGuard
from bedplate_gateway.engine.capabilities import can_serve, require_capabilities
from bedplate_gateway.engine.committed import Committed, commit
from bedplate_gateway.engine.content_report import ContentReport
from bedplate_gateway.engine.context import fit_turn
from bedplate_gateway.engine.media import MediaGuard
from bedplate_gateway.engine.memory import Memory, Remembering
from bedplate_gateway.engine.settlement import Settlements
from bedplate_gateway.records.recorder import Recorder
from bedplate_guardrails.content_check import ContentCheck, ContentText
from bedplate_guardrails.evaluation import Evaluators
from bedplate_guardrails.guarding import Guarding
from bedplate_providers.base import CountsTokens, Embeds
from bedplate_sessions.context.summary import Summary
from bedplate_sessions.durable import Durable

P = TypeVar("P")
T = TypeVar("T")


class Use(Generic[P]):
    """A provider that has the ability asked for, with what a call to it needs."""

    __slots__ = ("_engine", "answer", "dispatch", "provider", "route")

    def __init__(self, provider: P, route: Route, dispatch: Dispatch, answer: Answer, engine: Engine) -> None:
        self.provider = provider
        self.route = route
        self.dispatch = dispatch
        self.answer = answer
        self._engine = engine

    async def checked(self, inputs: tuple[RawPrompt, ...], param: str = "input") -> tuple[RawPrompt, ...]:
        """See `Engine.check_inputs`."""
        return await self._engine.check_inputs(self.answer, inputs, param)

    async def checked_request(self, request: Request, param: str | None) -> Request:
        """See `Engine.check_request`."""
        return await self._engine.check_request(self.answer, request, param)

    async def guard(self) -> CallGuard | None:
        """See `Engine.guard`."""
        return await self._engine.guard(self.answer)


class Engine:
    """Runs calls. One per process; knows no dialect and no HTTP."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        recorder: Recorder,
        keyring: Keyring,
        media: MediaGuard,
        durable: Durable,
        evaluators: Evaluators,
    ) -> None:
        self._catalogue = catalogue
        self._recorder = recorder
        self._keyring = keyring
        self._media = media
        self._durable = durable
        self.evaluators = evaluators
        """Who evaluates for guardrails."""
        self._cache_salts: dict[ProjectId, str] = {}
        self._settlements = Settlements()

    async def refuse(self, call: Call, error: BaseException) -> None:
        """Put a call on record that ended with `error` before its request was understood."""
        await Answer(call, False, None, self._recorder, self._settlements, self._durable).fail(error)

    async def generate(self, call: Call, request: Request, memory: Memory | None = None) -> Answer:
        """The answer to `request`, whose upstream has already sent its first event.

        `memory` is where the call's earlier messages are and its turn is kept. Whoever gets the answer closes it.
        Raises `GatewayError` when there will be no answer; that, too, is on record by then.
        """
        self._recorder.admit()
        answer = Answer(call, request.stream, request.model, self._recorder, self._settlements, self._durable)
        try:
            await self._prepare(answer, request, memory)
        except BaseException as error:
            await answer.fail(error)
            raise
        return answer

    async def _prepare(self, answer: Answer, request: Request, memory: Memory | None) -> None:
        call = answer.call
        snapshot = self._catalogue.snapshot
        route = snapshot.route(request.model)
        self._claim(answer, route)
        require_capabilities(request, route.profile)
        request = await self._media.fetched(request)  # before the session is locked
        turn = summary = None
        if memory is not None:
            turn = await memory.open(call)
            answer.hold(turn.aclose, lingers=True)
            request, summary = await self._composed(answer, turn, request, route)
        self._media.check(request)
        guard = await self.guard(answer)
        if guard is not None:
            request, blocked = await guard.check_input(request)
            if blocked is not None:
                if turn is not None:
                    await turn.establish()
                answer.follow(_blocked(route.name, blocked, request.choices))
                return
        if turn is not None:
            await turn.begin(request, summary)
            answer.keep(turn)
        events: EventStream = await self._first_event(answer, _chain(snapshot, route, request), request)
        answer.follow(events if guard is None else guard.guard_output(events))

    async def _composed(
        self, answer: Answer, turn: Remembering, request: Request, route: Route
    ) -> tuple[Request, Summary | None]:
        """The request with as much of the history as fits the model, and a summary that was made of the rest."""
        request = turn.compose(request)
        answer.session_id = turn.session_id
        if turn.session_id is not None:
            answer.tell("x-bedplate-session", turn.session_id)
            if turn.branch:
                answer.tell("x-bedplate-branch", str(turn.branch))

        async def ask(asked: Request) -> Response:
            call = msgspec.structs.replace(answer.call, id=new_call_id(), operation="summary", turn=None)
            return await collect(await self.generate(call, asked))

        fitted = await fit_turn(turn, request, route, self._dispatch(answer), ask)
        if fitted.report is not None:
            answer.tell("x-bedplate-context", fitted.report)
        return fitted.request, fitted.summary

    def _dispatch(self, answer: Answer) -> Dispatch:
        call = answer.call
        return Dispatch(
            call_id=call.id,
            cache_salt=self._cache_salt(call.principal.project, answer.session_id),
            affinity=answer.session_id,
        )

    def _claim(self, answer: Answer, route: Route) -> None:
        answer.provider = route.provider.name
        answer.upstream_model = route.upstream_model
        answer.versions["model"] = f"{route.name}:{route.revision}"
        answer.hold(route.lease())

    async def _first_event(self, answer: Answer, chain: Sequence[Route], request: Request) -> Committed:
        call = answer.call
        dispatch = self._dispatch(answer)

        async def attempt(route: Route) -> Committed:
            if route is not chain[0]:
                self._claim(answer, route)
            upstream = route.provider.generate(addressed(request, route), dispatch)
            answer.hold(upstream.aclose)
            answer.replica_from(lambda: upstream.replica)
            try:
                return await commit(upstream)
            except BaseException:
                await upstream.aclose()
                raise

        committed = await first_event(call, chain, attempt)
        answer.first_event()
        return committed

    def _cache_salt(self, project: ProjectId, session: SessionId | None) -> str:
        """The salt of a session, or the project's, which is derived once."""
        if session is not None:
            return self._keyring.cache_salt(project, session)
        salt = self._cache_salts.get(project)
        if salt is None:
            salt = self._cache_salts[project] = self._keyring.cache_salt(project)
        return salt

    async def use(
        self, call: Call, model: str, ability: type[P], feature: str, work: Callable[[Use[P]], Awaitable[T]]
    ) -> tuple[T, Answer]:
        """What `work` makes of the model's provider, for every operation that is not a generation.

        `ability` is the protocol that the provider must have, `feature` its name for the error that says it has
        not. The call is recorded when this returns or raises. Raises `GatewayError`.
        """
        self._recorder.admit()
        answer = Answer(call, False, model, self._recorder, self._settlements, self._durable)
        try:
            route = self._catalogue.snapshot.route(model)
            self._claim(answer, route)
            provider = route.provider
            if not isinstance(provider, ability):
                raise UnsupportedFeature(f"model {model!r} does not support {feature}", param="model")
            dispatch = self._dispatch(answer)
            result = await work(Use(provider, route, dispatch, answer, self))
        except BaseException as error:
            await answer.fail(error)
            raise
        await answer.complete()
        return result, answer

    async def embed(self, call: Call, request: EmbedRequest) -> tuple[Embeddings, Answer]:
        """Vectors for `request`; see `use`."""

        async def embed(use: Use[Embeds]) -> Embeddings:
            if not use.route.profile.embeddings:
                raise UnsupportedFeature(f"model {request.model!r} does not support embeddings", param="model")
            inputs = await use.checked(request.inputs)
            addressed = msgspec.structs.replace(request, model=use.route.upstream_model, inputs=inputs)
            embeddings = await use.provider.embed(addressed, use.dispatch)
            use.answer.usage = embeddings.usage
            return embeddings

        return await self.use(call, request.model, Embeds, "embeddings", embed)

    async def count_tokens(self, call: Call, request: Request) -> tuple[int, Answer]:
        """How many input tokens `request` would have, as the model's provider counts them; see `use`.

        Nothing is generated and nothing of it reaches the client, so no guardrail reads it.
        """

        async def count(use: Use[CountsTokens]) -> int:
            asked = addressed(await self._media.admitted(request), use.route)
            return await use.provider.count_tokens(asked, use.dispatch)

        return await self.use(call, request.model, CountsTokens, "token counting", count)

    async def check_inputs(
        self, answer: Answer, inputs: tuple[RawPrompt, ...], param: str = "input"
    ) -> tuple[RawPrompt, ...]:
        """Texts as the project's policy lets them through, for operations that answer with numbers about them.

        A blocked text has no such answer, so it is a refusal: raises `InvalidRequest` naming `param`.
        """
        raw = Request(model=answer.model or "", prompts=inputs)
        return (await self.check_request(answer, raw, param)).prompts

    async def check_request(self, answer: Answer, request: Request, param: str | None) -> Request:
        """`check_inputs` for everything that a request holds. `param` is None where no one field can be named."""
        request = await self._media.admitted(request)
        guard = await self.guard(answer)
        if guard is None:
            return request
        checked, blocked = await guard.check_input(request)
        if blocked is not None:
            raise InvalidRequest(f"the input was blocked by the guardrail: {blocked}", param=param)
        return checked

    async def guard(self, answer: Answer) -> CallGuard | None:
        """The guardrails of the answer's call, noted on its record; None when none hold.

        Raises `GuardrailUnavailable` when a mandatory one cannot be enforced, and `NotFound` for one that the request
        names and its project does not have.
        """
        if isinstance(answer.guard, CallGuard):
            return answer.guard
        call = answer.call
        guard = await self.guard_of(call.principal.project, call.guardrail, answer.model or "")
        if guard is not None:
            answer.guarded_by(guard)
        return guard

    async def guard_of(
        self, project: ProjectId, choice: GuardrailChoice | None = None, model: str = ""
    ) -> CallGuard | None:
        """The guardrails for content of `project` that belongs to no recorded call; see `guard`."""
        policies = await self._catalogue.policies(project, choice)
        applied = policies.for_model(model)
        return CallGuard(applied, self.evaluators, project, choice) if applied else None

    async def apply_guardrail(
        self, call: Call, choice: GuardrailChoice, side: Side, texts: Sequence[ContentText], *, full: bool
    ) -> tuple[ContentCheck, Answer]:
        """What the chosen guardrail makes of `texts`. The call is recorded when this returns or raises.

        With `full`, what ran and found nothing is in the assessment as well. Raises `GatewayError`.
        """

        async def work(answer: Answer) -> ContentCheck:
            applied = await self._catalogue.chosen(call.principal.project, choice)
            guarding = Guarding(
                evaluators=self.evaluators,
                tenant=call.principal.project,
                origin=applied.origin,
                selective=True,
                matches=True,
                full=full,
            )
            report = ContentReport(applied.policy.ref)
            answer.guarded_by(report)
            check = await report.of(applied.policy.check_content(side, texts, guarding))
            if check.blocked_message is not None:
                answer.stopped(StopReason.GUARDRAIL)
            return check

        return await self.evaluate(call, work)

    async def evaluate(self, call: Call, work: Callable[[Answer], Awaitable[T]]) -> tuple[T, Answer]:
        """What `work` comes to, for operations that no model answers. The call is recorded when this returns or raises.

        Raises `GatewayError`.
        """
        self._recorder.admit()
        answer = Answer(call, False, None, self._recorder, self._settlements, self._durable)
        try:
            result = await work(answer)
        except BaseException as error:
            await answer.fail(error)
            raise
        await answer.complete()
        return result, answer

    async def aclose(self, timeout_s: float) -> None:
        """Wait until every call that has ended is on record, for at most `timeout_s`."""
        await self._settlements.aclose(timeout_s)


def _chain(snapshot: Snapshot, route: Route, request: Request) -> Sequence[Route]:
    """The route and its fallbacks that can do what the request asks for."""
    if not route.fallbacks:
        return (route,)
    chain = [route]
    for name in route.fallbacks:
        fallback = snapshot.routes.get(name)
        if fallback is not None and can_serve(request, fallback.profile):
            chain.append(fallback)
    return chain


def addressed(request: Request, route: Route) -> Request:
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


__all__ = ["Engine", "Use", "addressed"]
