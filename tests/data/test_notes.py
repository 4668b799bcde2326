"""Notes of one's own: tables, text files, C-CDA and FHIR documents; with typical faults."""

import base64
import json
from collections import Counter

import pytest

from medvl.data.prepare import prepare
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.narrative import DEEPEST, NoNarrative, clinical_document, parsed, xhtml
from medvl.data.sources.notes import Notes
from medvl.documents.render import Render
from medvl.types import Heading, Pairs, Table, Text

CCDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <title>Continuity of Care</title>
  <recordTarget><patientRole><id root="1.2.3" extension="p7"/><id root="1.2.3"/><id nullFlavor="UNK"/>
  </patientRole></recordTarget>
  <component><structuredBody>
    <component><section><title>Allergies</title><text>
      <table><thead><tr><th>Substance</th><th>Reaction</th></tr></thead>
        <tbody><tr><td>Penicillin</td><td><content>Hives</content>, <br/>nausea</td></tr>
        <tr><td>Latex</td></tr></tbody></table>
    </text></section></component>
    <component><section><title>Plan</title><text>
      <paragraph>Rest   and fluids.</paragraph>Call if worse.
      <list><item><paragraph>Aspirin 81 mg</paragraph></item><item><paragraph/></item></list>
    </text><component><section><title>Follow-up</title><text>In two
      weeks.</text></section></component></section></component>
    <component><section><title>Empty</title><text/></section></component>
  </structuredBody></component>
</ClinicalDocument>"""
BOMB = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]><ClinicalDocument>&c;</ClinicalDocument>'
FILE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><ClinicalDocument>&b;</ClinicalDocument>'
TEXTS = ["HISTORY: a cough since May", "PLAN: rest and fluids", "Nothing of note, all is well"]


def split_up(source):
    items = list(source.read())
    documents = [item for item in items if not isinstance(item, Dropped)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def composition(**more):
    section = {
        "title": "Plan",
        "text": {"div": "<div xmlns='http://www.w3.org/1999/xhtml'><p>Rest&nbsp;now.</p></div>"},
    }
    return {"resourceType": "Composition", "status": "final", "title": "Visit", "section": [section], **more}


@pytest.mark.parametrize("name", ["notes.csv", "notes.tsv", "notes.jsonl", "notes.json", "notes.parquet"])
@pytest.mark.parametrize("column", ["note", "transcription", "Report_Text"])
def test_the_column_of_a_table_is_found(tmp_path, name, column):
    rows = [{"id": str(at), column: text} for at, text in enumerate(TEXTS)]
    if name.endswith(".parquet"):
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    elif name.endswith("sv"):
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(rows[0]), *(mark.join(f'"{value}"' for value in row.values()) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines))
    else:
        (tmp_path / name).write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)))
    for path in (tmp_path, tmp_path / name):
        documents, dropped = split_up(Notes(path=str(path)))
        assert [document.text for document in documents] == TEXTS and not dropped
        assert {(document.kind, document.layout) for document in documents} == {("clinical note", "narrative")}


def test_a_column_is_named_or_asked_for(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("id,dialogue,summary\n1,hello,HISTORY: a cough\n")
    with pytest.raises(ValueError, match=r"for the note: id, dialogue, summary. Set data\.column=<one of them>"):
        list(Notes(path=str(path)).read())
    (document,), _ = split_up(Notes(path=str(path), column="summary"))
    assert document.text == "HISTORY: a cough"
    with pytest.raises(ValueError, match=r"no column 'note'; it has id, dialogue, summary. Set data\.column="):
        list(Notes(path=str(path), column="note").read())


def test_of_several_columns_the_first_known_one_is_taken_and_said(tmp_path, caplog):
    (tmp_path / "aci.csv").write_text("dataset,encounter_id,text,note\nvirt,1,hello doctor,HISTORY: a cough\n")
    with caplog.at_level("INFO"):
        (document,), _ = split_up(Notes(path=str(tmp_path / "aci.csv")))
    assert document.text == "HISTORY: a cough" and "data.column=text takes another one" in caplog.text


def test_a_message_shows_no_row_of_a_file_without_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("Ada Lovelace,born 1815\nBob Ross,born 1942\n")
    with pytest.raises(ValueError, match="2 columns with other names, or no header") as error:
        list(Notes(path=str(tmp_path / "a.csv")).read())
    assert "Ada" not in str(error.value)


def test_broken_rows_cost_themselves(tmp_path):
    rows = [{"note": "a cough"}, {"note": None}, {"note": "  "}, {"note": ["x"]}, {"note": "a cough"}, {"id": 1}, 7]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{")
    documents, dropped = split_up(Notes(path=str(tmp_path / "a.jsonl")))
    assert [document.text for document in documents] == ["a cough"]
    assert dropped == {
        "no text": 3, "a note that is no text": 1, "repeats an earlier record": 1, "not a JSON object": 1, "not JSON": 1
    }  # fmt: skip


def test_a_folder_of_text_files(tmp_path):
    for at, text in enumerate(TEXTS):
        folder = tmp_path / ("test" if at == 2 else "train")
        folder.mkdir(exist_ok=True)
        (folder / f"{at}.txt").write_text(text)
    (tmp_path / "train" / "latin.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "train" / "empty.txt").touch()
    (tmp_path / "train" / "blank.txt").write_text(" \n ")
    (tmp_path / "train" / "labels.csv").write_text("note\nx\n")
    (tmp_path / "train" / ".hidden.txt").write_text("hidden")
    documents, dropped = split_up(Notes(path=str(tmp_path)))
    assert {document.text for document in documents} == set(TEXTS)
    assert [document.split for document in documents if document.text == TEXTS[2]] == ["test"]
    assert {document.split for document in documents} == {"train", "val", "test"}  # val is drawn
    assert dropped == {
        "a file that is empty, not UTF-8 or cannot be read": 2, "no text": 1, "a table beside the notes": 1
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"data\.group names a column.* Leave out data\.group"):
        list(Notes(path=str(tmp_path), group="patient").read())


def test_only_folders_tell_the_split_of_a_note(tmp_path):
    names = ["stress_test.txt", "train_accident.txt", "a/dev_notes.txt"]
    for name, text in zip(names, TEXTS, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    documents, dropped = split_up(Notes(path=str(tmp_path)))
    assert [document.split for document in documents] == [None] * 3 and not dropped
    (tmp_path / "Test").mkdir()
    (tmp_path / "Test" / "b.txt").write_text("a note to test on")
    (document,), dropped = split_up(Notes(path=str(tmp_path)))
    assert document.split == "test" and dropped == {"a note outside of the folders train, val and test": 3}


def test_a_clinical_document_is_its_sections(tmp_path):
    (tmp_path / "a.xml").write_text(CCDA)
    (document,), dropped = split_up(Notes(path=str(tmp_path)))
    assert document.blocks == [
        Heading("Continuity of Care", level=1),
        Heading("Allergies"),
        Table(["Substance", "Reaction"], [["Penicillin", "Hives, nausea"], ["Latex", ""]]),
        Heading("Plan"),
        Text("Rest and fluids."),
        Text("Call if worse."),
        Text("- Aspirin 81 mg"),
        Heading("Follow-up"),
        Text("In two weeks."),
    ]
    assert document.groups == [document.id, "patient: 1.2.3 p7"] and not dropped
    assert document.text.splitlines()[2:4] == ["Substance | Reaction", "Penicillin | Hives, nausea"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "XML with a document type, which could name other files"),
        (FILE, "XML with a document type, which could name other files"),
        ("<ClinicalDocument>&b;</ClinicalDocument>", "not XML, or cut off"),
        (CCDA[:900], "not XML, or cut off"),
        ("<a/>", "XML that is no clinical document"),
        ("<ClinicalDocument/>", "a clinical document without narrative"),
        ("<a>" * (DEEPEST + 1), "XML that is nested too deeply"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "not XML, or cut off"),
        (
            "<ClinicalDocument><component><nonXMLBody/></component></ClinicalDocument>",
            "a clinical document whose body is a file of another kind",
        ),
    ],
)
def test_xml_of_a_stranger_is_only_read(tmp_path, content, reason):
    with pytest.raises(NoNarrative, match=reason):
        clinical_document(content.encode())
    (tmp_path / "a.xml").write_text(content)
    (tmp_path / "b.xml").write_text(CCDA)
    documents, dropped = split_up(Notes(path=str(tmp_path)))
    assert len(documents) == 1 and dropped == {reason: 1}


def test_tables_without_a_header_are_pairs_or_lines():
    rows = "<tr><td>Dose:</td><td>81 mg</td></tr>"
    assert xhtml(f"<div><table>{rows}</table></div>") == [Pairs([("Dose", "81 mg")])]
    assert xhtml(f"<div><table>{rows.replace('</tr>', '<td>daily</td></tr>')}</table></div>") == [
        Text("Dose:, 81 mg, daily")
    ]
    with pytest.raises(NoNarrative):
        parsed("<div")


def test_tables_within_tables_are_read_in_linear_time():
    inner = "x"
    for _ in range((DEEPEST - 3) // 3):
        inner = f"<table><tr><td>{inner}</td></tr></table>"
    assert xhtml(f"<div>{inner}</div>") == [Text("x")]


def test_fhir_documents(tmp_path):
    attachment = {"contentType": "text/plain", "data": base64.b64encode(b"SUBJECTIVE: a cough\nPLAN: rest").decode()}
    reference = {
        "resourceType": "DocumentReference", "status": "current", "subject": {"reference": "Patient/7"},
        "content": [{"attachment": attachment}, {"attachment": {"contentType": "application/pdf", "data": ""}}],
    }  # fmt: skip
    nested = composition(
        section=[{"title": "Empty"}, {"code": {"text": "Course"}, "section": composition()["section"]}]
    )
    resources = [
        composition(),
        reference,
        {**reference, "status": "entered-in-error"},
        {"resourceType": "Patient", "id": "7"},
        composition(section=[{"title": "Plan", "text": {"div": "<div>"}}]),
        nested,
    ]
    bundle = {"resourceType": "Bundle", "type": "document", "entry": [{"resource": one} for one in resources]}
    for name, content in (("a.json", json.dumps(bundle)), ("b.ndjson", "\n".join(map(json.dumps, resources)))):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text(content)
        (one, two, three), dropped = split_up(Notes(path=str(folder)))
        assert one.blocks == [Heading("Visit", level=1), Heading("Plan"), Text("Rest now.")]
        assert (two.text, two.groups[1:], two.blocks) == ("SUBJECTIVE: a cough\nPLAN: rest", ["patient: Patient/7"], [])
        assert three.blocks == [Heading("Visit", level=1), Heading("Course"), Heading("Plan"), Text("Rest now.")]
        assert dropped == {
            "an attachment that is not plain text in the resource itself": 1,
            "a document that is superseded or an error": 1,
            "a FHIR resource that is no document": 1,
            "a section with not XML, or cut off": 1,
            "a section without narrative": 1,
        }


def test_notes_become_pages(tmp_path, encoder):
    (tmp_path / "a.xml").write_text(CCDA)
    (tmp_path / "b.txt").write_text("\n".join(TEXTS))
    options = {"budget": 2048, "workers": 1, "bar": False, "cache": tmp_path / "cache"}
    prepared = prepare(Notes(path=str(tmp_path)), Render(), encoder, **options)
    texts = [example.response for split in ("train", "val", "test") for example in prepared.examples[split]]
    assert any("Allergies" in text and "Penicillin" in text for text in texts)
    assert "\n".join(TEXTS) in texts
    assert prepared.account["records"] == 2 and not prepared.account["dropped"]
