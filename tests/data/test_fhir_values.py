"""What FHIR observations and reports say: every kind of value, components, charts, kinds of reports, conclusions."""

from collections import Counter

import pytest
from conftest import facts, read_forms
from fhir_resources import JANE, amount, attached, bundle, concept, counted, diagnosis, observation, write


def read(tmp_path, *resources):
    write(tmp_path / "b.json", bundle(JANE, *resources))
    return read_forms(str(tmp_path))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (amount(6.8), "6.8"),
        (amount(101.25, "[degF]"), "101.25"),
        (amount(101.2534567, "[degF]"), "101.3"),
        (amount(7), "7"),
        ({"valueQuantity": {"value": 0.4, "comparator": "<", "unit": "mg/L"}}, "<0.4"),
        ({"valueString": "Clear lungs."}, "Clear lungs."),
        ({"valueInteger": 3}, "3"),
        ({"valueBoolean": True}, "Yes"),
        ({"valueBoolean": False}, "No"),
        ({"valueCodeableConcept": concept(code="260385009", display="Negative (qualifier value)")}, "Negative"),
        ({"valueCodeableConcept": concept(code="POS")}, "POS"),
        ({"valueRange": {"low": {"value": 3}, "high": {"value": 5, "unit": "mg"}}}, "3-5 mg"),
        ({"valueRange": {"low": {"value": 3, "unit": "mg"}}}, ">=3 mg"),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, "1:128"),
        (
            {"valueRatio": {"numerator": {"value": 2.5, "unit": "mg"}, "denominator": {"value": 10, "unit": "mL"}}},
            "2.5 mg / 10 mL",
        ),
        ({"valueTime": "08:30:00"}, "08:30:00"),
        ({"valueDateTime": "2020-01-02T08:30:00Z"}, "2020-01-02T08:30:00Z"),
        ({"valuePeriod": {"start": "2020-01-02", "end": "2020-01-04"}}, "2020-01-02 to 2020-01-04"),
    ],
)
def test_every_kind_of_value(tmp_path, value, text):
    (document,), dropped = read(tmp_path, observation("o1", **value))
    assert facts(document)["results.0.value"] == text and not dropped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataAbsentReason": concept(code="not-performed", display="Not Performed")}, "no value: not-performed"),
        ({"dataAbsentReason": concept("lost")}, "no value: lost"),
        ({"dataAbsentReason": {}}, "no value: no reason is given"),
        ({}, "an observation without a value"),
        ({"valueQuantity": {"value": "high"}}, None),
        ({"valueQuantity": {"value": float("nan")}}, "an observation without a value"),
        ({"valueSampledData": {"data": "1 2 3"}}, "a kind of value that is not drawn"),
        ({"code": {}, **amount(1)}, "an observation without a name"),
        ({"status": "unknown", **amount(1)}, "an unknown status"),
    ],
)
def test_an_observation_that_is_not_drawn_has_a_reason(tmp_path, change, reason):
    (document,), dropped = read(tmp_path, observation("o1", **change), observation("o2", "Sodium", **amount(141)))
    assert facts(document)["results.0.test"] == ("Sodium" if reason else "Potassium")
    assert dropped == ({reason: 1} if reason else {}) and counted(tmp_path) == ((2, 1) if reason else (3, 0))


def test_components_are_rows(tmp_path):
    parts = [
        {"code": concept("Systolic"), **amount(120, "mmHg"), "interpretation": [concept("High")]},
        {"code": concept("Diastolic"), **amount(80, "mmHg"), "referenceRange": [{"high": {"value": 90}}]},
        {"code": concept("Mean"), "dataAbsentReason": concept(code="unknown")},
    ]
    vital = {"category": [concept(code="vital-signs")]}
    (document,), dropped = read(tmp_path, observation("bp", "Blood pressure", component=parts, **vital))
    found = facts(document)
    assert document.kind == "vital signs chart" and dropped == {"no value: unknown": 1} and counted(tmp_path) == (2, 0)
    rows = [[found.get(f"results.{row}.{key}") for key in ("test", "value", "unit", "range", "flag")] for row in (0, 1)]
    assert rows == [["Systolic", "120", "mmHg", None, "High"], ["Diastolic", "80", "mmHg", "<=90", None]]
    (document,), _ = read(tmp_path, diagnosis("d1", "bp"), observation("bp", "Blood pressure", component=parts))
    assert facts(document)["results.1.test"] == "Diastolic"


def test_observations_without_a_report_are_charts_of_a_day(tmp_path):
    vital = {"category": [concept(code="vital-signs", display="Vital Signs")]}
    documents, dropped = read(
        tmp_path,
        diagnosis("d1", "cited"),
        observation("cited", **amount(4.1)),
        observation("v1", "Pulse", effectiveDateTime="2020-01-02T08:00:00Z", **vital, **amount(72, "/min")),
        observation("v2", "Pulse", effectiveDateTime="2020-01-02T12:30:00Z", **vital, **amount(80, "/min")),
        observation(
            "v3", "Pulse", effectivePeriod={"start": "2020-01-03"}, effectiveDateTime=None, **vital, **amount(75)
        ),
        observation("smoking", "Smoking status", valueString="Never"),
        observation("undated", "Weight", effectiveDateTime=None, **amount(70, "kg")),
    )
    assert not dropped and counted(tmp_path) == (8, 0)
    assert Counter(one.kind for one in documents) == {
        "laboratory panel": 1,
        "vital signs chart": 2,
        "observations": 2,
    }
    first = facts(next(one for one in documents if one.kind == "vital signs chart"))
    assert [(first[f"results.{row}.value"], first[f"results.{row}.time"]) for row in (0, 1)] == [
        ("72", "08:00"),
        ("80", "12:30"),
    ]
    assert all("Vital" in one.text or "VITAL" in one.text for one in documents if one.kind == "vital signs chart")


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        *((concept(code=code), "laboratory panel") for code in ("LAB", "HM", "CH", "MB", "LP29693-6")),
        *((concept(code=code), "radiology report") for code in ("RAD", "CT", "MR", "US", "NMR", "RUS", "LP29684-5")),
        *((concept(code=code), "cardiology report") for code in ("EC", "CUS", "CTH", "LP29708-2")),
        *((concept(code=code), "pathology report") for code in ("SP", "CP", "CG", "PAT", "LP7839-6")),
        (concept("Radiology"), "radiology report"),
        (concept(code="x", display="Cardiology"), "cardiology report"),
        (concept(code="34117-2", display="History and physical note"), "diagnostic report"),
    ],
)
def test_kinds_by_category(tmp_path, elements, kind):
    (document,), _ = read(tmp_path, diagnosis("d1", "o1", category=[elements]), observation("o1", **amount(4.1)))
    assert document.kind == kind
    assert ("lab" in document.text.lower()) == (kind == "laboratory panel")
    special = [concept(code="LAB"), elements]
    (document,), _ = read(tmp_path, diagnosis("d1", "o1", category=special), observation("o1", **amount(4.1)))
    assert document.kind == (kind if kind != "diagnostic report" else "laboratory panel")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Chest X-ray", "radiology report"),
        ("CT Head", "radiology report"),
        ("MRI of the knee", "radiology report"),
        ("12 lead electrocardiogram", "cardiology report"),
        ("Skin biopsy", "pathology report"),
        ("Cardiac troponin", "laboratory panel"),
    ],
)
def test_kinds_by_name(tmp_path, name, kind):
    (document,), _ = read(tmp_path, diagnosis("d1", "o1", code=concept(name)), observation("o1", **amount(4.1)))
    assert document.kind == kind and name in document.text


def test_reports_of_words_alone(tmp_path):
    radiology = {"category": [concept(code="RAD")], "code": concept("Chest X-ray - two views")}
    text = "FINDINGS:\nNo focal  consolidation.\n\nHeart size normal."
    documents, dropped = read(
        tmp_path,
        diagnosis("d1", **radiology, conclusion="No acute disease."),
        diagnosis("d2", code=concept("Skin biopsy"), conclusionCode=[concept("Nevus"), concept(code="D22.9")]),
        diagnosis(
            "d3",
            code=concept("Note"),
            presentedForm=[attached(text), {"contentType": "application/pdf", "data": "JVBE"}],
        ),
        diagnosis("d4", code=concept("Note"), presentedForm=[{"contentType": "text/plain", "data": "%%%"}]),
    )
    first, second, third = documents
    assert facts(first)["conclusion"] == "No acute disease." and "Chest X-ray - two views" in first.text
    assert [facts(second)[f"findings.{at}.name"] for at in (0, 1)] == ["Nevus", "D22.9"]
    assert "No focal consolidation.\n" in third.text and "Heart size normal." in third.text
    assert [one.kind for one in documents] == ["radiology report", "pathology report", "diagnostic report"]
    assert dropped == {"an attachment that is not plain text": 2, "no usable observations": 1}
    assert counted(tmp_path) == (4, 1)


def test_a_laboratory_says_its_conclusion_too(tmp_path):
    (document,), _ = read(tmp_path, diagnosis("d1", "o1", conclusion="Hemolyzed."), observation("o1", **amount(6.8)))
    assert document.kind == "laboratory panel" and facts(document)["conclusion"] == "Hemolyzed."


def test_further_dosages_are_counted(tmp_path):
    order = {"resourceType": "MedicationRequest", "authoredOn": "2020-01-02", "subject": {"reference": "Patient/p1"}}
    order |= {"medicationCodeableConcept": concept("Prednisone 5 MG Oral Tablet"), "dosageInstruction": [{}, {}, {}]}
    (_,), dropped = read(tmp_path, order)
    assert dropped == {"a further dosage instruction": 2} and counted(tmp_path) == (2, 0)


def test_of_two_orders_of_a_day_for_one_product_the_later_counts(tmp_path):
    order = {"resourceType": "MedicationRequest", "subject": {"reference": "Patient/p1"}}
    order |= {"medicationCodeableConcept": concept("Prednisone 5 MG Oral Tablet")}
    (_,), dropped = read(tmp_path, *({**order, "authoredOn": f"2020-01-02T0{hour}:00:00Z"} for hour in (8, 9)))
    assert dropped == {"a later request of the day is for the same product": 1} and counted(tmp_path) == (2, 1)
