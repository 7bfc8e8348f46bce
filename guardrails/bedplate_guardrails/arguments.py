"""How a tool call's arguments are read: text that is usually JSON, and must stay it.

Every string in the JSON is a text of its own, decoded, so that `\\u0040` hides nothing; so is every number. Keys are
texts too. A string that holds JSON itself is read the same way, to a depth of `MAX_DEPTH`. A mask in a string stays
in the string; a number with a match becomes a string. The JSON is judged as written besides, for patterns that span
several values; such a match blocks even where the rule would mask, because a mask over it would break the JSON.

Arguments that are not JSON are the model's mistake and stay visible as they are. They are judged as written and with
their JSON escapes decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MAX_DEPTH = 4

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|(["\\/bfnrt]))')
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def is_json(text: str) -> bool:
    """Whether `text` is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def tokens(text: str) -> list[tuple[int, int]]:
    """Where the strings (keys included) and the numbers of a JSON text are, in order."""
    return [token.span() for token in _TOKEN.finditer(text)]


def number_or_text(token: str) -> str:
    """The text of a string token, decoded; a number as it is written."""
    return str(json.loads(token)) if token.startswith('"') else token


def unescaped(text: str) -> tuple[str, list[int]]:
    """`text` with its JSON escapes decoded, and for each character, and the end, the place it came from."""
    chars: list[str] = []
    places: list[int] = []
    for place, decoded in _decoded(text):
        chars.append(decoded)
        places.extend([place] * len(decoded))
    return "".join(chars), [*places, len(text)]


def _decoded(text: str) -> Iterator[tuple[int, str]]:
    cursor = 0
    for escape in _ESCAPE.finditer(text):
        yield from enumerate(text[cursor : escape.start()], cursor)
        cursor = escape.end()
        if escape[3]:
            yield escape.start(), _SHORT[escape[3]]
        else:
            units = [int(unit, 16) for unit in (escape[1], escape[2]) if unit]
            raw = b"".join(unit.to_bytes(2, "big") for unit in units)
            yield escape.start(), raw.decode("utf-16-be", "replace")
    yield from enumerate(text[cursor:], cursor)


__all__ = ["MAX_DEPTH", "is_json", "number_or_text", "tokens", "unescaped"]
