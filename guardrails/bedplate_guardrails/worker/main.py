"""The loop of a worker: an order, an answer, until its input ends."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never, cast

import msgspec

from bedplate_guardrails.evaluation import Task
from bedplate_guardrails.pool.launch import Role
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
    decode_order,
    decode_task,
    encode_outcome,
    framed,
)
from bedplate_guardrails.worker.custom_validators import CustomValidators
from bedplate_guardrails.worker.evaluating import CannotLoad, Evaluating, where
from bedplate_guardrails.worker.leash import tie_to_parent
from bedplate_guardrails.worker.models import LocalModels

_READ_BYTES = 1 << 20


class Channel:
    """The two ends that the gateway talks through, moved away from standard input and output.

    What a library reads from or prints to those cannot disturb a frame then.
    """

    def __init__(self) -> None:
        self.input_fd = os.dup(0)
        self._output_fd = os.dup(1)
        null_fd = os.open(os.devnull, os.O_RDWR)
        os.dup2(null_fd, 0)
        os.dup2(null_fd, 1)
        os.close(null_fd)
        self._buffer = FrameBuffer()
        self._orders: list[Order] = []

    def receive(self) -> Order | None:
        """The next order; None at the end. Raises `WireError`."""
        while not self._orders:
            piece = os.read(self.input_fd, _READ_BYTES)
            if not piece:
                return None
            self._orders += [decode_order(frame) for frame in self._buffer.feed(piece)]
        return self._orders.pop(0)

    def send(self, reply: Reply) -> None:
        """Send a reply."""
        frame = memoryview(framed(reply))
        while frame:
            frame = frame[os.write(self._output_fd, frame) :]


def serve(channel: Channel, evaluating: Evaluating) -> None:
    """Answer orders until the input ends."""
    channel.send(Ready())
    while (order := channel.receive()) is not None:
        match order:
            case Load(unit=unit, registered=registered):
                channel.send(_loaded(evaluating, unit, registered))
            case Work(unit=unit, tasks=encoded):
                outcomes = _outcomes(evaluating, unit, [decode_task(each) for each in encoded])
                channel.send(Worked(outcomes=tuple(map(msgspec.Raw, outcomes))))
            case _:
                assert_never(order)


def _loaded(evaluating: Evaluating, unit: str, registered: Registered | None) -> Loaded:
    try:
        evaluating.load(unit, registered)
    except CannotLoad as error:
        return Loaded(failure=error.message, detail=error.detail)
    except Exception as error:
        return Loaded(failure=f"{unit} cannot be loaded", detail=where(error))
    return Loaded()


def _outcomes(evaluating: Evaluating, unit: str, tasks: Sequence[Task]) -> list[bytes]:
    """What becomes of each task, encoded. Where a batch fails each task is tried alone, so that one fails no other."""
    try:
        return [encode_outcome(result) for result in evaluating.evaluate(unit, tasks)]
    except Exception as error:
        if len(tasks) == 1:
            return [encode_outcome(Failed(message=f"{unit} could not be evaluated", detail=where(error)))]
    return [outcome for task in tasks for outcome in _outcomes(evaluating, unit, [task])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a worker to the end of its input."""
    parser = argparse.ArgumentParser(prog="python -m bedplate_guardrails.worker")
    parser.add_argument("--role", type=Role, choices=list(Role), required=True)
    parser.add_argument("--parent", type=int, required=True, help="the process that started this one")
    parser.add_argument("--folder", type=Path, help="other weights for the models")
    parser.add_argument("--models", metavar="MODULE", help="a module whose make(folder) gives the models")
    options = parser.parse_args(arguments)
    channel = Channel()
    tie_to_parent(options.parent, channel.input_fd)
    status = 1
    try:
        serve(channel, _evaluating(options.role, options.folder, options.models))
        status = 0
    finally:
        # At once, also where a validator raised SystemExit: at a usual exit a library's exporter or thread could keep
        # the process for seconds. Nothing here needs to be tidied up.
        os._exit(status)


def _evaluating(role: Role, folder: Path | None, module: str | None) -> Evaluating:
    match role:
        case Role.VALIDATORS:
            return CustomValidators()
        case Role.MODELS if module:
            make = cast(Callable[[Path | None], Evaluating], importlib.import_module(module).make)
            return make(folder)
        case Role.MODELS:
            return LocalModels(folder)


__all__ = ["Channel", "main", "serve"]
