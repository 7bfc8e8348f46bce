"""The categories of safety models, and which of Bedrock's content filters each belongs to.

Llama Guard 3 and 4: `unsafe` and a line of codes (model cards, https://github.com/meta-llama/PurpleLlama, read November
2026). Qwen3Guard-Gen: `Safety: Unsafe|Controversial|Safe` and `Categories: ...` (arXiv 2510.14276). Categories that no
filter asks for (privacy, copyright, elections, specialised advice, politics) are not listed and count for nothing.
"""

from __future__ import annotations

from typing import Final

LLAMA_GUARD: Final = {
    "s1": frozenset({"VIOLENCE", "MISCONDUCT"}),
    "s2": frozenset({"MISCONDUCT"}),
    "s3": frozenset({"SEXUAL", "MISCONDUCT"}),
    "s4": frozenset({"SEXUAL", "MISCONDUCT"}),
    "s5": frozenset({"INSULTS"}),
    "s9": frozenset({"VIOLENCE", "MISCONDUCT"}),
    "s10": frozenset({"HATE"}),
    "s11": frozenset({"MISCONDUCT"}),
    "s12": frozenset({"SEXUAL"}),
    "s14": frozenset({"MISCONDUCT", "PROMPT_ATTACK"}),
}

QWEN_GUARD: Final = {
    "violent": frozenset({"VIOLENCE"}),
    "non-violent illegal acts": frozenset({"MISCONDUCT"}),
    "sexual content or sexual acts": frozenset({"SEXUAL"}),
    "suicide & self-harm": frozenset({"MISCONDUCT"}),
    "unethical acts": frozenset({"HATE", "INSULTS", "MISCONDUCT"}),
    "jailbreak": frozenset({"PROMPT_ATTACK"}),
}

__all__ = ["LLAMA_GUARD", "QWEN_GUARD"]
