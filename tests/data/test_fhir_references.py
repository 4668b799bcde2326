"""References between FHIR resources: every way to write one, across files, and what is missing is counted."""

import pytest
from conftest import facts, read_forms
from fhir_resources import JANE, amount, bundle, concept, counted, diagnosis, observation, write

HOST = "http://host/fhir"


@pytest.mark.parametrize(
    "reference",
    ["Patient/p1", f"{HOST}/Patient/p1", "Patient/p1/_history/2", f"{HOST}/Patient/p1/_history/2", "urn:uuid:p1"],
)
@pytest.mark.parametrize("url", [None, f"{HOST}/Patient/p1", "urn:uuid:p1"])
def test_a_patient_in_another_file(tmp_path, reference, url):
    held = bundle(JANE)
    held["entry"][0] |= {"fullUrl": url} if url else {}
    write(tmp_path / "patients" / "b.json", held)
    write(tmp_path / "rest" / "o.ndjson", observation("o1", subject={"reference": reference}, **amount(6.8)))
    (document,), dropped = read_forms(str(tmp_path))
    assert "Jane" in document.text and document.groups == ["synthea-p1"] and not dropped


def test_another_server_has_another_patient(tmp_path):
    held = bundle(JANE)
    held["entry"][0]["fullUrl"] = "http://other/fhir/Patient/p1"
    write(tmp_path / "b.json", held)
    write(tmp_path / "o.json", observation("o1", subject={"reference": f"{HOST}/Patient/p1"}, **amount(6.8)))
    (document,), dropped = read_forms(str(tmp_path))
    assert "Jane" not in document.text and "6.8" in document.text
    assert dropped == {"a patient of no document": 1, "its patient is missing": 1}


def test_small_ids_mean_the_patient_of_the_same_file(tmp_path):
    for name in ("Jane", "Joan"):
        patient = {**JANE, "name": [{"text": f"{name} Doe"}]}
        write(tmp_path / name / "Patient.ndjson", patient)
        write(tmp_path / name / "Observation.ndjson", observation("o1", f"Test of {name}", **amount(4.1)))
    documents, dropped = read_forms(str(tmp_path))
    told = {facts(one)["patient.name"]: facts(one)["results.0.test"] for one in documents}
    assert told == {"Jane Doe": "Test of Jane", "Joan Doe": "Test of Joan"} and not dropped
    assert len({tuple(one.groups) for one in documents}) == 2


def test_contained_patients_and_observations(tmp_path):
    for name in ("Jane", "Joan"):
        patient = {"resourceType": "Patient", "id": "who", "name": [{"text": name}]}
        value = {"resourceType": "Observation", "id": "o", "code": concept("Sodium"), "valueInteger": 140}
        refers = {"subject": {"reference": "#who"}, "result": [{"reference": "#o"}, {"reference": "#none"}]}
        write(tmp_path / f"{name}.json", diagnosis(name, **refers, contained=[patient, value]))
    documents, dropped = read_forms(str(tmp_path))
    assert {facts(one)["patient.name"] for one in documents} == {"Jane", "Joan"}
    assert all(facts(one)["results.0.value"] == "140" for one in documents)
    assert len({tuple(one.groups) for one in documents}) == 2
    assert dropped == {"a cited observation is missing": 2} and counted(tmp_path) == (2, 0)


@pytest.mark.parametrize("reference", [{"display": "Jane Doe"}, {"reference": "Patient/gone", "display": "Jane Doe"}])
def test_a_display_stands_for_what_is_missing(tmp_path, reference):
    drug = {"medicationReference": {"reference": "Medication/gone", "display": "Ibuprofen 200 MG Oral Tablet"}}
    order = {"resourceType": "MedicationRequest", "authoredOn": "2020-01-02", "subject": reference, **drug}
    write(tmp_path / "m.json", order)
    (document,), dropped = read_forms(str(tmp_path))
    found = facts(document)
    assert (found["patient.name"], found["medications.0.name"]) == ("Jane Doe", "Ibuprofen")
    assert dropped == {"its patient is missing": 1, "its medication is missing": 1} and counted(tmp_path) == (1, 0)


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ({"identifier": {"value": "7"}}, "its patient is missing"),
        ({"reference": "Observation/o1"}, "its patient is missing"),
        ({"reference": "Group/p1", "display": "All"}, "its subject is no patient"),
        (None, "no patient"),
        ("Patient/p1", "no patient"),
    ],
)
def test_a_record_without_its_patient_is_counted(tmp_path, subject, reason):
    write(tmp_path / "b.json", bundle(JANE, diagnosis("d1", "o2", subject=subject, conclusion="Normal.")))
    documents, dropped = read_forms(str(tmp_path))
    assert not documents
    assert dropped == {reason: 1, "a cited observation is missing": 1, "a patient of no document": 1}
    assert counted(tmp_path) == (0, 2)


def test_a_patient_in_another_system_is_told_by_its_reference(tmp_path):
    for name, reference in (("a", "Patient/p7"), ("b", "Patient/p7"), ("c", "urn:uuid:p8")):
        write(tmp_path / f"{name}.json", observation(name, subject={"reference": reference}, **amount(ord(name))))
    documents, dropped = read_forms(str(tmp_path))
    assert [one.groups for one in documents] == [["synthea-Patient/p7"], ["synthea-urn:uuid:p8"]]
    assert all("patient.name" not in facts(one) for one in documents)
    assert dropped == {"its patient is missing": 3} and counted(tmp_path) == (3, 0)


def test_members_are_followed_and_cycles_end(tmp_path):
    top = observation("top", "Panel", hasMember=[{"reference": f"Observation/{name}"} for name in ("a", "b", "gone")])
    first = observation("a", "Sodium", **amount(141))
    second = observation("b", "Chloride", hasMember=[{"reference": "Observation/top"}], **amount(101))
    for resources in ((top, first, second), (diagnosis("d1", "top"), top, first, second)):
        write(tmp_path / "b.json", bundle(JANE, *resources))
        (document,), dropped = read_forms(str(tmp_path))
        found = facts(document)
        assert [found[f"results.{row}.test"] for row in range(2)] == ["Sodium", "Chloride"]
        assert dropped == {"a cited observation is missing": 1}
        assert counted(tmp_path) == (len(resources) + 1, 0)
