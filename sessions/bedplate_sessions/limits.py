"""How much a session may hold."""

from __future__ import annotations

import msgspec


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are Bedrock's for its sessions (Amazon Bedrock User Guide, read November 2026).

    `steps` counts a session's steps over all its invocations. `idle_timeout_s` is what sessions made by Bedrock's
    operations get; others do not expire by idleness. `retention_s` is how long anything is kept after its last write
    where its project says nothing else. `fork_depth` bounds how many branches a branch may build on.
    """

    steps: int = 1000
    step_bytes: int = 50_000_000
    step_images: int = 20
    step_image_bytes: int = 3_750_000
    idle_timeout_s: float = 3600.0
    retention_s: float = 30 * 24 * 3600.0
    fork_depth: int = 64
    branches: int = 1000
    history_items: int = 10_000
    """The longest history that a turn is built on; a longer one is read from its newest end."""
    reply_retention_s: float = 24 * 3600.0
    """How long the reply of a call with an idempotency key can be had again."""
    reply_bytes: int = 32 * 1024 * 1024


__all__ = ["SessionLimits"]
