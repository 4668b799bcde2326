"""What is asked about ready pages: prompts with their answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from medvl.data.facts import fields_of
from medvl.data.json_text import json_in
from medvl.data.schema import LabelFault
from medvl.documents.tasks import EXTRACT, JSON, Asked, ask
from medvl.metrics.extraction import LISTED
from medvl.metrics.text import terms_in, values_in
from medvl.types import Document, Example, Field, TaskSpec, TokenCounts


@dataclass(slots=True)
class Wanted:
    """One prompt with its answer."""

    name: str
    """Ends the example's id."""
    task: str
    prompt: str
    response: str
    page_text: str = ""
    """All that stands on its images; empty if that is unknown."""
    fields: list[Field] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def piece(self, number: int, text: str) -> Wanted:
        """Return the same prompt about a part of the page."""
        asked = Asked(self.task, self.prompt, text)
        head, _, task = self.name.rpartition("/")
        return wanted(f"{head}.{number}/{task}", asked, text, self.terms)

    def example(
        self,
        document: Document,
        asking: TaskSpec,
        images: Sequence[str],
        counts: TokenCounts,
        x_height_px: float | None = None,
    ) -> Example:
        """Return the example about images that are stored."""
        return Example(
            id=f"{document.id}/{self.name}",
            document=document.id,
            split=str(document.split),
            images=list(images),
            prompt=self.prompt,
            response=self.response,
            source=document.source,
            kind=document.kind,
            layout=document.layout,
            task=self.task,
            page_text=self.page_text,
            fields=self.fields,
            schema=document.schema if self.task == "json" else None,
            dates=asking.dates,
            terms=self.terms,
            values=self.values,
            x_height_px=x_height_px,
            **counts,
        )


def wanted_of(document: Document, asking: TaskSpec) -> list[Wanted]:
    """Return what is asked about all pages of a document: its questions, and its facts."""
    found = [_question(document, asking, at, *pair) for at, pair in enumerate(document.questions, 1)]
    if document.open:
        shown = [_after_schema(document, document.id)] if document.shape and "json" in asking.tasks else []
        return found + [Wanted(one.task, one.task, one.prompt, "") for one in shown]
    single = document.texts[0] if len(document.images) == 1 and document.texts else ""
    asked = [one for one in _asked(document, asking, single) if not _is_whole(one, single)]
    return found + [wanted(one.task, one, document.text, document.terms) for one in asked]


def wanted_of_page(document: Document, asking: TaskSpec, number: int) -> list[Wanted]:
    """Return what is asked about one page alone: its transcription."""
    if "transcribe" not in asking.tasks:
        return []
    if document.open:
        return [Wanted(f"{number + 1}/transcribe", "transcribe", asking.prompt, "")]
    text = document.texts[number] if document.texts else ""
    if not text:
        return []
    if len(document.images) == 1:
        asked = [one for one in _asked(document, asking, text) if _is_whole(one, text)]
    else:
        asked = ask(replace(asking, tasks=("transcribe",)), text, [], f"{document.id}/{number + 1}")
    return [wanted(f"{number + 1}/{one.task}", one, text, document.terms) for one in asked]


def _asked(document: Document, asking: TaskSpec, text: str) -> list[Asked]:
    """Draw the tasks of a document from those that it supports."""
    tasks = tuple(task for task in asking.tasks if text or task != "transcribe")
    if not tasks or not (text or document.fields or document.shape):
        return []
    asked = ask(replace(asking, tasks=tasks), text, document.fields, document.id)
    if document.shape is None:
        return asked
    whole = _after_schema(document, document.id)
    if not document.fields and "json" in tasks:
        return [*asked, whole]
    return [whole if one.task == "json" else one for one in asked]


def _is_whole(one: Asked, text: str) -> bool:
    return bool(text) and one.response == text


def _after_schema(document: Document, key: str) -> Asked:
    """Ask for all keys of a schema of one's own; what a document does not have is null."""
    shown, answer = (json.dumps(one, ensure_ascii=False) for one in (document.shape, document.answer))
    return Asked("json", Random(f"{key}/json").choice(JSON).format(schema=shown), answer, list(document.fields))


def wanted(name: str, one: Asked, page_text: str, terms: list[str], values: list[str] | None = None) -> Wanted:
    """Return a prompt with its answer, and the terms and values by which the answer is scored.

    Args:
        name: Ends the example's id.
        terms: Those that its source lists; empty: the names among its facts.
        values: Those that its source lists; None: those in the answer.
    """
    flat = " ".join((page_text or one.response).split())
    scored = one.task in ("transcribe", "extract", "json")
    names = [entry.value for entry in one.fields if entry.type == "name"]
    return Wanted(
        name,
        one.task,
        one.prompt,
        one.response,
        page_text,
        one.fields,
        terms_in(flat, terms or list(dict.fromkeys(names))) if scored else [],
        [value for value in (values_in(one.response) if values is None else values) if value in flat] if scored else [],
    )


def _question(document: Document, asking: TaskSpec, number: int, question: str, answer: str) -> Wanted:
    """Return a question of the source; an answer in JSON is compared as JSON, fact by fact."""
    fields = _fields_in(answer)
    task = _task(document, asking, question, answer) if fields is None else "json"
    return Wanted(str(number), task, question, answer, document.text, fields or [])


def _fields_in(answer: str) -> list[Field] | None:
    """Return the facts of an answer that is a JSON object, or a list of objects or texts, and nothing more."""
    if not answer.lstrip().startswith(("{", "[")):
        return None
    said = json_in(answer)
    if isinstance(said, list) and said and all(isinstance(one, dict | str) for one in said):
        said = {LISTED: said}
    try:
        return fields_of(said) if isinstance(said, dict) else None
    except LabelFault:
        return None


def _task(document: Document, asking: TaskSpec, question: str, answer: str) -> str:
    """Name the task of a question about an existing image; an image whose text is known counts as a page."""
    if not document.text:
        return "caption" if question == asking.prompt else "vqa"
    if answer != document.text:
        return "question"
    return "extract" if question in EXTRACT else "transcribe"
