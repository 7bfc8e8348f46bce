"""The local models as what a worker runs: the one place that knows how each is made and asked."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    GroundingTask,
    Result,
    Scores,
    Spans,
    Task,
    Topic,
    TopicsTask,
)
from bedplate_guardrails.pool.wire import Registered
from bedplate_guardrails.worker.evaluating import CannotLoad, where

_MODELS = "bedplate_guardrails.models"
_HOW = "pip install 'bedplate[models]'"
_PREPARED_TOPICS = 256
_CONTENT_WEIGHTS = "content.npz"


class _Content(Protocol):
    def scores(self, texts: Sequence[str]) -> Sequence[dict[str, float]]: ...


class _Topics(Protocol):
    def prepare(self, topics: Sequence[Topic]) -> Any: ...
    def scores(self, prepared: Any, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


class _Grounding(Protocol):
    def grounding(self, source: str, answer: str) -> float: ...
    def relevance(self, query: str, answer: str) -> float: ...


class _Entities(Protocol):
    def find(self, text: str, kinds: frozenset[str]) -> Sequence[tuple[int, int, str]]: ...


_Ask: TypeAlias = Callable[[Sequence[Any]], Sequence[Result]]


class LocalModels:
    """The models of `bedplate_guardrails.models`; each is imported when the first task of its kind comes.

    The sentence embedder is shared by those that use it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._embedder: Any = None
        self._asks: dict[str, _Ask] = {}

    def load(self, unit: str, registered: Registered | None) -> None:
        """Make a model ready. Raises `CannotLoad` where it is not installed, or its weights cannot be read."""
        makers: dict[str, Callable[[], _Ask]] = {
            "content": self._content,
            "topics": self._topics,
            "grounding": self._grounding,
            "entities": self._entities,
        }
        maker = makers.get(unit)
        if maker is None:
            raise CannotLoad(f"there is no local model for {unit}")
        try:
            self._asks[unit] = maker()
        except ImportError as error:
            raise CannotLoad(f"the local model for {unit} is not installed: {_HOW}", str(error)) from error
        except Exception as error:
            raise CannotLoad(f"the local model for {unit} cannot be loaded", where(error)) from error

    def evaluate(self, unit: str, tasks: Sequence[Task]) -> Sequence[Result]:
        """The results in order. `types` of content is not looked at: all are scored."""
        return self._asks[unit](tasks)

    def _content(self) -> _Ask:
        own = None if self._folder is None else self._folder / _CONTENT_WEIGHTS
        options = {"weights": own} if own is not None and own.is_file() else {}
        model = cast(_Content, _class("content_model", "ContentModel")(self._shared_embedder(), **options))

        def ask(tasks: Sequence[ContentTask]) -> Sequence[Result]:
            return [_scores(row) for row in model.scores([task.text for task in tasks])]

        return ask

    def _topics(self) -> _Ask:
        return _TopicsAsk(cast(_Topics, _class("topic_model", "TopicModel")(self._shared_embedder()))).ask

    def _grounding(self) -> _Ask:
        model = cast(_Grounding, _class("grounding_model", "GroundingModel")(self._shared_embedder()))

        def ask(tasks: Sequence[GroundingTask]) -> Sequence[Result]:
            return [_scores(dict(_grounding_scores(model, task))) for task in tasks]

        return ask

    def _entities(self) -> _Ask:
        model = cast(_Entities, _class("entity_model", "EntityModel")())

        def ask(tasks: Sequence[EntitiesTask]) -> Sequence[Result]:
            return [Spans(spans=tuple(model.find(task.text, frozenset(task.kinds)))) for task in tasks]

        return ask

    def _shared_embedder(self) -> Any:
        if self._embedder is None:
            self._embedder = _class("embedder", "Embedder")(self._folder)
        return self._embedder


class _TopicsAsk:
    """Asks the topic model, keeping the latest topics prepared: every text of a policy has the same."""

    def __init__(self, model: _Topics) -> None:
        self._model = model
        self._prepared: OrderedDict[tuple[Topic, ...], Any] = OrderedDict()

    def ask(self, tasks: Sequence[TopicsTask]) -> Sequence[Result]:
        """The results in order; tasks of the same topics are asked together."""
        together: dict[tuple[Topic, ...], list[int]] = {}
        for place, task in enumerate(tasks):
            together.setdefault(task.topics, []).append(place)
        results: dict[int, Result] = {}
        for topics, places in together.items():
            rows = self._model.scores(self._ready(topics), [tasks[place].text for place in places])
            for place, row in zip(places, rows, strict=True):
                results[place] = _scores({topic.name: score for topic, score in zip(topics, row, strict=True)})
        return [results[place] for place in range(len(tasks))]

    def _ready(self, topics: tuple[Topic, ...]) -> Any:
        prepared = self._prepared.get(topics)
        if prepared is None:
            prepared = self._prepared[topics] = self._model.prepare(topics)
            if len(self._prepared) > _PREPARED_TOPICS:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(topics)
        return prepared


def _grounding_scores(model: _Grounding, task: GroundingTask) -> Sequence[tuple[str, float]]:
    scores: list[tuple[str, float]] = []
    for kind in task.types:
        match kind:
            case "GROUNDING":
                scores.append((kind, model.grounding(task.source, task.answer)))
            case "RELEVANCE":
                scores.append((kind, model.relevance(task.query, task.answer)))
            case _:
                raise ValueError("no such kind of grounding")
    return scores


def _scores(row: dict[str, float]) -> Scores:
    """Scores as plain floats, with rounding errors at the bounds put right. NaN stays and is refused by the pool."""
    return Scores(scores={name: min(max(float(score), 0.0), 1.0) for name, score in row.items()})


def _class(module: str, name: str) -> Callable[..., Any]:
    """A class of a model's module, which needs packages that are optional."""
    return getattr(importlib.import_module(f"{_MODELS}.{module}"), name)


__all__ = ["LocalModels"]
