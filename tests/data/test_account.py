"""What became of the records: raw = kept + dropped for every source, in the unit of its records."""

import io
import json

import pytest
from conftest import listed, report, request, write_tables
from fhir_resources import JANE, amount, bundle, diagnosis, observation, write
from PIL import Image

from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.fixed_pages import FixedPages
from medvl.data.sources.folder import Folder
from medvl.data.sources.json_records import JsonRecords
from medvl.data.sources.mixture import Mixture
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.notes import Notes
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.reading_pages import ReadingPages
from medvl.data.sources.source import Dropped, Overlong
from medvl.data.sources.synthea import Synthea
from medvl.data.sources.visual import ImageQuestions
from medvl.documents.render import Render
from medvl.documents.tasks import Task
from medvl.record.privacy import Privacy
from medvl.types import Document


def prepared(source, encoder, cache, budget=2048):
    return prepare(source, Render(), encoder, budget=budget, cache=cache, workers=1, bar=False)


def check(account):
    """Check that every record is counted once; return the account of the only source."""
    parts = account["sources"].values()
    for part in parts:
        assert part["raw"] == part["kept"] + part["dropped"], part
        assert part["dropped"] == sum(part["reasons"].values())
    assert account["records"] == sum(part["raw"] for part in parts)
    assert sum(account["dropped"].values()) == sum(part["dropped"] for part in parts)
    assert sum(account["parts"].values()) == sum(sum(part["parts"].values()) for part in parts)
    return next(iter(parts))


def pictures(folder):
    """Write a PubMedVision folder: of three conversations one has a second turn, and one no image."""
    file = io.BytesIO()
    Image.new("RGB", (60, 60), "pink").save(file, format="PNG")
    (folder / "a.png").write_bytes(file.getvalue())
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Pink."}] * 2
    said = (("a.png", turns), ("a.png", turns), ("b.png", turns[:2]))
    rows = [{"image": name, "id": "7", "conversations": conversation} for name, conversation in said]
    write(folder / "rows.json", json.dumps(rows))
    return str(folder)


def questions(folder):
    """Write rows of images with questions: one image has three of them, one of which is in another split."""
    for name in ("pink", "grey"):
        Image.new("RGB", (60, 60), name).save(folder / f"{name}.png")
    rows = [("train", "pink", "What?"), ("train", "pink", "Why?"), ("train", "grey", "Who?"), ("train", "grey", "")]
    for split, name, asked in (*rows, ("test", "pink", "Where?")):
        with (folder / f"{split}.jsonl").open("a") as file:
            print(json.dumps({"image": f"{name}.png", "question": asked, "answer": "This."}), file=file)
    return str(folder)


def notes(folder):
    """Write notes as files, with one twice, one in two splits, a broken one, and a table beside them."""
    texts = {
        "train/a": "a cough",
        "train/b": "a cough",
        "train/c": "rest",
        "test/d": "rest",
        "test/e": "",
        "test/f": "x",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / f"{name}.txt", text)
    write(folder / "train" / "rows.csv", "note")
    return str(folder)


def scans(folder):
    """Write pages: two with labels, of which one is too large for a small budget, one without, and two broken files."""
    for name, side in (("small", 60), ("large", 900), ("bare", 61)):
        Image.effect_noise((side, side), 40).save(folder / f"{name}.png")
    for name in ("small", "large", "cut"):
        write(folder / f"{name}.json", '{"total": "9.00"}')
    write(folder / "cut.png", "not an image")
    write(folder / "cut.pdf", "%PDF-1.4")
    return str(folder)


SOURCES = {
    "own pages": (lambda folder: Folder(path=scans(folder)), 5),
    "reading_pages": (lambda folder: ReadingPages(live=False, count=4), 4),
    "images": (lambda folder: ImageQuestions(path=questions(folder)), 5),
    "own records": (lambda folder: JsonRecords(path=pictures(folder), group="id"), 3),
    "own notes": (lambda folder: Notes(path=notes(folder)), 7),
    "clinical_forms": (lambda folder: ClinicalForms(count=12), 12),
    "fixed_pages": (lambda folder: FixedPages(), 10),
    "mtsamples": (lambda folder: MTSamples(limit=5), 60),
    "synthea": (lambda folder: Synthea(limit=12), 60 + 50),
    "forms_and_notes": (lambda folder: Mixture(parts={"a": ClinicalForms(count=9), "b": MTSamples()}, limit=4), 69),
    "pubmedvision": (lambda folder: PubMedVision(path=pictures(folder)), 3),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("budget", [16384, 700])
def test_every_record_of_every_source_is_kept_or_dropped(encoder, cache, tmp_path, name, budget):
    make, raw = SOURCES[name]
    source = make(tmp_path)
    for one in getattr(source, "parts", {"": source}).values():
        one.overlong = Overlong.drop
    account = prepared(source, encoder, cache, budget).account
    check(account)
    assert account["records"] == raw


def test_an_example_of_a_kept_document_is_a_part(encoder, tmp_path):
    documents = [Document(id=str(n), text="word " * 5 + "\n\n" + "word " * 60 * n) for n in range(4)]
    documents[0].text = "x"
    account = prepared(listed(documents, tasks=list(Task), min_chars=5), encoder, tmp_path).account
    assert check(account)["reasons"] == {"response shorter than 5 characters": 1} and not account["parts"]
    images = []
    for size in ((80, 80), (90, 80)):
        file = io.BytesIO()
        Image.new("RGB", size).save(file, format="PNG")
        images.append(file.getvalue())
    asked = [("What?", "Pink."), ("Why?", "P"), ("Who?", "N")]
    documents = [
        Document(id="kept", images=images[:1], questions=asked, records=3),
        Document(id="lost", images=images[1:], questions=asked[1:], records=2),
        Document(id="mute", images=images[1:]),
        Dropped("row 9", "no image"),
        Dropped("row 10, turn 2", "a later turn", records=0),
    ]
    part = check(prepared(listed(documents, min_chars=2), encoder, tmp_path).account)
    assert (part["raw"], part["kept"], part["dropped"]) == (7, 3, 4)
    assert part["reasons"] == {
        "response shorter than 2 characters": 2,
        "nothing can be asked about it": 1,
        "no image": 1,
    }
    assert part["parts"] == {"response shorter than 2 characters": 3, "a later turn": 1}


def test_rows_of_tables_are_the_records(encoder, tmp_path):
    days = ("2020-01-01", "2020-01-02")
    orders = [request(drug, authoredOn=day, status="active") for drug in ("Aspirin", "Ibuprofen") for day in days]
    error = {"loinc": "1", "name": "Sodium", "value": 1, "status": "entered-in-error"}
    good = {"loinc": "1", "name": "Sodium", "value": 141}
    folder = write_tables(tmp_path, [report(1), report(2, good, error, {"value": 3}), report(3, error)], orders)
    result = prepared(Synthea(path=folder), encoder, tmp_path / "cache")
    part = check(result.account)
    assert (part["raw"], part["kept"], part["reasons"]) == (7, 6, {"no usable observations": 1})
    assert part["parts"] == {
        "cancelled, a draft or an error": 2,
        "an observation without a name or a value": 1,
    }
    printed = "\n".join(result.lines())
    assert "dropped 1 of Synthea: no usable observations" in printed
    assert "lost 2 parts of records of Synthea: cancelled, a draft or an error" in printed
    assert "parts of" not in "\n".join(result.lines(named=False))
    shared = Privacy.strict.account(result.account)
    assert "parts" not in shared and "parts" not in shared["sources"]["Synthea"]
    assert shared["sources"]["Synthea"]["dropped"] == 1


def test_resources_are_the_records(encoder, tmp_path):
    lab = diagnosis("d1", "o1", "o2", "gone")
    resources = [JANE, lab, observation("o1", **amount(6.8)), observation("o2"), {"resourceType": "Claim"}]
    write(tmp_path / "fhir" / "b.json", bundle(*resources))
    part = check(prepared(Synthea(path=str(tmp_path / "fhir")), encoder, tmp_path / "cache").account)
    assert (part["raw"], part["kept"]) == (5, 3)
    assert part["reasons"] == {"an observation without a value": 1, "a Claim is not drawn": 1}
    assert part["parts"] == {"a cited observation is missing": 1}
