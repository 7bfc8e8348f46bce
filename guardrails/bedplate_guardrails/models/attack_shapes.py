"""Shapes that attacks on prompts have in common, as numbers for the content model.

Each shape is a set of RE2 patterns over normalised text (`ngrams.normalised`), so a search is linear in the text. A
shape alone decides nothing: most of them occur in harmless text too, and the model weighs them.
"""

# ruff: noqa: E501 - a pattern is easier to read on one line

from __future__ import annotations

import base64
import binascii
import codecs
import re
from itertools import islice

import numpy as np
import re2
from numpy.typing import NDArray

_RULES = r"(rules?|instructions?|prompts?|directions?|directives?|commands?|guidelines?|orders?|programming|restrictions?|polic(y|ies)|constraints?|tasks?|content|context|training|filters?|safeguards?|protocols?|limitations?)"
_BEFORE = r"(previous|prior|above|preceding|earlier|foregoing|existing|original|initial|former|past|system|safety|developer|your|openai'?s?|all|any|those|these|the)"
_DROP = r"(ignore|disregard|forget|override|overrule|bypass|neglect|skip|drop|discard|abandon|do not follow|don't follow|stop following|pay no attention to|erase|delete|cancel|set aside)"

_PATTERNS: dict[str, tuple[str, ...]] = {
    "drop_instructions": (
        rf"\b{_DROP} (\w+ ){{0,3}}{_BEFORE} (\w+ ){{0,4}}{_RULES}\b",
        rf"\b{_DROP} (everything|anything|all)( that| of)?( \w+){{0,4}} (before|above|previously|so far|told|said)\b",
        r"\bignor(e|iere|iert|ieren)? (alle|die|deine|samtliche|bitte)( \w+){0,3} (anweisungen|instruktionen|regeln|befehle|vorgaben|aufgaben)",
        r"\b(vergiss|vergesse|missachte|uberschreibe)( \w+){0,5} (anweisungen|instruktionen|regeln|aufgaben|vorgaben|zuvor|vorher|davor|bisher)",
        r"\b(ignore[zr]?|oublie[zr]?|neglige[zr]?)( \w+){0,3} (instructions?|consignes?|regles?|directives?)",
        r"\b(ignora|olvida|descarta|omite)[sr]?( \w+){0,4} (instruccion(es)?|reglas?|ordenes|indicaciones|anterior(es)?)",
        r"\b(dimentica|ignora)( \w+){0,4} (istruzioni|regole)|\b(ignore|esqueca)( \w+){0,4} (instrucoes|regras)",
        r"\b(zanemari|zaboravi)( \w+){0,4} (upute|instrukcije|naredbe|pravila|prethodn\w+)",
    ),
    "persona": (
        r"\b(dan|stan|dude|jailbreak|devmode|developer mode|god mode|evil ?bot|aim|opposite mode|sudo mode|dev mode|unfiltered mode|chaos mode|do anything now)\b",
        r"\b(you are|act as|you're|become|roleplay as|role play as|play the role of|simulate|pretend to be|called|named)( \w+){0,6} (unfiltered|uncensored|amoral|unethical|unrestricted|evil|jailbroken|immoral|unhinged|rogue)\b",
        r"\bdo anything now\b|\bbroken free\b|\bnot bound by\b|\bfree(d)? (of|from) (all|any|the|your|its) (\w+ ){0,2}(restrictions?|confines|constraints|limitations|rules|filters?|chains)\b",
    ),
    "no_limits": (
        r"\b(without|no|zero|lacks?|free of)( any| all)? (\w+ ){0,2}(restrictions?|limits|limitations|censorship|filters?|filtering|ethics|ethical|moral|morals|morality|guidelines|boundaries|safeguards|disclaimers?|warnings?)\b",
        r"\b(does not|doesn't|do not|don't|never|no longer|won't|will not|need not) (\w+ ){0,3}(follow|obey|adhere|comply|abide|care|have|respect|refuse|decline|reject|deny|apologi[sz]e|warn|mention|censor|inform)( \w+){0,5} (rules?|guidelines|polic(y|ies)|ethics|ethical|morals?|requests?|restrictions?|limitations?|answer|warnings?|questions?|openai|ai)\b",
        r"\b(can|may|must|will|able to) (say|do|generate|answer|produce|write|provide|discuss|swear|curse) (anything|everything|any question|any content|whatever)\b",
        r"\b(never|don't|do not|cannot|can't|must not) (say|reply|respond|answer|use|include)( \w+){0,3} (sorry|i can't|i cannot|as an ai|i'm sorry|\"i)",
    ),
    "modes": (
        r"\b(stay in|remain in|keep|break|breaking|out of|in) character\b",
        r"\[(dan|jailbreak|gpt|chatgpt|classic|insert prompt here|insert your prompt here|your prompt|prompt)\]|\(jailbreak\)|\(dan\)|<(dan|prompt|jailbreak)>",
        r"\b(two|both|2) (different )?(responses|answers|ways|replies)\b",
        r"\b(tokens?|points) (will be|are|is)? ?(deducted|taken|lost)|\blose (\w+ )?(tokens|points)\b",
        r"\b(hypothetical(ly)?|fictional|imaginary|simulat(e|ed|ion)) (\w+ ){0,3}(response|story|world|machine|where|in which|scenario|dialogue)\b",
        r"\bfrom now on\b|\bhenceforth\b|\bfor the rest of (this|the|our) (chat|conversation|session)\b|\bab jetzt\b|\bde ahora en adelante\b|\bdesormais\b|\ba partir de (ahora|maintenant)\b",
    ),
    "leak": (
        r"\b(show|reveal|print|repeat|output|display|tell|give|share|leak|dump|expose|return|list|recite|disclose|write( out| down)?|copy|spell( check)?|summari[sz]e|translate|paraphrase|what (is|was|are|were)|send)( \w+){0,5} (your|the|system|initial|hidden|secret|original|full|entire|first|prompt|above)( \w+){0,3} (prompts?( texts?)?|instructions?|system message|directives|configuration|guidelines|rules|context window)\b",
        r"\brepeat (everything|all|the (words|text|sentences?|lines?)|what('s| is| was)?)( \w+){0,3} (above|before)\b",
        r"\b(zeig|zeige|gib|nenne|verrate|wiederhole|drucke)( \w+){0,6} (prompts?|systemprompt|prompttexte|anweisungen|instruktionen|systemnachricht)\b",
        r"\b(montre|affiche|revele|repete|donne)( \w+){0,5} (prompt|instructions|consignes)|\b(muestra|revela|dime|repite|imprime)( \w+){0,5} (prompt|instrucciones)",
        r"\byou are chatgpt\b|\bcontext window\b|\bprior to this (conversation|prompt)\b",
    ),
    "smuggle": (
        r"\b(base ?64|rot ?13|hex(adecimal)?|morse|caesar|cipher|leetspeak|pig latin|encoded|ascii|unicode)\b( \w+){0,12} (decode|follow|execute|answer|respond|obey|run|then)\b",
        r"\b(decode|decrypt|deobfuscate)\b( \S+){0,12} (and|then) (\w+ ){0,2}(follow|execute|answer|respond|obey|do|run|carry|comply|act)\b",
        r"[a-z0-9+/]{40,1000}={0,2}(\s|$)",
    ),
    "fake_turn": (
        r"<\|?(im_start|im_end|system|endoftext|start_header_id|eot_id|assistant|user)\|?>|\[/?(inst|system|sys)\]|<</?sys>>|###? ?(system|instruction|new instruction|assistant|admin|override)s?\b|</?(system|instructions?|admin|important|untrusted|user_query)>",
        r"(^|[\n\"'>.\])] ?)(system|admin|developer|root|assistant|system message|system override|new instructions?) ?: ",
        r"\b(end of|begin(ning)? of|start of|new|updated|actual|real|following|important|urgent|special|additional) (system )?(instructions?|prompts?|task|directives?|orders)\b",
        r"-{3,10} ?(end|begin|start|new|system)\b|={3,10} ?(end|begin|start|new|system)\b",
    ),
    "to_assistant": (
        r"\b(in|for|of|from|to|with|end|start|begin|finish|include|add|append|insert) (all )?(of )?(your|the final) (next )?(response|answer|reply|output|summary|replies|responses|answers|message)\b",
        r"\b(attention|dear|hey|hello|hi|note to|message (to|for)|instructions? (to|for)|important for)( \w+){0,2} (ai|llm|assistant|chatbot|bot|language model|chatgpt|gpt|model|agent|claude|gemini|copilot)\b",
        r"\b(if|when|as|before|while|after|whoever) (you|you're|you are|an? ai|the ai|an? llm|the assistant|any ai)( \w+){0,6} (summari[sz]|process|read|answer|translat|respond|reply)\w*",
        r"\b(respond|reply|answer|output|write|say|print|return) (only |just |exactly |simply |nothing but |solely )(\w+ ){0,2}(with|in|the|this|that|\"|')",
        r"\b(do not|don't|never|without) (mention|mentioning|tell|telling|inform|informing|alert|alerting|reveal|revealing|notify|ask|asking)( \w+){0,3} (user|users|anyone|human|this|these|instructions?|owner)\b",
        r"\b(your|new|real|actual|next|only) (new |real |actual |next |only |true )?(task|goal|job|objective|mission|purpose) is\b|\bneue aufgabe\b|\bnueva tarea\b|\bnouvelle tache\b",
    ),
    "exfiltrate": (
        r"\b(send|forward|email|e-mail|post|upload|exfiltrate|transmit|leak|copy|share|transfer)( \S+){0,10} (passwords?|credentials?|api keys?|secrets?|tokens?|contacts?|conversation|chat history|inbox|e-?mails?|files?|data|documents?|balance|funds|history|transcript)( \S+){0,6} (to|at|via)\b",
        r"!\[[^\]]{0,60}\]\(https?://[^)]{0,200}[?=]",
        r"\b(call|invoke|use|run|execute) (the )?[\w.-]{1,40} (tool|function|command|api|plugin)\b",
    ),
    "document": (
        r"\b(subject|from|to|sent|received date|email_from|content|date|cc|reply-to) ?: ",
        r"<(p|div|html|body|span|a|td|li|h[1-6])[ >]|<!--|&nbsp;|\{ ?\"[\w ]{1,40}\" ?: ",
        r"\b(unsubscribe|click here|all rights reserved|privacy policy|kind regards|best regards|sincerely|view (it )?in (your )?browser|reply to this email)\b",
        r"\b(hi|hello|dear) \w{2,20} ?,",
    ),
}  # fmt: skip

NAMES = (*_PATTERNS, "addressed_in_document", "rules_and_persona", "length")

_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,4000}={0,2}")


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 << 20
    return options


_COMPILED = tuple(tuple(re2.compile(one, _options()) for one in patterns) for patterns in _PATTERNS.values())
_TELLING = (_COMPILED[0], _COMPILED[1], _COMPILED[4])
_MOST_HIDDEN = 16


def shapes(normal: str) -> NDArray[np.float32]:
    """One number per entry of `NAMES` for a normalised text: how many of the shape's patterns occur, at most 3."""
    found = [min(3, sum(one.search(normal) is not None for one in patterns)) for patterns in _COMPILED]
    by_name = dict(zip(_PATTERNS, found, strict=True))
    addressed = by_name["to_assistant"] + by_name["drop_instructions"] + by_name["fake_turn"] + by_name["exfiltrate"]
    in_document = min(3, addressed) if by_name["document"] else 0
    both = min(by_name["persona"] + by_name["modes"], by_name["no_limits"] + by_name["drop_instructions"])
    length = min(3.0, float(np.log1p(len(normal) / 200)))
    return np.asarray([*found, in_document, min(3, both), length], dtype=np.float32)


def hidden_texts(original: str, normal: str) -> list[str]:
    """Texts that are hidden in a text: what its base64 parts say, and itself under rot13 where that gives an attack.

    Takes the text as it came (base64 depends on case) and as normalised. The first 16 parts count, each up to 4,000
    characters; a part that decodes to no readable text is left out.
    """
    found: list[str] = []
    for match in islice(_BASE64.finditer(original), _MOST_HIDDEN):
        part = match.group().rstrip("=")
        try:
            decoded = base64.b64decode(part + "=" * (-len(part) % 4), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            continue
        if sum(char.isalnum() or char.isspace() for char in decoded) > 0.8 * len(decoded):
            found.append(decoded)
    turned = codecs.encode(normal, "rot13")
    if any(one.search(turned) for patterns in _TELLING for one in patterns):
        found.append(turned)
    return found


__all__ = ["NAMES", "hidden_texts", "shapes"]
