"""FHIR R4 bundles to flat records: laboratory reports and medication requests, each with its patient.

https://hl7.org/fhir/R4: Bundle, Patient, DiagnosticReport, Observation, MedicationRequest. The records have the
format of the tables that the Synthea source reads:

    {"patient": {...}, "report_id", "loinc", "report", "effective", "status", "observations": [{"loinc", "value", ...}]}
    {"patient": {...}, "patient_id", "medication", "authoredOn", "status", "dosage": {...}}

Modifier elements (https://hl7.org/fhir/R4/conformance-rules.html#isModifier) stay in the records as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MODIFIERS = ("status", "intent", "doNotPerform", "implicitRules", "modifierExtension")
_VOID = ("cancelled", "draft", "entered-in-error")
_NO_ORDER = ("proposal", "plan", "option")


def records(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the reports and medication requests of a bundle in order; missing elements are None."""
    entries = [entry for entry in items(bundle, "entry") if isinstance(entry.get("resource"), dict)]
    known: dict[str, dict[str, Any]] = {}
    for entry in entries:
        resource = entry["resource"]
        # References in transactions are full urls of entries, those in server responses are type and id.
        for name in (entry.get("fullUrl"), f"{resource.get('resourceType')}/{resource.get('id')}"):
            if isinstance(name, str):
                known.setdefault(name, resource)
    for entry in entries:
        resource = entry["resource"]
        if resource.get("resourceType") == "DiagnosticReport":
            yield _report(resource, known)
        elif resource.get("resourceType") == "MedicationRequest":
            yield _request(resource, known)


def fault(element: Any) -> str | None:
    """Return why an element cannot be taken literally: its status, or a modifier that is not read here.

    >>> fault({"status": "final"}), fault({"status": "active", "doNotPerform": True})
    (None, 'an order not to do it')
    """
    if not isinstance(element, dict):
        return None
    if element.get("status") in _VOID:
        return "cancelled, a draft or an error"
    if element.get("doNotPerform") not in (None, False):
        return "an order not to do it"
    if element.get("intent") in _NO_ORDER:
        return "a proposal, a plan or an option, no order"
    if element.get("implicitRules") or element.get("modifierExtension"):
        return "an extension changes its meaning"
    return None


def _modifiers(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: resource[key] for key in _MODIFIERS if key in resource}


def items(element: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects of a repeating element; empty if it is missing or not a list."""
    found = element.get(key) if isinstance(element, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def concept(element: Any) -> str | None:
    """Return a CodeableConcept as text: its text, else the display of a coding."""
    if not isinstance(element, dict):
        return None
    words = [element.get("text"), *(coding.get("display") for coding in items(element, "coding"))]
    return next((word for word in words if isinstance(word, str) and word.strip()), None)


def code(element: Any) -> str | None:
    """Return the first code of a CodeableConcept."""
    codes = (coding.get("code") for coding in items(element, "coding"))
    return next((found for found in codes if isinstance(found, str) and found), None)


def _resolve(reference: Any, known: dict[str, dict[str, Any]], holder: dict[str, Any]) -> dict[str, Any]:
    """Return the resource that a Reference names, contained ones included; empty if it is not found."""
    name = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(name, str):
        return {}
    if name.startswith("#"):
        return next((inner for inner in items(holder, "contained") if inner.get("id") == name[1:]), {})
    return known.get(name, {})


def _report(report: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    observations = [_resolve(reference, known, report) for reference in items(report, "result")]
    period = report.get("effectivePeriod")
    start = period.get("start") if isinstance(period, dict) else None
    return {
        "patient": _patient(_resolve(report.get("subject"), known, report)),
        "report_id": report.get("id"),
        "loinc": code(report.get("code")),
        "report": concept(report.get("code")),
        "effective": report.get("effectiveDateTime") or start,
        **_modifiers(report),
        "observations": [_observation(found) for found in observations if found],
    }


def _observation(observation: dict[str, Any]) -> dict[str, Any]:
    quantity = observation.get("valueQuantity")
    quantity = quantity if isinstance(quantity, dict) else {}
    value: Any = quantity.get("value")
    if value is None:
        value = concept(observation.get("valueCodeableConcept"))
    for plain in ("valueString", "valueInteger"):
        value = observation.get(plain) if value is None else value
    bounds = next(iter(items(observation, "referenceRange")), {})
    return {
        "loinc": code(observation.get("code")),
        "name": concept(observation.get("code")),
        "value": value,
        "comparator": quantity.get("comparator"),
        "unit": quantity.get("unit") or quantity.get("code"),
        "range": None if fault(bounds) else _range(bounds),
        "flag": next(filter(None, map(code, items(observation, "interpretation"))), None),
        **_modifiers(observation),
    }


def _range(bounds: dict[str, Any]) -> str | None:
    """Return a reference range as it is printed: 3.5-5.1, <200, >=40."""
    if isinstance(bounds.get("text"), str):
        return bounds["text"]
    ends = [bounds.get(end) for end in ("low", "high")]
    values = [end.get("value") if isinstance(end, dict) and not end.get("comparator") else None for end in ends]
    low, high = (value if isinstance(value, int | float) else None for value in values)
    if low is not None and high is not None:
        return f"{low}-{high}"
    return f">={low}" if low is not None else f"<={high}" if high is not None else None


def _request(request: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    patient = _patient(_resolve(request.get("subject"), known, request))
    medication = _resolve(request.get("medicationReference"), known, request)
    return {
        "patient": patient,
        "patient_id": patient.get("id"),
        **_modifiers(request),
        "medication": concept(request.get("medicationCodeableConcept"))
        or (None if fault(medication) else concept(medication.get("code"))),
        "authoredOn": request.get("authoredOn"),
        "dosage": next(iter(items(request, "dosageInstruction")), {}),
    }


def _patient(patient: dict[str, Any]) -> dict[str, Any]:
    # The use of a name or a number is a modifier too: an old one must not be shown as the patient's.
    names = [name for name in items(patient, "name") if name.get("use") not in ("old", "maiden")]
    name = min(names, key=lambda name: name.get("use") != "official", default={})
    identifiers = [entry for entry in items(patient, "identifier") if entry.get("use") != "old"]
    mrn = next((entry.get("value") for entry in identifiers if code(entry.get("type")) == "MR"), None)
    return {
        "id": patient.get("id"),
        "given": name.get("given"),
        "family": name.get("family"),
        "gender": patient.get("gender"),
        "birthDate": patient.get("birthDate"),
        "mrn": mrn,
        **_modifiers(patient),
    }
