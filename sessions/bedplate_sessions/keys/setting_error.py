"""A key provider that cannot be set up as it was asked for."""

from __future__ import annotations


class KeySettingError(Exception):
    """What is wrong with the keys' setting or file. The message holds no key, token or address."""


__all__ = ["KeySettingError"]
