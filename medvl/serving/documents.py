"""POST /extract and /analyze: files in, text or fields out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvl.serving.forms import Form
from medvl.serving.refusals import Refused
from medvl.serving.schemas import PARAM, Fields
from medvl.serving.service import limit, new_id, total
from medvl.serving.waiting import seconds_left

if TYPE_CHECKING:
    from starlette.requests import Request

    from medvl.generation.answer import Answer
    from medvl.serving.service import Service

LONGEST_PROMPT = 20_000  # characters


async def extracted(service: Service, request: Request, form: Form) -> dict[str, Any]:
    """Return the text of every page; with a schema, its fields instead, from all pages together."""
    tokens = limit(form.number("max_tokens"), service.options, 422)
    wanted = Fields.read(form.texts[PARAM]) if form.texts.get(PARAM, "").strip() else None
    if wanted is not None:
        await service.compile(wanted.schema, PARAM)
    uploads = await service.unpack(form.files)
    form.files.clear()
    reads = wanted is None or service.transcribes
    texts = [(service.prompt, [upload]) for upload in uploads] if reads else []
    fields, schema = ([], None) if wanted is None else ([(wanted.prompt, uploads)], wanted.schema)
    left_s = seconds_left(request, service.options)
    with (
        service.asking(fields, tokens, left_s, schema) as stating,
        service.asking(texts, tokens, left_s) as reading,
    ):
        streams = [*stating, *reading]
        answers = await service.answers(streams)
    read = answers[len(stating) :]
    pages: list[dict[str, Any]] = [upload.place for upload in uploads]
    for page, answer in zip(pages, read, strict=False):  # there are none, or one of each page
        page |= {"text": answer.text, "finish_reason": answer.finish_reason}
    found: dict[str, Any] = {}
    if wanted is not None:
        transcript = "\n".join(answer.text for answer in read) if read else None
        found = wanted.of(
            answers[0],
            service.spelling,
            uploads,
            service.calibration,
            service.evidence,
            service.options.error,
            transcript,
        )
    return {
        "id": new_id("extract"),
        "model": service.options.name,
        "pages": pages,
        **found,
        "finish_reason": _first_fault(read if wanted is None else answers[:1]),
        "usage": total(streams, answers),
    }


async def analyzed(service: Service, request: Request, form: Form) -> dict[str, Any]:
    """Return the answer to a prompt of the client's own about all pages together."""
    tokens = limit(form.number("max_tokens"), service.options, 422)
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
