"""The parts of the worker pool that need no process: the queue, the memory, the wire, pauses, the registry."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_guardrails.evaluation import ContentTask, EntitiesTask, Scores, Spans, Topic, TopicsTask, Validated
from bedplate_guardrails.pool.fair_queue import FairQueue
from bedplate_guardrails.pool.installed import installed_models
from bedplate_guardrails.pool.outcomes import fits
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.registry import InvalidRegistry, read_registry
from bedplate_guardrails.pool.score_memory import ScoreMemory
from bedplate_guardrails.pool.setbacks import Setbacks
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_guardrails.pool.waiting import Waiting
from bedplate_guardrails.pool.wire import FrameBuffer, Load, WireError, Work, decode_order, encode_task, framed

TENANTS = st.sampled_from("abc")
TASKS = st.builds(
    lambda kind, size: (
        ContentTask(text="x" * size, types=()) if kind else EntitiesTask(text="x" * size, kinds=("NAME",))
    ),
    st.booleans(),
    st.integers(0, 60),
)


def on_a_loop(check: Callable[[], None]) -> None:
    async def run() -> None:
        check()

    asyncio.run(run())


def waiting(tenant: str, task: ContentTask | EntitiesTask) -> Waiting:
    return Waiting(tenant, task, encode_task(task), key=None, deadline=0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TENANTS, TASKS), max_size=30), st.integers(1, 6), st.integers(0, 100), st.data())
def test_a_queue_gives_each_task_once_in_order_within_bounds_and_tenants_in_turn(
    tasks: list[tuple[str, ContentTask]], max_tasks: int, max_characters: int, data: st.DataObject
) -> None:
    def check() -> None:
        queue = FairQueue()
        put = [waiting(tenant, task) for tenant, task in tasks]
        for each in put:
            queue.put(each)
        gone = data.draw(st.sets(st.sampled_from(put))) if put else set()
        for each in gone:
            queue.remove(each)
            queue.remove(each)  # twice is once
        left = [each for each in put if each not in gone]
        assert len(queue) == len(left)
        assert queue.size_bytes == sum(len(each.encoded) for each in left)
        assert all(queue.of(tenant) == count for tenant, count in Counter(each.tenant for each in left).items())
        taken: list[Waiting] = []
        skipped: Counter[str] = Counter()
        while batch := queue.take(max_tasks=max_tasks, max_characters=max_characters):
            assert len({each.unit for each in batch}) == 1
            assert len(batch) <= max_tasks
            assert len(batch) == 1 or sum(each.characters for each in batch) <= max_characters
            taken += batch
            skipped.update(set("abc") - {batch[0].tenant})
            skipped[batch[0].tenant] = 0
            for tenant in "abc":
                assert not queue.of(tenant) or skipped[tenant] <= 2  # every tenant leads within a round
        assert len(taken) == len(set(map(id, taken))) == len(left)
        lines: dict[tuple[str, str], list[int]] = defaultdict(list)
        for each in taken:
            lines[each.tenant, each.unit].append(each.number)
        assert all(numbers == sorted(numbers) for numbers in lines.values())
        assert len(queue) == queue.size_bytes == 0

    on_a_loop(check)


def test_a_batch_takes_one_task_of_each_tenant_in_turn_and_passes_over_what_does_not_fit() -> None:
    def check() -> None:
        queue = FairQueue()
        for text in ("a1", "a2", "a3"):
            queue.put(waiting("a", ContentTask(text=text, types=())))
        queue.put(waiting("b", ContentTask(text="b" * 50, types=())))
        queue.put(waiting("c", ContentTask(text="c1", types=())))
        batches = [
            [
                each.task.text
                for each in queue.take(max_tasks=3, max_characters=10)
                if isinstance(each.task, ContentTask)
            ]
            for _ in "123"
        ]
        assert batches == [["a1", "c1", "a2"], ["b" * 50], ["a3"]]

    on_a_loop(check)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), min_size=2, max_size=12))
def test_keys_of_the_memory_never_meet(pairs: list[tuple[str, bytes]]) -> None:
    assert len({ScoreMemory.key(tenant, task) for tenant, task in pairs}) == len(set(pairs))


def test_a_key_does_not_move_bytes_between_tenant_and_task() -> None:
    keys = {ScoreMemory.key(*pair) for pair in (("ab", b"c"), ("a", b"bc"), ("", b"abc"), ("abc", b""))}
    assert len(keys) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=300)), max_size=40))
def test_the_memory_stays_within_its_bounds_and_forgets_the_least_used(entries: list[tuple[bytes, bytes]]) -> None:
    memory = ScoreMemory(max_entries=5, max_bytes=2000)
    latest: dict[bytes, bytes] = {}
    for key, value in entries:
        memory.put(key, value)
        latest.pop(key, None)
        latest[key] = value
        assert len(memory) <= 5
        assert memory.size_bytes <= 2000
        assert memory.get(key) == value
    for key, value in latest.items():
        assert memory.get(key) in (None, value)
    memory.clear()
    assert len(memory) == memory.size_bytes == 0


def test_what_was_used_last_is_forgotten_last() -> None:
    memory = ScoreMemory(max_entries=2, max_bytes=10_000)
    memory.put(b"1", b"one")
    memory.put(b"2", b"two")
    assert memory.get(b"1") == b"one"
    memory.put(b"3", b"three")
    assert (memory.get(b"1"), memory.get(b"2"), memory.get(b"3")) == (b"one", None, b"three")
    memory.put(b"4", b"x" * 20_000)
    assert memory.get(b"4") is None
    assert memory.get(b"3") == b"three"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5), st.data())
def test_frames_are_whole_however_they_are_cut(units: list[str], data: st.DataObject) -> None:
    sent = b"".join(framed(Load(unit=unit)) for unit in units)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    buffer = FrameBuffer()
    frames = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)
        for frame in buffer.feed(sent[start:end])
    ]
    assert [decode_order(frame) for frame in frames] == [Load(unit=unit) for unit in units]


def test_the_wire_refuses_what_it_does_not_carry() -> None:
    with pytest.raises(WireError):
        FrameBuffer().feed(b"\xff\xff\xff\xff")
    for frame in (b"", b"\x80", b"\xc1", msgspec.msgpack.encode({"type": "work"}), b"\xa1\xff"):
        with pytest.raises(WireError):
            decode_order(frame)
    encoded = encode_task(ContentTask(text="x", types=()))
    order = decode_order(framed(Work(unit="content", tasks=(msgspec.Raw(encoded),)))[4:])
    assert isinstance(order, Work)
    assert bytes(order.tasks[0]) == encoded


def test_pauses_grow_to_their_bound_and_a_success_ends_them() -> None:
    setbacks = Setbacks(0.1, 1.0)
    pauses = [setbacks.pause_s]
    for _ in range(60):
        setbacks.died()
        pauses.append(setbacks.pause_s)
    assert pauses[:6] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert pauses[-1] == 1.0
    setbacks.worked("content")
    assert setbacks.pause_s == 0.0


def test_a_unit_that_fails_again_and_again_is_refused_for_longer() -> None:
    setbacks = Setbacks(0.1, 1.0)
    untils: list[float] = []
    for _ in range(20):
        setbacks.unit_failed("validator:x", "no", 100.0, forgiven=1)
        refusal = setbacks.refusal("validator:x", 100.0)
        untils.append(refusal.until_s - 100.0 if refusal else 0.0)
    assert untils[:4] == [0.0, 1.0, 2.0, 4.0]
    assert untils[-1] == 60.0
    assert setbacks.refusal("validator:y", 100.0) is None
    assert setbacks.refusal("validator:x", 161.0) is None
    setbacks.worked("validator:x")
    assert setbacks.refusal("validator:x", 100.0) is None


@pytest.mark.parametrize(
    ("outcome", "holds"),
    [
        (Spans(spans=((0, 2, "NAME"), (2, 5, "NAME"))), True),
        (Spans(spans=()), True),
        (Spans(spans=((0, 6, "NAME"),)), False),
        (Spans(spans=((-1, 2, "NAME"),)), False),
        (Spans(spans=((2, 2, "NAME"),)), False),
        (Spans(spans=((0, 3, "NAME"), (2, 5, "NAME"))), False),
        (Scores(scores={}), False),
        (Validated(passed=True), False),
    ],
)
def test_spans_must_lie_in_the_text(outcome: Spans | Scores | Validated, holds: bool) -> None:
    assert fits(EntitiesTask(text="Alice", kinds=("NAME",)), outcome) is holds


@pytest.mark.parametrize(
    ("scores", "holds"),
    [
        ({"gold": 0.0}, True),
        ({"gold": 1.0}, True),
        ({"gold": 1.1}, False),
        ({"gold": float("nan")}, False),
        ({}, False),
    ],
)
def test_a_score_must_be_there_and_in_its_bounds(scores: dict[str, float], holds: bool) -> None:
    task = TopicsTask(text="x", topics=(Topic(name="gold", definition="about gold"),))
    assert fits(task, Scores(scores=scores)) is holds


REGISTRY = """
- name: short
  validator: some.package:Short
  arguments: {max: 10}
- name: other
  validator: own_module:Other
  metadata: {where: here}
"""


def test_a_registry_names_validators_and_imports_nothing(tmp_path: Path) -> None:
    file = tmp_path / "validators.yaml"
    file.write_text(REGISTRY)
    registered = read_registry(file)
    assert list(registered) == ["short", "other"]
    assert registered["short"].arguments == {"max": 10}
    assert registered["other"].metadata == {"where": "here"}
    assert WorkerPool(PoolSettings(validators_file=file)).capabilities().validators == {"short", "other"}
    file.write_text("")
    assert read_registry(file) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- name: x\n  validator: a:B\n- name: x\n  validator: a:C", r"\[1\].name: 'x' occurs twice"),
        ("- name: ''\n  validator: a:B", r"\[0\].name"),
        ("- name: x\n  validator: os.system", r"\[0\].validator: 'os.system' is not"),
        ("- name: x\n  validator: 'a:B; c'", r"\[0\].validator"),
        ("- name: x\n  validator: a:B\n  arguments: {on_fail: fix}", r"on_fail: is not for the registry"),
        ("- name: x\n  validator: a:B\n  arguments: {days: [2020-01-01]}", r"\[0\].arguments: must be made of"),
        ("- name: x\n  validator: a:B\n  metadata: {most: 99999999999999999999}", r"\[0\].metadata: must be made of"),
        ("- name: x\n  validator: a:B\n  action: BLOCK", "action"),
        ("- name: x", "validator"),
        ("name: x", "array"),
        ("- [", "not YAML"),
        ("- !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_registry_that_is_wrong_is_refused_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "validators.yaml"
    file.write_text(text)
    with pytest.raises(InvalidRegistry, match=says) as refused:
        read_registry(file)
    assert str(file) in str(refused.value)


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRegistry, match="No such file"):
        WorkerPool(PoolSettings(validators_file=tmp_path / "none.yaml"))


def test_models_of_a_folder_without_weights_are_not_installed(tmp_path: Path) -> None:
    models, missing = installed_models(tmp_path)
    assert not models & {"content", "topics", "grounding"}
    assert "pip install 'bedplate[models]'" in missing
    assert all(kind in missing for kind in ("content", "topics", "grounding"))
