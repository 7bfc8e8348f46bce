"""Who wraps data keys."""

from __future__ import annotations

from typing import Protocol

import msgspec

from bedplate_core.ids import ProjectId


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as it is stored. `key_id` names the wrapping key and its version, such as `master:1`."""

    key_id: str
    wrapped: bytes


class KeyProvider(Protocol):
    """Wraps and unwraps data keys under keys that the database does not hold.

    A wrapped key is bound to its project and owner: under another of either it does not unwrap. Implementations raise
    `StoreUnavailable` when the provider cannot be reached (within 5 s), and `ContentUnreadable` when it does not know
    `key_id` any more or the bytes are not what it wrapped. Neither message holds key material or an address.
    """

    @property
    def key_id(self) -> str:
        """The key that new data keys are wrapped under.

        Without its version where only the provider's server knows that; then `wrap` adds it.
        """
        ...

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """`data_key` wrapped under `key_id`, whose version the result's `key_id` has in any case."""
        ...

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """The data key."""
        ...

    async def aclose(self) -> None:
        """Close what is open. Idempotent."""
        ...


__all__ = ["KeyProvider", "WrappedKey"]
