"""Telephone numbers."""

from __future__ import annotations

import re
from itertools import pairwise

from bedplate_guardrails.detectors.pattern_detector import Judged
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

_SEPARATORS = " .\u2010-\u2015\u2212-"
_PATTERN = rf"(?:\+ ?)?\(?[0-9](?:[()/{_SEPARATORS}]{{0,3}}[0-9]){{6,16}}(?: ?x[0-9]{{1,6}})?"
_GROUP = re.compile(r"[0-9]+")
_DATE = re.compile(
    r"(?:1[89]|20)[0-9]{2}([ ./-])[0-9]{1,2}\1[0-9]{1,2}(?![0-9])"
    r"|[0-9]{1,2}([ ./-])[0-9]{1,2}\2(?:1[89]|20)[0-9]{2}(?![0-9])"
)
_YEARS = re.compile(r"(?:1[89]|20)[0-9]{2}[^0-9]{1,2}(?:1[89]|20)[0-9]{2}")
_LOCAL_SHAPES = frozenset({
    (3, 4), (4, 4), (2, 2, 2, 2), (2, 6), (3, 3, 2), (3, 3, 3), (2, 3, 3), (3, 2, 3), (2, 4, 4), (3, 3, 4),
    (4, 3, 3), (2, 3, 2, 2), (3, 2, 2), (4, 2, 2, 2), (2, 3, 3, 4), (2, 4, 3),
})  # fmt: skip


class PhoneNumber(PiiDetector):
    """Numbers written as telephone numbers are: international with `+` or `00`, national with a leading zero or an
    area code, North American with or without separators, and local numbers in common groupings.

    Dates, pairs of years, US social security numbers, IPv4 addresses and unbroken digits of other lengths are not
    taken for one. An extension `x123` belongs to the number. No numbering plan is consulted.
    """

    kind = PiiType.PHONE
    pattern = _PATTERN
    cost = "one linear pass over the text, and a look at the grouping of each number"

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts the longest run of whole groups from `start` that is written like a telephone number."""
        groups = list(_GROUP.finditer(text, start, end))
        if _stands_apart(text, start):
            whole = not (start > 1 and text[start - 2].isdigit() and text[start - 1] in " ./-")
            extension = text.rfind("x", start, end)
            if extension >= 0:
                groups = [group for group in groups if group.start() < extension]
            for count in range(len(groups), 0, -1):
                last = groups[count - 1].end()
                stop = end if extension >= 0 and count == len(groups) else last
                if stop < len(text) and (text[stop].isalnum() or text[stop] == "_"):
                    continue
                sizes = tuple(group.end() - group.start() for group in groups[:count])
                if _is_phone(text[start:last], sizes, whole=whole and count == len(groups)):
                    return Judged(True, stop)
        return Judged(False, min(groups[0].end(), end))


def _stands_apart(text: str, start: int) -> bool:
    """Whether a number may begin at `start`: not inside a word, another number or a code such as `A-12`."""
    if start == 0:
        return True
    before = text[start - 1]
    if before.isalnum() or before in "_+":
        return False
    joined = before in "-/." and start > 1 and text[start - 2].isalnum()
    return not joined or (before == "." and not text[start - 2].isdigit())


def _is_phone(written: str, sizes: tuple[int, ...], *, whole: bool) -> bool:
    digits = "".join(char for char in written if char.isdigit())
    if not 7 <= len(digits) <= 15:
        return False
    if written.startswith("+"):
        return len(digits) >= 8
    if written.startswith(("00", "(00")):
        return len(digits) >= 10 and digits[2] != "0" and len(set(digits)) > 2
    if len(sizes) == 1:
        return _is_unbroken(digits)
    if not _is_separated(written, sizes):
        return False
    if _is_north_american(digits) and sizes[-2:] in ((3, 4), (3, 7)):
        return True
    if written.startswith("("):
        return len(digits) <= 12
    if digits.startswith("0") and 9 <= len(digits) <= 12:
        return True
    return whole and sizes in _LOCAL_SHAPES and len(digits) <= 12


def _is_unbroken(digits: str) -> bool:
    return (len(digits) == 10 and digits[0] in "23456789") or (
        len(digits) in (10, 11) and digits[0] == "0" and digits[1] != "0"
    )


def _is_north_american(digits: str) -> bool:
    national = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    return len(national) == 10 and national[0] in "23456789"


def _is_separated(written: str, sizes: tuple[int, ...]) -> bool:
    """Whether the separators are those of a telephone number and the groups not those of something else."""
    if sizes in ((3, 2, 4), (5, 4)) or _is_date(written) or _is_years(written):
        return False
    if "." in written and (("(" not in written and len(sizes) < 3) or (set(sizes) <= {1, 2, 3} and len(sizes) == 4)):
        return False
    return not any(small == 1 and later == 1 for small, later in pairwise(sizes))


def _is_date(written: str) -> bool:
    return bool(_DATE.match(written))


def _is_years(written: str) -> bool:
    return bool(_YEARS.fullmatch(written))


__all__ = ["PhoneNumber"]
