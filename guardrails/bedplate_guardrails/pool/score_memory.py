"""What models said about texts before, so that a conversation's history is not evaluated again at every turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

_ENTRY_BYTES = 300
"""What an entry takes beside its key and its value: two objects, and its place in an ordered dictionary."""


class ScoreMemory:
    """The latest results, least recently used first to go, bounded in number and in bytes.

    A key is made of the tenant and the whole task, so that what one tenant's text scored is never told to another, not
    even by how long it takes. Values are encoded results: no text is kept, only its hash.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    @staticmethod
    def key(tenant: str, encoded_task: bytes) -> bytes:
        """The key of a task: the length and bytes of the tenant, then the task with its kind, hashed as one."""
        name = tenant.encode("utf-8", "surrogatepass")
        hashed = hashlib.blake2b(len(name).to_bytes(8, "big"), digest_size=32)
        hashed.update(name)
        hashed.update(len(encoded_task).to_bytes(8, "big"))
        hashed.update(encoded_task)
        return hashed.digest()

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, which is now the last to go."""
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        self._values.move_to_end(key)
        self.hits += 1
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Remember `value`; what is too large for the whole memory is not remembered."""
        old = self._values.pop(key, None)
        if old is not None:
            self._bytes -= self._size(key, old)
        size = self._size(key, value)
        if size > self._max_bytes or self._max_entries < 1:
            return
        self._values[key] = value
        self._bytes += size
        while len(self._values) > self._max_entries or self._bytes > self._max_bytes:
            gone, forgotten = self._values.popitem(last=False)
            self._bytes -= self._size(gone, forgotten)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def size_bytes(self) -> int:
        """About how much memory the entries take."""
        return self._bytes

    @staticmethod
    def _size(key: bytes, value: bytes) -> int:
        return _ENTRY_BYTES + len(key) + len(value)


__all__ = ["ScoreMemory"]
