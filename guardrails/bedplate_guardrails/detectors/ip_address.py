"""IP addresses."""

from __future__ import annotations

import ipaddress

from bedplate_guardrails.detectors.pattern_detector import Judged
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

_V4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3,7}"
_V6 = rf"(?:[0-9A-Fa-f]{{0,4}}:){{2,8}}(?:[0-9A-Fa-f]{{1,4}}|{_V4})?"


class IpAddress(PiiDetector):
    """IPv4 in four decimal numbers and IPv6 in all its written forms, without prefix length or zone.

    More than four numbers joined by dots are a version, not an address. An IPv6 address without any digit, such
    as `a::b`, needs three groups, since programs are full of names like that.
    """

    kind = PiiType.IP_ADDRESS
    pattern = rf"{_V4}|{_V6}"
    cost = "one linear pass over the text, and a parse of each candidate"

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts the candidate, or its longest beginning, that is an address and stands by itself."""
        if start and (text[start - 1].isalnum() or text[start - 1] in "_:"):
            return Judged(False, start + 1)
        if ":" not in text[start:end]:
            apart = not (end < len(text) and (text[end].isalnum() or text[end] == "_"))
            return Judged(apart and _is_v4(text[start:end]), end)
        for last in range(end, start + 2, -1):
            if (last == len(text) or not (text[last].isalnum() or text[last] == "_")) and _is_v6(text[start:last]):
                return Judged(True, last)
        return Judged(False, start + 1)


def _is_v4(candidate: str) -> bool:
    numbers = candidate.split(".")
    return len(numbers) == 4 and all(int(number) <= 255 for number in numbers)


def _is_v6(candidate: str) -> bool:
    try:
        ipaddress.IPv6Address(candidate)
    except ValueError:
        return False
    groups = [group for group in candidate.split(":") if group]
    return bool(groups) and (any(char.isdigit() for char in candidate) or len(groups) > 2)


__all__ = ["IpAddress"]
