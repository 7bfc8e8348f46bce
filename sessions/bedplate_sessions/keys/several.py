"""One provider that wraps, and those that wrapped before it."""

from __future__ import annotations

import logging

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.provider import KeyProvider, WrappedKey

logger = logging.getLogger(__name__)


class SeveralProviders:
    """Wraps with the first provider; unwraps with whichever knows the key, so that one can be moved to another.

    A provider is asked when the text before the first colon of its key id is that of the wrapped key's. Where several
    are, such as two of Vault's keys, they are asked in order.
    """

    def __init__(self, first: KeyProvider, *others: KeyProvider) -> None:
        self._providers = (first, *others)

    def __repr__(self) -> str:
        return f"SeveralProviders({', '.join(map(repr, self._providers))})"

    @property
    def key_id(self) -> str:
        """See `KeyProvider.key_id`."""
        return self._providers[0].key_id

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """See `KeyProvider.wrap`."""
        return await self._providers[0].wrap(project, owner, data_key)

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """See `KeyProvider.unwrap`. `ContentUnreadable` only when every provider that may know the key says so."""
        away: StoreUnavailable | None = None
        family = _family(wrapped.key_id)
        asked = [provider for provider in self._providers if _family(provider.key_id) == family]
        for provider in asked:
            try:
                return await provider.unwrap(project, owner, wrapped)
            except ContentUnreadable:
                continue
            except StoreUnavailable as error:
                away = error
        if away is not None:
            raise away
        if not asked:
            logger.warning("a data key is wrapped under %s, and no provider of that kind is set up", wrapped.key_id)
        raise ContentUnreadable("This content is encrypted under a key that the gateway does not have.")

    async def aclose(self) -> None:
        """See `KeyProvider.aclose`."""
        for provider in self._providers:
            await provider.aclose()


def _family(key_id: str) -> str:
    return key_id.partition(":")[0]


__all__ = ["SeveralProviders"]
