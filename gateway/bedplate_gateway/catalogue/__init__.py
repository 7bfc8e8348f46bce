"""What there is: providers, models, guardrails and projects, and the snapshot that every call reads."""
