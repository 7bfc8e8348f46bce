"""The detectors as guardrails-ai validators, for use in anyone's `Guard`.

Only the modules in here import guardrails-ai, which is an optional dependency, slow to import and large in memory.
Nothing of the gateway imports them: its scanner calls the detectors (`bedplate_guardrails.detectors`) themselves, since
guardrails-ai's own streaming releases text before it is checked, and its history keeps what it saw.
"""
