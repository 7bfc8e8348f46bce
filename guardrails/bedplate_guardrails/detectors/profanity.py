"""The managed word list of profanity."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from bedplate_guardrails.detectors.leet_list import LeetList
from bedplate_guardrails.detectors.word_list import WordList
from bedplate_guardrails.detectors.words import Words

LANGUAGES = ("en", "de", "fr", "es")


class Profanity(Words):
    """Profanity and slurs in English, German, French and Spanish, as `Words` finds them.

    The lists lie in `wordlists/`, each with its source. They are read when the first of these is made and compiled
    once in a process.
    """

    def __init__(self, *, leetspeak: bool = False) -> None:
        super().__init__(_compiled(leetspeak=leetspeak))
        self.mask = "{PROFANITY}"


def profane_words() -> tuple[str, ...]:
    """The words of all lists, in the order of the lists."""
    folder = files("bedplate_guardrails") / "wordlists"
    lines = [
        line.strip()
        for language in LANGUAGES
        for line in (folder / f"profanity_{language}.txt").read_text(encoding="utf-8").splitlines()
    ]
    return tuple(line for line in lines if line and not line.startswith("#"))


@cache
def _compiled(*, leetspeak: bool) -> WordList | LeetList:
    return LeetList(profane_words()) if leetspeak else WordList(profane_words())


__all__ = ["LANGUAGES", "Profanity", "profane_words"]
