class ValidationOutcome:
    validation_passed: bool | None
    validated_output: str | None
