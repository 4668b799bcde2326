"""FHIR resources for tests, and the counts that reading them must give."""

import base64
import json

from medvl.data.sources.source import Dropped
from medvl.data.sources.synthea import Synthea

JANE = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Doe", "given": ["Jane"]}]}


def concept(text=None, **coding):
    return {**({"text": text} if text else {}), **({"coding": [coding]} if coding else {})}


def observation(identity, name="Potassium", **elements):
    return {
        "resourceType": "Observation",
        "id": identity,
        "status": "final",
        "code": concept(name),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-01-02",
        **elements,
    }


def amount(value, unit="mmol/L"):
    return {"valueQuantity": {"value": value, "unit": unit}}


def diagnosis(identity, *results, **elements):
    """Return a DiagnosticReport that cites observations."""
    return {
        "resourceType": "DiagnosticReport",
        "id": identity,
        "status": "final",
        "code": concept("Basic panel"),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-01-02",
        "result": [{"reference": f"Observation/{result}"} for result in results],
        **elements,
    }


def bundle(*resources, type="collection", **entries):
    return {"resourceType": "Bundle", "type": type, "entry": [{"resource": one, **entries} for one in resources]}


def attached(text):
    return {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}


def write(file, *values):
    """Write JSON values, one a line, and return the folder's path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(value if isinstance(value, str) else json.dumps(value) for value in values))
    return str(file.parent)


def counted(path):
    """Return how many records of a path are kept and dropped."""
    items = list(Synthea(path=str(path)).read())
    return tuple(sum(item.records for item in items if isinstance(item, Dropped) is lost) for lost in (False, True))


def resources_in(value):
    """Return how many records a JSON value holds; an entry of a bundle that holds none counts too."""
    entries = value.get("entry") if isinstance(value, dict) and value.get("resourceType") == "Bundle" else None
    if not (isinstance(entries, list) and entries):
        return 1
    return sum(resources_in(entry.get("resource") if isinstance(entry, dict) else None) for entry in entries)
