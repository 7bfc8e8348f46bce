"""Whatever turns, interruptions and forks a session goes through, it reads as a plain list of messages would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bedplate_core.errors import Conflict, InvalidRequest
from bedplate_core.ids import CallId, SessionId, new_call_id, new_project_id
from bedplate_core.messages import Text
from bedplate_sessions.turn_options import OnInterrupted, TurnOptions
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.sessions import LosesAcknowledgements, Store, ask, end, turn

MAX_BRANCHES = 6


class Line:
    """What a branch should read as. `began_after` messages come before the turn that is open; None: none is."""

    def __init__(self, said: list[str], began_after: int | None = None, call: CallId | None = None) -> None:
        self.said = said
        self.began_after = began_after
        self.call = call

    @property
    def ended(self) -> list[str]:
        """What belongs to turns that have ended."""
        return self.said if self.began_after is None else self.said[: self.began_after]

    def goes_on_from(self, on_interrupted: OnInterrupted) -> list[str]:
        """What the next turn is built on."""
        return self.ended if on_interrupted is OnInterrupted.DROP else self.said


class Conversation(RuleBasedStateMachine):
    """One session and its model, in an event loop of the test's."""

    def __init__(self, runner: asyncio.Runner, store: Store, database: LosesAcknowledgements) -> None:
        super().__init__()
        self.runner = runner
        self.store = store
        self.database = database
        self.lines: list[Line] = []
        self.session = SessionId("")
        self.over = False
        self.questions = 0

    branches = st.integers(0, MAX_BRANCHES - 1)
    places = st.integers(0, 30)
    interruptions = st.sampled_from(OnInterrupted)
    halves = st.sampled_from([None, "half", "more than half"])

    @initialize()
    def begin(self) -> None:
        self.session = self.runner.run(self.store.create())
        self.lines = [Line([])]

    def question(self) -> str:
        self.questions += 1
        return f"question {self.questions}"

    def pick(self, number: int) -> int:
        return number % len(self.lines)

    async def run_turn(
        self,
        options: TurnOptions,
        question: str,
        *,
        call: CallId,
        half: str | None,
        ends: bool,
        lost: bool,
        resumes: CallId | None = None,
    ) -> list[str]:
        """One turn, to its end or not; what the model was told."""
        opened = await self.store.open(self.session, call=call, options=options, turn=resumes)
        try:
            request = opened.compose(ask(question))
            self.database.lost = int(lost)
            await opened.begin(request)
            self.database.lost = int(lost)
            if ends:
                await end(self.store, opened, f"answer to {question}")
            else:
                await opened.break_off(parts_of(half))
            return [each.text for each in request.messages]
        finally:
            self.database.lost = 0
            await opened.aclose()

    def expect(self, branch: int, base: list[str], question: str, half: str | None, ends: bool, call: CallId) -> None:
        """What the branch reads as after such a turn."""
        if ends:
            self.lines[branch] = Line([*base, question, f"answer to {question}"])
        else:
            said = [*base, question, *([half] if half else [])]
            self.lines[branch] = Line(said, len(base), call)

    @rule(number=branches, on_interrupted=interruptions, half=halves, ends=st.booleans(), lost=st.booleans())
    @precondition(lambda self: not self.over)
    def one_turn(self, number: int, on_interrupted: OnInterrupted, half: str | None, ends: bool, lost: bool) -> None:
        branch, question, call = self.pick(number), self.question(), new_call_id()
        base = self.lines[branch].goes_on_from(on_interrupted)
        options = TurnOptions(branch=branch, on_interrupted=on_interrupted)
        told = self.runner.run(self.run_turn(options, question, call=call, half=half, ends=ends, lost=lost))
        assert told == [*base, question]
        self.expect(branch, base, question, half, ends, call)

    @rule(number=branches, on_interrupted=interruptions, half=halves, ends=st.booleans(), lost=st.booleans())
    @precondition(lambda self: not self.over and any(line.call for line in self.lines))
    def take_up(self, number: int, on_interrupted: OnInterrupted, half: str | None, ends: bool, lost: bool) -> None:
        """The same call again, also where its turn is no longer open."""
        open_lines = [branch for branch, line in enumerate(self.lines) if line.call]
        owner = open_lines[number % len(open_lines)]
        call = self.lines[owner].call
        assert call is not None
        base = self.lines[owner].ended
        question = self.lines[owner].said[len(base)]
        options = TurnOptions(branch=owner, on_interrupted=on_interrupted)
        told = self.runner.run(
            self.run_turn(options, question, call=new_call_id(), half=half, ends=ends, lost=lost, resumes=call)
        )
        assert told == [*base, question]
        self.expect(owner, base, question, half, ends, call)

    @rule(number=branches)
    @precondition(lambda self: not self.over and len(self.lines) < MAX_BRANCHES)
    def fork_at_the_end(self, number: int) -> None:
        branch = self.pick(number)
        made = self.runner.run(self.store.sessions.fork(self.store.project, self.session, TurnOptions(branch=branch)))
        assert made == len(self.lines)
        self.lines.append(Line(list(self.lines[branch].ended)))

    @rule(number=branches, place=places)
    @precondition(lambda self: not self.over and len(self.lines) < MAX_BRANCHES and any(x.said for x in self.lines))
    def turn_in_a_new_branch(self, number: int, place: int) -> None:
        filled = [branch for branch, line in enumerate(self.lines) if line.said]
        branch = filled[number % len(filled)]
        line = self.lines[branch]
        place %= len(line.said)
        question, call = self.question(), new_call_id()
        item = self.runner.run(self.store.all_items(self.session, branch))[place]
        options = TurnOptions(branch=branch, fork_at=item.id)
        work = self.run_turn(options, question, call=call, half=None, ends=True, lost=False)
        if place >= len(line.ended):
            with pytest.raises(InvalidRequest):
                self.runner.run(work)
            return
        base = line.said[: place + 1]
        assert self.runner.run(work) == [*base, question]
        self.lines.append(Line([]))
        self.expect(len(self.lines) - 1, base, question, None, True, call)

    @rule(really=st.integers(0, 4))
    @precondition(lambda self: not self.over)
    def over_and_done(self, really: int) -> None:
        if really:
            return
        self.runner.run(self.store.sessions.registry.end(self.store.project, self.session))
        self.over = True

    @rule(number=branches)
    @precondition(lambda self: self.over)
    def nothing_more(self, number: int) -> None:
        options = TurnOptions(branch=self.pick(number))
        with pytest.raises(Conflict):
            self.runner.run(turn(self.store, self.session, "late", "too late", options=options))
        with pytest.raises(Conflict):
            self.runner.run(self.store.sessions.fork(self.store.project, self.session, options))

    @invariant()
    def every_branch_reads_as_its_model(self) -> None:
        for branch, line in enumerate(self.lines):
            items = self.runner.run(self.store.all_items(self.session, branch))
            assert [item.message.text for item in items] == line.said
            seqs = [item.seq for item in items]
            assert seqs == sorted(set(seqs))
            assert [item.parent_seq for item in items] == [None, *seqs][: len(seqs)]
        self.store.assert_nothing_is_held()


def parts_of(half: str | None) -> list[Text]:
    return [] if half is None else [Text(text=half)]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


def test_a_session_reads_as_its_model_after_any_history(runner: asyncio.Runner, shared_database_url: str) -> None:
    config = DatabaseConfig(url=shared_database_url, pool_size=2)
    database = LosesAcknowledgements(config)

    async def opened() -> Store:
        return Store(config, new_project_id(), database=database)

    store = runner.run(opened())
    try:
        run_state_machine_as_test(
            lambda: Conversation(runner, store, database),
            settings=settings(
                max_examples=25, stateful_step_count=12, deadline=None, phases=[Phase.generate], database=None
            ),  # shrinking asks the database thousands of times
        )
    finally:
        runner.run(store.aclose())
