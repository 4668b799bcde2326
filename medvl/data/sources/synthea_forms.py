"""Forms of one patient's records: a report, a chart of observations, a prescription, a medication list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

from medvl.data.sources import clinical_values as written
from medvl.data.sources import fhir
from medvl.data.sources.fhir_checks import day_of
from medvl.data.sources.fhir_kinds import (
    CARDIOLOGY,
    LABORATORY,
    OBSERVATIONS,
    OTHER,
    PATHOLOGY,
    RADIOLOGY,
    VITAL_SIGNS,
)
from medvl.data.sources.fhir_texts import Conclusion
from medvl.documents.forms.form import Form, Style
from medvl.documents.forms.patient import DateStyle, written_date
from medvl.types import Document

PROSE = (Style.key_value, Style.free_text)


@dataclass(frozen=True, slots=True)
class _Wording:
    """What a kind of document calls its parts."""

    titles: tuple[str, ...]
    dates: tuple[str, ...]
    item: str
    """Head of the column of names."""
    study: str = ""
    """Label of what was examined; empty where that is not stated."""
    conclusion: str = "CONCLUSION"


_WORDINGS = {
    LABORATORY: _Wording(
        titles=("Laboratory Report", "LABORATORY RESULTS", "Clinical Laboratory"),
        dates=("Collected", "Specimen date", "Date"),
        item="Test",
        study="Panel",
        conclusion="COMMENT",
    ),
    RADIOLOGY: _Wording(
        titles=("Radiology Report", "DIAGNOSTIC IMAGING REPORT", "Imaging Report"),
        dates=("Exam date", "Date of exam", "Date"),
        item="Finding",
        study="Examination",
        conclusion="IMPRESSION",
    ),
    CARDIOLOGY: _Wording(
        titles=("Cardiology Report", "CARDIAC DIAGNOSTICS", "Cardiology"),
        dates=("Study date", "Date of study", "Date"),
        item="Measurement",
        study="Study",
        conclusion="INTERPRETATION",
    ),
    PATHOLOGY: _Wording(
        titles=("Pathology Report", "PATHOLOGY REPORT", "Department of Pathology"),
        dates=("Collected", "Specimen date", "Date"),
        item="Finding",
        study="Examination",
        conclusion="DIAGNOSIS",
    ),
    OTHER: _Wording(
        titles=("Diagnostic Report", "DIAGNOSTIC REPORT", "Report"),
        dates=("Date", "Date of study"),
        item="Finding",
        study="Study",
    ),
    VITAL_SIGNS: _Wording(
        titles=("Vital Signs", "VITAL SIGNS CHART", "Vital Signs Record"),
        dates=("Date", "Date taken", "Measured"),
        item="Vital sign",
    ),
    OBSERVATIONS: _Wording(
        titles=("Observations", "CLINICAL OBSERVATIONS", "Observation Record"),
        dates=("Date", "Observed", "Date of observation"),
        item="Observation",
    ),
}


def panel(
    name: str,
    identity: str,
    patient: dict[str, Any],
    report: dict[str, Any],
    kind: str = LABORATORY,
    words: Conclusion | None = None,
) -> Document:
    """Return a report or a chart as a form; `name` determines its style."""
    form, dates = _form(kind, name)
    wording = _WORDINGS[kind]
    form.title(form.rng.choice(wording.titles))
    about = _about(form, patient, dates)
    day = day_of(report.get("effective"))
    if day is not None:
        about.append((form.rng.choice(wording.dates), form.field("date", written_date(dates, day), "date")))
    title = written.clean(report.get("report"))
    if kind == LABORATORY:
        title = written.short_names([title])[0].split(" - ")[0]
    if title and wording.study:
        about.append((wording.study, form.field(wording.study.lower(), title, "name")))
    if about:
        form.pairs(about)
    found = results(report)
    names = written.short_names([entry["name"] for entry in found])
    rows = [_result(form, number, *entry) for number, entry in enumerate(zip(names, found, strict=True))]
    if rows:
        _table(form, [wording.item, "Result", "Units", "Reference", "Flag", "Time"], rows)
    if words:
        _conclude(form, words, wording.conclusion)
    return _finished(form, identity, names)


def _conclude(form: Form, words: Conclusion, heading: str) -> None:
    """State what a report says in words: the attached text, what it concludes, the coded diagnoses."""
    if words.lines:
        form.lines(words.lines)
    if words.text:
        form.section(heading)
        form.paragraph(form.field("conclusion", words.text, "text"))
    if words.diagnoses:
        form.section("CODED FINDINGS" if words.text else heading)
        form.lines([form.field(f"findings.{at}.name", one, "name") for at, one in enumerate(words.diagnoses)])


def _result(form: Form, number: int, test: str, entry: dict[str, Any]) -> list[str]:
    path = f"results.{number}"
    name = form.field(f"{path}.test", test, "name")
    value = form.field(f"{path}.value", entry["text"], "value", critical=entry["critical"])
    unit, bounds, flag = (
        form.field(f"{path}.{key}", entry[key], key) if entry[key] else "" for key in ("unit", "range", "flag")
    )
    time = form.field(f"{path}.time", entry["time"], "time") if entry["time"] else ""
    if form.style in PROSE:
        return [name, f"{value} {unit}" if unit else value, "", bounds and f"(ref. {bounds})", flag, time]
    return [name, value, unit, bounds, flag, time]


def medications(
    kind: str, name: str, identity: str, patient: dict[str, Any], requests: list[dict[str, Any]], day: date | None
) -> Document:
    """Return a prescription of one day, or a list of what is active; the latest request of each product counts."""
    form, dates = _form(kind, name)
    titles = (
        ("PRESCRIPTION", "Prescription", "Rx") if kind == "prescription" else ("Active Medications", "MEDICATION LIST")
    )
    form.title(form.rng.choice(titles))
    about = _about(form, patient, dates)
    if day is not None:
        about.append((form.rng.choice(("Date", "Date written")), form.field("date", written_date(dates, day), "date")))
    form.pairs(about)
    latest = {written.clean(request["medication"]): request for request in requests}
    spelled = form.rng.random() < 0.5
    rows = [_medication(form, number, *entry, spelled) for number, entry in enumerate(latest.items())]
    _table(form, ["Medication", "Strength", "Form", "Dose", "Route", "Frequency", "Instructions"], rows)
    return _finished(form, identity, [written.drug(product)[0] for product in latest])


def _medication(form: Form, number: int, product: str, request: dict[str, Any], spelled: bool) -> list[str]:
    dosage = fhir.part(request, "dosage")
    name, strength, kind = written.drug(product)
    extra = [written.clean(fhir.concept(entry)) for entry in fhir.items(dosage, "additionalInstruction")]
    when = written.frequency(dosage, spelled=spelled)
    facts = {
        "name": name,
        "strength": strength,
        "form": kind,
        "dose": written.dose(dosage, product),
        "route": written.clean(fhir.concept(dosage.get("route"))),
        "frequency": when,
        "instructions": " ".join(filter(None, extra)) or ("" if when else written.clean(dosage.get("text"))),
    }
    types = {"strength": "dose", "form": "text", "instructions": "text"}
    return [
        form.field(f"medications.{number}.{key}", value, types.get(key, key), critical=key in ("strength", "dose"))
        if value
        else ""
        for key, value in facts.items()
    ]


def _form(kind: str, name: str) -> tuple[Form, DateStyle]:
    rng = Random(f"{kind}/{name}")
    return Form(kind=kind, rng=rng, style=rng.choice(list(Style))), DateStyle.drawn(rng)


def _finished(form: Form, identity: str, terms: list[str]) -> Document:
    document = form.document(groups=[f"synthea-{identity}"])
    document.terms = list(dict.fromkeys(terms))
    return document


def _about(form: Form, patient: dict[str, Any], dates: DateStyle) -> list[tuple[str, str]]:
    given = patient.get("given")
    given = " ".join(part for part in given if isinstance(part, str)) if isinstance(given, list) else ""
    family = written.clean(patient.get("family"))
    whole = (
        [f"{given} {family}", f"{family}, {given}"] if given and family else [patient.get("name") or family or given]
    )
    name = written.clean(form.rng.choice(whole))
    born = day_of(patient.get("birthDate"))
    # Synthea identifies patients by UUIDs, which no real form shows.
    mrn = re.sub(
        r"^([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        lambda match: match[1].upper(),
        written.clean(patient.get("mrn")),
    )
    sex = {"male": ("M", "Male"), "female": ("F", "Female")}.get(written.clean(patient.get("gender")))
    facts = [
        ("Patient", "name", name, "name"),
        ("MRN", "mrn", mrn, "id"),
        (form.rng.choice(("DOB", "Date of birth")), "dob", written_date(dates, born) if born else "", "date"),
        ("Sex", "sex", form.rng.choice(sex) if sex else "", "sex"),
    ]
    return [(label, form.field(f"patient.{key}", value, type)) for label, key, value, type in facts if value]


def results(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the observations that have a name and a result."""
    return [found for entry in fhir.items(report, "observations") if (found := written.usable(entry)) is not None]


def _table(form: Form, header: list[str], rows: list[list[str]]) -> None:
    """Lay out the columns that have a value in at least one row."""
    if form.style in PROSE and not all(any(row[1:]) for row in rows):
        form.lines([", ".join(filter(None, row)) for row in rows], bullet="- ")  # no colon after a name without facts
        return
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    form.table([header[column] for column in used], [[row[column] for column in used] for row in rows])
