"""Bounds on what one OpenAI-shaped request may ask for.

They protect the engines: an unbounded `n` or a deep schema in one request can stop a replica for everyone.
The body's size is bounded at the gateway's edge, not here.
"""

from __future__ import annotations

from typing import Final

MAX_CHOICES: Final = 16
"""Answers to one prompt. OpenAI allows 128; vLLM batches them all at once."""

MAX_PROMPTS: Final = 128
MAX_COMPLETION_CHOICES: Final = 256
"""Prompts times answers in one raw completion request."""

MAX_STOP_TEXTS: Final = 4
MAX_TOP_LOGPROBS: Final = 20
MAX_LOGIT_BIASES: Final = 1024
MAX_TOOLS: Final = 128
MAX_INPUTS: Final = 2048
"""Texts in one embeddings request."""

MAX_RANKED_TEXTS: Final = 1024
"""Documents in one reranking, or texts on either side of one scoring."""

MAX_TOKEN_IDS: Final = 1 << 20
"""Token ids in one detokenization: more than any model's context."""

MAX_FORM_PARTS: Final = 64
MAX_FORM_FIELD_BYTES: Final = 64 * 1024
"""One field of a form that is not a file; a file is bounded by the body."""

MAX_SCHEMA_BYTES: Final = 64 * 1024
"""A JSON schema, or one extension field, encoded as JSON."""

MAX_JSON_DEPTH: Final = 32
MAX_URL_CHARS: Final = 8192

MIN_SEED: Final = -(2**63)
MAX_SEED: Final = 2**63 - 1
MAX_TOKENS: Final = 2**31 - 1
"""Of `max_tokens`; a route's own limit is far lower."""

MAX_MESSAGE_CHARS: Final = 400
"""Of an error message that quotes the client."""

MAX_NAME_CHARS: Final = 64
"""Of a field that the dialect does not know."""
