"""Bodies that were valid once: seeds with values replaced, members gone, added or repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st


class Mangled:
    """Strategies over the `seeds` of one wire. `words` are texts that mean something there, `names` more members."""

    def __init__(self, seeds: Sequence[Any], *, names: set[str], words: Sequence[str]) -> None:
        self._seeds = seeds
        self._names = st.sampled_from(sorted({name for seed in seeds for name in seed} | names))
        scalars = st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**70), 2**70),
            st.floats(allow_nan=False),
            st.text(max_size=12),
            st.sampled_from(words),
        )
        self.values: st.SearchStrategy[Any] = st.recursive(
            scalars,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(self._names | st.text(max_size=4), inner),
            max_leaves=8,
        )

    def bodies(self) -> st.SearchStrategy[bytes]:
        """JSON bodies, each some seed with one to three changes anywhere in it."""
        return st.composite(self._body)()

    def _body(self, draw: st.DrawFn) -> bytes:
        body = json.loads(json.dumps(draw(st.sampled_from(self._seeds))))
        for _ in range(draw(st.integers(1, 3))):
            spots = _places(body)
            if not spots:
                break
            container, key = draw(st.sampled_from(spots))
            kind = draw(st.sampled_from(["replace", "delete", "add", "repeat"]))
            if kind == "replace":
                container[key] = draw(self.values)
            elif kind == "delete":
                del container[key]
            elif isinstance(container, dict):
                container[draw(self._names | st.text(max_size=6))] = draw(self.values)
            else:
                container.append(container[key] if kind == "repeat" else draw(self.values))
        return json.dumps(body).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        found.extend(_places(value[key]))
    return found
