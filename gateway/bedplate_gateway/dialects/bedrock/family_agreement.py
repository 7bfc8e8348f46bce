"""Fields of a body that say again what the call itself says: they may be left out and must not contradict it.

Source: the AWS user guide, "OpenAI models" (`model-parameters-openai`), compared November 2026, for `model`. The
operation says whether an answer is streamed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.decoding import clip

_ANYTHING: Final = msgspec.json.Decoder(Any)


def check_agreement(fields: dict[str, msgspec.Raw], *, names: tuple[str, str], stream: bool) -> None:
    """Raise `InvalidRequest` for a `model` that is none of `names` (what the path says, and the catalogue's name for
    it) and for a `stream` that is not the operation's."""
    named = _value(fields, "model")
    if named is not None and named not in names:
        raise InvalidRequest(f"model: is not the call's model, {clip(names[0], 128)!r}; leave it out", param="model")
    asked = _value(fields, "stream")
    if asked is not None and asked is not stream:
        wanted = "InvokeModelWithResponseStream" if asked is True else "InvokeModel"
        raise InvalidRequest(f"stream: contradicts the operation; leave it out, or call {wanted}", param="stream")


def _value(fields: dict[str, msgspec.Raw], name: str) -> object:
    """A text or truth value, or None for null or nothing. Anything else comes back as bytes, which equal nothing."""
    raw = bytes(fields.get(name, b"null"))
    return _ANYTHING.decode(raw) if raw[:1] in (b'"', b"t", b"f", b"n") else raw


__all__ = ["check_agreement"]
