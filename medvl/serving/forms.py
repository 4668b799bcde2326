"""Multipart bodies, kept in memory: Starlette's own reading would write large files to a disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from medvl.serving.refusals import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

FILES = ("files", "file")
TEXT = 262_144  # most bytes of a field
PARTS = 1000  # files at which reading ends; serve.pages counts them before


@dataclass(slots=True)
class Form:
    """What a form holds."""

    files: list[bytes] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int | None:
        """Return a field that is a whole number.

        Raises:
            Refused: It is something else.
        """
        text = self.texts.get(name)
        if text is None or not text.strip():
            return None
        if not (text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) < 10):
            raise Refused(422, f"{name} is not a whole number.", "bad_field", param=name)
        return int(text)


class _InMemory(MultiPartParser):
    spool_max_size = 2**62


async def read_form(request: Request, known: tuple[str, ...], most_files: int) -> Form:
    """Return a request's files and those of its fields that are known.

    Args:
        known: Fields, which may be sent as files too.

    Raises:
        Refused: 422, by the field that is wrong; 413 for too many files.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refused(415, "The body must be multipart/form-data, with one or more files.", "unsupported_body")
    parser = _InMemory(
        request.headers, request.stream(), max_files=PARTS, max_fields=2 * len(known) + 2, max_part_size=TEXT
    )
    try:
        sent = await parser.parse()
    except MultiPartException:
        raise Refused(422, "The multipart body is damaged, or has too many or too large fields.", "bad_form") from None
    except (UnicodeError, ValueError, KeyError):
        raise Refused(422, "The multipart body is damaged.", "bad_form") from None
    try:
        return await _sorted(sent.multi_items(), known, most_files)
    finally:
        await sent.close()


async def _sorted(parts: list[tuple[str, UploadFile | str]], known: tuple[str, ...], most_files: int) -> Form:
    form = Form()
    for name, value in parts:
        if name in FILES and isinstance(value, UploadFile):
            form.files.append(await value.read())
        elif name in known and name not in form.texts:
            form.texts[name] = await _text(value, name)
        else:
            what = "stands twice" if name in known else "is unknown" if name not in FILES else "must be a file"
            fields = ", ".join(("files", *known))
            raise Refused(422, f"A field of the form {what}; there are {fields}.", "bad_field")
    if not form.files:
        raise Refused(422, "No file was sent: the field is called files.", "no_file", param="files")
    if len(form.files) > most_files:
        raise Refused(413, f"The request has more than {most_files} files.", "too_many_pages", param="files")
    return form


async def _text(value: UploadFile | str, name: str) -> str:
    if isinstance(value, str):
        return value
    content = await value.read()
    if len(content) > TEXT:
        raise Refused(413, f"{name} has more than {TEXT} bytes.", "too_many_bytes", param=name)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(422, f"{name} is not UTF-8.", "bad_field", param=name) from None


def described(known: dict[str, dict[str, Any]], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the OpenAPI of such a body."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    files["description"] = "PNG, JPEG, TIFF, WebP or PDF"
    parts = {"type": "object", "properties": {"files": files, **known}, "required": ["files", *required]}
    schema: dict[str, Any] = {**parts, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
