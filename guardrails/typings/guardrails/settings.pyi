from guardrails.classes.rc import RC

class Settings:
    rc: RC
    disable_tracing: bool | None

settings: Settings
