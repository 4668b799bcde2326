"""Forms from FHIR bundles: elements are interpreted correctly, and no faulty element is fatal."""

import json

import pytest
from conftest import GLUCOSE, facts, read_forms, report, request, write_tables
from fhir_resources import counted, resources_in


def loinc(code, display):
    return {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]}


def observation(identity, code, display, **value):
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": {
            "resourceType": "Observation",
            "id": identity,
            "status": "final",
            "code": loinc(code, display),
            "subject": {"reference": "urn:uuid:p1"},
            **value,
        },
    }


@pytest.fixture
def bundle():
    """A transaction as Synthea writes it, plus what its tables lack: ranges, flags, comparators, routes."""
    ucum = {"system": "http://unitsofmeasure.org"}
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "gender": "male",
        "birthDate": "1956-08-03",
        "name": [{"use": "maiden", "family": "Old"}, {"use": "official", "family": "Koepp", "given": ["Abdul", "M."]}],
        "identifier": [
            {"type": {"coding": [{"code": "SS"}]}, "value": "999"},
            {"type": {"coding": [{"code": "MR"}]}, "value": "A1"},
        ],
    }
    results = ["o1", "o2", "o3", "gone"]
    lab = {
        "resourceType": "DiagnosticReport",
        "id": "d1",
        "status": "final",
        "code": loinc("51990-0", "Basic Metabolic"),
        "subject": {"reference": "urn:uuid:p1"},
        "effectiveDateTime": "2012-10-19T23:37:54+00:00",
        "result": [{"reference": f"urn:uuid:{identity}"} for identity in results],
    }
    order = {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2017-03-21",
        "medicationReference": {"reference": "#drug"},
        "contained": [
            {"resourceType": "Medication", "id": "drug", "code": {"text": "Amoxicillin 250 MG Oral Capsule"}},
        ],
        "dosageInstruction": [
            {
                "text": "one thrice a day",
                "route": {"text": "by mouth"},
                "timing": {"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}},
                "asNeededCodeableConcept": {"text": "fever"},
                "doseAndRate": [{"doseQuantity": {"value": 1}}],
                "additionalInstruction": [{"text": "Finish the course."}],
            }
        ],
    }
    odd = {"resourceType": "MedicationRequest", "status": "active", "subject": {"identifier": {"value": "7"}}}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:p1", "resource": patient},
            observation(
                "o1",
                "6298-4",
                "Potassium",
                valueQuantity={"value": 6.4, "unit": "mmol/L", **ucum},
                referenceRange=[{"low": {"value": 3.5}, "high": {"value": 5.1}}],
                interpretation=[{"coding": [{"code": "HH"}]}],
            ),
            observation(
                "o2",
                "3016-3",
                "Thyrotropin",
                valueQuantity={"value": 0.01, "comparator": "<", "code": "m[IU]/L"},
                referenceRange=[{"low": {"value": 0.4}}],
            ),
            observation("o3", "5778-6", "Color of Urine", valueCodeableConcept={"text": "Yellow"}),
            {"fullUrl": "urn:uuid:d1", "resource": lab},
            {"fullUrl": "urn:uuid:m1", "resource": order},
            {"resource": odd},
            {"resource": None},
            "text",
            {},
        ],
    }


def test_a_fhir_bundle(tmp_path, bundle):
    (tmp_path / "fhir").mkdir()
    (tmp_path / "fhir" / "abdul.json").write_text(json.dumps(bundle))
    (tmp_path / "fhir" / "broken.json").write_text("{")
    (tmp_path / "fhir" / "other.json").write_text('{"resourceType": "Patient"}')
    (panel, prescription), dropped = read_forms(str(tmp_path))
    found = facts(panel)
    assert found["patient.mrn"] == "A1" and {"Abdul", "Koepp"} <= set(found["patient.name"].replace(",", "").split())
    keys = ("test", "value", "unit", "range", "flag")
    assert [[found.get(f"results.{row}.{key}") for key in keys] for row in range(3)] == [
        ["Potassium", "6.4", "mmol/L", "3.5-5.1", "HH"],
        ["Thyrotropin", "<0.01", "m[IU]/L", ">=0.4", None],
        ["Color of Urine", "Yellow", None, None, None],
    ]
    found = facts(prescription)
    assert {path.removeprefix("medications.0."): value for path, value in found.items() if path[0] == "m"} == {
        "name": "Amoxicillin",
        "strength": "250 mg",
        "form": "oral capsule",
        "dose": "1 capsule",
        "route": "by mouth",
        "frequency": found["medications.0.frequency"],
        "instructions": "Finish the course.",
    }
    assert found["medications.0.frequency"] in ("TID PRN for fever", "three times daily as needed for fever")
    assert dropped == {"not JSON": 1, "a patient of no document": 1, **LACKING}


# Of every bundle here: what a report cites and what its entries hold.
LACKING = {"a cited observation is missing": 1, "an entry without a resource": 3, "its patient is missing": 1}
ERROR, EXTENSION = "cancelled, a draft or an error", "an extension changes its meaning"
MODIFIER = {"modifierExtension": [{"url": "http://example.org/not-taken", "valueBoolean": True}]}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        *(
            (kind, {"status": status}, ERROR)
            for status in ("entered-in-error", "cancelled")
            for kind in ("DiagnosticReport", "MedicationRequest")
        ),
        ("MedicationRequest", {"status": "draft"}, ERROR),
        *((kind, {"status": "unknown"}, "an unknown status") for kind in ("DiagnosticReport", "MedicationRequest")),
        ("MedicationRequest", {"status": ["active"]}, "an unknown status"),
        ("MedicationRequest", {"doNotPerform": True}, "an order not to do it"),
        ("MedicationRequest", {"doNotPerform": "true"}, "an order not to do it"),
        ("MedicationRequest", {"intent": "proposal"}, "a proposal, a plan or an option, no order"),
        *(
            (kind, change, EXTENSION)
            for kind in ("DiagnosticReport", "MedicationRequest")
            for change in (MODIFIER, {"implicitRules": "http://example.org/rules"})
        ),
        ("MedicationRequest", {"dosageInstruction": [{"text": "daily", **MODIFIER}]}, EXTENSION),
        ("MedicationRequest", {"dosageInstruction": [{"timing": {**MODIFIER}}]}, EXTENSION),
        (
            "MedicationRequest",
            {"contained": [{"id": "drug", "status": "entered-in-error", "code": {"text": "X"}}]},
            "no medication",
        ),
    ],
)
def test_modifiers_of_a_resource_are_heeded(tmp_path, bundle, kind, change, reason):
    resources = [entry.get("resource") or {} for entry in bundle["entry"] if isinstance(entry, dict)]
    next(resource for resource in resources if resource.get("resourceType") == kind).update(change)
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (document,), dropped = read_forms(str(tmp_path / "bundle.json"))
    assert document.kind == ("prescription" if kind == "DiagnosticReport" else "laboratory panel")
    withheld = {"its report is not drawn": 3} if kind == "DiagnosticReport" else {}
    assert dropped == {reason: 1, **withheld, **LACKING}


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"status": "entered-in-error"}, ERROR), ({"status": "cancelled"}, ERROR), (MODIFIER, EXTENSION)],
)
def test_an_observation_in_error_costs_itself(tmp_path, bundle, change, reason):
    bundle["entry"][1]["resource"].update(change)
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (panel, _), dropped = read_forms(str(tmp_path / "bundle.json"))
    assert "Potassium" not in panel.text and facts(panel)["results.0.test"] == "Thyrotropin"
    assert dropped == {reason: 1, **LACKING}
    (tmp_path / "tables").mkdir()
    table = write_tables(
        tmp_path / "tables", [report(1, GLUCOSE, {**GLUCOSE, **change}), report(2, {**GLUCOSE, **change})]
    )
    documents, dropped = read_forms(table)
    assert len(documents) == 1 and dropped == {reason: 2, "no usable observations": 1}


def test_old_names_and_numbers_are_not_the_patients(tmp_path, bundle):
    patient = bundle["entry"][0]["resource"]
    patient["name"] = [{"use": "old", "family": "Former"}, {"family": "Koepp", "given": ["Abdul"]}]
    patient["identifier"] = [{"use": "old", "type": {"coding": [{"code": "MR"}]}, "value": "A0"}]
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    for document in read_forms(str(tmp_path / "bundle.json"))[0]:
        assert "Koepp" in document.text and "Former" not in document.text and "A0" not in document.text


def broken(value, wrong):
    """Yield copies of a JSON value, each with one element replaced."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            for changed in (wrong, *broken(value[key], wrong)):
                copy = value.copy()
                copy[key] = changed
                yield copy


@pytest.mark.parametrize("wrong", [None, "text", -1, [], [None], ["text"], {}, [{}], [[]]], ids=str)
def test_an_element_of_the_wrong_type_is_never_fatal(tmp_path, bundle, wrong):
    for changed in broken(bundle, wrong):
        (tmp_path / "bundle.json").write_text(json.dumps(changed))
        kept, dropped = counted(tmp_path)
        assert kept + dropped == resources_in(changed)
    for changed in broken(report(1, GLUCOSE), wrong):
        assert len(read_forms(write_tables(tmp_path, [changed], [request("Aspirin", dosage=wrong)]))[0]) <= 2
