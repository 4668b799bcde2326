"""Forms from Synthea's tables: what is written, what is dropped, which documents share a split."""

import lzma
from collections import Counter

import pytest
from conftest import GLUCOSE, PATIENT, facts, read_forms, report, request, write_tables

from medvl.data.sources import clinical_values, synthea
from medvl.data.sources.synthea import Synthea
from medvl.documents.forms.form import Style
from medvl.documents.marks import unmarked

EVERY_SIX_HOURS = {"repeat": {"frequency": 1, "period": 6, "periodUnit": "h"}}


@pytest.mark.parametrize("pack", [False, True])
def test_a_report_is_a_panel(tmp_path, pack):
    platelets = {
        "loinc": "777-3",
        "name": "Platelets [#/\u200bvolume] in Blood by Automated count",
        "value": 298.136,
        "unit": "10*3/uL",
    }
    odour = {"loinc": "5767-9", "name": "Odor of Urine", "value": "Foul smelling urine (finding)", "unit": None}
    potassium = {"loinc": "6298-4", "name": "Potassium", "value": 6.51, "unit": "mmol/L"}
    (document,), dropped = read_forms(
        write_tables(tmp_path, [report(1, GLUCOSE, platelets, odour, potassium)], pack=pack)
    )
    found = facts(document)
    results = [[found.get(f"results.{row}.{key}") for key in ("test", "value", "unit")] for row in range(4)]
    assert results == [
        ["Glucose", "83", "mg/dL"],
        ["Platelets", "298", "10*3/uL"],
        ["Odor of Urine", "Foul smelling urine", None],
        ["Potassium", "6.5", "mmol/L"],
    ]
    assert found["patient.mrn"] == "E925B0F3" and "Ordóñez" in found["patient.name"]
    assert [field.value for field in document.fields if field.critical] == ["6.5"]
    assert (document.kind, document.groups, document.split) == ("laboratory panel", ["synthea-p1"], None)
    assert document.terms[:2] == ["Glucose", "Platelets"] and not dropped


def test_every_field_stands_in_its_document():
    documents, _ = read_forms()
    for document in documents:
        assert document.layout in {style.value for style in Style}
        assert all(field.value in document.text for field in document.fields)
        assert "\u200b" not in document.text and unmarked(document.text) == document.text


def test_prescriptions_by_day_and_what_is_active(tmp_path):
    tablet = {"doseAndRate": [{"doseQuantity": {"value": 1}}], "timing": EVERY_SIX_HOURS, "asNeededBoolean": True}
    documents, dropped = read_forms(
        write_tables(
            tmp_path,
            [report(1)],
            [
                request("Ibuprofen 200 MG Oral Tablet", dosage=tablet, status="active"),
                request("Yaz 28 Day Pack"),
                request("Digoxin 0.125 MG Oral Tablet", authoredOn="2018-01-02T00:00:00Z", status="active"),
                request("Digoxin 0.125 MG Oral Tablet", authoredOn="2019-01-02T00:00:00Z", status="active"),
            ],
        )
    )
    assert [document.kind for document in documents] == [
        "laboratory panel",
        *["prescription"] * 3,
        "medication list",
    ]
    first, listed = facts(documents[1]), facts(documents[-1])
    keys = ("name", "strength", "form", "dose")
    assert [first[f"medications.0.{key}"] for key in keys] == ["Ibuprofen", "200 mg", "oral tablet", "1 tablet"]
    assert first["medications.0.frequency"] in ("q6h PRN", "every 6 hours as needed")
    assert first["medications.1.name"] == "Yaz 28 Day Pack" and "medications.1.dose" not in first
    assert first["patient.mrn"] == "E925B0F3"  # from the report: the table of requests has only the name
    assert [value for path, value in listed.items() if path.endswith(".name") and path[0] == "m"] == [
        "Ibuprofen",
        "Digoxin",
    ]
    assert {tuple(document.groups) for document in documents} == {("synthea-p1",)} and not dropped


def test_malformed_records_are_counted(tmp_path):
    nan = {**GLUCOSE, "value": float("nan")}
    reports = [
        "not json",
        "[1, 2]",
        '"text"',
        report(1),
        report(1),
        report(2, patient=None),
        report(3, patient=[]),
        report(4, loinc="69409-1"),
        report(5, nan),
        report(6, observations="none"),
        report(7, {"value": 3.0}),
        report(8, "text"),
        report(9, {**GLUCOSE, "value": True}),
        report(10, status="entered-in-error"),
        {"patient": PATIENT},
        report(11, {**GLUCOSE, "loinc": ["x"], "unit": 7}, effective=12, report=None),
    ]
    requests = [
        request(None),
        request("Aspirin 81 MG Oral Tablet", authoredOn="then"),
        request("Aspirin 81 MG Oral Tablet"),
        request("Aspirin", dosage="daily", authoredOn="2001-01-01", patient_id=None),
        request(
            "Aspirin",
            authoredOn="2001-01-01",
            dosage={"timing": {"repeat": {"period": "x", "periodUnit": []}}, "doseAndRate": [{"doseRange": "x"}, 3]},
        ),
    ]
    documents, dropped = read_forms(write_tables(tmp_path, reports, requests))
    assert Counter(document.kind for document in documents) == {"laboratory panel": 2, "prescription": 2}
    assert dropped == {
        "not JSON": 1,
        "not a JSON object": 2,
        "repeats an earlier record": 1,
        "no patient": 3,
        "a death certificate": 1,
        "no usable observations": 5,
        "cancelled, a draft or an error": 1,
        "neither a report nor a medication request": 1,
        "no medication": 1,
        "no date": 1,
    }


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"neither lab_reports\.jsonl\[\.xz\] nor FHIR bundles .* Set data\.path="):
        read_forms(str(tmp_path))
    (tmp_path / "lab_reports.jsonl.xz").write_bytes(lzma.compress(b'{"a": 1}\n' * 9999)[:-40])
    with pytest.raises(ValueError, match=r"cannot be read after line \d+: .* Set data\.path="):
        read_forms(str(tmp_path))


def test_a_hub_id_is_refused():
    with pytest.raises(ValueError, match=r"data\.hub=some/thing.* set data\.path="):
        Synthea(hub="some/thing")


def test_what_ships_is_part_of_the_key(tmp_path, monkeypatch):
    before = Synthea().fingerprint()
    assert Synthea().content() and not Synthea(path=write_tables(tmp_path, [report(1)])).content()
    monkeypatch.setattr(synthea, "EMBEDDED", [*synthea.EMBEDDED[:1], tmp_path / "lab_reports.jsonl"])
    assert Synthea().fingerprint() != before


def test_the_same_records_give_the_same_forms(tmp_path):
    first, second = read_forms(records=9)[0], read_forms(records=9)[0]
    assert [document.id for document in first] == [document.id for document in second]
    everything = {document.id for document in read_forms()[0]}
    assert {document.id for document in first} <= everything


def test_what_ships():
    documents, dropped = read_forms()
    kinds = Counter(document.kind for document in documents)
    assert kinds["laboratory panel"] == 60 and kinds["prescription"] == 40 and kinds["medication list"] > 3
    assert len({tuple(document.groups) for document in documents}) == 40 and not dropped
    assert len({document.layout for document in documents}) == len(Style)


def test_the_whole_tables(shared):
    documents, dropped = read_forms(str(shared("synthea/lab_reports.jsonl.xz").parent))
    assert Counter(document.kind for document in documents) == {
        "laboratory panel": 6181,
        "prescription": 4053,
        "medication list": 291,
    }
    assert dropped == {"a death certificate": 81, "a later request of the day is for the same product": 1}
    assert len({document.id for document in documents}) == len(documents)
    assert len({tuple(document.groups) for document in documents}) == 615
    assert {document.id for document in read_forms()[0]} <= {document.id for document in documents}


@pytest.mark.parametrize(
    ("value", "loinc", "unit", "text"),
    [
        (175.96112, "2093-3", "mg/dL", "176"),
        (1.0479, "38483-4", "mg/dL", "1.05"),
        (4.0, "6298-4", "mmol/L", "4.0"),
        (1.0254, "5811-5", "", "1.025"),
        (14.6223, None, "g/dL", "14.6"),
        (140, "2947-0", "mmol/L", "140"),
        (0.0042, "2339-0", "mg/dL", "0.004"),
        (123.4, None, None, "123"),
        (2.345, None, "mIU/L", "2.35"),
        ("Urine ketone test = +++ (finding)", None, "", "+++"),
        ("Brown (qualifier value)", None, "", "Brown"),
        *((value, None, "", None) for value in (float("inf"), float("nan"), 10**400, True, None, {}, "")),
    ],
)
def test_results_are_rounded_as_laboratories_do(value, loinc, unit, text):
    assert clinical_values.result(value, loinc, unit) == text


def test_short_names_stay_apart():
    names = [
        "Glucose [Presence] in Urine by Test strip",
        "Glucose [Mass/volume] in Urine by Test strip",
        "pH of Urine by Test strip",
    ]
    assert clinical_values.short_names(names) == [*names[:2], "pH of Urine"]


@pytest.mark.parametrize(
    ("repeat", "short", "long"),
    [
        ((1, 1, "d"), "daily", "once daily"),
        ((2, 1, "d"), "BID", "twice daily"),
        ((1, 4, "h"), "q4h", "every 4 hours"),
        ((1, 1, "wk"), "weekly", "weekly"),
        ((1, 60, "d"), "every 60 days", "every 60 days"),
        ((2, 1, "wk"), *["2 times per week"] * 2),
        ((2, 3, "d"), *["2 times every 3 days"] * 2),
    ],
)
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
