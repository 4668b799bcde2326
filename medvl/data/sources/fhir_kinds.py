"""What kind of document a diagnostic report is, by its category and code.

https://terminology.hl7.org/CodeSystem-v2-0074.html, https://hl7.org/fhir/us/core/CodeSystem-us-core-category.html
"""

from __future__ import annotations

import re
from typing import Any

from medvl.data.sources.fhir import concept, items

LABORATORY = "laboratory panel"
RADIOLOGY = "radiology report"
CARDIOLOGY = "cardiology report"
PATHOLOGY = "pathology report"
OTHER = "diagnostic report"
VITAL_SIGNS = "vital signs chart"
OBSERVATIONS = "observations"

# v2-0074, then LOINC parts and documents, SNOMED CT, modalities, observation categories.
_CODES = {
    RADIOLOGY: "RAD RX CT IMG NMR NMS OUS RUS VUS XRC RT LP29684-5 18748-4 394914008 363679005 MR MRI US XR CR DX MG "
    "NM PET imaging radiology",
    CARDIOLOGY: "EC CUS CTH LP29708-2 11524-6 34552-0 394579002 ECG EKG ECHO cardiology",
    PATHOLOGY: "SP CP CG PAT PATH AP LP7839-6 11526-1 60568-3 22034-3 394915009 394597005 pathology",
    LABORATORY: "LAB BG BLB CH GE HM IMM MB MCB MYC OSL PAR SR TX VR LP29693-6 11502-2 26436-6 15220000 108252007 "
    "laboratory",
}
_KINDS = {known.lower(): kind for kind, codes in _CODES.items() for known in codes.split()}
# Of a category; a laboratory's tests have such words in their names too: cardiac troponin.
_FIELDS = {
    RADIOLOGY: re.compile(r"radiolog|imaging|nuclear medicine", re.IGNORECASE),
    CARDIOLOGY: re.compile(r"cardi", re.IGNORECASE),
    PATHOLOGY: re.compile(r"patholog|cytogenetic|histolog|cytolog", re.IGNORECASE),
    LABORATORY: re.compile(r"laborator|\blab\b|h(a)?ematology|chemistry|microbiology|serology", re.IGNORECASE),
}
# Of a report's name.
_NAMES = {
    CARDIOLOGY: re.compile(r"electrocardiogra|echocardiogra|\b[EK]CG\b|\bEKG\b|holter|cardiac cath", re.IGNORECASE),
    RADIOLOGY: re.compile(
        r"x-?ray|\bXR\b|radiograph|radiolog|tomograph|\bMRI?\b|magnetic resonance|ultraso|sonogra|mammogra|"
        r"fluorosc|imaging|^CT\b|\bCT (of|scan|head|chest|abdomen|pelvis|spine)\b",
        re.IGNORECASE,
    ),
    PATHOLOGY: re.compile(r"patholog|biops|cytolog|histolog|pap smear", re.IGNORECASE),
}


def report_kind(report: dict[str, Any], observations: list[dict[str, Any]]) -> str:
    """Return the kind of a report with the given observations; one that says nothing of it is a laboratory's."""
    found = _of_categories(report)
    if found is not None and found != LABORATORY:
        return found
    named = _of_concept(report.get("code"), _NAMES)
    if found is None and named is not None:
        return named
    if found is None and items(report, "category"):
        return OTHER
    if found is None:
        found = next(filter(None, map(_of_categories, observations)), LABORATORY if observations else OTHER)
    return found


def chart_kind(observation: dict[str, Any]) -> str:
    """Return the kind of chart that shows an observation without a report."""
    words = {word for entry in items(observation, "category") for word in _codes(entry)}
    text = " ".join(concept(entry) or "" for entry in items(observation, "category")).lower()
    return VITAL_SIGNS if "vital-signs" in words or "vital sign" in text else OBSERVATIONS


def _of_categories(resource: dict[str, Any]) -> str | None:
    """Return the kind that the categories name, a special one before the laboratory; None if they name none."""
    found = [_of_concept(entry, _FIELDS) for entry in items(resource, "category")]
    return min(filter(None, found), key=lambda kind: kind == LABORATORY, default=None)


def _of_concept(element: Any, words: dict[str, re.Pattern[str]]) -> str | None:
    known = next((_KINDS[word] for word in _codes(element) if word in _KINDS), None)
    text = concept(element) or ""
    return known or next((kind for kind, pattern in words.items() if pattern.search(text)), None)


def _codes(element: Any) -> list[str]:
    codes = (coding.get("code") for coding in items(element, "coding"))
    return [found.lower() for found in codes if isinstance(found, str)]
