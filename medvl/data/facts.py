"""Labels of one's own become typed facts: what a JSON file, a row of a table or an annotated form says of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from medvl.data.entities import is_form, labels_of_form
from medvl.data.schema import DEEPEST, LabelFault, Part, Schema
from medvl.metrics.dates import iso_dates
from medvl.metrics.extraction import plain_key
from medvl.metrics.spelling import CURRENCIES, UNITS, spelled
from medvl.model.prompt import normalized
from medvl.types import DateOrder, Field

MOST = 5000  # facts of one document
_NUMBER = r"\d[\d.,]*"
_QUANTITY = re.compile(
    rf"(?:(?:{CURRENCIES}) ?|[$\u20ac\u00a3\u00a5\u20b9])?[<>]?=?[-+]?{_NUMBER}(?:[-/]{_NUMBER})?"
    rf"(?: ?(?:{UNITS})(?:/\S+)?)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]\.?m\.?)?", re.IGNORECASE)
_CODE = re.compile(r"(?=\S*\d)(?:[A-Za-z0-9]+[-/.#])*[A-Za-z0-9]+")
_NAME = re.compile(r"(?:.*_)?(?:name|drug|medication|medicine|diagnosis|allergen|substance|test|analyte)")
_CRITICAL = re.compile(r"(?:.*_)?(?:dose|dosage|strength|allerg(?:y|ies|en|ens)|infusion_rate)")


def fields_of(labels: dict[str, Any], schema: Schema | None = None) -> list[Field]:
    """Return the facts that labels state, typed by their schema, or else by their names and values.

    Nulls and empty texts are no facts. FUNSD's entities become `label: value`. The dots of a key, and keys that are
    numbers, are written so that `medvl.metrics.extraction.plain_key` takes both spellings for the same.

    Args:
        labels: Objects, lists and values, at any depth.
        schema: Gives order and types; labels that it does not name are left out, see `unnamed`.

    Raises:
        LabelFault: They are nested too deeply, are too many, or do not follow the schema.

    >>> found = fields_of({"total": "9.00", "drugs": [{"name": "Aspirin", "dose": "81 mg"}], "note": None})
    >>> [(fact.path, fact.value, fact.type, fact.critical) for fact in found][1:]
    [('drugs.0.name', 'Aspirin', 'name', False), ('drugs.0.dose', '81 mg', 'quantity', True)]
    """
    labels = labels_of_form(labels) if is_form(labels) else labels
    found = list(_guessed(labels, ()) if schema is None else _described(labels, schema.root, ()))
    if len(found) > MOST:
        raise LabelFault(f"more than {MOST:,} labels")
    return found


def unnamed(labels: dict[str, Any], schema: Schema) -> list[str]:
    """Return the places of the labels that a schema does not name: `drugs.0.dose`."""
    labels = labels_of_form(labels) if is_form(labels) else labels
    known = {plain_key(fact.path) for fact in fields_of(labels, schema)}
    return [fact.path for fact in fields_of(labels) if plain_key(fact.path) not in known]


def path_key(key: object) -> str:
    """Return a key as a path holds it: without dots, and not as a number, which would be a position.

    >>> path_key("No. of pages:"), path_key(" 1 "), path_key("")
    ('No of pages', '_1', '_')
    """
    written = " ".join(normalized(str(key)).replace(".", " ").split()).rstrip(" :")
    return f"_{written}" if written.isdigit() or not written else written


def _guessed(node: Any, path: tuple[str, ...]) -> Iterator[Field]:
    if len(path) > DEEPEST:
        raise LabelFault(f"labels of more than {DEEPEST} levels")
    if isinstance(node, dict):
        keys: dict[str, int] = {}
        for key, child in node.items():
            key = path_key(key)
            again = keys[key] = keys.get(key, 0) + 1
            yield from _guessed(child, (*path, key if again == 1 else f"{key} {again}"))
    elif isinstance(node, list):
        for at, child in enumerate(node):
            yield from _guessed(child, (*path, str(at)))
    elif value := _written(node):
        keys_ = [plain_key(key) for key in path if not key.isdigit()]
        critical = any(_CRITICAL.fullmatch(key) for key in keys_)
        yield Field(
            path=".".join(path), value=value, type=type_of(keys_[-1] if keys_ else "", value), critical=critical
        )


def _described(node: Any, part: Part, path: tuple[str, ...]) -> Iterator[Field]:
    """Yield the labels at one place of a schema."""
    place = ".".join(key for key in path if not key.isdigit())
    if node is None or node in ("", [], {}):
        return
    if part.type == "object":
        if not isinstance(node, dict):
            raise LabelFault(f"a label that does not follow data.schema: {place or 'no object'}")
        known = {plain_key(str(key)): child for key, child in node.items()}
        for key, child in part.parts.items():
            yield from _described(known.get(plain_key(key)), child, (*path, path_key(key)))
    elif part.entry is not None:
        for at, child in enumerate(node if isinstance(node, list) else [node]):
            yield from _described(child, part.entry, (*path, str(at)))
    elif isinstance(node, dict | list):
        raise LabelFault(f"a label that does not follow data.schema: {place}")
    elif value := _written(node):
        part.check(value, place)
        value = f"{value} {part.unit}" if part.unit and re.fullmatch(r"[<>]?=?[-+]?[\d.,]+", value) else value
        yield Field(path=".".join(path), value=value, type=part.type, critical=part.critical)


def _written(value: Any) -> str:
    """Return a label as text, without blanks around it; empty if there is none."""
    if value is None or value != value:  # NaN: a number that is missing
        return ""
    return normalized(str(value).lower() if isinstance(value, bool) else str(value)).strip()


def type_of(key: str, value: str) -> str:
    """Return the type of a fact by its value, or else by its key in the spelling of `plain_key`.

    >>> [type_of("", value) for value in ("14-Mar-24", "31/12/2024", "8:05 PM", "RM 9.00", "81 mg", "INV-0042", "Ada")]
    ['date', 'date', 'time', 'quantity', 'quantity', 'code', 'text']
    """
    said = spelled(value)
    for order in (DateOrder.mdy, DateOrder.dmy):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", iso_dates(said, order)):
            return "date"
    if _TIME.fullmatch(said):
        return "time"
    if _QUANTITY.fullmatch(said):
        return "quantity"
    if _CODE.fullmatch(said):
        return "code"
    return "name" if _NAME.fullmatch(key) else "text"
