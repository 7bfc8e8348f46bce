"""The detectors, as guardrails-ai validators.

Only the modules in here import guardrails-ai, which is an optional dependency and slow to import; nothing imports
this package before a policy is compiled. Each detector works in anyone's `Guard`, and by itself for the scanner, which
calls it directly: guardrails-ai's own streaming releases text before it is checked, and its history keeps what it
saw.
"""
