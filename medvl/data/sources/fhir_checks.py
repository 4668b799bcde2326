"""Why a record cannot be drawn: what makes it unfit, and what it lacks."""

from __future__ import annotations

from datetime import date
from typing import Any

from medvl.data.sources.clinical_values import clean, usable
from medvl.data.sources.fhir import fault, items, part

DEATH_CERTIFICATE = "69409-1"  # LOINC


def unfit(record: dict[str, Any]) -> str | None:
    """Return why a record, its patient or its dosage must not be taken literally, or is no form of a clinic."""
    dosage = part(record, "dosage")
    found = next(filter(None, map(fault, (record, record.get("patient"), dosage, dosage.get("timing")))), None)
    return found or ("a death certificate" if record.get("loinc") == DEATH_CERTIFICATE else None)


def lack(record: dict[str, Any], *, worded: bool = False) -> str | None:
    """Return which required element a record lacks.

    Args:
        worded: Whether it concludes something in words, so that it needs no observations.
    """
    if "observations" in record:
        return None if worded or any(map(usable, items(record, "observations"))) else "no usable observations"
    if "medication" not in record:
        return "neither a report nor a medication request"
    if not clean(record["medication"]):
        return "no medication"
    return None if day_of(record.get("authoredOn")) else "no date"


def day_of(value: Any) -> date | None:
    """Return the day of a FHIR date or instant; None for partial dates too."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
