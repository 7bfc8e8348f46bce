"""Bodies of `multipart/form-data`: fields and files by name, within bounds.

What the client calls its file is never kept, so it cannot become a path.
"""

from __future__ import annotations

from email.message import Message
from typing import Final

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.decoding import clip
from bedplate_gateway.dialects.limits import MAX_FORM_FIELD_BYTES, MAX_FORM_PARTS

MEDIA_TYPE: Final = "multipart/form-data"


class FormFile(msgspec.Struct, frozen=True):
    """A file's bytes, with the media type that the client gives it (lower case, without options), if any."""

    data: bytes
    media_type: str | None


class Form(msgspec.Struct, frozen=True):
    """A decoded form: texts in the order they came, by name; one file at most for each name."""

    fields: dict[str, list[str]]
    files: dict[str, FormFile]


def decode_form(body: bytes, content_type: str | None) -> Form:
    """Decode a whole body.

    Raises `InvalidRequest`, naming the part where there is one, for another content type, a broken or unfinished
    form, more than `MAX_FORM_PARTS` parts, a field over `MAX_FORM_FIELD_BYTES` or not UTF-8, and a file that comes
    twice.
    """
    head = Message()
    head["content-type"] = content_type or ""
    if head.get_content_type() != MEDIA_TYPE:
        raise InvalidRequest(f"The body must be {MEDIA_TYPE}")
    form = Form(fields={}, files={})
    segment: MultipartSegment | None = None
    pieces: list[bytes] = []
    try:
        with PushMultipartParser(head.get_boundary(""), max_segment_count=MAX_FORM_PARTS, strict=True) as parser:
            for event in parser.parse(body) if body else ():
                if isinstance(event, MultipartSegment):
                    segment, pieces = event, []
                elif event is not None:
                    pieces.append(bytes(event))
                elif segment is not None:
                    _add(form, segment, b"".join(pieces))
    except ParserLimitReached:
        raise InvalidRequest(
            f"The form has more than {MAX_FORM_PARTS} parts, or a part whose head is too long"
        ) from None
    except (MultipartError, UnicodeError):
        raise InvalidRequest("The body is not a valid form") from None
    return form


def _add(form: Form, segment: MultipartSegment, data: bytes) -> None:
    name = segment.name or ""
    shown = clip(name, 64)
    if segment.filename is not None:
        if name in form.files:
            raise InvalidRequest(f"{shown}: is sent twice", param=shown)
        form.files[name] = FormFile(data, segment.content_type)
        return
    if len(data) > MAX_FORM_FIELD_BYTES:
        raise InvalidRequest(f"{shown}: is larger than {MAX_FORM_FIELD_BYTES} bytes", param=shown)
    try:
        form.fields.setdefault(name, []).append(data.decode())
    except UnicodeDecodeError:
        raise InvalidRequest(f"{shown}: is not valid UTF-8", param=shown) from None


__all__ = ["MEDIA_TYPE", "Form", "FormFile", "decode_form"]
