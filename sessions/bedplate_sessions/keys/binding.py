"""What a wrapped key is bound to."""

from __future__ import annotations

from bedplate_core.ids import ProjectId


def binding(project: ProjectId, owner: str) -> bytes:
    """Bytes that are another project's or another owner's never: each part is preceded by its length."""
    parts = (b"bedplate/data-key/1", project.encode(), owner.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


__all__ = ["binding"]
