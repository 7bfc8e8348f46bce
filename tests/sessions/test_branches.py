"""A branch shares everything up to an item, costs the same wherever it begins, and keeps to itself from there on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bedplate_core.errors import Conflict, GatewayError, InvalidRequest, NotFound
from bedplate_core.ids import ItemId, SessionId, new_project_id
from bedplate_core.messages import Role
from bedplate_core.requests import Request
from bedplate_sessions.items import Item
from bedplate_sessions.limits import SessionLimits
from bedplate_sessions.turn_options import OnBusy, OnInterrupted, TurnOptions
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.sessions import CONTINUE, Store, ask, end, interrupted, message, texts, turn

pytestmark = pytest.mark.anyio


async def long_session(store: Store, turns: int = 10) -> SessionId:
    session = await turn(store, None, "0", "answer 0")
    for number in range(1, turns):
        await turn(store, session, f"{number}", f"answer {number}")
    return session


def at(item: Item, branch: int = 0) -> TurnOptions:
    return TurnOptions(branch=branch, fork_at=item.id)


def said(items: Sequence[Item]) -> list[str]:
    return [item.message.text for item in items]


async def test_a_session_forks_at_each_of_its_items_and_copies_none(tenant: Store) -> None:
    session = await long_session(tenant)
    items = await tenant.all_items(session)
    assert len(items) == 20
    for number, item in enumerate(items, start=1):
        before = await tenant.rows()
        assert await tenant.sessions.fork(tenant.project, session, at(item)) == number
        assert await tenant.rows() == before | {"session_branch": before["session_branch"] + 1}
        assert await tenant.all_items(session, number) == items[:number]
        await turn(tenant, session, "else", "where", options=TurnOptions(branch=number))
        after = await tenant.rows()
        assert after["session_item"] == before["session_item"] + 2
        forked = await tenant.all_items(session, number)
        assert forked[:number] == items[:number]
        assert said(forked[number:]) == ["else", "where"]
        assert [(each.branch, each.seq) for each in forked[number:]] == [(number, number + 1), (number, number + 2)]
        assert forked[number].parent_seq == number
    assert await tenant.all_items(session) == items


async def test_a_turn_that_forks_sees_what_is_shared_and_its_parent_does_not_see_it(tenant: Store) -> None:
    session = await long_session(tenant, 2)
    items = await tenant.all_items(session)
    opened = await tenant.open(session, options=at(items[1]))
    assert opened.branch == 1
    assert said_to(opened.compose(ask("else"))) == ["0", "answer 0", "else"]
    await opened.begin(opened.compose(ask("else")))
    await end(tenant, opened, "where")
    await opened.aclose()
    await turn(tenant, session, "2", "answer 2")
    assert said(await tenant.all_items(session)) == ["0", "answer 0", "1", "answer 1", "2", "answer 2"]
    assert said(await tenant.all_items(session, 1)) == ["0", "answer 0", "else", "where"]
    opened = await tenant.open(session, options=TurnOptions(branch=1))
    assert said_to(opened.compose(ask("on"))) == ["0", "answer 0", "else", "where", "on"]
    await opened.aclose()


def said_to(request: Request) -> list[str]:
    return [each.text for each in request.messages]


async def test_the_system_message_in_force_at_the_item_holds_in_the_branch(tenant: Store) -> None:
    from_start = ask(message("be brief", role=Role.SYSTEM), "0")
    session = await turn(tenant, None, from_start, "answer 0")
    items = await tenant.all_items(session)
    await turn(tenant, session, ask(message("be long", role=Role.SYSTEM), "1"), "answer 1")
    opened = await tenant.open(session, options=at(items[2]))
    assert said_to(opened.compose(ask("else"))) == ["be brief", "0", "answer 0", "else"]
    await opened.aclose()


async def test_numbers_are_unique_in_a_branch_and_rise_along_its_line(tenant: Store) -> None:
    session = await long_session(tenant, 3)
    branch = 0
    for _ in range(4):
        items = await tenant.all_items(session, branch)
        branch = await tenant.sessions.fork(tenant.project, session, at(items[-2], branch))
        await turn(tenant, session, "a", "b", options=TurnOptions(branch=branch))
        await turn(tenant, session, "c", "d", options=TurnOptions(branch=branch))
    doubled = await tenant.run(
        "select 1 from session_item where session_id = :session group by branch, seq having count(*) > 1",
        session=session,
    )
    assert doubled == []
    for number in range(branch + 1):
        seqs = [item.seq for item in await tenant.all_items(session, number)]
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.fixture
async def narrow(shared_database_url: str) -> AsyncIterator[Store]:
    """A store with small limits."""
    limits = SessionLimits(fork_depth=4, branches=12)
    opened = Store(DatabaseConfig(url=shared_database_url, pool_size=2), new_project_id(), limits=limits)
    yield opened
    opened.assert_nothing_is_held()
    await opened.aclose()


async def test_forks_of_forks_end_at_the_depth_limit(narrow: Store) -> None:
    session = await turn(narrow, None, "0", "answer 0")
    expected = ["0", "answer 0"]
    for depth in range(1, 5):
        options = TurnOptions(branch=depth - 1, fork_at=(await narrow.all_items(session, depth - 1))[-1].id)
        await turn(narrow, session, f"{depth}", f"answer {depth}", options=options)
        expected += [f"{depth}", f"answer {depth}"]
        assert said(await narrow.all_items(session, depth)) == expected
    items = await narrow.all_items(session, 4)
    before = await narrow.rows()
    for options in (TurnOptions(branch=4), at(items[-1], 4)):
        with pytest.raises(Conflict, match="at most 4"):
            await narrow.sessions.fork(narrow.project, session, options)
    assert await narrow.rows() == before
    # What lies deeper does not count for a fork at an item that is shared with branches further up.
    fork = await narrow.sessions.fork(narrow.project, session, at(items[-3], 4))
    assert said(await narrow.all_items(session, fork)) == expected[:-2]


async def test_branches_without_items_of_their_own_are_no_depth(narrow: Store) -> None:
    session = await turn(narrow, None, "0", "answer 0")
    branch = 0
    for _ in range(8):
        branch = await narrow.sessions.fork(narrow.project, session, TurnOptions(branch=branch))
        assert said(await narrow.all_items(session, branch)) == ["0", "answer 0"]
    parents = await narrow.run("select distinct parent_branch from session_branch where branch > 0")
    assert parents == [(0,)]
    empty = await narrow.create()
    branch = 0
    for _ in range(3):
        branch = await narrow.sessions.fork(narrow.project, empty, TurnOptions(branch=branch))
        assert await narrow.all_items(empty, branch) == ()
    await turn(narrow, empty, "0", "answer 0", options=TurnOptions(branch=branch))
    assert said(await narrow.all_items(empty, branch)) == ["0", "answer 0"]
    assert await narrow.all_items(empty) == ()


async def test_a_session_has_so_many_branches_and_no_more(narrow: Store) -> None:
    session = await turn(narrow, None, "0", "answer 0")
    forks = await asyncio.gather(
        *(narrow.sessions.fork(narrow.project, session, TurnOptions()) for _ in range(15)), return_exceptions=True
    )
    made = [each for each in forks if isinstance(each, int)]
    assert sorted(made) == list(range(1, 12))
    assert all(isinstance(each, Conflict) for each in forks if not isinstance(each, int))
    assert (await narrow.rows())["session_branch"] == 12


async def test_a_fork_while_a_turn_is_open_goes_behind_the_last_that_ended(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    running = await tenant.open(session)
    await running.begin(running.compose(ask("1")))
    branch = await tenant.sessions.fork(tenant.project, session, TurnOptions())
    assert said(await tenant.all_items(session, branch)) == ["0", "answer 0"]
    open_item = (await tenant.all_items(session))[-1]
    with pytest.raises(InvalidRequest, match="has not ended"):
        await tenant.sessions.fork(tenant.project, session, at(open_item))
    await end(tenant, running, "answer 1")
    await running.aclose()
    again = await tenant.sessions.fork(tenant.project, session, at(open_item))
    assert said(await tenant.all_items(session, again)) == ["0", "answer 0", "1"]
    await interrupted(tenant, session, "2", "half")
    third = await tenant.sessions.fork(tenant.project, session, TurnOptions())
    assert said(await tenant.all_items(session, third)) == ["0", "answer 0", "1", "answer 1"]


async def test_there_is_no_fork_at_an_item_that_is_no_part_of_the_branch(tenant: Store) -> None:
    session = await long_session(tenant, 2)
    items = await tenant.all_items(session)
    await turn(tenant, session, "else", "where", options=at(items[1]))
    forked = await tenant.all_items(session, 1)
    elsewhere = await tenant.all_items(await turn(tenant, None, "x", "y"))
    await interrupted(tenant, session, "dropped", "half")
    dropped = (await tenant.all_items(session))[-2:]
    await turn(tenant, session, "2", "answer 2")
    other = Store(tenant.config, new_project_id())
    foreign = await other.all_items(await turn(other, None, "x", "y"))
    before = await tenant.rows()
    said_so = set[str]()
    for branch, item in [
        (0, forked[-1].id),
        (1, items[2].id),
        (1, items[3].id),
        (0, elsewhere[0].id),
        (0, dropped[0].id),
        (0, dropped[1].id),
        (1, dropped[0].id),
        (0, foreign[0].id),
        (0, ItemId("item_" + "0" * 32)),
        (0, ItemId("")),
    ]:
        options = TurnOptions(branch=branch, fork_at=item)
        with pytest.raises(NotFound) as refused:
            await tenant.sessions.fork(tenant.project, session, options)
        said_so.add(refused.value.message)
        with pytest.raises(NotFound):
            await tenant.open(session, options=options)
        tenant.assert_nothing_is_held()
    assert len(said_so) == 1
    for branch in (7, -1):
        with pytest.raises(NotFound):
            await tenant.open(session, options=TurnOptions(branch=branch))
        with pytest.raises(NotFound):
            await tenant.all_items(session, branch)
    with pytest.raises(NotFound):
        await other.sessions.fork(other.project, session, at(items[0]))
    assert await tenant.rows() == before
    await other.aclose()


async def test_turns_on_two_branches_run_at_the_same_time(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    branch = await tenant.sessions.fork(tenant.project, session, TurnOptions())
    one = await tenant.open(session)
    two = await tenant.open(session, options=TurnOptions(branch=branch), wait_s=0.5)
    await one.begin(one.compose(ask("one")))
    await two.begin(two.compose(ask("two")))
    await end(tenant, two, "answer two")
    await end(tenant, one, "answer one")
    await one.aclose()
    await two.aclose()
    assert said(await tenant.all_items(session)) == ["0", "answer 0", "one", "answer one"]
    assert said(await tenant.all_items(session, branch)) == ["0", "answer 0", "two", "answer two"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_second_turn_of_a_branch_can_be_refused_at_once_or_go_on_beside_it(tenant: Store, begun: bool) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    running = await tenant.open(session)
    request = running.compose(ask("1"))
    if begun:
        await running.begin(request)
    before = await tenant.rows()
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(Conflict, match="Another turn is running"):
        await tenant.open(session, options=TurnOptions(on_busy=OnBusy.REJECT), wait_s=30)
    assert clock() - began < 2
    assert await tenant.rows() == before
    beside = await tenant.open(session, options=TurnOptions(on_busy=OnBusy.BRANCH), wait_s=30)
    assert clock() - began < 4
    assert beside.branch == 1
    assert said_to(beside.compose(ask("beside"))) == ["0", "answer 0", "beside"]
    await beside.begin(beside.compose(ask("beside")))
    await end(tenant, beside, "aside")
    await beside.aclose()
    if not begun:
        await running.begin(request)
    await end(tenant, running, "answer 1")
    await running.aclose()
    assert said(await tenant.all_items(session)) == ["0", "answer 0", "1", "answer 1"]
    assert said(await tenant.all_items(session, 1)) == ["0", "answer 0", "beside", "aside"]
    # A branch that is not busy is gone on with, whatever was to be done if it were.
    for on_busy in (OnBusy.REJECT, OnBusy.BRANCH):
        opened = await tenant.open(session, options=TurnOptions(on_busy=on_busy))
        assert opened.branch == 0
        await opened.aclose()


async def test_a_turn_of_a_branch_breaks_off_and_is_dropped_or_continued_there_alone(tenant: Store) -> None:
    session = await long_session(tenant, 2)
    items = await tenant.all_items(session)
    await interrupted(tenant, session, "else", "half", options=at(items[1]))
    await interrupted(tenant, session, "main", "half")
    await turn(tenant, session, "more", "m", options=TurnOptions(branch=1, on_interrupted=OnInterrupted.CONTINUE))
    assert said(await tenant.all_items(session, 1)) == ["0", "answer 0", "else", "half", "more", "m"]
    assert said(await tenant.all_items(session)) == [*said(items), "main", "half"]
    await turn(tenant, session, "2", "answer 2")
    assert said(await tenant.all_items(session)) == [*said(items), "2", "answer 2"]
    assert said(await tenant.all_items(session, 1)) == ["0", "answer 0", "else", "half", "more", "m"]


async def test_a_branch_can_begin_at_what_was_continued(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    await interrupted(tenant, session, "1", "half")
    await turn(tenant, session, "2", "answer 2", options=CONTINUE)
    items = await tenant.all_items(session)
    assert texts(items)[2:] == [("user", "1"), ("assistant", "half"), ("user", "2"), ("assistant", "answer 2")]
    await turn(tenant, session, "else", "where", options=at(items[3]))
    assert said(await tenant.all_items(session, 1)) == ["0", "answer 0", "1", "half", "else", "where"]


@pytest.mark.parametrize("cut", range(3))
async def test_branches_made_at_the_same_time_are_all_there(tenant: Store, cut: int) -> None:
    session = await long_session(tenant, 2)
    items = await tenant.all_items(session)

    async def one(number: int) -> None:
        await turn(tenant, session, f"q{number}", f"a{number}", options=at(items[(number + cut) % 4]))

    results = await asyncio.gather(*(one(number) for number in range(8)), return_exceptions=True)
    assert not [each for each in results if isinstance(each, GatewayError)], results
    ends = [said(await tenant.all_items(session, branch))[-2:] for branch in range(1, 9)]
    assert sorted(ends) == [[f"q{number}", f"a{number}"] for number in range(8)]
