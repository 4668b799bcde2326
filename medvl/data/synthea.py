"""Laboratory panels and prescriptions of Synthea's invented patients (Apache-2.0), or of any FHIR R4 bundles.

Facts and their errors are the records' own: Synthea writes Simvistatin, and total protein of 70 g/dL. Without a path,
the excerpt that ships with the package (medvl/data/embedded).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from medvl.data import fhir
from medvl.data.clinical_values import clean
from medvl.data.source import Dropped, Source
from medvl.data.synthea_forms import day_of, medications, panel, results
from medvl.documents.tasks import Task
from medvl.types import Document

TABLES = ("lab_reports.jsonl", "medication_requests.jsonl")
DEATH_CERTIFICATE = "69409-1"  # LOINC
VOID = ("cancelled", "draft", "entered-in-error")


@dataclass(slots=True)
class _Chart:
    """All that is known of one patient."""

    patient: dict[str, Any] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Synthea(Source):
    """Forms patient by patient: each laboratory report, what was prescribed on each day, and what is active.

    `path` is a folder with the tables lab_reports.jsonl and medication_requests.jsonl, plain or as .xz, or a FHIR
    bundle, or a folder of bundles. All documents of a patient stay in one split.
    """

    tasks: list[Task] = field(default_factory=lambda: list(Task))
    per_page: int | None = 2

    def documents(self) -> Iterator[Document | Dropped]:
        return islice(self._all(), self.records)

    def _all(self) -> Iterator[Document | Dropped]:
        charts: dict[str, _Chart] = {}
        for name, record in self._records():
            reason = record.reason if isinstance(record, Dropped) else _file(record, charts)
            if reason is not None:
                yield Dropped(name, reason)
        seen: set[str] = set()
        for identity, chart in charts.items():
            for name, document in _documents(identity, chart):
                if isinstance(document, Document) and document.id not in seen:
                    seen.add(document.id)
                    yield document
                else:
                    yield Dropped(name, document if isinstance(document, str) else "repeats an earlier record")

    def _records(self) -> Iterator[tuple[str, Any]]:
        """Yield records with their names."""
        with ExitStack() as stack:
            if self.path is None:
                embedded = resources.files("medvl.data") / "embedded"
                files = [stack.enter_context(resources.as_file(embedded / f"synthea_{name}")) for name in TABLES]
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
        with opened(file, "rt", encoding="utf-8-sig") as lines:  # type: ignore[operator]
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


def _file(record: Any, charts: dict[str, _Chart]) -> str | None:
    """Put a record into its patient's chart, or return why it cannot be used."""
    if not isinstance(record, dict):
        return "not a JSON object"
    patient = record.get("patient")
    known = patient if isinstance(patient, dict) else {}
    identity = record.get("patient_id") or known.get("id")
    if not (isinstance(identity, str) and identity):
        return "no patient"
    if record.get("status") in VOID:
        return "cancelled, a draft or an error"
    if "observations" in record:
        if record.get("loinc") == DEATH_CERTIFICATE:
            return "a death certificate"
        if not results(record):
            return "no usable observations"
    elif "medication" in record:
        if not clean(record["medication"]):
            return "no medication"
        if day_of(record.get("authoredOn")) is None:
            return "no date"
    else:
        return "neither a report nor a medication request"
    chart = charts.setdefault(identity, _Chart())
    (chart.reports if "observations" in record else chart.requests).append(record)
    # The table of requests has the name alone; the patient's reports know the rest.
    chart.patient = {key: value for key, value in known.items() if value} | chart.patient
    if isinstance(patient, str) and patient.strip():
        chart.patient.setdefault("name", patient)
    return None


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
