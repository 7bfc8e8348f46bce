"""The vocabulary of Bedplate: messages, events, errors, usage, ids. Values only; nothing here does I/O."""
