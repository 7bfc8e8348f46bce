"""Deadlines share one timer, and each of them is kept all the same."""

from __future__ import annotations

import asyncio

import pytest

from bedplate_providers.deadlines import Deadlines

pytestmark = pytest.mark.anyio


class Waiting:
    def __init__(self, seconds: float) -> None:
        self.deadline_s = asyncio.get_running_loop().time() + seconds
        self.late_at_s: list[float] = []

    def late(self) -> None:
        self.late_at_s.append(asyncio.get_running_loop().time())


async def test_each_is_told_once_when_its_own_deadline_has_passed() -> None:
    deadlines = Deadlines()
    waiting = [Waiting(seconds) for seconds in (0.12, 0.04, 0.08)]  # the second is earlier than the timer that is set
    for one in waiting:
        deadlines.watch(one)
    await asyncio.sleep(0.25)
    for one in waiting:
        assert len(one.late_at_s) == 1
        assert one.late_at_s[0] >= one.deadline_s - 0.005
        assert one.late_at_s[0] <= one.deadline_s + 0.05


async def test_a_deadline_that_was_moved_to_later_is_met_then() -> None:
    deadlines, one = Deadlines(), Waiting(0.03)
    deadlines.watch(one)
    one.deadline_s += 0.1
    await asyncio.sleep(0.08)
    assert one.late_at_s == []
    await asyncio.sleep(0.12)
    assert len(one.late_at_s) == 1


async def test_what_is_forgotten_is_not_told() -> None:
    deadlines, gone, stays = Deadlines(), Waiting(0.02), Waiting(0.02)
    deadlines.watch(gone)
    deadlines.watch(stays)
    deadlines.forget(gone)
    deadlines.forget(gone)
    await asyncio.sleep(0.06)
    assert gone.late_at_s == []
    assert len(stays.late_at_s) == 1


async def test_one_that_was_late_is_watched_again_when_asked() -> None:
    deadlines, one = Deadlines(), Waiting(0.02)
    deadlines.watch(one)
    await asyncio.sleep(0.05)
    deadlines.watch(one)  # its deadline has passed: it is told in the next pass
    await asyncio.sleep(0.02)
    assert len(one.late_at_s) == 2


async def test_nothing_is_told_after_closing() -> None:
    deadlines, one = Deadlines(), Waiting(0.02)
    deadlines.watch(one)
    deadlines.close()
    await asyncio.sleep(0.05)
    assert one.late_at_s == []


async def test_a_thousand_deadlines_need_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, loop, timers = Deadlines(), asyncio.get_running_loop(), list[float]()
    real = loop.call_at

    def counted(when: float, *arguments: object, **options: object) -> asyncio.TimerHandle:
        timers.append(when)
        return real(when, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_at", counted)
    for number in range(1000):
        deadlines.watch(Waiting(60 + number / 1000))
    monkeypatch.undo()
    deadlines.close()
    assert len(timers) == 1
