"""Elements of FHIR R4 resources, of whatever type they turn out to be.

https://hl7.org/fhir/R4/datatypes.html. Modifier elements (https://hl7.org/fhir/R4/conformance-rules.html#isModifier)
that are not read here make an element unusable.
"""

from __future__ import annotations

from typing import Any

_VOID = ("cancelled", "draft", "entered-in-error")
_NO_ORDER = ("proposal", "plan", "option")
_STATUSES = (
    *("registered", "partial", "preliminary", "final", "amended", "corrected", "appended"),
    *("active", "inactive", "on-hold", "completed", "stopped"),
)


def fault(element: Any) -> str | None:
    """Return why an element cannot be taken literally: its status, or a modifier that is not read here.

    >>> fault({"status": "final"}), fault({"status": "active", "doNotPerform": True})
    (None, 'an order not to do it')
    """
    if not isinstance(element, dict):
        return None
    if element.get("status") in _VOID:
        return "cancelled, a draft or an error"
    if element.get("status") is not None and element["status"] not in _STATUSES:
        return "an unknown status"
    if element.get("doNotPerform") not in (None, False):
        return "an order not to do it"
    if element.get("intent") in _NO_ORDER:
        return "a proposal, a plan or an option, no order"
    if element.get("implicitRules") or element.get("modifierExtension"):
        return "an extension changes its meaning"
    return None


def part(element: Any, key: str) -> dict[str, Any]:
    """Return the object that is an element; empty if it is missing or no object."""
    found = element.get(key) if isinstance(element, dict) else None
    return found if isinstance(found, dict) else {}


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
