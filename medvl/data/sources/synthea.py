"""Laboratory panels and prescriptions of Synthea's invented patients (Apache-2.0), or of any FHIR R4 bundles.

Errors in the records are kept: Synthea writes Simvistatin, and total protein of 70 g/dL. Without a path, the source
reads the excerpt that ships with the package (medvl/data/embedded).
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from medvl.data.sources import fhir
from medvl.data.sources.clinical_values import clean
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.synthea_forms import day_of, medications, panel, results
from medvl.documents.tasks import Task
from medvl.types import Document

TABLES = ("lab_reports.jsonl", "medication_requests.jsonl")
DEATH_CERTIFICATE = "69409-1"  # LOINC
EMBEDDED = [resources.files("medvl.data") / "embedded" / f"synthea_{name}" for name in TABLES]


@dataclass(slots=True)
class _Chart:
    """All that is known of one patient."""

    patient: dict[str, Any] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Synthea(Source):
    """Forms of each patient: every laboratory report, the prescriptions of each day, and the active medications.

    `path` is a folder with the tables lab_reports.jsonl and medication_requests.jsonl, plain or as .xz, or a FHIR
    bundle, or a folder of bundles. All documents of a patient stay in one split.
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
        charts: dict[str, _Chart] = {}
        for name, record in self._records():
            if isinstance(record, Dropped):
                yield Dropped(name, record.reason)
            else:
                yield from _file(name, record, charts)
        for identity, chart in charts.items():
            for name, document in _documents(identity, chart):
                yield document if isinstance(document, Document) else Dropped(name, document)

    def _records(self) -> Iterator[tuple[str, Any]]:
        """Yield records with their names."""
        with ExitStack() as stack:
            if self.path is None:
                files = [stack.enter_context(resources.as_file(file)) for file in EMBEDDED]
            else:
                files = _files(Path(self.path))
            for file in files:
                yield from _bundle(file) if file.suffix == ".json" else _lines(file)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    tables = [path / f"{name}{suffix}" for name in TABLES for suffix in ("", ".xz")]
    found = [file for file in tables if file.is_file()] or sorted(path.rglob("*.json"))
    if not found:
        raise ValueError(
            f"{path} holds neither {TABLES[0]}[.xz] nor FHIR bundles (*.json). Set data.path=<a folder that does>."
        )
    return found


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    opened = lzma.open if file.suffix == ".xz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield f"{file.name}, line {number}", json.loads(line)
                except (ValueError, RecursionError):
                    yield f"{file.name}, line {number}", Dropped("", "not JSON")
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read after line {number}: {error}. Set data.path=<a whole one>.") from error


def _bundle(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        bundle = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        yield file.name, Dropped("", "not JSON")
        return
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        yield file.name, Dropped("", "no FHIR bundle")
        return
    for number, record in enumerate(fhir.records(bundle), 1):
        yield f"{file.name}, record {number}", record


def _file(name: str, record: Any, charts: dict[str, _Chart]) -> Iterator[Dropped]:
    """Add a record to its patient's chart; yield the parts of it that cannot be used, or the whole record."""
    if not isinstance(record, dict):
        yield Dropped(name, "not a JSON object")
        return
    patient = record.get("patient")
    known = patient if isinstance(patient, dict) else {}
    identity = record.get("patient_id") or known.get("id")
    if not (isinstance(identity, str) and identity):
        yield Dropped(name, "no patient")
        return
    reason = _fault(record, known)
    if reason is None and "observations" in record:
        entries = fhir.items(record, "observations")
        faults = [fhir.fault(entry) for entry in entries]
        yield from (Dropped(f"{name}, observation {at}", fault) for at, fault in enumerate(faults, 1) if fault)
        record = {**record, "observations": [entry for entry, fault in zip(entries, faults, strict=True) if not fault]}
    reason = reason or _lack(record)
    if reason is not None:
        yield Dropped(name, reason)
        return
    chart = charts.setdefault(identity, _Chart())
    (chart.reports if "observations" in record else chart.requests).append(record)
    # The table of requests has only the patient's name; the patient's reports have the rest.
    chart.patient = {key: value for key, value in known.items() if value} | chart.patient
    if isinstance(patient, str) and patient.strip():
        chart.patient.setdefault("name", patient)


def _fault(record: dict[str, Any], patient: dict[str, Any]) -> str | None:
    dosage = record.get("dosage")
    timing = dosage.get("timing") if isinstance(dosage, dict) else None
    return next(filter(None, map(fhir.fault, (record, patient, dosage, timing))), None)


def _lack(record: dict[str, Any]) -> str | None:
    """Return which required element a record lacks."""
    if "observations" in record:
        if record.get("loinc") == DEATH_CERTIFICATE:
            return "a death certificate"
        return None if results(record) else "no usable observations"
    if "medication" not in record:
        return "neither a report nor a medication request"
    if not clean(record["medication"]):
        return "no medication"
    return None if day_of(record.get("authoredOn")) else "no date"


def _documents(identity: str, chart: _Chart) -> Iterator[tuple[str, Document | str]]:
    for number, report in enumerate(chart.reports):
        name = str(report.get("report_id") or f"{identity}, report {number}")
        yield name, panel(name, identity, chart.patient, report)
    requests = sorted(chart.requests, key=lambda request: request["authoredOn"])
    for day, group in groupby(requests, key=lambda request: request["authoredOn"][:10]):
        name = f"{identity}, {day}"
        yield name, medications("prescription", name, identity, chart.patient, list(group), day_of(day))
    active = [request for request in requests if request.get("status") == "active"]
    if len({request["medication"] for request in active}) > 1:
        name = f"{identity}, active"
        yield name, medications("medication list", name, identity, chart.patient, active, None)
