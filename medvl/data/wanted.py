"""What is asked about ready pages: prompts with their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from medvl.data.facts import fields_of
from medvl.documents.tasks import EXTRACT, JSON, Asked, ask
from medvl.metrics.text import terms_in, values_in
from medvl.types import Document, Field, TaskSpec


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
        return _wanted(f"{head}.{number}/{task}", asked, text, self.terms)


def wanted_of(document: Document, asking: TaskSpec) -> list[Wanted]:
    """Return what is asked about all pages of a document: its questions, and its facts."""
    wanted = [_question(document, asking, at, *pair) for at, pair in enumerate(document.questions, 1)]
    if document.open:
        shown = [_after_schema(document, document.id)] if document.shape and "json" in asking.tasks else []
        return wanted + [Wanted(one.task, one.task, one.prompt, "") for one in shown]
    single = document.texts[0] if len(document.images) == 1 and document.texts else ""
    asked = [one for one in _asked(document, asking, single) if not _is_whole(one, single)]
    return wanted + [_wanted(one.task, one, document.text, document.terms) for one in asked]


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
    return [_wanted(f"{number + 1}/{one.task}", one, text, document.terms) for one in asked]


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


def _wanted(name: str, one: Asked, page_text: str, terms: list[str]) -> Wanted:
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
        [value for value in values_in(one.response) if value in flat] if scored else [],
    )


def _question(document: Document, asking: TaskSpec, number: int, question: str, answer: str) -> Wanted:
    """Return a question of the source; an answer in JSON is compared as JSON, fact by fact."""
    fields = _fields_in(answer)
    task = _task(document, asking, question, answer) if fields is None else "json"
    return Wanted(str(number), task, question, answer, document.text, fields or [])


def _fields_in(answer: str) -> list[Field] | None:
    """Return the facts that an answer states as a JSON object; None if it is not one and no more than one."""
    if not answer.lstrip().startswith("{"):
        return None
    try:
        said: Any = json.loads(answer, parse_float=str)
        return fields_of(said) if isinstance(said, dict) else None
    except (ValueError, RecursionError):  # LabelFault too
        return None


def _task(document: Document, asking: TaskSpec, question: str, answer: str) -> str:
    """Name the task of a question about an existing image; an image whose text is known counts as a page."""
    if not document.text:
        return "caption" if question == asking.prompt else "vqa"
    if answer != document.text:
        return "question"
    return "extract" if question in EXTRACT else "transcribe"
