"""What of a long conversation a model is told: sizes, truncation, and a rolling summary. Nothing here does I/O."""
