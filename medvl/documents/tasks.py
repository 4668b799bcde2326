"""What can be asked about a page whose facts are known: prompts with their responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from medvl.measures.extraction import nested
from medvl.types import Asking, Field


class Task(Enum):
    """Kinds of prompt."""

    transcribe = "transcribe"  # the page as it is
    extract = "extract"  # all its facts, as text
    json = "json"  # all its facts, after a schema
    question = "question"  # one fact
    list = "list"  # the entries of one list


EXTRACT = (
    "Extract all medical information from this clinical document.",
    "List every fact that this page states, with its value.",
    "What does this form record? Give each entry with its values.",
)
JSON = (
    "Return the facts of this page as JSON after this schema: {schema}",
    "Fill in this JSON from the page, and answer with the JSON only: {schema}",
)
QUESTION = ("What is the {what}?", "Give the {what}.", "According to this page, what is the {what}?")
LIST = ("List all {what} on this page, one a line.", "Which {what} does this page name? One a line.")
# Keys whose words are not what one would ask by.
WORDS = {"dob": "date of birth", "mrn": "medical record number", "hr": "heart rate", "rr": "respiratory rate",
         "bp": "blood pressure", "temp": "temperature", "spo2": "oxygen saturation", "ebl": "estimated blood loss",
         "lvef": "ejection fraction", "los": "length of stay", "icd10": "ICD-10 code"}  # fmt: skip


@dataclass(slots=True)
class Asked:
    """One prompt with the response expected, and the facts that the response states."""

    task: str
    prompt: str
    response: str
    fields: list[Field] = field(default_factory=list)


def ask(asking: Asking, text: str, fields: Sequence[Field], key: str) -> list[Asked]:
    """Return what is asked about one page.

    Args:
        text: All that stands on the page.
        fields: Its facts, in reading order.
        key: What the choices are drawn from: the same key, the same prompts.
    """
    rng = Random(key)
    makers = {
        "transcribe": lambda: _whole(asking.prompt, text, fields),
        "extract": lambda: Asked("extract", rng.choice(EXTRACT), as_text(fields), list(fields)) if fields else None,
        "json": lambda: _as_json(fields, rng) if fields else None,
        "question": lambda: _question(fields, rng),
        "list": lambda: _list(fields, rng),
    }
    asked = {task: makers[task]() for task in rng.sample(asking.tasks, len(asking.tasks))}
    chosen = [task for task, one in asked.items() if one is not None][: asking.per_page]
    return [asked[task] for task in asking.tasks if task in chosen]  # type: ignore[misc]


def _whole(prompt: str, text: str, fields: Sequence[Field]) -> Asked:
    """Ask for all that stands on the page; where the prompt asks for its information, the facts are scored too."""
    if prompt in EXTRACT:
        return Asked("extract", prompt, text, list(fields))
    return Asked("transcribe", prompt, text)


def as_text(fields: Sequence[Field]) -> str:
    """Return facts as text: a line for each group of them, a line for each entry of a list.

    >>> as_text([Field(path="patient.name", value="Ada", type="name"), Field(path="patient.sex", value="F", type="sex"),
    ...          Field(path="drugs.0.name", value="Aspirin", type="name"),
    ...          Field(path="drugs.0.dose", value="81 mg", type="dose")])
    'Patient: name Ada; sex F\\nDrugs:\\n- Aspirin; dose 81 mg'
    """
    lines: list[str] = []
    for name, content in nested(fields).items():
        head = _words(name).capitalize()
        if isinstance(content, list):
            lines += [f"{head}:", *(f"- {_entry(item, named=True)}" for item in content)]
        elif isinstance(content, dict):
            lines.append(f"{head}: {_entry(content)}")
        else:
            lines.append(f"{head}: {content}")
    return "\n".join(lines)


def _entry(content: Any, named: bool = False) -> str:
    """Return one group of facts on one line; the first fact of a list's entry names it and needs no label."""
    if isinstance(content, list):
        return ", ".join(_entry(item, named=True) for item in content)
    if not isinstance(content, dict):
        return str(content)
    parts = []
    for number, (key, value) in enumerate(content.items()):
        text = _entry(value) if isinstance(value, (dict, list)) else str(value)
        parts.append(text if named and number == 0 else f"{_words(key)} {text}")
    return "; ".join(parts)


def _as_json(fields: Sequence[Field], rng: Random) -> Asked:
    content = nested(fields)
    schema = json.dumps(_schema(content), ensure_ascii=False)
    response = json.dumps(content, ensure_ascii=False)
    return Asked("json", rng.choice(JSON).format(schema=schema), response, list(fields))


def _schema(content: Any) -> Any:
    """Return the shape of a structure: its keys with empty values, a list by one entry with all keys of its entries."""
    if isinstance(content, dict):
        return {key: _schema(value) for key, value in content.items()}
    if isinstance(content, list):
        if all(isinstance(item, dict) for item in content):
            return [_schema({key: value for item in content for key, value in item.items()})]
        return [""]
    return ""


def _question(fields: Sequence[Field], rng: Random) -> Asked | None:
    """Ask for one fact whose name is the only one of its kind on the page."""
    named = _entry_names(fields)
    asked: list[tuple[str, Field]] = []
    for entry in fields:
        group, _, key = entry.path.rpartition(".")
        _owner, _, position = group.rpartition(".")
        if position.isdigit():
            name = named[group]
            if name is not entry:
                asked.append((f"{_words(key)} of {name.value}", entry))
        else:
            asked.append((f"{_words(group)} {_words(key)}".strip(), entry))
    counts = Counter(what.lower() for what, _ in asked)
    asked = [(what, entry) for what, entry in asked if counts[what.lower()] == 1]
    if not asked:
        return None
    what, entry = rng.choice(asked)
    return Asked("question", rng.choice(QUESTION).format(what=what), entry.value, [entry])


def _list(fields: Sequence[Field], rng: Random) -> Asked | None:
    """Ask for the entries of one list, by their names."""
    lists: dict[str, list[Field]] = {}
    for group, name in _entry_names(fields).items():
        lists.setdefault(group.rpartition(".")[0], []).append(name)
    long = {owner: names for owner, names in lists.items() if len(names) > 1}
    if not long:
        return None
    owner = rng.choice(list(long))
    response = "\n".join(name.value for name in long[owner])
    return Asked("list", rng.choice(LIST).format(what=_words(owner)), response, long[owner])


def _entry_names(fields: Sequence[Field]) -> dict[str, Field]:
    """Return for every entry of a list (`drugs.0`) the fact that names it: its first."""
    named: dict[str, Field] = {}
    for entry in fields:
        group, _, key = entry.path.rpartition(".")
        if key.isdigit():  # a list of plain facts: each is its own name
            named.setdefault(entry.path, entry)
        elif group.rpartition(".")[2].isdigit():
            named.setdefault(group, entry)
    return named


def _words(path: str) -> str:
    """Return a key, or the keys of a path but for positions, as words."""
    keys = [key for key in path.split(".") if key and not key.isdigit()]
    return " ".join(WORDS.get(key, key.replace("_", " ")) for key in keys)
