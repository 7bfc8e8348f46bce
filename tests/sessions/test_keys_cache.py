"""The cache of unwrapped keys against a plain model: bounded, out of date in time, silent on what was barred."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.cipher import Cipher, PlainCipher
from bedplate_sessions.keys.cipher_cache import SHORTEST_BAR_S, CipherCache

SIZE = 3
PROJECTS = st.sampled_from([ProjectId("a"), ProjectId("b")])
OWNERS = st.sampled_from(["1", "2", "3"])


class Kept(RuleBasedStateMachine):
    """The model keeps everything, with the time at which its row was read and when its owner was barred."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.cache = CipherCache(size=SIZE, lifetime_s=20.0, clock=lambda: self.now)
        self.read: dict[tuple[ProjectId, str], tuple[Cipher, float]] = {}
        self.barred: dict[tuple[ProjectId, str], float] = {}
        self.used: list[tuple[ProjectId, str]] = []

    @rule(project=PROJECTS, owner=OWNERS, age_s=st.sampled_from([0.0, 5.0, 19.9, 20.0, 30.0]))
    def put(self, project: ProjectId, owner: str, age_s: float) -> None:
        cipher = PlainCipher()
        self.cache.put(project, owner, cipher, read_at=self.now - age_s)
        if self.now >= self.barred.get((project, owner), 0.0) and age_s < 20.0:
            self.read[project, owner] = (cipher, self.now - age_s)
            self.use(project, owner)

    @rule(project=PROJECTS, owner=OWNERS)
    def get(self, project: ProjectId, owner: str) -> None:
        found = self.cache.get(project, owner)
        known = self.read.get((project, owner))
        if known is None or self.now >= known[1] + 20.0:
            assert found is None
            return
        if found is None:  # pushed out: SIZE others were used since
            assert (project, owner) not in self.used[-SIZE:]
            return
        assert found is known[0]
        self.use(project, owner)

    @rule(project=PROJECTS, owners=st.lists(OWNERS, max_size=2))
    def bar(self, project: ProjectId, owners: list[str]) -> None:
        self.cache.bar(project, owners)
        for owner in owners:
            self.barred[project, owner] = self.now + SHORTEST_BAR_S
            self.read.pop((project, owner), None)

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0, SHORTEST_BAR_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounded(self) -> None:
        assert len(self.cache) <= SIZE

    def use(self, project: ProjectId, owner: str) -> None:
        if (project, owner) in self.used:
            self.used.remove((project, owner))
        self.used.append((project, owner))


TestKept = Kept.TestCase
TestKept.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_bar_outlasts_a_deletion_however_short_the_cache_keeps() -> None:
    now = 0.0
    cache = CipherCache(size=10, lifetime_s=0.5, clock=lambda: now)
    project = ProjectId("a")
    cache.bar(project, ["1"])
    now = SHORTEST_BAR_S - 1.0
    cache.put(project, "1", PlainCipher(), read_at=now)
    assert cache.get(project, "1") is None
    now = SHORTEST_BAR_S
    cache.put(project, "1", PlainCipher(), read_at=now)
    assert cache.get(project, "1") is not None


def test_a_cache_of_nothing_keeps_nothing() -> None:
    for cache in (
        CipherCache(size=0, lifetime_s=10.0, clock=lambda: 0.0),
        CipherCache(size=10, lifetime_s=0.0, clock=lambda: 0.0),
    ):
        cache.put(ProjectId("a"), "1", PlainCipher(), read_at=0.0)
        assert len(cache) == 0
