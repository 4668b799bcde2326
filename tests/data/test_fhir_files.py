"""FHIR files: bundles of every type, single resources, arrays, bulk exports, folders; what breaks loses only itself."""

import json
import os

import pytest
from conftest import facts, read_forms
from fhir_resources import JANE, amount, bundle, counted, diagnosis, observation, write

POTASSIUM = observation("o1", **amount(6.8))
REPORT = diagnosis("d1", "o1")
ALL = (JANE, POTASSIUM, REPORT)


def drawn(folder):
    """Return the text of the only document."""
    (document,), dropped = read_forms(str(folder))
    assert not dropped
    return document.text


@pytest.mark.parametrize(
    "type", ["transaction", "batch", "collection", "document", "searchset", "history", "message", None]
)
def test_a_bundle_of_any_type(tmp_path, type):
    write(tmp_path / "b.json", json.dumps(bundle(*ALL, type=type), indent=2))
    text = drawn(tmp_path)
    assert "Jane" in text and "Doe" in text and "6.8" in text and "Basic panel" in text
    assert counted(tmp_path) == (3, 0)


def test_nested_bundles(tmp_path):
    write(tmp_path / "b.json", bundle(bundle(JANE, bundle(POTASSIUM)), REPORT))
    assert "6.8" in drawn(tmp_path) and counted(tmp_path) == (3, 0)


def test_single_resources_in_a_folder_of_any_depth(tmp_path):
    for at, resource in enumerate(ALL):
        write(tmp_path / f"{at}" / "deeper" / f"{resource['resourceType']}.json", json.dumps(resource, indent=1))
    assert "6.8" in drawn(tmp_path)


def test_a_lone_resource_with_a_named_patient(tmp_path):
    subject = {"reference": "Patient/p1", "display": "Jane Doe"}
    request = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "authoredOn": "2020-01-02",
        "medicationCodeableConcept": {"text": "Ibuprofen 200 MG Oral Tablet"},
    }
    for resource in (POTASSIUM, diagnosis("d1", conclusion="Normal."), request):
        write(tmp_path / "one.json", {**resource, "subject": subject})
        (document,), dropped = read_forms(str(tmp_path / "one.json"))
        assert facts(document)["patient.name"] == "Jane Doe" and dropped == {"its patient is missing": 1}
        assert counted(tmp_path / "one.json") == (1, 0)


def test_an_array_of_resources_and_bundles(tmp_path):
    write(tmp_path / "a.json", json.dumps([JANE, bundle(POTASSIUM), REPORT], indent=2))
    assert "6.8" in drawn(tmp_path)


@pytest.mark.parametrize("suffix", ["ndjson", "jsonl", "NDJSON"])
def test_a_bulk_export(tmp_path, suffix):
    for resource in ALL:
        write(tmp_path / f"{resource['resourceType']}.{suffix}", resource)
    assert "6.8" in drawn(tmp_path)


def test_lines_in_a_file_named_json(tmp_path):
    write(tmp_path / "all.json", *ALL)
    assert "6.8" in drawn(tmp_path)


@pytest.mark.parametrize(
    "broken", ["{", "\ufeff\udcff", '{"resourceType": "Patient", "id": "p', "[" * 90_000, "1" * 5000]
)
def test_a_broken_line_loses_only_itself(tmp_path, broken):
    lines = [json.dumps(JANE), broken, json.dumps(POTASSIUM), "", json.dumps(REPORT)]
    (tmp_path / "all.ndjson").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    documents, dropped = read_forms(str(tmp_path))
    assert len(documents) == 1 and "6.8" in documents[0].text
    assert dropped in ({"not JSON": 1}, {"not a JSON object": 1})


def test_a_broken_item_of_an_array_loses_only_itself(tmp_path):
    write(tmp_path / "a.json", f'[{json.dumps(JANE)}, {{"resourceType": oops}}, {json.dumps(POTASSIUM)}]')
    documents, dropped = read_forms(str(tmp_path))
    assert len(documents) == 1 and dropped == {"not JSON": 1}


def test_a_byte_order_mark(tmp_path):
    for name, value in (("b.json", bundle(*ALL)), ("a.json", [JANE]), ("l.ndjson", JANE)):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
    (document,), dropped = read_forms(str(tmp_path))
    assert "6.8" in document.text and dropped == {"repeats an earlier resource": 2}


def test_only_the_newest_version_is_drawn(tmp_path):
    old, new = (
        {**observation("o1", **amount(value)), "meta": {"versionId": str(n)}} for value, n in ((6.1, 9), (6.9, 10))
    )
    for versions in ((old, new), (new, old)):
        write(tmp_path / "h.json", bundle(JANE, *versions, type="history"))
        (document,), dropped = read_forms(str(tmp_path))
        assert "6.9" in document.text and "6.1" not in document.text and dropped == {"an older version": 1}
    times = ("2020-01-01T10:00:00+02:00", "2020-01-01T09:00:00Z")
    old, new = (
        {**observation("o1", **amount(value)), "meta": {"lastUpdated": at}}
        for value, at in zip((6.1, 6.9), times, strict=True)
    )
    write(tmp_path / "h.json", bundle(JANE, old, new, type="history"))
    (document,), dropped = read_forms(str(tmp_path))
    assert "6.9" in document.text and dropped == {"an older version": 1}
    new, old = observation("o1", **amount(6.9)), observation("o1", **amount(6.1))
    write(tmp_path / "h.json", bundle(JANE, new, old, type="history"))  # a history lists the newest first
    assert "6.9" in read_forms(str(tmp_path))[0][0].text


def test_a_deleted_resource_is_not_drawn(tmp_path):
    history = bundle(JANE, {**POTASSIUM, "meta": {"versionId": "1"}}, REPORT, type="history")
    history["entry"].insert(0, {"request": {"method": "DELETE", "url": "Observation/o1"}})
    write(tmp_path / "h.json", history)
    documents, dropped = read_forms(str(tmp_path))
    assert not documents
    assert dropped == {
        "deleted": 1,
        "deleted later": 1,
        "a cited observation is missing": 1,
        "no usable observations": 1,
        "a patient of no document": 1,
    }
    assert counted(tmp_path) == (0, 4)


def test_what_is_not_drawn_is_counted_by_type(tmp_path):
    others = [{"resourceType": kind, "id": "1"} for kind in ("Claim", "Encounter", "Claim", "jane doe")]
    odd = [{"id": "no type"}, {"resourceType": 5}, "text"]
    write(
        tmp_path / "b.json",
        bundle(*ALL, *others, *odd),
    )
    write(tmp_path / "empty.json", bundle())
    _, dropped = read_forms(str(tmp_path))
    assert dropped == {
        "a Claim is not drawn": 2,
        "an Encounter is not drawn": 1,
        "no FHIR resource": 3,
        "an entry without a resource": 1,
        "a bundle without entries": 1,
    }
    assert counted(tmp_path) == (3, 8)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    secret = write(tmp_path / "elsewhere" / "b.json", bundle(*ALL))
    folder = tmp_path / "data"
    write(folder / "patient.json", JANE)
    (folder / "x.json").mkdir()
    (folder / "out.json").symlink_to(os.path.join(secret, "b.json"))
    (folder / "folder").symlink_to(secret)
    (folder / "gone.json").symlink_to(folder / "nothing.json")
    (folder / "round.json").symlink_to(folder / "round.json")
    (folder / "again.json").symlink_to(folder / "patient.json")
    documents, dropped = read_forms(str(folder))
    assert not documents and dropped == {
        "a link that leaves the data folder": 2,
        "a link to nothing": 2,
        "repeats an earlier resource": 1,
        "a patient of no document": 1,
    }


def test_a_table_behind_a_link_out_of_the_folder_is_not_read(tmp_path):
    outside = write(tmp_path / "elsewhere" / "lab_reports.jsonl", '{"patient_id": "p1"}')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lab_reports.jsonl").symlink_to(os.path.join(outside, "lab_reports.jsonl"))
    assert read_forms(str(tmp_path / "data")) == ([], {"a link that leaves the data folder": 1})


def test_bundles_nested_beyond_pythons_stack(tmp_path):
    text = json.dumps(bundle(*ALL))
    for _ in range(200):
        text = f'{{"resourceType": "Bundle", "entry": [{{"resource": {text}}}]}}'
    write(tmp_path / "b.json", text)
    assert "6.8" in drawn(tmp_path)
    write(tmp_path / "b.json", '{"resourceType": "Bundle", "entry": [{"resource": ' * 50_000)
    assert read_forms(str(tmp_path)) == ([], {"not JSON": 1})


def test_the_first_record_read_is_a_document(tmp_path):
    claims = [{"resourceType": "Claim", "id": str(n)} for n in range(5)]
    write(tmp_path / "b.json", bundle(*claims, JANE, POTASSIUM, {**REPORT, "result": [{}, *REPORT["result"]]}))
    (document,), dropped = read_forms(str(tmp_path), records=1)
    assert "6.8" in document.text and not dropped


def test_lone_surrogates_and_numbers_as_ids(tmp_path):
    patient = {**JANE, "id": 7, "name": [{"family": "D\ud800e", "given": ["J\udfffne"]}]}
    lab = diagnosis("d\ud800", subject={"reference": "Patient/7"}, conclusion="\udcffclear")
    write(tmp_path / "b\u00e9.json", bundle(patient, {**lab, "id": "d\ud800"}, {"resourceType": "Claim\ud800"}))
    (document,), dropped = read_forms(str(tmp_path))
    assert "D?e" in document.text and "?clear" in document.text and dropped == {"no FHIR resource": 1}
    assert document.groups == ["synthea-7"]
