"""Forms of Synthea's invented patients (Apache-2.0), or of any FHIR R4 resources.

Errors in the records are kept: Synthea writes Simvistatin, and total protein of 70 g/dL. Without a path, the source
reads the excerpt that ships with the package (medvl/data/embedded).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from medvl.data.sources import fhir
from medvl.data.sources.clinical_values import clean, usable
from medvl.data.sources.entries import DELETED, TABLES, Entry, entries, identifier
from medvl.data.sources.fhir_checks import day_of, lack, unfit
from medvl.data.sources.fhir_records import DRAWN, Reader, Record
from medvl.data.sources.fhir_store import Store
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.synthea_forms import medications, panel
from medvl.documents.tasks import Task
from medvl.types import Document

EMBEDDED = [resources.files("medvl.data") / "embedded" / f"synthea_{name}" for name in TABLES]
_UNUSED = {"Patient": "a patient of no document", "Medication": "a medication of no prescription"}


@dataclass(slots=True)
class _Chart:
    """All that is known of one patient."""

    patient: dict[str, Any] = field(default_factory=dict)
    reports: list[Record] = field(default_factory=list)
    requests: list[Record] = field(default_factory=list)


@dataclass(kw_only=True)
class Synthea(Source):
    """Forms of each patient: reports, charts of observations, the prescriptions of each day, the active medications.

    `path` is a folder with the tables lab_reports.jsonl and medication_requests.jsonl, plain or as .xz, or a file or
    folder of FHIR resources, see `medvl.data.sources.entries`. All documents of a patient stay in one split.

    A record is a row of a table, or a FHIR resource, and is counted with the first document that shows it.
    """

    tasks: list[Task] = field(default_factory=lambda: list(Task))
    per_page: int | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(
            "hub", because="tables and bundles are read from files", instead="data.path=<the folder of downloaded ones>"
        )

    def documents(self) -> Iterator[Document | Dropped]:
        return islice(self._all(), self.records)

    def content(self) -> str:
        """Return the hash of the tables that ship with the package, if those are read."""
        if self.path is not None:
            return ""
        return hashlib.sha256(b"".join(file.read_bytes() for file in EMBEDDED)).hexdigest()

    def _all(self) -> Iterator[Document | Dropped]:
        everything, store, rows = list[Entry](), Store(), list[Record]()
        for entry in self._entries():
            everything.append(entry)
            if entry.type in DRAWN and entry.reason in ("", DELETED):
                store.add(entry)
            elif not entry.reason and "resourceType" in entry.content:
                entry.reason, entry.content = _not_drawn(entry.type), {}
            elif not entry.reason:
                rows.append(_row(entry))
        charts: dict[str, _Chart] = {}
        records = [*rows, *Reader(store).records()]
        for record in records:
            _file(record, charts)
        for identity, chart in charts.items():
            yield from _documents(identity, chart)
        for record in records:
            yield from (Dropped(record.name, reason, records=0) for reason in record.lost)
        for entry in everything:
            if not entry.drawn:
                yield Dropped(entry.name, entry.reason or _UNUSED.get(entry.type, "not drawn"))

    def _entries(self) -> Iterator[Entry]:
        if self.path is not None:
            yield from entries(Path(self.path))
            return
        with ExitStack() as stack:
            for file in EMBEDDED:
                yield from entries(stack.enter_context(resources.as_file(file)))


def _not_drawn(kind: str) -> str:
    if not re.fullmatch("[A-Z][A-Za-z]{2,40}", kind):
        return "no FHIR resource"
    return f"{'an' if kind[0] in 'AEIO' else 'a'} {kind} is not drawn"


def _row(entry: Entry) -> Record:
    """Return a row of a table as a record, without the observations that cannot be used."""
    content = entry.content
    record = Record(entry.name, content, [entry])
    if not _identity(content):
        record.reason = "no patient"
        return record
    record.reason = unfit(content) or ""
    if not record.reason and "observations" in content:
        observations = fhir.items(content, "observations")
        faults = [fhir.fault(one) for one in observations]
        record.lost = [fault for fault in faults if fault]
        kept = [one for one, fault in zip(observations, faults, strict=True) if not fault]
        record.content = {**content, "observations": kept}
    record.reason = record.reason or lack(record.content) or ""
    if not record.reason and "observations" in content:
        count = len(content["observations"]) - len(record.lost) - sum(map(bool, map(usable, kept)))
        record.lost += ["an observation without a name or a value"] * count
    return record


def _identity(content: dict[str, Any]) -> str:
    return clean(content.get("patient_id") or fhir.part(content, "patient").get("id"))


def _file(record: Record, charts: dict[str, _Chart]) -> None:
    """Add a record to its patient's chart, or give its reason to what it was made from."""
    content = record.content
    if record.reason:
        record.entries[0].reason = record.reason
        return
    chart = charts.setdefault(_identity(content), _Chart())
    (chart.reports if "observations" in content else chart.requests).append(record)
    patient = content.get("patient")
    # The table of requests has only the patient's name; the patient's reports have the rest.
    known = fhir.part(content, "patient")
    chart.patient = {key: value for key, value in known.items() if value} | chart.patient
    if isinstance(patient, str) and patient.strip():
        chart.patient.setdefault("name", patient)


def _documents(identity: str, chart: _Chart) -> Iterator[Document]:
    for number, record in enumerate(chart.reports):
        report = record.content
        name = identifier({"id": report.get("report_id")}) or f"{identity}, report {number}"
        yield _counted(panel(name, identity, chart.patient, report, record.kind, record.conclusion), [record])
    requests = sorted(chart.requests, key=lambda record: record.content["authoredOn"])
    for day, group in groupby(requests, key=lambda record: record.content["authoredOn"][:10]):
        latest = _latest(list(group))
        form = _medications("prescription", f"{identity}, {day}", identity, chart, latest, day)
        yield _counted(form, latest)
    active = [record for record in requests if record.content.get("status") == "active"]
    if len({record.content["medication"] for record in active}) > 1:
        form = _medications("medication list", f"{identity}, active", identity, chart, active, None)
        yield _counted(form, active)


def _medications(
    kind: str, name: str, identity: str, chart: _Chart, records: list[Record], day: str | None
) -> Document:
    requests = [record.content for record in records]
    return medications(kind, name, identity, chart.patient, requests, day_of(day))


def _latest(requests: list[Record]) -> list[Record]:
    """Return the last request of each product; the others are not drawn."""
    latest = {clean(record.content["medication"]): record for record in requests}
    for record in requests:
        if record is not latest[clean(record.content["medication"])]:
            record.entries[0].reason = "a later request of the day is for the same product"
    return list(latest.values())


def _counted(document: Document, records: list[Record]) -> Document:
    """Note in a document how many records of the input it is the first to show."""
    shown = {id(entry): entry for record in records for entry in record.entries if not entry.drawn}
    for entry in shown.values():
        entry.drawn = True
    document.records = len(shown)
    return document
