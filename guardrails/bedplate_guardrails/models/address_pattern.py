"""Postal addresses by their shape: a street with a number, post boxes, flats, postcodes with towns, of many countries.

A core (a street, a box, a postcode with its region) is found first; then what stands next to it is taken in while it
looks like the rest of an address. Numbers, towns and flats alone are not addresses. Every core and every step is
bounded, so work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_EXTENSION_CHARS = 120

_NAME = r"[A-ZÀ-ÖØ-ÞĀ-ſΆ-ΏΑ-ΫЀ-Я][\w'’.-]{0,30}"
_NUMBER = r"\d{1,5}(?:[-/]\d{1,4})?(?:\s?[A-Za-z](?!\w))?"
_AFTER_NUMBER = r"(?![\w%€$£:])(?!\s?(?:%|million|percent|people|years|kg|km|miles|degrees|times|hours|minutes))"

_SUFFIX = (
    r"(?:[Ss]treet|St|[Aa]venue|Ave?|[Rr]oad|Rd|[Bb]oulevard|Blvd|[Ll]ane|Ln|[Dd]rive|Dr|[Cc]ourt|Ct|[Pp]l"
    r"ace|Pl|[Ss]quare"
    r"|Sq|[Tt]errace|Ter|[Pp]arkway|Pkwy|[Hh]ighway|Hwy|Way|[Cc]ircle|Cir|[Tt]rail|Trl|[Cc]lose|[Cc]rescen"
    r"t|Cres|Row|Mews"
    r"|Gardens|Gdns|Grove|Hill|Quay|Walk|Wharf|Alley|Broadway|Plaza|Loop|Ridge|Pike|Turnpike|Expressway|Freeway"
    r"|Esplanade|Parade|Rise|Heights|Hollow|Crossing|Bend|Green|Vale|STREET|ST|AVENUE|AVE|ROAD|RD|LANE|DRIVE|DR|COURT)"
)
_COMPOUND = (
    r"(?:[A-ZÀ-ÖØ-Þ][\w-]{1,24}(?:[ -]?[Ss]tra(?:ss|ß)e|[ -]?[Ss]tr\.|gasse|weg|allee|platz|ufer|damm|chau"
    r"ssee|steig|laan"
    r"|straat|plein|gracht|kade|dreef|steenweg|katu|tie|polku|kuja|tanya|vej|gade|gata|gatan|veien|vegen|v"
    r"ägen|väg|stræde"
    r"|gränd|utca|vegur|stígur|braut|gerði|svegen|sgatan|usikv)|(?:[A-ZÀ-ÖØ-Þ][\w-]+\s)(?:utca|[uú]t|tér|ú"
    r"t|Mekanikusv))"
)
_FIRST = (
    r"(?:[Rr]ua|[Vv]ia|[Vv]iale|[Vv]icolo|[Pp]iazza|[Pp]iazzale|[Cc]orso|[Ll]argo|[Rr]ue|[Bb]oulevard|[Cc]"
    r"hemin|[Aa]llée"
    r"|[Ii]mpasse|[Qq]uai|[Cc]alle|C/|[Aa]venida|Av\.|Avda\.?|[Pp]aseo|[Pp]laza|[Cc]arrer|[Cc]arretera|[Cc]amino"
    r"|[Tt]ravessa|[Pp]raça|[Aa]lameda|[Ee]strada|[Uu]lica|[Uu]litsa|ul\.|[Aa]leja|al\.|[Nn]áměstí|[Ss]trada|[Ss]tr\."
    r"|[Bb]ulevardul|Jalan|Jl\.)"
)
_ARTICLE = r"(?:(?:de|du|des|da|do|dos|del|della|dei|di|la|le|les|los|las|l'|d')\s*)"
_REGION = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|U"
    r"T|V[AT]|W[AIVY]"
    r"|ON|QC|BC|AB|NSW|VIC|QLD|TAS|ACT)"
)
_UK_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}"
_CANADA_POSTCODE = r"[A-Z]\d[A-Z] \d[A-Z]\d"
_UNIT = (
    r"(?:(?:Suite|Ste\.?|Apt\.?|Apartment|Unit|Flat|Room|Rm\.?|Floor|Fl\.|Building|Bldg\.?|Level|Etage|Wohnung|#)\s*"
    r"(?:no\.?\s*)?#?\d{1,5}[A-Za-z]?|(?:Apt\.?|Flat|Unit|Suite)\s[A-Z](?!\w))"
)

_CORES = tuple(
    re.compile(pattern)
    for pattern in (
        # 12 Main Street; 7B Old Mill Rd.; 90210 175 Iroon Polytechniou Avenue; 500 5th Ave NW
        rf"(?<![\w.,$€£/-])(?:\d{{1,6}}\s)?{_NUMBER},?\s(?:(?:North|South|East|West|[NSEW]{{1,2}}\.?)\s)?"
        rf"(?:(?:{_NAME}|\d{{1,3}}(?:st|nd|rd|th)|of|the|and|de|la|le)\s){{1,4}}{_SUFFIX}(?!\w)\.?(?:"
        rf"\s[NSEW]{{1,2}}(?!\w))?",
        # Friedhofstraße 33; 6108 Friedhofstrasse 33; Alte Poststraße 7
        rf"(?<!\w)(?:\d{{1,6}}\s)?(?:{_NAME}\s){{0,2}}{_COMPOUND}\s{_NUMBER}{_AFTER_NUMBER}",
        # 12, rue de Rivoli; 2456 Rue de Virton 38
        rf"(?<![\w.,$€£/-])(?:\d{{1,6}}\s)?\d{{1,6}}(?:\s?(?:bis|ter))?,?\s{_FIRST}\s{_ARTICLE}{{0,"
        rf"2}}\w[\w'’.-]*(?:\s(?:{_NAME}|de|du|la)){{0,3}}"
        rf"(?:\s{_NUMBER}{_AFTER_NUMBER})?",
        # Rua Diadema 1903; Via Roma, 131
        rf"(?<!\w){_FIRST}\s{_ARTICLE}{{0,2}}{_NAME}(?:\s{_NAME}){{0,3}},?\s(?:n[°º.]\s*)?{_NUMBER}{_AFTER_NUMBER}",
        # 6750 Koskikatu 25 Apt. 864; 7494 Hlíðarvegur 97 Suite 568: a number on both sides and then a flat
        rf"(?<![\w.,$€£/-])\d{{1,6}}\s(?:\d{{1,5}}\s)?(?:{_NAME}\s){{1,4}}(?:{_NUMBER})?[,\s][\s>?]*{_UNIT}",
        rf"(?<![\w.,$€£/-])\d{{1,6}}\s{_NAME}(?:\s{_NAME}){{0,2}}\s\d{{1,5}}(?=[,\n]|\.?\s*$)",
        # 3911 fourth avenue suite 112; 12 main street, springfield: no capitals, so more must follow
        rf"(?<![\w.,$€£/-])(?:\d{{1,6}}\s)?\d{{1,5}}\s(?:[a-z]{{3,15}}\s){{1,2}}(?:street|avenue|road|boulevard"
        rf"|lane|drive|st|ave|rd|blvd)\.?"
        rf"(?=,\s[a-z]+|\s*\n|\s*$|\s(?i:{_UNIT}))",
        # lives at 255 hersnapvej 18: any words between two numbers, after words that announce an address
        r"(?i)(?:(?<=lives at\s)|(?<=located at\s)|(?<=located on\s)|(?<=address is\s)"
        r"|(?<=address:\s)|(?<=off at\s)|(?<=you at\s)|(?<=me at\s)|(?<=reside at\s)|(?<=resides at\s)|(?<=moved to\s))"
        r"\d{1,6}(?:\s\d{1,5})?(?:\s[^\W\d_][\w'.-]{0,30}){1,4}\s\d{1,5}(?!\w)",
        # P.O. Box 123; Postfach 12 34; PSC 3294, Box 9168, APO AA 61487; USNS Smith, FPO AP 12345
        r"(?<!\w)(?:P\.?\s?O\.?\s?|[Pp]ost(?:al)? [Oo]ffice |[Pp]ostal )[Bb](?:ox|OX)\s#?\d{1,7}|(?<!\w)Postfa"
        r"ch\s\d[\d ]{1,8}",
        r"(?<!\w)(?:PSC|CMR|Unit|UNIT|USS|USNS|USNV|USCGC)\s[\w-]+(?:,?\s[Bb]ox\s\d+)?,?\s{1,3}(?:APO|FPO|DPO)"
        r"\s(?:AA|AE|AP)\s\d{5}",
        # Springfield, IL 62701; London SW1A 1AA; 10115 Berlin (with a country letter)
        rf"(?<!\w)(?:{_NAME}\s){{0,2}}{_NAME},?\s{_REGION},?\s\d{{5}}(?:-\d{{4}})?(?![\w-])",
        rf"(?<!\w)(?:(?:{_NAME}\s){{0,2}}{_NAME},?\s)?{_UK_POSTCODE}(?!\w)",
        rf"(?<!\w)(?:{_NAME}\s){{0,2}}{_NAME},?\s(?:{_REGION}\s)?{_CANADA_POSTCODE}(?!\w)",
        rf"(?<!\w)(?:D|A|CH|F|I|NL|B)-\d{{4,5}}\s{_NAME}",
    )
)

_STEP = re.compile(
    r"[,;]?[ \t]*\n{0,2}(?:>|\?\?\?)?[ \t]*,?[ \t]*(?:"
    rf"(?P<unit>(?i:{_UNIT}))"
    rf"|(?P<box>P\.?\s?O\.?\s?Box\s\d+)"
    rf"|(?P<postcode>(?:{_REGION},?\s)?(?:\d{{5}}(?:-\d{{4}})?|\d{{3}}\s\d{{2}}|{_UK_POSTCODE}|{_CANADA_POSTCODE})(?![\w-]))"
    rf"|(?P<town>(?:(?:[A-Z]{{1,2}}-)?\d{{4,5}}\s)?{_NAME}(?:[ -](?:{_NAME}|am|an|der|de|la|le|sur|upon|u|o"
    rf"f|and|el|di|do|del|nad|na|og|ob))"
    rf"{{0,4}}(?:\s\d{{4,6}})?)"
    r")"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "I We You He She It They The This That These Those There Then When Where What Who How Why If And But Or So My "
        "Our Your His Her Its Their Please Thanks Thank Hello Hi Dear Regards Phone Tel Fax Email Mobile Call"
        " Is Are Was "
        "Were Do Does Did Can Could Will Would Should Monday Tuesday Wednesday Thursday Friday Saturday Sunday January "
        "February March April May June July August September October November December Yes No Not Also After Before "
        "From To For With In On At By As User Bot Customer Agent Order Invoice Account Name Address Date Total Note",
    )
)
_NOT_STREET = re.compile(
    r"^\d{1,4}(?:\s(?:AM|PM|am|pm|January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Million|Billion|Top|Best|Years|Days|Hours|People)\b)"
)


def find_addresses(text: str, places: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """The spans of addresses, in order, not overlapping. `places` are spans known as names of towns or countries."""
    cores: list[tuple[int, int]] = []
    for pattern in _CORES:
        for match in pattern.finditer(text):
            start = _trimmed_start(text, match.start(), match.end())
            if start < match.end() and not _NOT_STREET.match(text[start : match.end()]):
                cores.append((start, match.end()))
    known = dict(places)
    return _joined(text, [(start, _extended(text, end, known)) for start, end in sorted(cores)])


def _trimmed_start(text: str, start: int, end: int) -> int:
    """Past words that begin a sentence and not an address ("The Friedhofstraße 33")."""
    while start < end:
        word = re.compile(r"[^\W\d_]+").match(text, start)
        if word is None or word.group() not in _COMMON:
            return start
        space = re.compile(r"\W+").match(text, word.end())
        start = space.end() if space else word.end()
    return end


def _extended(text: str, end: int, places: dict[int, int]) -> int:
    """The end of an address whose core ends at `end`."""
    start = end
    towns = 0
    while end - start < MAX_EXTENSION_CHARS:
        step = _STEP.match(text, end)
        if step is None or step.end() == end:
            break
        if step["town"] is not None:
            gap = text[end : step.start("town")]
            first = re.findall(r"[^\W\d_]+", step["town"])[0]
            known = any(places.get(place, len(text) + 9) <= step.end("town") + 1 for place in range(*step.span("town")))
            if first in _COMMON or towns == 3 or not ("," in gap or "\n" in gap or known or step["town"][0].isdigit()):
                break
            if not gap.strip(" ") and not known and not step["town"][0].isdigit():
                break
            towns += 1
        end = step.end()
    return end


def _joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch or overlap, or have only white space and commas between them, as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        while end > start and text[end - 1] in " \t\n,;":
            end -= 1
        if text[end - 1 : end] == "." and text[max(end - 5, 0) : end - 1].isalnum():
            end -= 1
        if joined and (start <= joined[-1][1] or not text[joined[-1][1] : start].strip(" ,\n\t")):
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


__all__ = ["MAX_EXTENSION_CHARS", "find_addresses"]
