"""No encryption for what is new, while what is encrypted stays readable."""

from __future__ import annotations

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.provider import KeyProvider, WrappedKey


class UnwrapOnly:
    """Unwraps with `provider` and wraps nothing. `DataKeys` makes no keys when it is given this."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider

    @property
    def key_id(self) -> str:
        """`none`: no key wraps new data keys."""
        return "none"

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """Raises `RuntimeError`: whoever asks has not looked at what this is."""
        raise RuntimeError("encryption is off for new content")

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """See `KeyProvider.unwrap`."""
        return await self._provider.unwrap(project, owner, wrapped)

    async def aclose(self) -> None:
        """See `KeyProvider.aclose`."""
        await self._provider.aclose()


__all__ = ["UnwrapOnly"]
