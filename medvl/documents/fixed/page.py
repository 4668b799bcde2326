"""What the fixed pages share: how their facts are registered and how a page is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from medvl.documents.forms.form import Form, Style
from medvl.types import Document

Builder = Callable[[], Document]

# The type of a field by the last key of its path; what is not listed is a text, or a value where it has a figure.
_TYPES = {
    "name": "name", "attending": "name", "provider": "name", "prescriber": "name", "pharmacist": "name",
    "surgeon": "name", "assistant": "name", "nurse": "name", "test": "name", "drug": "drug", "dose": "dose",
    "rate": "dose", "pump_rate": "dose", "route": "route", "frequency": "frequency", "value": "value", "unit": "unit",
    "range": "range", "flag": "flag", "substance": "allergy", "age": "age", "sex": "sex", "date": "date", "dob": "date",
    "admitted": "date", "time": "time", "incision": "time", "closure": "time", "mrn": "id", "icd10": "id", "bed": "id",
    "accession": "id", "license": "id", "shift": "text", "location": "text", "note": "text", "instruction": "text",
    "concentration": "text", "preoperative_diagnosis": "text",
}  # fmt: skip
_HARMFUL = {"dose", "rate", "pump_rate", "substance", "reaction"}
CRITICAL_FLAG = "C"
MEDICATION = ("name", "dose", "route", "frequency")
RESULT = ("test", "value", "unit", "range", "flag")


def blank(kind: str, style: Style, title: str) -> Form:
    """Return a form that holds only its title."""
    form = Form(kind=kind, rng=Random(0), style=style)
    form.title(title)
    return form


def person(form: Form, name: str, dob: str, age: str, sex: str, mrn: str) -> list[tuple[str, str]]:
    """Register whom the page is about; return the labelled words."""
    return [
        ("Patient", form.field("patient.name", name, "name")),
        ("MRN", form.field("patient.mrn", mrn, "id")),
        ("DOB", form.field("patient.dob", dob, "date")),
        ("Age / Sex", f"{form.field('patient.age', age, 'age')} / {form.field('patient.sex', sex, 'sex')}"),
    ]


def fact(form: Form, path: str, value: str, *, critical: bool = False) -> str:
    """Register a fact that stands in a sentence; its type follows from the last key of its path."""
    return form.field(path, value, _type(path.rpartition(".")[2], value), critical=critical)


def labelled(
    form: Form, path: str, facts: Sequence[tuple[str, str, str]], *, critical: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Register the facts of one group; return the labelled words.

    Args:
        path: Of the group; empty: the document itself.
        facts: Label, key and value of each.
        critical: Keys of the facts where a mistake can harm.
    """
    return [
        (label, fact(form, f"{path}.{key}" if path else key, value, critical=key in critical))
        for label, key, value in facts
    ]


def entries(form: Form, path: str, keys: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Register the entries of a list, one a row; return the words, empty where a cell is.

    A dose, a rate or an allergy is critical, and so is the value that a row flags as critical.
    """
    first = sum(1 for known in form.fields if known.path.startswith(f"{path}.") and known.path.endswith(f".{keys[0]}"))
    written = []
    for number, row in enumerate(rows, first):
        alarming = "flag" in keys and CRITICAL_FLAG in row[list(keys).index("flag")]
        written.append([
            form.field(f"{path}.{number}.{key}", cell, _type(key, cell),
                       critical=key in _HARMFUL or (alarming and key in ("value", "flag")))
            if cell else ""
            for key, cell in zip(keys, row, strict=True)
        ])  # fmt: skip
    return written


def allergies(form: Form, rows: Sequence[tuple[str, str]]) -> str:
    """Register allergies with their reactions; return them in one line."""
    written = entries(form, "allergies", ("substance", "reaction"), rows)
    return "; ".join(f"{substance} ({reaction})" for substance, reaction in written)


def finished(form: Form, name: str, *, terms: str, values: str) -> Document:
    """Return the document of a form.

    Args:
        name: Its identity, which stays when its wording is mended.
        terms: What is expected of a reading: drugs, diagnoses, abbreviations; parted by semicolons.
        values: Doses, measurements and results as they stand on the page; parted by semicolons.
    """
    document = form.document()
    document.id, document.split = f"fixed-{name}", "test"
    document.terms, document.values = _listed(terms), _listed(values)
    return document


def _type(key: str, words: str) -> str:
    return _TYPES.get(key) or ("value" if any(letter.isdigit() for letter in words) else "text")


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(";")]
