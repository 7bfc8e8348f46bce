"""What a turn promises: history in front, stored before Finish, once, and only as its own project."""

from __future__ import annotations

import pytest
from tests.fixtures.sessions import Store, ask, turn

from bedplate_core.messages import Role

pytestmark = pytest.mark.anyio


async def test_the_second_turn_sees_the_first(store: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    opened = await store.open(session)
    composed = opened.compose(ask("two"))
    await opened.aclose()
    assert [(each.role, each.text) for each in composed.messages] == [
        (Role.USER, "one"),
        (Role.ASSISTANT, "answer one"),
        (Role.USER, "two"),
    ]
