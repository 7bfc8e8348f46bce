"""Wrapping keys in AWS KMS, which never leave it."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from typing import Any, Final

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.bounded_calls import DEADLINE_S, THREADS, BoundedCalls
from bedplate_sessions.keys.cipher import DATA_KEY_BYTES, ContentUnreadable
from bedplate_sessions.keys.provider import WrappedKey
from bedplate_sessions.keys.setting_error import KeySettingError

logger = logging.getLogger(__name__)

_ARN: Final = re.compile(r"(arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}):(?:key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)")
_ALIAS: Final = re.compile(r"alias/[A-Za-z0-9/_-]+")
_GONE: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException", "NotFoundException"})
"""What `Decrypt` says of bytes that are none of the key's for this project and owner, and of a key that was deleted.
One that is disabled or waits for its deletion can come back."""


class KmsKeys:
    """Wraps by KMS's `Encrypt` and unwraps by `Decrypt`, with project and owner as the encryption context.

    The key is symmetric, and the credentials (boto3's usual chain) need `kms:Encrypt` and `kms:Decrypt` on it. The
    context is in CloudTrail in the clear; ids say nothing of content. Key ids are `kms:` and the ARN of the key that
    wrapped, whatever alias it went by, so that an alias that is moved to another key leaves all readable. Only keys of
    the account and region that this one is in are asked to unwrap: a row that somebody wrote must not have content
    sealed under a key of theirs. The KMS API, read November 2026:
    https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
    """

    def __init__(
        self,
        key: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`key` is the ARN of a key or an alias, or `alias/NAME` in `region`. `endpoint_url` is for a private endpoint.

        Nothing is connected. Raises `KeySettingError`, also when the package `boto3` is not installed.
        """
        arn = _ARN.fullmatch(key)
        if arn is None and _ALIAS.fullmatch(key) is None:
            raise KeySettingError("KMS: the key is the ARN of a key or an alias, or alias/NAME")
        where = arn[2] if arn is not None else region
        if where is None:
            raise KeySettingError("KMS: an alias needs a region")
        try:
            boto3: Any = importlib.import_module("boto3")
            config: Any = importlib.import_module("botocore.config")
            errors: Any = importlib.import_module("botocore.exceptions")
        except ImportError:
            raise KeySettingError("KMS: a package is missing; install bedplate[aws]") from None
        failure: str | None = None
        try:
            self._client: Any = boto3.session.Session().client(
                "kms",
                region_name=where,
                endpoint_url=endpoint_url,
                config=config.Config(
                    connect_timeout=deadline_s / 2,
                    read_timeout=deadline_s,
                    retries={"total_max_attempts": 2, "mode": "standard"},
                    max_pool_connections=THREADS,
                ),
            )
        except Exception as error:  # a profile that is not there, a region that is none
            failure = type(error).__name__
        if failure is not None:
            raise KeySettingError(f"KMS: boto3 cannot be set up: {failure}")
        self._client_error: type[Exception] = errors.ClientError
        self._key = key
        self._account = None if arn is None else arn[1]
        self._calls = BoundedCalls("kms", deadline_s=deadline_s)

    def __repr__(self) -> str:
        return f"KmsKeys({self._key!r})"

    @property
    def key_id(self) -> str:
        """See `KeyProvider.key_id`. An alias where the setting has one."""
        return f"kms:{self._key}"

    async def wrap(self, project: ProjectId, owner: str, data_key: bytes) -> WrappedKey:
        """See `KeyProvider.wrap`. Raises `StoreUnavailable`, also when KMS refuses."""
        answer = await self._ask(lambda: self._client.encrypt(
            KeyId=self._key, Plaintext=data_key, EncryptionContext=_context(project, owner)
        ))  # fmt: skip
        arn, wrapped = (None, None) if answer is None else (answer.get("KeyId"), answer.get("CiphertextBlob"))
        found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
        if found is None or not isinstance(wrapped, bytes):
            raise _away("an answer without a key or a ciphertext" if answer is not None else "the key is not there")
        self._account = found[1]
        return WrappedKey(key_id=f"kms:{found[0]}", wrapped=wrapped)

    async def unwrap(self, project: ProjectId, owner: str, wrapped: WrappedKey) -> bytes:
        """See `KeyProvider.unwrap`. What can be mended (rights, throttling, a key that is disabled or is to be deleted)
        is `StoreUnavailable`.
        """
        arn = _ARN.fullmatch(wrapped.key_id.removeprefix("kms:"))
        if self._account is None:  # the account behind an alias is known from what it wraps
            await self.wrap(project, owner, bytes(DATA_KEY_BYTES))
        if arn is None or arn[1] != self._account:
            logger.warning("a data key is wrapped under %s, which is not of this account and region", wrapped.key_id)
            raise ContentUnreadable("This content is encrypted under a key that the gateway does not have.")
        answer = await self._ask(lambda: self._client.decrypt(
            KeyId=arn[0], CiphertextBlob=wrapped.wrapped, EncryptionContext=_context(project, owner)
        ))  # fmt: skip
        data_key = None if answer is None else answer.get("Plaintext")
        if isinstance(data_key, bytes) and len(data_key) == DATA_KEY_BYTES:
            return data_key
        logger.warning("KMS does not unwrap a data key that is wrapped under %s", wrapped.key_id)
        raise ContentUnreadable("The key of this content is gone, or is not what was stored, or was stored elsewhere.")

    async def aclose(self) -> None:
        """See `KeyProvider.aclose`."""
        self._calls.close()
        self._client.close()

    async def _ask(self, call: Callable[[], Any]) -> Any:
        """KMS's answer; None when it says that the bytes are not the key's, or the key is gone."""
        try:
            return await self._calls.run(call)
        except self._client_error as error:
            response: Any = getattr(error, "response", {})
            reason = str(response.get("Error", {}).get("Code", "ClientError"))
            if reason in _GONE:
                return None
        except Exception as error:
            reason = type(error).__name__  # its text may have an address
        raise _away(reason)


def _context(project: ProjectId, owner: str) -> dict[str, str]:
    return {"bedplate:project": project, "bedplate:owner": owner}


def _away(reason: str) -> StoreUnavailable:
    logger.warning("KMS does not wrap or unwrap data keys: %s", reason)
    return StoreUnavailable("The gateway's key service is unavailable; try again shortly.", retry_after_s=5.0)


__all__ = ["KmsKeys"]
