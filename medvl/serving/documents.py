"""POST /extract and /analyze: files in, text or fields out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvl.serving.forms import Form
from medvl.serving.refusals import Refused
from medvl.serving.schemas import fields_of, parsed, prompt_after
from medvl.serving.service import limit, new_id, seconds_left, total

if TYPE_CHECKING:
    from starlette.requests import Request

    from medvl.generation.engine import Answer
    from medvl.serving.service import Service

LONGEST_PROMPT = 20_000  # characters


async def extracted(service: Service, request: Request, form: Form) -> dict[str, Any]:
    """Return the text of every page; with a schema, its fields instead, from all pages together."""
    tokens = limit(form.number("max_tokens"), service.options, "max_tokens")
    schema = parsed(form.texts["schema"], "schema") if form.texts.get("schema", "").strip() else None
    prompt = service.prompt if schema is None else prompt_after(schema, "schema")
    uploads = await service.unpack(form.files)
    form.files.clear()
    asked = [(prompt, [upload]) for upload in uploads] if schema is None else [(prompt, uploads)]
    with service.asking(asked, tokens, seconds_left(request, service.options)) as streams:
        answers = await service.answers(streams)
    pages: list[dict[str, Any]] = [{"file": upload.file, "page": upload.number} for upload in uploads]
    if schema is None:
        for page, answer in zip(pages, answers, strict=True):
            page |= {"text": answer.text, "finish_reason": answer.finish_reason}
    return {
        "id": new_id("extract"),
        "model": service.options.name,
        "pages": pages,
        "fields": None if schema is None else fields_of(answers[0].text),
        "finish_reason": _first_fault(answers),
        "usage": total(streams, answers),
    }


async def analyzed(service: Service, request: Request, form: Form) -> dict[str, Any]:
    """Return the answer to a prompt of the client's own about all pages together."""
    tokens = limit(form.number("max_tokens"), service.options, "max_tokens")
    prompt = form.texts.get("prompt", "").strip()
    if not 0 < len(prompt) <= LONGEST_PROMPT:
        message = f"prompt is missing, or longer than {LONGEST_PROMPT:,} characters."
        raise Refused(422, message, "bad_field", param="prompt")
    uploads = await service.unpack(form.files)
    form.files.clear()
    with service.asking([(prompt, uploads)], tokens, seconds_left(request, service.options)) as streams:
        answers = await service.answers(streams)
    return {
        "id": new_id("analyze"),
        "model": service.options.name,
        "pages": len(uploads),
        "text": answers[0].text,
        "finish_reason": answers[0].finish_reason,
        "usage": total(streams, answers),
    }


def _first_fault(answers: list[Answer]) -> str:
    return next((answer.finish_reason for answer in answers if answer.finish_reason != "stop"), "stop")
