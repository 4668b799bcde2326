"""Forms out of Synthea's tables and FHIR bundles: what is written, what is dropped, who stays together."""

import json
import lzma
from collections import Counter

import pytest

from medvl.data import clinical_values, synthea
from medvl.data.source import Dropped
from medvl.data.synthea import Synthea
from medvl.documents.forms.form import Style
from medvl.documents.marks import unmarked

PATIENT = {
    "id": "p1", "given": ["Ada"], "family": "Ordóñez", "gender": "female", "birthDate": "1956-08-03",
    "mrn": "e925b0f3-8006-43f6-aa31-94bd215e55e7",
}  # fmt: skip
GLUCOSE = {"loinc": "2339-0", "name": "Glucose", "value": 83.27999, "unit": "mg/dL"}
EVERY_SIX_HOURS = {"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}}


def report(number, *observations, **changes):
    return {"patient": PATIENT, "report_id": f"r{number}", "loinc": "51990-0", "report": "Basic Metabolic Panel",
            "effective": "2012-10-19T23:37:54+00:00", "status": "final",
            "observations": list(observations or [GLUCOSE]), **changes}  # fmt: skip


def request(medication, **changes):
    return {"patient_id": "p1", "patient": "Ada Ordóñez", "medication": medication, "status": "stopped",
            "authoredOn": "2017-03-21T23:37:54+00:00", "dosage": {}, **changes}  # fmt: skip


def write(folder, reports=(), requests=(), pack=False):
    for name, records in (("lab_reports.jsonl", reports), ("medication_requests.jsonl", requests)):
        text = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
        if pack:
            (folder / f"{name}.xz").write_bytes(lzma.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def read(path=None, **options):
    items = list(Synthea(path=path, **options).read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def facts(document):
    return {field.path: field.value for field in document.fields}


@pytest.mark.parametrize("pack", [False, True])
def test_a_report_is_a_panel(tmp_path, pack):
    platelets = {"loinc": "777-3", "name": "Platelets [#/\u200bvolume] in Blood by Automated count", "value": 298.136,
                 "unit": "10*3/uL"}  # fmt: skip
    odour = {"loinc": "5767-9", "name": "Odor of Urine", "value": "Foul smelling urine (finding)", "unit": None}
    potassium = {"loinc": "6298-4", "name": "Potassium", "value": 6.51, "unit": "mmol/L"}
    (document,), dropped = read(write(tmp_path, [report(1, GLUCOSE, platelets, odour, potassium)], pack=pack))
    found = facts(document)
    results = [[found.get(f"results.{row}.{key}") for key in ("test", "value", "unit")] for row in range(4)]
    assert results == [
        ["Glucose", "83", "mg/dL"], ["Platelets", "298", "10*3/uL"], ["Odor of Urine", "Foul smelling urine", None],
        ["Potassium", "6.5", "mmol/L"],
    ]  # fmt: skip
    assert found["patient.mrn"] == "E925B0F3" and "Ordóñez" in found["patient.name"]
    assert [field.value for field in document.fields if field.critical] == ["6.5"]
    assert (document.kind, document.groups, document.split) == ("laboratory panel", ["synthea-p1"], None)
    assert document.terms[:2] == ["Glucose", "Platelets"] and not dropped


def test_every_field_stands_in_its_document():
    documents, _ = read()
    for document in documents:
        assert document.layout in {style.value for style in Style}
        assert all(field.value in document.text for field in document.fields)
        assert "\u200b" not in document.text and unmarked(document.text) == document.text


def test_prescriptions_by_day_and_what_is_active(tmp_path):
    tablet = {"doseAndRate": [{"doseQuantity": {"value": 1}}], "timing": EVERY_SIX_HOURS, "asNeededBoolean": True}
    documents, dropped = read(
        write(
            tmp_path,
            [report(1)],
            [
                request("Ibuprofen 200 MG Oral Tablet", dosage=tablet, status="active"), request("Yaz 28 Day Pack"),
                request("Digoxin 0.125 MG Oral Tablet", authoredOn="2018-01-02T00:00:00Z", status="active"),
                request("Digoxin 0.125 MG Oral Tablet", authoredOn="2019-01-02T00:00:00Z", status="active"),
            ],
        )
    )  # fmt: skip
    assert [document.kind for document in documents] == [
        "laboratory panel", *["prescription"] * 3, "medication list",
    ]  # fmt: skip
    first, listed = facts(documents[1]), facts(documents[-1])
    keys = ("name", "strength", "form", "dose")
    assert [first[f"medications.0.{key}"] for key in keys] == ["Ibuprofen", "200 mg", "oral tablet", "1 tablet"]
    assert first["medications.0.frequency"] in ("q6h PRN", "every 6 hours as needed")
    assert first["medications.1.name"] == "Yaz 28 Day Pack" and "medications.1.dose" not in first
    assert first["patient.mrn"] == "E925B0F3"  # known from the report: the table of requests has the name alone
    assert [value for path, value in listed.items() if path.endswith(".name") and path[0] == "m"] == [
        "Ibuprofen", "Digoxin",
    ]  # fmt: skip
    assert {tuple(document.groups) for document in documents} == {("synthea-p1",)} and not dropped


def test_malformed_records_are_counted(tmp_path):
    nan = {**GLUCOSE, "value": float("nan")}
    reports = [
        "not json", "[1, 2]", '"text"', report(1), report(1), report(2, patient=None), report(3, patient=[]),
        report(4, loinc="69409-1"), report(5, nan), report(6, observations="none"), report(7, {"value": 3.0}),
        report(8, "text"), report(9, {**GLUCOSE, "value": True}), report(10, status="entered-in-error"),
        {"patient": PATIENT}, report(11, {**GLUCOSE, "loinc": ["x"], "unit": 7}, effective=12, report=None),
    ]  # fmt: skip
    requests = [
        request(None), request("Aspirin 81 MG Oral Tablet", authoredOn="then"), request("Aspirin 81 MG Oral Tablet"),
        request("Aspirin", dosage="daily", authoredOn="2001-01-01", patient_id=None),
        request("Aspirin", authoredOn="2001-01-01", dosage={"timing": {"repeat": {"period": "x", "periodUnit": []}},
                                                          "doseAndRate": [{"doseRange": "x"}, 3]}),
    ]  # fmt: skip
    documents, dropped = read(write(tmp_path, reports, requests))
    assert Counter(document.kind for document in documents) == {"laboratory panel": 2, "prescription": 2}
    assert dropped == {
        "not JSON": 1, "not a JSON object": 2, "repeats an earlier record": 1, "no patient": 3,
        "a death certificate": 1, "no usable observations": 5, "cancelled, a draft or an error": 1,
        "neither a report nor a medication request": 1, "no medication": 1, "no date": 1,
    }  # fmt: skip


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"neither lab_reports\.jsonl\[\.xz\] nor FHIR bundles .* Set data\.path="):
        read(str(tmp_path))
    (tmp_path / "lab_reports.jsonl.xz").write_bytes(lzma.compress(b'{"a": 1}\n' * 9999)[:-40])
    with pytest.raises(ValueError, match=r"cannot be read after line \d+: .* Set data\.path="):
        read(str(tmp_path))


def test_a_hub_id_is_refused():
    with pytest.raises(ValueError, match=r"data\.hub=some/thing.* set data\.path="):
        Synthea(hub="some/thing")


def test_what_ships_is_part_of_the_key(tmp_path, monkeypatch):
    before = Synthea().fingerprint()
    assert Synthea().content() and not Synthea(path=write(tmp_path, [report(1)])).content()
    monkeypatch.setattr(synthea, "EMBEDDED", [*synthea.EMBEDDED[:1], tmp_path / "lab_reports.jsonl"])
    assert Synthea().fingerprint() != before


def test_the_same_records_give_the_same_forms(tmp_path):
    first, second = read(records=9)[0], read(records=9)[0]
    assert [document.id for document in first] == [document.id for document in second]
    everything = {document.id for document in read()[0]}
    assert {document.id for document in first} <= everything


def test_what_ships():
    documents, dropped = read()
    kinds = Counter(document.kind for document in documents)
    assert kinds["laboratory panel"] == 60 and kinds["prescription"] == 40 and kinds["medication list"] > 3
    assert len({tuple(document.groups) for document in documents}) == 40 and not dropped
    assert len({document.layout for document in documents}) == len(Style)


def test_the_whole_tables(shared):
    documents, dropped = read(str(shared("synthea/lab_reports.jsonl.xz").parent))
    assert Counter(document.kind for document in documents) == {
        "laboratory panel": 6181, "prescription": 4053, "medication list": 291,
    }  # fmt: skip
    assert dropped == {"a death certificate": 81}
    assert len({document.id for document in documents}) == len(documents)
    assert len({tuple(document.groups) for document in documents}) == 615
    assert {document.id for document in read()[0]} <= {document.id for document in documents}


@pytest.mark.parametrize(
    ("value", "loinc", "unit", "text"),
    [
        (175.96112, "2093-3", "mg/dL", "176"), (1.0479, "38483-4", "mg/dL", "1.05"), (4.0, "6298-4", "mmol/L", "4.0"),
        (1.0254, "5811-5", "", "1.025"), (14.6223, None, "g/dL", "14.6"), (140, "2947-0", "mmol/L", "140"),
        (0.0042, "2339-0", "mg/dL", "0.004"), (123.4, None, None, "123"), (2.345, None, "mIU/L", "2.35"),
        ("Urine ketone test = +++ (finding)", None, "", "+++"), ("Brown (qualifier value)", None, "", "Brown"),
        *((value, None, "", None) for value in (float("inf"), float("nan"), 10**400, True, None, {}, "")),
    ],
)  # fmt: skip
def test_results_are_rounded_as_laboratories_do(value, loinc, unit, text):
    assert clinical_values.result(value, loinc, unit) == text


def test_short_names_stay_apart():
    names = ["Glucose [Presence] in Urine by Test strip", "Glucose [Mass/volume] in Urine by Test strip",
             "pH of Urine by Test strip"]  # fmt: skip
    assert clinical_values.short_names(names) == [*names[:2], "pH of Urine"]


@pytest.mark.parametrize(
    ("repeat", "short", "long"),
    [
        ((1, 1, "d"), "daily", "once daily"), ((2, 1, "d"), "BID", "twice daily"),
        ((1, 4, "h"), "q4h", "every 4 hours"),
        ((1, 1, "wk"), "weekly", "weekly"), ((1, 60, "d"), "every 60 days", "every 60 days"),
        ((2, 1, "wk"), *["2 times per week"] * 2), ((2, 3, "d"), *["2 times every 3 days"] * 2),
    ],
)  # fmt: skip
def test_timing(repeat, short, long):
    dosage = {"timing": {"repeat": dict(zip(("frequency", "period", "periodUnit"), repeat, strict=True))}}
    assert clinical_values.frequency(dosage, spelled=False) == short
    assert clinical_values.frequency(dosage, spelled=True) == long


def test_a_timing_that_says_more_than_is_read_is_not_stated():
    repeat = {"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon"]}
    assert clinical_values.frequency({"timing": {"repeat": repeat}}, spelled=True) is None


def test_doses_need_a_unit():
    one = {"doseAndRate": [{"doseQuantity": {"value": 2}}]}
    assert clinical_values.dose(one, "Ibuprofen 200 MG Oral Tablet") == "2 tablets"
    assert clinical_values.dose(one, "Yaz 28 Day Pack") is None
    most = {"doseAndRate": [{"doseQuantity": {"value": 2, "comparator": "<="}}]}
    assert clinical_values.dose(most, "Ibuprofen 200 MG Oral Tablet") is None
    low_high = {"low": {"value": 5, "unit": "mL"}, "high": {"value": 10, "unit": "mL"}}
    assert clinical_values.dose({"doseAndRate": [{"doseRange": low_high}]}, "Nystatin") == "5-10 mL"


def loinc(code, display):
    return {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]}


def observation(identity, code, display, **value):
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": {"resourceType": "Observation", "id": identity, "status": "final", "code": loinc(code, display),
                     "subject": {"reference": "urn:uuid:p1"}, **value},
    }  # fmt: skip


@pytest.fixture
def bundle():
    """A transaction as Synthea writes it, with what its tables leave out: ranges, flags, comparators, routes."""
    ucum = {"system": "http://unitsofmeasure.org"}
    patient = {
        "resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1956-08-03",
        "name": [{"use": "maiden", "family": "Old"}, {"use": "official", "family": "Koepp", "given": ["Abdul", "M."]}],
        "identifier": [
            {"type": {"coding": [{"code": "SS"}]}, "value": "999"},
            {"type": {"coding": [{"code": "MR"}]}, "value": "A1"},
        ],
    }  # fmt: skip
    results = ["o1", "o2", "o3", "gone"]
    lab = {
        "resourceType": "DiagnosticReport", "id": "d1", "status": "final", "code": loinc("51990-0", "Basic Metabolic"),
        "subject": {"reference": "urn:uuid:p1"}, "effectiveDateTime": "2012-10-19T23:37:54+00:00",
        "result": [{"reference": f"urn:uuid:{identity}"} for identity in results],
    }  # fmt: skip
    order = {
        "resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p1"}, "authoredOn": "2017-03-21",
        "medicationReference": {"reference": "#drug"},
        "contained": [
            {"resourceType": "Medication", "id": "drug", "code": {"text": "Amoxicillin 250 MG Oral Capsule"}},
        ],
        "dosageInstruction": [{
            "text": "one thrice a day", "route": {"text": "by mouth"},
            "timing": {"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}},
            "asNeededCodeableConcept": {"text": "fever"}, "doseAndRate": [{"doseQuantity": {"value": 1}}],
            "additionalInstruction": [{"text": "Finish the course."}],
        }],
    }  # fmt: skip
    odd = {"resourceType": "MedicationRequest", "status": "active", "subject": {"reference": "urn:uuid:nobody"}}
    return {
        "resourceType": "Bundle", "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:p1", "resource": patient},
            observation("o1", "6298-4", "Potassium", valueQuantity={"value": 6.4, "unit": "mmol/L", **ucum},
                        referenceRange=[{"low": {"value": 3.5}, "high": {"value": 5.1}}],
                        interpretation=[{"coding": [{"code": "HH"}]}]),
            observation("o2", "3016-3", "Thyrotropin",
                        valueQuantity={"value": 0.01, "comparator": "<", "code": "m[IU]/L"},
                        referenceRange=[{"low": {"value": 0.4}}]),
            observation("o3", "5778-6", "Color of Urine", valueCodeableConcept={"text": "Yellow"}),
            {"fullUrl": "urn:uuid:d1", "resource": lab}, {"fullUrl": "urn:uuid:m1", "resource": order},
            {"resource": odd}, {"resource": None}, "text", {},
        ],
    }  # fmt: skip


def test_a_fhir_bundle(tmp_path, bundle):
    (tmp_path / "fhir").mkdir()
    (tmp_path / "fhir" / "abdul.json").write_text(json.dumps(bundle))
    (tmp_path / "fhir" / "broken.json").write_text("{")
    (tmp_path / "fhir" / "other.json").write_text('{"resourceType": "Patient"}')
    (panel, prescription), dropped = read(str(tmp_path))
    found = facts(panel)
    assert found["patient.mrn"] == "A1" and {"Abdul", "Koepp"} <= set(found["patient.name"].replace(",", "").split())
    keys = ("test", "value", "unit", "range", "flag")
    assert [[found.get(f"results.{row}.{key}") for key in keys] for row in range(3)] == [
        ["Potassium", "6.4", "mmol/L", "3.5-5.1", "HH"], ["Thyrotropin", "<0.01", "m[IU]/L", ">=0.4", None],
        ["Color of Urine", "Yellow", None, None, None],
    ]  # fmt: skip
    found = facts(prescription)
    assert {path.removeprefix("medications.0."): value for path, value in found.items() if path[0] == "m"} == {
        "name": "Amoxicillin", "strength": "250 mg", "form": "oral capsule", "dose": "1 capsule", "route": "by mouth",
        "frequency": found["medications.0.frequency"], "instructions": "Finish the course.",
    }  # fmt: skip
    assert found["medications.0.frequency"] in ("TID PRN for fever", "three times daily as needed for fever")
    assert dropped == {"not JSON": 1, "no FHIR bundle": 1, "no patient": 1}


ERROR, EXTENSION = "cancelled, a draft or an error", "an extension changes its meaning"
MODIFIER = {"modifierExtension": [{"url": "http://example.org/not-taken", "valueBoolean": True}]}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        *((kind, {"status": status}, ERROR) for status in ("entered-in-error", "cancelled")
          for kind in ("DiagnosticReport", "MedicationRequest")),
        ("MedicationRequest", {"status": "draft"}, ERROR),
        ("MedicationRequest", {"doNotPerform": True}, "an order not to do it"),
        ("MedicationRequest", {"doNotPerform": "true"}, "an order not to do it"),
        ("MedicationRequest", {"intent": "proposal"}, "a proposal, a plan or an option, no order"),
        *((kind, change, EXTENSION) for kind in ("DiagnosticReport", "MedicationRequest")
          for change in (MODIFIER, {"implicitRules": "http://example.org/rules"})),
        ("MedicationRequest", {"dosageInstruction": [{"text": "daily", **MODIFIER}]}, EXTENSION),
        ("MedicationRequest", {"dosageInstruction": [{"timing": {**MODIFIER}}]}, EXTENSION),
        ("MedicationRequest", {"contained": [{"id": "drug", "status": "entered-in-error", "code": {"text": "X"}}]},
         "no medication"),
    ],
)  # fmt: skip
def test_modifiers_of_a_resource_are_heeded(tmp_path, bundle, kind, change, reason):
    resources = [entry.get("resource") or {} for entry in bundle["entry"] if isinstance(entry, dict)]
    next(resource for resource in resources if resource.get("resourceType") == kind).update(change)
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (document,), dropped = read(str(tmp_path / "bundle.json"))
    assert document.kind == ("prescription" if kind == "DiagnosticReport" else "laboratory panel")
    assert dropped == {reason: 1, "no patient": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"status": "entered-in-error"}, ERROR), ({"status": "cancelled"}, ERROR), (MODIFIER, EXTENSION)],
)
def test_an_observation_in_error_costs_itself(tmp_path, bundle, change, reason):
    bundle["entry"][1]["resource"].update(change)
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (panel, _), dropped = read(str(tmp_path / "bundle.json"))
    assert "Potassium" not in panel.text and facts(panel)["results.0.test"] == "Thyrotropin"
    assert dropped == {reason: 1, "no patient": 1}
    (tmp_path / "tables").mkdir()
    table = write(tmp_path / "tables", [report(1, GLUCOSE, {**GLUCOSE, **change}), report(2, {**GLUCOSE, **change})])
    documents, dropped = read(table)
    assert len(documents) == 1 and dropped == {reason: 2, "no usable observations": 1}


def test_old_names_and_numbers_are_not_the_patients(tmp_path, bundle):
    patient = bundle["entry"][0]["resource"]
    patient["name"] = [{"use": "old", "family": "Former"}, {"family": "Koepp", "given": ["Abdul"]}]
    patient["identifier"] = [{"use": "old", "type": {"coding": [{"code": "MR"}]}, "value": "A0"}]
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    for document in read(str(tmp_path / "bundle.json"))[0]:
        assert "Koepp" in document.text and "Former" not in document.text and "A0" not in document.text


def broken(value, wrong):
    """Yield copies of a JSON value, one element of each replaced."""
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
        documents, dropped = read(str(tmp_path))
        assert len(documents) <= 2 and sum(dropped.values()) <= 3
    for changed in broken(report(1, GLUCOSE), wrong):
        assert len(read(write(tmp_path, [changed], [request("Aspirin", dosage=wrong)]))[0]) <= 2
