# The part of google-re2 that Bedplate uses. google-re2 has no type information of its own.
class error(Exception): ...  # noqa: N801 - the name is google-re2's

class Options:
    longest_match: bool
    log_errors: bool
    never_capture: bool
    max_mem: int

class Match:
    def span(self) -> tuple[int, int]: ...

class Regexp:
    def search(self, text: str | bytes, pos: int | None = ...) -> Match | None: ...

def compile(pattern: str, options: Options | None = ...) -> Regexp: ...  # noqa: A001 - the name is google-re2's
