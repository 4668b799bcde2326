"""Clinical forms with ground truth, written by this project: medvl/documents/forms."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from random import Random

from medvl.data.source import Dropped, Source
from medvl.documents import forms
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.kinds import KINDS
from medvl.documents.forms.patient import Patient, visit_date
from medvl.documents.tasks import Task
from medvl.types import Document


@dataclass(kw_only=True)
class ClinicalForms(Source):
    """A generator: the same numbers give the same documents on every machine."""

    count: int = 120
    """Documents to write, the kinds in turn."""
    kinds: list[str] = field(default_factory=list)
    """Out of medvl/documents/forms/kinds.py; empty: all of them."""
    first: int = 0
    """Number of the first document: other ranges give other documents."""
    tasks: list[Task] = field(default_factory=lambda: list(Task))
    per_page: int | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse("path", "hub", because="clinical forms are written here, not read", instead="data=synthea")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"there are no clinical forms of kind {unknown}. data.kinds are out of {list(KINDS)}.")
        if self.count < 1 or self.first < 0:
            raise ValueError(
                f"data.count must be positive and data.first not negative, got {self.count}, {self.first}."
            )

    def documents(self) -> Iterator[Document | Dropped]:
        kinds = self.kinds or list(KINDS)
        for number in itertools.islice(range(self.first, self.first + self.count), self.records):
            yield written(kinds[number % len(kinds)], number)

    def content(self) -> str:
        """Return the hash of the code that writes the forms: its tables of doses and ranges are content."""
        modules = {file.name: file for file in resources.files(forms).iterdir() if file.name.endswith(".py")}
        content = "\n".join(f"{name}\n{modules[name].read_text(encoding='utf-8')}" for name in sorted(modules))
        return hashlib.sha256(content.encode()).hexdigest()


def written(kind: str, number: int) -> Document:
    """Write one form; kind and number decide on all of it."""
    rng = Random(f"{kind}/{number}")
    form = Form(kind=kind, rng=rng, style=rng.choice(list(Style)))
    patient = Patient.drawn(rng)
    KINDS[kind](form, patient, visit_date(rng, patient))
    return form.document()
