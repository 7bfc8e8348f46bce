"""Tasks that wait, tenants in turn."""

from __future__ import annotations

from collections import OrderedDict, deque

from bedplate_guardrails.pool.waiting import Waiting

_Line = OrderedDict[int, Waiting]


class FairQueue:
    """What waits, by tenant and unit. Who leads a batch goes to the end of the tenants afterwards.

    A tenant's tasks of one unit are served in the order in which they came. Putting, removing and taking one task take
    constant time, a batch besides time in the number of tenants that wait.
    """

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, dict[str, _Line]] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._next_number = 0
        self._length = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._length

    @property
    def size_bytes(self) -> int:
        """The encoded tasks that wait, together."""
        return self._bytes

    def of(self, tenant: str) -> int:
        """How many tasks of a tenant wait."""
        return self._counts.get(tenant, 0)

    def put(self, waiting: Waiting) -> None:
        """Add a task, last of its tenant and unit."""
        self._next_number += 1
        waiting.number = self._next_number
        lines = self._tenants.setdefault(waiting.tenant, {})
        lines.setdefault(waiting.unit, OrderedDict())[waiting.number] = waiting
        self._counts[waiting.tenant] = self._counts.get(waiting.tenant, 0) + 1
        self._length += 1
        self._bytes += len(waiting.encoded)

    def remove(self, waiting: Waiting) -> None:
        """Take a task out wherever it stands; nothing where it does not wait (any more)."""
        lines = self._tenants.get(waiting.tenant)
        line = None if lines is None else lines.get(waiting.unit)
        if line is None or line.pop(waiting.number, None) is None:
            return
        self._left(waiting)

    def take(self, *, max_tasks: int, max_characters: int) -> list[Waiting]:
        """A batch of tasks of one unit, empty where nothing waits.

        It is led by the tenant whose turn it is, with what that one has waited for longest, and filled with tasks of
        the same unit, one of each tenant in turn. The first task always fits; a tenant whose next one does not fit is
        passed over.
        """
        if not self._tenants:
            return []
        leader = next(iter(self._tenants))
        own = self._tenants[leader]
        unit = min(own, key=lambda name: next(iter(own[name])))
        turns = deque(tenant for tenant, lines in self._tenants.items() if unit in lines)
        self._tenants.move_to_end(leader)
        batch: list[Waiting] = []
        characters = 0
        while turns and len(batch) < max_tasks:
            tenant = turns.popleft()
            line = self._tenants[tenant][unit]
            first = next(iter(line.values()))
            if batch and characters + first.characters > max_characters:
                continue
            line.popitem(last=False)
            self._left(first)
            batch.append(first)
            characters += first.characters
            if line:
                turns.append(tenant)
        return batch

    def clear(self) -> list[Waiting]:
        """Everything that waited."""
        waited = [each for lines in self._tenants.values() for line in lines.values() for each in line.values()]
        for each in waited:
            self.remove(each)
        return waited

    def _left(self, waiting: Waiting) -> None:
        """Count a task out, and drop lines and tenants that have none left."""
        self._length -= 1
        self._bytes -= len(waiting.encoded)
        left = self._counts[waiting.tenant] - 1
        lines = self._tenants[waiting.tenant]
        if not lines[waiting.unit]:
            del lines[waiting.unit]
        if left:
            self._counts[waiting.tenant] = left
        else:
            del self._counts[waiting.tenant]
            del self._tenants[waiting.tenant]


__all__ = ["FairQueue"]
