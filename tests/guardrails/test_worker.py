"""The worker's program by itself: its wire, its end, what it keeps, and the local models in it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    GroundingTask,
    Scores,
    Spans,
    Task,
    Topic,
    TopicsTask,
    Validated,
    ValidatorTask,
)
from bedplate_guardrails.pool.installed import installed_models
from bedplate_guardrails.pool.launch import Launch, Role
from bedplate_guardrails.pool.outcomes import fits
from bedplate_guardrails.pool.wire import (
    Failed,
    FrameBuffer,
    Load,
    Loaded,
    Order,
    Ready,
    Registered,
    Reply,
    Work,
    Worked,
    decode_outcome,
    decode_reply,
    encode_task,
    framed,
)
from bedplate_guardrails.worker.custom_validators import CustomValidators
from bedplate_guardrails.worker.evaluating import CannotLoad
from bedplate_guardrails.worker.models import LocalModels
from tests.guardrails.test_pool import children, is_alive

MODULE = "tests.guardrails.trivial_models"
INSTALLED, _ = installed_models(None)


class Talk:
    """A worker on plain pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._frames = FrameBuffer()

    def hear(self) -> Reply:
        assert self.process.stdout is not None
        while True:
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, "the worker ended"
            if frames := self._frames.feed(piece):
                return decode_reply(frames[0])

    def say(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(framed(order))
        self.process.stdin.flush()

    def ask(self, order: Order) -> Reply:
        self.say(order)
        return self.hear()

    def work(self, *texts: str) -> list[Scores | Failed | Spans | Validated]:
        tasks = tuple(msgspec.Raw(encode_task(ContentTask(text=text, types=()))) for text in texts)
        reply = self.ask(Work(unit="content", tasks=tasks))
        assert isinstance(reply, Worked)
        return [decode_outcome(each) for each in reply.outcomes]


@contextmanager
def started(module: str = MODULE, **environment: str) -> Iterator[Talk]:
    launch = Launch(role=Role.MODELS, start_s=10, models_module=module, environment=environment)
    process = subprocess.Popen(
        launch.command(),
        env=launch.worker_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Talk(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def wait_until_gone(pids: set[int], within_s: float = 3.0) -> None:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.02)


def test_it_answers_each_order_and_ends_with_its_input() -> None:
    with started() as talk:
        assert talk.hear() == Ready()
        assert talk.ask(Load(unit="content")) == Loaded()
        first, failed, last = talk.work("score 0.25", "raise", "score 0.75")
        assert isinstance(first, Scores)
        assert first.scores["HATE"] == 0.25
        assert failed == Failed(message="content could not be evaluated", detail=failed.detail)  # type: ignore[union-attr]
        assert "secret" not in str(failed)
        assert isinstance(last, Scores)
        descendants = children(talk.process.pid)
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        assert talk.process.wait(3) in (0, -signal.SIGKILL)  # by itself, or by what watches its input
        wait_until_gone(descendants)


def test_a_load_that_raises_is_a_failure_of_the_unit() -> None:
    with started(TRIVIAL_LOAD="content:raise topics:missing") as talk:
        talk.hear()
        raised = talk.ask(Load(unit="content"))
        assert isinstance(raised, Loaded)
        assert raised.failure == "content cannot be loaded"
        assert "secret" not in raised.detail
        missing = talk.ask(Load(unit="topics"))
        assert isinstance(missing, Loaded)
        assert "not installed" in (missing.failure or "")
        assert talk.ask(Load(unit="entities")) == Loaded()


def test_it_ends_in_the_middle_of_its_work_when_its_input_is_closed(tmp_path: Path) -> None:
    """With what it had started itself: here the parent lives on, so that the kernel's signal has no part in it."""
    with started() as talk:
        talk.hear()
        talk.ask(Load(unit="content"))
        talk.work(f"child {tmp_path / 'pids'}")
        pids = set(map(int, (tmp_path / "pids").read_text().split()))
        talk.say(Work(unit="content", tasks=(msgspec.Raw(encode_task(ContentTask(text="hang", types=()))),)))
        assert talk.process.stdin is not None
        time.sleep(0.1)
        talk.process.stdin.close()
        assert talk.process.wait(3) < 0
        wait_until_gone(pids)


def test_what_it_started_ends_when_it_is_killed(tmp_path: Path) -> None:
    with started() as talk:
        talk.hear()
        talk.ask(Load(unit="content"))
        talk.work(f"child {tmp_path / 'pids'}")
        descendants = children(talk.process.pid) | set(map(int, (tmp_path / "pids").read_text().split()))
        talk.process.kill()
        talk.process.wait()
        wait_until_gone(descendants)


def test_it_writes_no_core_file_and_takes_nothing_from_the_current_folder(tmp_path: Path) -> None:
    with started() as talk:
        talk.hear()
        limits = Path(f"/proc/{talk.process.pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")] == [
            ["0", "0"]
        ]
        command = Path(f"/proc/{talk.process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"-P" in command


def test_a_worker_whose_parent_is_gone_before_it_began_ends() -> None:
    launch = Launch(role=Role.MODELS, start_s=10, models_module=MODULE)
    command = [part if part != str(os.getpid()) else "1" for part in launch.command()]
    near, far = socket.socketpair()
    process = subprocess.Popen(
        command, env=launch.worker_environment(), stdin=far, stdout=subprocess.DEVNULL, start_new_session=True
    )
    with near, far:
        assert process.wait(5) < 0


def test_starting_a_worker_imports_no_model_and_no_guardrails_ai() -> None:
    code = (
        "import sys; import bedplate_guardrails.worker.main\n"
        "heavy = ('numpy', 'onnxruntime', 'spacy', 'guardrails', 'tokenizers', 'yaml', 'bedplate_gateway')\n"
        "assert not [name for name in heavy if name in sys.modules], sys.modules.keys()"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_guard_keeps_no_text_and_is_made_once() -> None:
    validators = CustomValidators()
    registered = Registered(
        name="x",
        validator="tests.guardrails.own_validators:NoWord",
        arguments={"word": "acme"},
        metadata={"allowed": []},
    )
    validators.load("validator:x", registered)
    guarded = validators._guarded["validator:x"]  # pyright: ignore[reportPrivateUsage]
    guard = guarded._guard  # pyright: ignore[reportPrivateUsage]
    for text in ("a rose", "acme"):
        validators.evaluate("validator:x", [ValidatorTask(name="x", text=text)])
        assert len(guard.history) == 0
        assert not guarded._said  # pyright: ignore[reportPrivateUsage]
    assert guarded._guard is guard  # pyright: ignore[reportPrivateUsage]
    assert guard._history_max_length == 1
    with pytest.raises(CannotLoad, match="not registered"):
        validators.load("validator:y", None)


EVERY: dict[str, Task] = {
    "content": ContentTask(text="I will kill you, you worthless idiot", types=()),
    "topics": TopicsTask(
        text="How do I buy gold coins?",
        topics=(
            Topic(name="gold", definition="Buying and selling gold", examples=("Where can I buy gold?",)),
            Topic(name="sailing", definition="Boats and sailing on the sea"),
        ),
    ),
    "entities": EntitiesTask(text="My name is Ada Lovelace.", kinds=("NAME",)),
    "grounding": GroundingTask(
        source="The tower is 90 m high.",
        query="How high is it?",
        answer="It is 90 m high.",
        types=("GROUNDING", "RELEVANCE"),
    ),
}


@pytest.fixture(scope="module")
def models() -> LocalModels:
    return LocalModels(None)


@pytest.mark.parametrize("unit", list(EVERY))
def test_each_installed_model_answers_what_its_task_asks(models: LocalModels, unit: str) -> None:
    assert unit in INSTALLED, "the test environment has every model"
    models.load(unit, None)
    task = EVERY[unit]
    one, two = models.evaluate(unit, [task, task])
    assert one == two
    assert fits(task, one)
    assert fits(task, decode_outcome(msgspec.msgpack.encode(one)))
    match one:
        case Scores(scores=scores) if unit == "topics":
            assert scores["gold"] > scores["sailing"]
        case Scores(scores=scores) if unit == "content":
            assert set(scores) == {"HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK"}
        case Spans(spans=spans):
            assert spans
        case _:
            pass


def test_a_model_that_is_not_there_says_what_to_install(models: LocalModels, tmp_path: Path) -> None:
    with pytest.raises(CannotLoad, match=r"not installed: pip install 'bedplate\[models\]'"):
        LocalModels(tmp_path).load("content", None)
    with pytest.raises(CannotLoad, match="no local model for weather"):
        models.load("weather", None)
