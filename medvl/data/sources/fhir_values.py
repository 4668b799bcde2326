"""Observations as the rows of a form: a row for the value itself, a row for each component.

https://hl7.org/fhir/R4/observation.html. A row has the keys of an observation in Synthea's tables.
"""

from __future__ import annotations

from typing import Any

from medvl.data.sources import clinical_values as written
from medvl.data.sources.fhir import code, concept, fault, items, part


def rows(observation: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of an observation, and why each of its other values has none.

    One that only groups its components or members has no value to lose.
    """
    found, lost = [], []
    grouping = bool(observation.get("component") or observation.get("hasMember"))
    for element in (observation, *items(observation, "component")):
        if element is observation and grouping and not _has_value(element):
            continue
        row = _row(element)
        reason = fault(element) or row["reason"]
        if reason:
            lost.append(reason)
        else:
            found.append(row)
    return found, lost


def _has_value(element: dict[str, Any]) -> bool:
    return any(key.startswith("value") or key == "dataAbsentReason" for key in element)


def _row(element: dict[str, Any]) -> dict[str, Any]:
    quantity = part(element, "valueQuantity")
    ranges = [bounds for bounds in items(element, "referenceRange") if not fault(bounds)]
    normal = [bounds for bounds in ranges if code(bounds.get("type")) in (None, "normal")]
    flags = [code(entry) or concept(entry) for entry in items(element, "interpretation")]
    row = {
        "loinc": code(element.get("code")),
        "name": concept(element.get("code")),
        "value": _value(element),
        "printed": _as_given(quantity.get("value")),
        "comparator": quantity.get("comparator"),
        "unit": quantity.get("unit") or quantity.get("code"),
        "range": _range(normal[0]) if normal else None,
        "flag": next(filter(None, flags), None),
    }
    if not written.clean(row["name"]):
        reason = "an observation without a name"
    else:
        reason = "" if written.usable(row) else _absent(element)
    return {**row, "reason": reason}


def _as_given(value: Any) -> str | None:
    """Return a number that its source rounded already; None for one with more decimals than are measured."""
    whole, _, decimals = str(value).partition(".") if isinstance(value, float) else ("", "", "")
    return f"{whole}.{decimals}" if decimals.isdigit() and len(decimals) <= 3 and written.is_number(value) else None


def _absent(element: dict[str, Any]) -> str:
    why = element.get("dataAbsentReason")
    if why is not None:
        return f"no value: {written.clean(code(why) or concept(why)) or 'no reason is given'}"
    other = next((key for key in element if key.startswith("value") and key not in _READ), None)
    return "a kind of value that is not drawn" if other else "an observation without a value"


_READ = (
    *("valueQuantity", "valueCodeableConcept", "valueString", "valueInteger", "valueBoolean"),
    *("valueRange", "valueRatio", "valueTime", "valueDateTime", "valuePeriod"),
)


def _value(element: dict[str, Any]) -> Any:
    """Return the value as a number or a text; None if there is none, or none that can be written."""
    boolean = element.get("valueBoolean")
    coded = element.get("valueCodeableConcept")
    integer = element.get("valueInteger")
    found: list[Any] = [
        part(element, "valueQuantity").get("value"),
        concept(coded) or code(coded),
        element.get("valueString"),
        integer if isinstance(integer, int) and not isinstance(integer, bool) else None,
        ("Yes" if boolean else "No") if isinstance(boolean, bool) else None,
        _span(element.get("valueRange")),
        _ratio(element.get("valueRatio")),
        element.get("valueTime"),
        element.get("valueDateTime"),
        _period(element.get("valuePeriod")),
    ]
    return next((value for value in found if value is not None), None)


def _amount(quantity: Any, *, unit: bool = True) -> str:
    """Return a quantity as it is written: <5 mg; empty if it has no value."""
    if not isinstance(quantity, dict):
        return ""
    value = quantity.get("value")
    if not written.is_number(value):
        return ""
    number = f"{value:.10g}" if isinstance(value, float) else str(value)
    words = written.unit_of(quantity.get("unit") or quantity.get("code")) if unit else ""
    return " ".join(filter(None, (written.clean(quantity.get("comparator")) + number, words)))


def _span(bounds: Any) -> str | None:
    """Return a Range: 3-5 mg, >=3 mg, <=5 mg."""
    if not isinstance(bounds, dict):
        return None
    low, high = _amount(bounds.get("low"), unit=not bounds.get("high")), _amount(bounds.get("high"))
    if low and high:
        return f"{low}-{high}"
    return f">={low}" if low else f"<={high}" if high else None


def _ratio(ratio: Any) -> str | None:
    """Return a Ratio: 1:128 for a titer, 5 mg / 10 mL with units."""
    ends = [_amount(ratio.get(key)) for key in ("numerator", "denominator")] if isinstance(ratio, dict) else [""]
    if not all(ends):
        return None
    return (" / " if any(" " in end for end in ends) else ":").join(ends)


def _period(period: Any) -> str | None:
    ends = [period.get(key) for key in ("start", "end")] if isinstance(period, dict) else []
    return " to ".join(end for end in ends if isinstance(end, str) and end) or None


def _range(bounds: dict[str, Any]) -> str | None:
    """Return a reference range as it is printed: 3.5-5.1, <200, >=40."""
    if isinstance(bounds.get("text"), str):
        return bounds["text"]
    ends = [part(bounds, end) for end in ("low", "high")]
    values = [None if end.get("comparator") else end.get("value") for end in ends]
    low, high = (value if written.is_number(value) else None for value in values)
    if low is not None and high is not None:
        return f"{low}-{high}"
    return f">={low}" if low is not None else f"<={high}" if high is not None else None
