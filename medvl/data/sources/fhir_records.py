"""FHIR R4 resources as records with their patients: reports, medication requests, and the observations of a day.

https://hl7.org/fhir/R4: Patient, DiagnosticReport, Observation, MedicationRequest. The contents of the records have the
format of the tables that the Synthea source reads:

    {"patient": {...}, "report_id", "loinc", "report", "effective", "status", "observations": [{"loinc", "value", ...}]}
    {"patient": {...}, "medication", "authoredOn", "status", "dosage": {...}}

Modifier elements stay in them as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from medvl.data.sources.clinical_values import clean
from medvl.data.sources.entries import Entry, identifier
from medvl.data.sources.fhir import code, concept, fault, items, part
from medvl.data.sources.fhir_checks import lack, unfit
from medvl.data.sources.fhir_kinds import LABORATORY, chart_kind, report_kind
from medvl.data.sources.fhir_store import Store
from medvl.data.sources.fhir_texts import Conclusion, conclusion
from medvl.data.sources.fhir_values import rows

DRAWN = ("Patient", "DiagnosticReport", "Observation", "MedicationRequest", "Medication")
_MODIFIERS = ("status", "intent", "doNotPerform", "implicitRules", "modifierExtension")
_NO_PATIENTS = ("Group", "Device", "Location")
_PATIENT = re.compile(r"(?:^|/)Patient/[^/]|^urn:uuid:.")  # a patient who may be in another system
_UNREPORTED = "its report is not drawn"


@dataclass(slots=True)
class Record:
    """What one document, or one row of it, is drawn from."""

    name: str
    content: dict[str, Any]
    entries: list[Entry]
    """The records of the input that it shows."""
    kind: str = LABORATORY
    conclusion: Conclusion = field(default_factory=Conclusion)
    lost: list[str] = field(default_factory=list)
    """Why parts of it are not drawn."""
    reason: str = ""
    """Why all of it is not drawn."""


@dataclass(slots=True)
class Reader:
    """Turns the resources of a store into records."""

    store: Store
    _identities: dict[str, Entry] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)
    """Observations that stand in a record already, by the ids of their entries."""

    def records(self) -> Iterator[Record]:
        """Yield the reports and requests in the order of the input, then charts of what no report cites.

        The observations of a report without a patient stand in charts, those of a void one do not.
        """
        current = [entry for entry in self.store.entries if not entry.reason]
        for entry in current:
            if entry.type == "DiagnosticReport":
                yield self._report(entry)
            elif entry.type == "MedicationRequest":
                yield self._request(entry)
        yield from self._charts([entry for entry in current if entry.type == "Observation"])

    def _report(self, entry: Entry) -> Record:
        report = entry.content
        record = Record(entry.name, {}, [entry])
        observations, found = self._gathered(entry, "result", record)
        patient = self._subject(entry, record)
        record.content = {
            "patient": patient,
            "report_id": identifier(report) or None,
            "loinc": code(report.get("code")),
            "report": concept(report.get("code")),
            "effective": report.get("effectiveDateTime") or part(report, "effectivePeriod").get("start"),
            **_modifiers(report),
            "observations": found,
        }
        record.kind = report_kind(report, [body for body, _ in observations])
        record.conclusion = conclusion(report)
        record.lost += record.conclusion.lost
        void = unfit(record.content)
        record.reason = void or record.reason or lack(record.content, worded=bool(record.conclusion)) or ""
        if void:
            for own in (own for _, own in observations if own is not None):
                own.reason = own.reason or _UNREPORTED
        elif not record.reason:
            self._seen |= {id(one) for one in record.entries}
        return record

    def _gathered(
        self, entry: Entry, key: str, record: Record
    ) -> tuple[list[tuple[dict[str, Any], Entry | None]], list[dict[str, Any]]]:
        """Return the observations that a resource refers to, members of members too, and their rows.

        Adds to the record the entries that it shows, and what it lacks.
        """
        observations = self._cited(entry, key, record)
        found: list[dict[str, Any]] = []
        groups: list[Entry] = []
        for body, own in observations:
            reason = fault(body)
            drawn, lost = ([], [reason]) if reason else rows(body)
            found += drawn
            if own is None:
                record.lost += lost
            elif drawn:
                record.entries.append(own)
                record.lost += lost
            elif lost:
                own.reason = own.reason or lost[0]
            else:
                groups.append(own)
        if found:
            record.entries += groups
        return observations, found

    def _cited(self, entry: Entry, key: str, record: Record) -> list[tuple[dict[str, Any], Entry | None]]:
        """Return observations with their entries, each once; contained ones have none."""
        found: list[tuple[dict[str, Any], Entry | None]] = []
        known: set[int] = set()
        waiting = [(reference, entry) for reference in reversed(_references(entry.content, key, record))]
        if key == "hasMember":
            known.add(id(entry.content))
            found.append((entry.content, entry))
        while waiting:
            reference, holder = waiting.pop()
            body, own = self.store.find(reference, holder, "Observation")
            if not body:
                record.lost.append("a cited observation is missing")
            elif id(body) not in known and not (key == "hasMember" and id(own) in self._seen):
                known.add(id(body))
                found.append((body, own))
                members = _references(body, "hasMember", record)
                waiting += [(member, own or holder) for member in reversed(members)]
        return found

    def _request(self, entry: Entry) -> Record:
        request = entry.content
        record = Record(entry.name, {}, [entry])
        reference = request.get("medicationReference")
        medication, own = self.store.find(reference, entry, "Medication")
        if own is not None:
            record.entries.append(own)
        product = concept(request.get("medicationCodeableConcept"))
        if reference is not None and not medication:
            record.lost.append("its medication is missing")
            product = product or part(request, "medicationReference").get("display")
        dosages = items(request, "dosageInstruction")
        record.lost += ["a further dosage instruction"] * (len(dosages) - 1)
        record.content = {
            "patient": self._subject(entry, record),
            **_modifiers(request),
            "medication": product or (None if fault(medication) else concept(medication.get("code"))),
            "authoredOn": request.get("authoredOn"),
            "dosage": dosages[0] if dosages else {},
        }
        record.reason = unfit(record.content) or record.reason or lack(record.content) or ""
        return record

    def _charts(self, observations: list[Entry]) -> Iterator[Record]:
        """Yield the observations that stand in no report, by patient, day and kind of chart."""
        loose = [entry for entry in observations if id(entry) not in self._seen and not entry.reason]
        members = {
            id(own)
            for entry in loose
            for reference in items(entry.content, "hasMember")
            if (own := self.store.find(reference, entry, "Observation")[1]) is not entry
        }
        charts: dict[tuple[str, str, str], Record] = {}
        # Members come with their group; those of groups that are not drawn, or form a circle, come last.
        for entry in sorted(loose, key=lambda entry: id(entry) in members):
            if id(entry) not in self._seen and not entry.reason:
                self._chart(entry, charts)
        for (identity, day, kind), record in charts.items():
            record.content["report_id"] = f"{identity}, {day or 'no day'}, {kind}"
            times = [row["time"] for row in record.content["observations"]]
            if len(set(times)) < 2:
                for row in record.content["observations"]:
                    row["time"] = ""
            yield record

    def _chart(self, entry: Entry, charts: dict[tuple[str, str, str], Record]) -> None:
        """Add an observation, with its members, to its chart; or note why it is in none."""
        record = Record(entry.name, {}, [])
        patient = self._subject(entry, record)
        reason = fault(entry.content) or record.reason or fault(patient)
        if reason:
            entry.reason = reason
            return
        _, found = self._gathered(entry, "hasMember", record)
        if not found:
            entry.reason = entry.reason or "a group without usable members"
            return
        moment = _moment(entry.content)
        for row in found:
            row["time"] = moment[11:16] if moment[10:11] == "T" else ""
        key = (str(patient["id"]), moment[:10], chart_kind(entry.content))
        content: dict[str, Any] = {"patient": patient, "effective": moment[:10] or None, "observations": []}
        chart = charts.setdefault(key, Record(entry.name, content, [], kind=key[2]))
        chart.content["observations"] += found
        chart.entries += record.entries
        chart.lost += record.lost
        self._seen |= {id(one) for one in record.entries}

    def _subject(self, entry: Entry, record: Record) -> dict[str, Any]:
        """Return the patient of a resource, and note in the record if it is missing."""
        subject = part(entry.content, "subject")
        body, own = self.store.find(subject, entry, "Patient")
        patient = _patient(body)
        reference = clean(subject.get("reference"))
        if own is not None:
            record.entries.append(own)
            patient["id"] = self._identity(own)
        elif body:  # contained: its id is its holder's, so its facts say who it is
            told = [str(patient[key]) for key in ("given", "family", "name", "gender", "birthDate", "mrn")]
            patient["id"] = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
        elif "/" in reference and reference.split("/")[-2] in _NO_PATIENTS:
            record.reason = "its subject is no patient"
        elif (name := clean(subject.get("display"))) or _PATIENT.search(reference):
            patient = {"id": " ".join(filter(None, (reference, name))), "name": name}
            record.lost.append("its patient is missing")
        else:
            record.reason = "its patient is missing" if subject else "no patient"
        return patient

    def _identity(self, entry: Entry) -> str:
        """Return what is the same for all records of a patient, and of no other one."""
        plain = entry.id or entry.url.rpartition("/")[2].removeprefix("urn:uuid:") or entry.name
        identity, number = plain, 2
        while self._identities.setdefault(identity, entry) is not entry:
            identity, number = f"{plain} ({number})", number + 1
        return identity


def _references(resource: dict[str, Any], key: str, record: Record) -> list[dict[str, Any]]:
    found = resource.get(key)
    listed = found if isinstance(found, list) else [] if found is None else [found]
    record.lost += ["a reference that is no object"] * sum(not isinstance(one, dict) for one in listed)
    return [one for one in listed if isinstance(one, dict)]


def _modifiers(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: resource[key] for key in _MODIFIERS if key in resource}


def _moment(observation: dict[str, Any]) -> str:
    moments = (
        observation.get("effectiveDateTime"),
        observation.get("effectiveInstant"),
        part(observation, "effectivePeriod").get("start"),
        observation.get("issued"),
    )
    return next((clean(moment) for moment in moments if clean(moment)), "")


def _patient(patient: dict[str, Any]) -> dict[str, Any]:
    # The use of a name or a number is a modifier too: an old one must not be shown as the patient's.
    names = [name for name in items(patient, "name") if name.get("use") not in ("old", "maiden")]
    name = min(names, key=lambda name: name.get("use") != "official", default={})
    given = name.get("given")
    identifiers = [entry for entry in items(patient, "identifier") if entry.get("use") != "old"]
    mrn = next((entry.get("value") for entry in identifiers if code(entry.get("type")) == "MR"), None)
    return {
        "id": identifier(patient),
        "given": [clean(part) for part in given if clean(part)] if isinstance(given, list) else None,
        "family": clean(name.get("family")),
        "name": clean(name.get("text")),
        "gender": clean(patient.get("gender")),
        "birthDate": clean(patient.get("birthDate")),
        "mrn": clean(mrn),
        **_modifiers(patient),
    }
