"""Which vendor's body an InvokeModel call carries. The body decides, never the model's name.

Any model of the fleet can be called with any family, so `FAMILIES` looks at the top-level fields only. It is read from
the top; the first entry whose fields are there is the body's family.

    entry                        when the body has
    anthropic                    anthropic_version
    (refused) Amazon Nova        schemaVersion, or inferenceConfig
    openai                       messages
    titan-embedding              inputText
    (refused) Cohere rerank      query and documents
    cohere-embedding             input_type, or texts
    (refused) image generation   taskType, or text_prompts
    (refused) Anthropic text     max_tokens_to_sample
    llama                        prompt and max_gen_len
    mistral                      prompt and one of max_tokens, stop, top_k
    llama                        prompt, with neither's own fields

The last line is the only guess: `prompt`, `temperature` and `top_p` are in both bodies. Llama's answer counts
the tokens, so more of the answer is kept that way; who wants Mistral's answer sends `max_tokens`.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature


class Family(StrEnum):
    """The bodies that are served."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    LLAMA = "llama"
    MISTRAL = "mistral"
    TITAN_EMBEDDING = "titan-embedding"
    COHERE_EMBEDDING = "cohere-embedding"


class Refusal(msgspec.Struct, frozen=True):
    """A body that is known and not served: whose it is, and what to do instead."""

    body: str
    instead: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: what it leads to when all of `every` and, if any are listed, one of `some` are there."""

    leads_to: Family | Refusal
    every: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()

    def fits(self, names: Collection[str]) -> bool:
        """Whether a body with these top-level fields is the entry's."""
        return self.every.issubset(names) and (not self.some or not self.some.isdisjoint(names))


_PROMPT: Final = frozenset({"prompt"})

FAMILIES: Final = (
    Entry(leads_to=Family.ANTHROPIC, every=frozenset({"anthropic_version"})),
    Entry(
        leads_to=Refusal("Amazon Nova's", "Use Converse, which has the same content."),
        some=frozenset({"schemaVersion", "inferenceConfig"}),
    ),
    Entry(leads_to=Family.OPENAI, every=frozenset({"messages"})),
    Entry(leads_to=Family.TITAN_EMBEDDING, every=frozenset({"inputText"})),
    Entry(
        leads_to=Refusal("Cohere's rerank", "Reranking is not part of this operation here."),
        every=frozenset({"query", "documents"}),
    ),
    Entry(leads_to=Family.COHERE_EMBEDDING, some=frozenset({"input_type", "texts"})),
    Entry(
        leads_to=Refusal("an image generation", "Models answer in text or vectors here."),
        some=frozenset({"taskType", "text_prompts"}),
    ),
    Entry(
        leads_to=Refusal("Anthropic's text completion", "Send `messages` with `anthropic_version`."),
        every=frozenset({"max_tokens_to_sample"}),
    ),
    Entry(leads_to=Family.LLAMA, every=_PROMPT | {"max_gen_len"}),
    Entry(leads_to=Family.MISTRAL, every=_PROMPT, some=frozenset({"max_tokens", "stop", "top_k"})),
    Entry(leads_to=Family.LLAMA, every=_PROMPT),
)


def family_of(names: Collection[str]) -> Family:
    """The family of a body with these top-level fields.

    Raises `UnsupportedFeature` for a body that is known and not served, `InvalidRequest` for one that nobody has.
    """
    for entry in FAMILIES:
        if not entry.fits(names):
            continue
        if isinstance(entry.leads_to, Refusal):
            refusal = entry.leads_to
            raise UnsupportedFeature(f"body: {refusal.body} body is not supported. {refusal.instead}", param="body")
        return entry.leads_to
    raise InvalidRequest(
        "body: fits none of the supported bodies, which are: Anthropic messages (`anthropic_version`, `messages`), "
        "OpenAI chat (`messages`), Llama (`prompt`, `max_gen_len`), Mistral (`prompt`, `max_tokens`), "
        "Titan embeddings (`inputText`), Cohere embeddings (`texts`, `input_type`)",
        param="body",
    )


__all__ = ["FAMILIES", "Entry", "Family", "Refusal", "family_of"]
