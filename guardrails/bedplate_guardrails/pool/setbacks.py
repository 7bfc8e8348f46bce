"""What went wrong lately, and how long it is left alone because of that."""

from __future__ import annotations

import msgspec

_UNIT_PAUSE_S = 1.0
_MAX_UNIT_PAUSE_S = 60.0
_MAX_DOUBLINGS = 16


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a unit is not tried before `until_s`, a time of the event loop."""

    message: str
    until_s: float
    times: int


class Setbacks:
    """Counts deaths of workers, and failures of units, in a row; one success forgets them.

    Each death doubles the pause before the next start. Each failure of a unit doubles the time for which it is refused
    at once, so that a model or validator that hangs does not take the worker from all others again and again.
    """

    def __init__(self, first_pause_s: float, max_pause_s: float) -> None:
        self._first_pause_s = first_pause_s
        self._max_pause_s = max_pause_s
        self._deaths = 0
        self._units: dict[str, Refusal] = {}

    @property
    def pause_s(self) -> float:
        """How long to wait before a worker is started again; 0 after none died."""
        if not self._deaths:
            return 0.0
        return min(self._first_pause_s * 2 ** min(self._deaths - 1, _MAX_DOUBLINGS), self._max_pause_s)

    def died(self) -> None:
        """A worker died, stalled or could not be started."""
        self._deaths += 1

    def worked(self, unit: str) -> None:
        """A batch of `unit` was done."""
        self._deaths = 0
        self._units.pop(unit, None)

    def unit_failed(self, unit: str, message: str, now_s: float, *, forgiven: int = 0) -> None:
        """`unit` cannot be loaded or took a worker down; the first `forgiven` times it is not refused for it."""
        before = self._units.get(unit)
        times = 1 if before is None else before.times + 1
        doublings = times - 1 - forgiven
        pause_s = 0.0 if doublings < 0 else min(_UNIT_PAUSE_S * 2 ** min(doublings, _MAX_DOUBLINGS), _MAX_UNIT_PAUSE_S)
        self._units[unit] = Refusal(message=message, until_s=now_s + pause_s, times=times)

    def refusal(self, unit: str, now_s: float) -> Refusal | None:
        """Why `unit` is refused now, or None."""
        refusal = self._units.get(unit)
        return refusal if refusal is not None and refusal.until_s > now_s else None


__all__ = ["Refusal", "Setbacks"]
