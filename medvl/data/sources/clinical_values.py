"""Values as a clinician's page states them: rounded results, short test names, doses and their timing."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from medvl.data.sources.fhir import concept, items, part
from medvl.model.prompt import normalized

# Decimals that laboratories report, by LOINC code.
_DECIMALS = {
    0: "2339-0 2345-7 6299-2 3094-0 2093-3 2571-8 18262-6 13457-7 2085-9 2947-0 2951-2 2069-3 2075-0 20565-8 2028-9 "
    "33037-3 777-3 26515-7 10230-1 33914-3 20454-5 5804-0",
    1: "49765-1 17861-6 1975-2 42719-5 6298-4 2823-3 4548-4 5792-7 20505-4 5797-6 5803-2 3084-1",
    2: "38483-4 2160-0 3016-3",
    3: "5811-5",
}
_BY_CODE = {loinc: decimals for decimals, codes in _DECIMALS.items() for loinc in codes.split()}
_BY_UNIT = {
    "g/dL": 1,
    "g/L": 1,
    "%": 1,
    "fL": 1,
    "pg": 1,
    "10*3/uL": 1,
    "K/uL": 1,
    "10*6/uL": 2,
    "M/uL": 2,
    "U/L": 0,
    "IU/L": 0,
    "mL/min": 0,
    "Cel": 1,
    "[degF]": 1,
    "cm": 1,
    "kg": 1,
    "kg/m2": 1,
    "mm[Hg]": 0,
    "/min": 0,
}
# Critical limits: results below or above them are reported by telephone.
_CRITICAL = {
    "2339-0": (50, 450),
    "2345-7": (50, 450),
    "6298-4": (2.8, 6.2),
    "2823-3": (2.8, 6.2),
    "2947-0": (120, 160),
    "2951-2": (120, 160),
    "49765-1": (6.5, 13),
    "17861-6": (6.5, 13),
    "718-7": (7, 20),
    "6690-2": (2, 40),
    "777-3": (20, 1000),
    "26515-7": (20, 1000),
}
# Zero-width characters, and the private-use ones that link words to fields.
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\ue000-\uf8ff]")
# https://www.snomed.org: the semantic tag at the end of a concept's name.
_KIND = re.compile(r" \((finding|qualifier value|disorder|observable entity|situation|procedure|substance)\)$")
_METHOD = re.compile(r" \[[^\]]*\].*| by .*")
_DRUG = re.compile(r"([A-Za-z][A-Za-z, -]*?) (\d+(?:\.\d+)?) ?(MG|MCG|mg|mcg)((?: [A-Z][A-Za-z]+)*)")
_COUNTED = {"tablet": "tablet", "capsule": "capsule", "patch": "patch", "suppository": "suppository"}
_DAILY = {
    1: ("daily", "once daily"),
    2: ("BID", "twice daily"),
    3: ("TID", "three times daily"),
    4: ("QID", "four times daily"),
}
_UNITS = {"d": "days", "wk": "weeks", "mo": "months", "h": "hours", "min": "minutes"}


def clean(text: Any) -> str:
    """Return a text without invisible characters and repeated blanks; empty if the value is not a text."""
    return " ".join(_INVISIBLE.sub("", normalized(text)).split()) if isinstance(text, str) else ""


def result(value: Any, loinc: str | None, unit: str) -> str | None:
    """Return a result as a laboratory reports it; None if there is none.

    >>> result(175.96112001234565, "2093-3", "mg/dL"), result("Cloudy urine (finding)", None, "")
    ('176', 'Cloudy urine')
    """
    if isinstance(value, str):
        return re.sub(r"^Urine \w+ test = ", "", _KIND.sub("", clean(value))) or None
    if not is_number(value):
        return None
    if isinstance(value, int):
        return str(value)
    decimals = _BY_CODE.get(loinc or "", _BY_UNIT.get(unit))
    if decimals is None:
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    while value and not round(value, decimals) and decimals < 6:  # do not round a trace to zero
        decimals += 1
    if value and not round(value, decimals):
        return format(Decimal(repr(value)), "f")
    return f"{value:.{decimals}f}"


def usable(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return an observation as a form prints it; None without a name or a result."""
    loinc = entry.get("loinc") if isinstance(entry.get("loinc"), str) else None
    texts = {key: clean(entry.get(key)) for key in ("name", "comparator", "range", "flag", "time")}
    unit = unit_of(entry.get("unit"))
    text = clean(entry.get("printed")) or result(entry.get("value"), loinc, unit)
    if not (texts["name"] and text):
        return None
    critical = is_critical(entry.get("value"), loinc)
    return {**texts, "text": texts["comparator"] + text, "unit": unit, "critical": critical}


def is_critical(value: Any, loinc: str | None) -> bool:
    low, high = _CRITICAL.get(loinc or "", (-math.inf, math.inf))
    return is_number(value) and not low <= value <= high


def unit_of(unit: Any) -> str:
    """Return a UCUM unit without its annotations in braces."""
    return clean(re.sub(r"/?\{[^}]*\}", "", unit)) if isinstance(unit, str) else ""


def short_names(names: list[str]) -> list[str]:
    """Return names as a panel prints them: without property and method, unless two names would become equal.

    >>> short_names(["Hemoglobin [Mass/volume] in Blood", "Hematocrit [Volume Fraction] of Blood by Automated count"])
    ['Hemoglobin', 'Hematocrit']
    """
    short = [_METHOD.sub("", name) for name in names]
    return [one if one and short.count(one) == 1 else name for one, name in zip(short, names, strict=True)]


def drug(product: str) -> tuple[str, str, str]:
    """Return name, strength and form of a product with one ingredient; for others, the whole text as the name.

    >>> drug("Ibuprofen 200 MG Oral Tablet"), drug("Yaz 28 Day Pack")
    (('Ibuprofen', '200 mg', 'oral tablet'), ('Yaz 28 Day Pack', '', ''))
    """
    match = _DRUG.fullmatch(product)
    if match is None:
        return product, "", ""
    name, number, unit, form = match.groups()
    return name, f"{number} {unit.lower()}", form.strip().lower()


def dose(dosage: dict[str, Any], product: str) -> str | None:
    """Return the amount to take: 1 tablet, 20 mg, 5-10 mL; None if its unit is unknown."""
    for entry in items(dosage, "doseAndRate"):
        quantity, bounds = entry.get("doseQuantity"), part(entry, "doseRange")
        ends: list[Any] = [quantity] if isinstance(quantity, dict) else [bounds.get("low"), bounds.get("high")]
        if not all(isinstance(end, dict) and is_number(end.get("value")) for end in ends):
            continue
        if any(end.get("comparator") for end in ends):  # FHIR forbids it here: "at most 2" is not 2
            continue
        words = product.lower().split()
        unit = clean(ends[-1].get("unit")) or next((_COUNTED[word] for word in words if word in _COUNTED), "")
        if not unit:  # "1" without a unit is ambiguous
            continue
        amount = "-".join(f"{end['value']:g}" for end in ends)
        plural = unit in _COUNTED.values() and ends[-1]["value"] > 1
        return f"{amount} {unit}{'s' if plural else ''}"
    return None


def frequency(dosage: dict[str, Any], *, spelled: bool) -> str | None:
    """Return when to take it, as clinicians write it; None if it is not stated or cannot be written that way.

    Args:
        spelled: In words rather than in abbreviations.

    >>> every_six = {"timing": {"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}}}
    >>> frequency(every_six, spelled=False), frequency({"asNeededBoolean": True}, spelled=True)
    ('q6h', 'as needed')
    """
    timing = part(dosage, "timing")
    repeat = timing.get("repeat")
    when = clean(concept(timing.get("code"))) or (_repeat(repeat, spelled) if isinstance(repeat, dict) else "")
    reason = clean(concept(dosage.get("asNeededCodeableConcept")))
    if dosage.get("asNeededBoolean") is True or reason:
        needed = "as needed" if spelled else "PRN"
        when = " ".join(filter(None, (when, needed, reason and f"for {reason}")))
    return when or None


def _repeat(repeat: dict[str, Any], spelled: bool) -> str:
    # An element that is not read here may change the meaning, so it must not be ignored.
    if set(repeat) - {"frequency", "period", "periodUnit", "boundsPeriod", "boundsDuration"}:
        return ""
    count, period, unit = repeat.get("frequency", 1), repeat.get("period"), repeat.get("periodUnit")
    if not (is_number(count) and is_number(period) and isinstance(unit, str) and unit in _UNITS):
        return ""
    if (period, unit) == (1, "d") and count in _DAILY:
        return _DAILY[count][spelled]
    if count == 1 and unit == "h" and not spelled:
        return f"q{period:g}h"
    if count == 1 and period == 1:
        return {"wk": "weekly", "mo": "monthly"}.get(unit, f"every {_UNITS[unit][:-1]}")
    times = "" if count == 1 else f"{count:g} times "
    return f"{times}every {period:g} {_UNITS[unit]}" if period != 1 else f"{times}per {_UNITS[unit][:-1]}"


def is_number(value: Any) -> bool:
    """Return whether a value is a number that a form can show: finite, and no boolean."""
    # Compared, not converted: a JSON integer can be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
