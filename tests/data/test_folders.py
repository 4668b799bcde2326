"""A folder of one's own pages: labels beside them or in a table, PDFs, several pages a file, broken files."""

import io
import json
from collections import Counter

import pytest
from PIL import Image, ImageDraw
from test_account import check
from test_facts import FORM, RECEIPT, SCHEMA

from medvl.data.prepare import prepare
from medvl.data.sources.folder import Folder
from medvl.data.sources.source import Dropped
from medvl.documents.render import Render
from medvl.documents.tasks import Task
from medvl.metrics.scoring import score
from medvl.record.privacy import Privacy
from medvl.types import Document

LABELS = [RECEIPT | {"total": f"{number}.50", "company": f"SHOP {number}"} for number in range(6)]


def page(text, size=(280, 168)):
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).text((5, 5), text, fill=0)
    return image


def receipts(folder, count=6):
    """Draw receipts with a JSON file each, as SROIE has them."""
    for number, labels in enumerate(LABELS[:count]):
        page("\n".join(labels.values())).save(folder / f"X{number}.jpg")
        (folder / f"X{number}.json").write_text(json.dumps(labels))
    return folder


def pdf(lines, pages=1, encrypted=False):
    """Write a PDF with a text layer by hand: one line every 20 points on pages of 200 x 300."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for number in range(pages):
        said = [f"{line} {number}" if pages > 1 else line for line in lines]
        drawn = "".join(f"BT /F1 12 Tf 10 {280 - 20 * at} Td ({line}) Tj ET\n" for at, line in enumerate(said)).encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 300] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, b" ".join(kids))
    lock = b""
    if encrypted:
        key = b"(" + b"k" * 32 + b")"
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /O %s /U %s /P -4 >>" % (key, key))
        lock = b" /Encrypt %d 0 R /ID [(a) (a)]" % len(objects)
    file, places = io.BytesIO(), []
    file.write(b"%PDF-1.4\n")
    for at, content in enumerate(objects, 1):
        places.append(file.tell())
        file.write(b"%d 0 obj\n%s\nendobj\n" % (at, content))
    start = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    file.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    file.write(b"trailer << /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, lock, start))
    return file.getvalue()


def read(folder, **options):
    items = list(Folder(path=str(folder), **options).read())
    documents = [item for item in items if isinstance(item, Document)]
    return documents, Counter(item.reason for item in items if isinstance(item, Dropped))


def size(name):
    with Image.open(name) as image:
        return image.size


def facts(document):
    return {field.path: field.value for field in document.fields}


def prepared(folder, encoder, cache, budget=2048, **options):
    source = Folder(path=str(folder), **options)
    made = prepare(source, Render(), encoder, budget=budget, cache=cache, workers=1, bar=False)
    check(made.account)
    return made


def every(made):
    return [example for split in ("train", "val", "test") for example in made.examples[split]]


def test_a_json_file_for_each_page(tmp_path):
    documents, dropped = read(receipts(tmp_path))
    assert [facts(document) for document in documents] == LABELS and not dropped
    assert [field.type for field in documents[0].fields] == ["text", "date", "text", "quantity"]
    assert not any(document.open or document.texts for document in documents)


def test_labels_in_folders_of_their_own_by_split(tmp_path):
    """FUNSD's and SROIE's folders: the same names stand in both splits."""
    for split in ("training_data", "testing_data"):
        for kind in ("images", "annotations"):
            (tmp_path / split / kind).mkdir(parents=True)
        for number in range(2):
            page(f"{split} {number}").save(tmp_path / split / "images" / f"{number}.png")
            (tmp_path / split / "annotations" / f"{number}.json").write_text(json.dumps({"split": split, "n": number}))
    (tmp_path / "testing_data" / "annotations" / "7.json").write_text("{}")
    documents, dropped = read(tmp_path)
    assert {(facts(one)["split"], facts(one)["n"]) for one in documents} == {
        (split, number) for split in ("training_data", "testing_data") for number in "01"
    }
    assert all((one.split == "test") == (facts(one)["split"] == "testing_data") for one in documents)
    assert {one.split for one in documents} == {"train", "val", "test"}
    assert dropped == {"labels or text of no page": 1}


def test_what_given_splits_share_belongs_to_the_stricter_one(tmp_path):
    """A patient, or a file that lies in two folders, is in one split: what is in the other is dropped and counted."""
    for split, patients in {"train": "abcd", "val": "e", "test": "af"}.items():
        (tmp_path / split).mkdir()
        for patient in patients:
            page(f"{split} {patient}").save(tmp_path / split / f"{patient}.png")
            (tmp_path / split / f"{patient}.json").write_text(json.dumps({"patient": patient, "total": "1.00"}))
    for split in ("train", "val"):
        page("twice").save(tmp_path / split / "same.png")
        (tmp_path / split / "same.json").write_text(json.dumps({"patient": "", "total": "2.00"}))
    documents, dropped = read(tmp_path, group="patient")
    held = {(one.file.partition("/")[0], one.split, *one.groups) for one in documents}
    assert ("train", "train", "patient: a") not in held and ("test", "test", "patient: a") in held
    assert [one.split for one in documents if one.file.endswith("same.png")] == ["val"]
    assert dropped == {f"its patient or page is in the {split} split": 1 for split in ("test", "val")}


def test_labels_of_another_split_are_not_taken(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    page("a").save(tmp_path / "train" / "a.png")
    page("b").save(tmp_path / "test" / "b.png")
    (tmp_path / "test" / "a.json").write_text('{"a": "1"}')
    (tmp_path / "test" / "b.json").write_text('{"b": "1"}')
    documents, dropped = read(tmp_path)
    assert [facts(document) for document in documents] == [{"b": "1"}]
    assert dropped == {"neither labels nor a transcription": 1, "labels or text of no page": 1}


def test_entities_of_a_form(tmp_path, encoder):
    page("form").save(tmp_path / "f.png")
    loose = {"id": 9, "label": "answer", "text": "?", "box": [0, 90, 9, 99], "words": [], "linking": []}
    (tmp_path / "f.json").write_text(json.dumps({"form": [*FORM["form"], loose]}))
    documents, dropped = read(tmp_path)
    assert facts(documents[0])["DATE"] == "March 14, 2024"
    assert documents[0].text.startswith("DATE: March 14, 2024 CONFIDENTIAL") and not documents[0].texts
    assert dropped == {"an answer that no question is linked to": 1}


def test_transcriptions(tmp_path):
    """A .txt file is a transcription, SROIE's with corners too; one that holds JSON is labels."""
    for name in "abc":
        page(name).save(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("One\r\ntwo  \n\n", encoding="utf-8-sig")
    (tmp_path / "b.txt").write_text("1,2,3,2,3,4,1,4,TOTAL, RM\n1,5,3,5,3,6,1,6,9.00\n")
    (tmp_path / "c.txt").write_text('{"total": 9.00}')
    documents, dropped = read(tmp_path)
    assert [document.texts for document in documents] == [["One\ntwo"], ["TOTAL, RM\n9.00"], []]
    assert facts(documents[2]) == {"total": "9.00"} and not dropped


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "object"])
def test_one_table_for_all(tmp_path, form):
    rows = [{"where": f"X{number}.jpg", **labels} for number, labels in enumerate(LABELS)]
    rows += [{"where": "gone.jpg", **LABELS[0]}, {"where": "X1.jpg", **LABELS[0]}]
    receipts(tmp_path)
    for number in range(6):
        (tmp_path / f"X{number}.json").unlink()
    if form == "csv":
        lines = [",".join(rows[0])] + [",".join(f'"{value}"' for value in row.values()) for row in rows]
        (tmp_path / "labels.csv").write_text("\n".join(lines))
    elif form == "jsonl":
        (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif form == "json":
        (tmp_path / "labels.json").write_text(json.dumps(rows))
    else:
        named = {row["where"]: {key: value for key, value in row.items() if key != "where"} for row in rows[:7]}
        (tmp_path / "labels.json").write_text(json.dumps(named))
    documents, dropped = read(tmp_path)
    assert [facts(document) for document in documents] == LABELS
    gone = {"a row whose file is not there, or not the only one of its name": 1}
    assert dropped == gone | ({} if form == "object" else {"a further row about the same file": 1})
    by_table, _ = read(tmp_path / f"labels.{'json' if form == 'object' else form}")
    assert [facts(document) for document in by_table] == LABELS


def test_the_column_of_the_file_must_be_clear(tmp_path):
    receipts(tmp_path, 2)
    (tmp_path / "t.csv").write_text("scan,copy,total\nX0.jpg,X0.jpg,1\nX1.jpg,X1.jpg,2\n")
    with pytest.raises(ValueError, match=r"columns scan, copy of t.csv name files. Set data.file=<one>"):
        read(tmp_path)
    documents, _ = read(tmp_path, file="scan")
    assert "copy" in facts(documents[0])
    with pytest.raises(ValueError, match=r"t.csv has .* Set data.file="):
        read(tmp_path, file="nothing")
    (tmp_path / "t.csv").write_text("date,total\n3,1\n")
    for number in range(2):
        (tmp_path / f"X{number}.json").unlink()
    with pytest.raises(ValueError, match=r"no column of t.csv names the files .* Set data.file="):
        read(tmp_path)


def test_columns_that_are_no_facts(tmp_path):
    for name in "abcd":
        page(name).save(tmp_path / f"{name}.png")
    lines = ["file,patient,part,said,total", "a,p1,train,One,1", "b,p1,train,,2", "c,p2,dev,Three,3", "d,p3,later,x,4"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    documents, dropped = read(tmp_path, group="patient", split_column="part", text="said")
    assert [(one.groups, one.split) for one in documents[:2]] == [(["patient: p1"], documents[0].split)] * 2
    assert [one.texts for one in documents] == [["One"], [], ["Three"]] and documents[2].split == "val"
    assert [facts(one) for one in documents] == [{"total": number} for number in "123"]
    assert dropped == {"its split is none of train, val and test": 1}


def test_the_text_layer_of_a_pdf(tmp_path, encoder, cache):
    (tmp_path / "a.pdf").write_bytes(pdf(["Sodium 141", "Potassium 4.1"], pages=3))
    documents, dropped = read(tmp_path, pages=2)
    assert documents[0].texts == [f"Sodium 141 {at}\nPotassium 4.1 {at}" for at in range(2)]
    assert dropped == {"beyond data.pages": 1}
    made = prepared(tmp_path, encoder, cache, dpi=72)
    assert [(one.task, one.response) for one in every(made)] == [
        ("transcribe", f"Sodium 141 {at}\nPotassium 4.1 {at}") for at in range(3)
    ]
    assert {size(one.images[0]) for one in every(made)} == {(200, 300)}
    assert read(tmp_path, text_layer=False)[0][0].open


def test_broken_and_locked_files_are_named(tmp_path, encoder, cache):
    (tmp_path / "a.pdf").write_bytes(pdf(["Sodium 141"]))
    (tmp_path / "broken.pdf").write_bytes(pdf(["Sodium"])[:60])
    (tmp_path / "locked.pdf").write_bytes(pdf(["Sodium"], encrypted=True))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "empty.txt").write_text("known")
    (tmp_path / "cut.json").write_text("{")
    page("cut").save(tmp_path / "cut.png")
    (tmp_path / "notes.docx").write_bytes(b"PK")
    made = prepared(tmp_path, encoder, cache)
    assert made.account["dropped"] == {
        "is a PDF that is broken": 1,
        "is a PDF that needs a password": 1,
        "an image is not an image, or cut off": 1,
        "its file of labels is not a JSON object": 1,
        "a .docx file is no page": 1,
    }
    assert made.account["records"] == 6
    named = {item["record"] for item in made.account["dropped_records"]}
    assert {"broken.pdf", "locked.pdf", "cut.png", "notes.docx"} <= named
    (one,) = every(made)
    assert made.account["files"][one.document] == "a.pdf"  # says which file an answer is about
    assert "files" not in Privacy.open.account(made.account)


def test_a_tiff_with_several_pages(tmp_path, encoder, cache):
    first, second = page("first"), page("second", (300, 100))
    first.save(tmp_path / "a.tiff", save_all=True, append_images=[second])
    (tmp_path / "a.txt").write_text("first\fsecond")
    (tmp_path / "a.json").write_text('{"both": "first and second"}')
    made = prepared(tmp_path, encoder, cache)
    assert [(one.task, one.response, len(one.images)) for one in every(made)] == [
        ("json", '{"both": "first and second"}', 2),
        ("transcribe", "first", 1),
        ("transcribe", "second", 1),
    ]
    assert [size(name) for name in every(made)[0].images] == [first.size, second.size]


def test_facts_on_ready_pages_are_asked_for_as_on_drawn_ones(tmp_path, encoder, cache):
    tasks = [Task.json, Task.question, Task.list, Task.extract]
    page("x").save(tmp_path / "x.png")
    order = {"patient": "Ada", "drugs": [{"name": "Aspirin", "dose": "81 mg"}, {"name": "Heparin", "dose": "5 mg"}]}
    (tmp_path / "x.json").write_text(json.dumps(order))
    asked = {one.task: one for one in every(prepared(tmp_path, encoder, cache, tasks=tasks))}
    assert set(asked) == {"json", "question", "list", "extract"}
    assert json.loads(asked["json"].response) == order and '"drugs": [{"name": "", "dose": ""}]' in asked["json"].prompt
    assert asked["list"].response == "Aspirin\nHeparin"
    assert {field.value for field in asked["json"].fields if field.critical} == {"81 mg", "5 mg"}
    right = score(asked["json"], asked["json"].response)
    measured = {
        name: right[name][0] / right[name][1] for name in ("field_f1", "critical", "invented", "omitted", "anls_star")
    }
    assert measured == {"field_f1": 1, "critical": 1, "invented": 0, "omitted": 0, "anls_star": 1}


def test_swapped_labels_score_zero(tmp_path, encoder, cache):
    """A model that gives another page's labels, or the right values under the wrong keys, has no fact right."""
    made = every(prepared(receipts(tmp_path), encoder, cache, tasks=[Task.json]))
    one, other = made[0], next(one for one in made[1:] if one.response != made[0].response)
    fields = {field.path: field.value for field in one.fields}
    wrong = dict(zip(fields, [*list(fields.values())[1:], fields["company"]], strict=True))
    scores = score(one, json.dumps(wrong))
    assert scores["field_f1"][0] == 0 and scores["omitted"][0] == 0 and scores["invented"][0] == 0
    scores = score(one, json.dumps({"company": "SHOP 9", "total": "77.00"}))
    assert scores["field_f1"][0] == 0 and scores["invented"] == (2, 2) and scores["omitted"] == (4, 4)
    assert score(one, other.response)["field_f1"][0] < score(one, one.response)["field_f1"][0]


def test_a_schema_of_ones_own(tmp_path, encoder, cache):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    pages = tmp_path / "pages"
    pages.mkdir()
    labels = [
        {"mrn": "E92", "drugs": [{"drug": "Aspirin", "dose": 81}], "other": "x"},
        {"ward": "attic"},
        {"mrn": None},
    ]
    for number, said in enumerate(labels):
        page(str(number)).save(pages / f"{number}.png")
        (pages / f"{number}.json").write_text(json.dumps(said))
    made = prepared(pages, encoder, cache, schema=str(schema))
    answers = {one.response: one for one in every(made)}
    empty = {"taken_on": None, "drugs": [], "ward": None, "mrn": None}
    whole = empty | {"drugs": [{"drug": "Aspirin", "dose": "81 mg"}], "mrn": "E92"}
    assert list(map(json.loads, answers)) in ([whole, empty], [empty, whole])
    assert {one.dates for one in answers.values()} == {"dmy"}
    assert made.account["dropped"] == {"a label that does not follow data.schema: ward": 1}
    assert made.account["parts"] == {"a label that data.schema does not name": 1}
    one = answers[json.dumps(whole)]
    assert one.schema["properties"]["ward"] == {"enum": ["ICU", "ER", None]}
    assert '"ward": ""' in one.prompt and score(one, one.response)["field_f1"] == (6, 6)
    assert score(answers[json.dumps(empty)], json.dumps(empty))["anls_star"] == (1, 1)


def test_pages_without_labels_are_asked_about_openly(tmp_path, encoder, cache):
    page("a").save(tmp_path / "a.png")
    page("b").save(tmp_path / "b.png")
    made = prepared(tmp_path, encoder, cache)
    assert [(one.task, one.response, one.prompt) for one in every(made)] == [
        ("transcribe", "", "Transcribe the text on this page.")
    ] * 2
    with pytest.raises(ValueError, match=r"holds no labels.* Set data.tasks=\[transcribe\]"):
        read(tmp_path, tasks=[Task.question])
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    (tmp_path / "pages").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.png").rename(tmp_path / "pages" / f"{name}.png")
    made = prepared(tmp_path / "pages", encoder, cache, schema=str(schema), tasks=[Task.json])
    assert {(one.task, one.response) for one in every(made)} == {("json", "")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Set data.path="),
        ({"path": "nowhere"}, "there is no file or folder nowhere"),
        ({"path": ".", "dpi": 0}, "data.dpi must lie in 1 to 1200"),
        ({"path": ".", "pages": 0}, "data.pages must lie in 1 to 1000"),
        ({"path": ".", "schema": "nowhere.json"}, "data.schema=nowhere.json cannot be read"),
        ({"path": ".", "hub": "x"}, "Leave out data.hub"),
        ({"path": __file__}, "neither a page nor a table"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(ValueError, match=said):
        Folder(**options)


def test_a_folder_without_pages(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"holds no page .*Set data.path="):
        read(tmp_path)


def test_the_fingerprint_follows_the_files(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    folder = tmp_path / "pages"
    folder.mkdir()
    receipts(folder, 2)

    def key(path=folder):
        return Folder(path=str(path), schema=str(schema)).fingerprint()

    keys = [key(), key(folder / "X0.jpg")]
    (folder / "X0.json").write_text('{"total": "1"}')
    keys += [key(), key(folder / "X0.jpg")]
    schema.write_text(json.dumps({"properties": {"total": {"type": "string"}}}))
    keys += [key(), key(folder / "X0.jpg")]
    assert len(set(keys)) == 6
    folder.rename(tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere") == keys[4]


def test_no_file_outside_of_the_folder_is_read(tmp_path):
    folder, secret = tmp_path / "pages", tmp_path / "secret"
    folder.mkdir()
    secret.mkdir()
    page("secret").save(secret / "s.png")
    (secret / "s.json").write_text('{"secret": "1"}')
    page("mine").save(folder / "mine.png")
    (folder / "link.png").symlink_to(secret / "s.png")
    (folder / "mine.json").symlink_to(secret / "s.json")
    (folder / "linked").symlink_to(secret)
    names = ["../secret/s.png", str(secret / "s.png"), "linked/s.png", "link.png", "mine.png", "a\\..\\s.png"]
    (folder / "t.jsonl").write_text("\n".join(json.dumps({"file": name, "total": "2"}) for name in names))
    documents, dropped = read(folder, file="file")
    assert [facts(document) for document in documents] == [{"total": "2"}]
    assert dropped == {"a row whose file is not there, or not the only one of its name": 5}
