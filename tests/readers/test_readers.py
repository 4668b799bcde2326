"""OCR programs answer where a model does: same pages, same measures; what is missing is named first."""

import os
import shutil
import stat
from dataclasses import replace

import pytest
from PIL import Image

from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.source import Task
from medvl.documents.render import Render
from medvl.evaluation.evaluation import Evaluation
from medvl.metrics import summarize
from medvl.readers import rapidocr
from medvl.readers.rapidocr import RapidOcr, in_lines
from medvl.readers.reader import ReadingEngine
from medvl.readers.tesseract import Tesseract
from medvl.record.files import read_json, read_jsonl
from medvl.run.checks import check

# Says the size of the picture that it reads from stdin, and gives up on one that is 30 px wide.
FAKE = """#!/usr/bin/env python3
import struct, sys
if "--list-langs" in sys.argv:
    print("List of available languages (2):\\neng\\nosd")
elif "--version" in sys.argv:
    print("tesseract 9.9.9\\n leptonica")
else:
    size = struct.unpack(">II", sys.stdin.buffer.read()[16:24])
    if size[0] == 30:
        sys.exit("Error: too small")
    print(*size, *sys.argv[1:], end="\\n\\f")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    program = tmp_path / "bin/tesseract"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.fixture(scope="module")
def slips(encoder, cache):
    source = ClinicalForms(count=24, tasks=[Task.transcribe], kinds=["prescription"])
    return prepare(source, Render(), encoder, budget=2048, cache=cache, workers=1, bar=False).examples["train"]


def test_small_pages_are_enlarged_and_large_ones_are_not(fake):
    read = Tesseract(segmentation=4).read
    assert read(Image.new("L", (100, 50))) == "200 100 stdin stdout -l eng --psm 4\n"
    assert read(Image.new("L", (2200, 1100))).split()[:2] == ["3300", "1650"]
    assert read(Image.new("L", (3400, 10))).split()[:2] == ["3400", "10"]


def test_a_page_that_is_given_up_counts_as_empty(fake, slips, tmp_path, caplog):
    sizes = {"a": (30, 20), "b": (40, 20)}
    for name, size in sizes.items():
        Image.new("L", size).save(tmp_path / f"{name}.png")
    asked = [[tmp_path / "a.png"], [tmp_path / "b.png"], [tmp_path / "b.png", tmp_path / "a.png"]]
    examples = [replace(slips[0], images=list(map(str, images))) for images in asked]
    done = []
    engine = ReadingEngine(reader=Tesseract(enlarge=1))
    answers = engine.answers(examples, max_new_tokens=1, batch=1, tick=done.append)
    assert [answer.finish_reason for answer in answers] == ["failed", "stop", "failed"]
    assert [answer.text.split()[:2] for answer in answers] == [[], ["40", "20"], ["40", "20"]]
    assert sum(done) == 3 and "tesseract gave up on 1 of 2 pages, which count as empty: Error: too small" in caplog.text


def test_a_missing_program_or_language_is_named_with_its_command(compose, fake, monkeypatch):
    config = compose("reader=tesseract", "logger=none")
    assert check(config, "evaluate") is None and str(config.reader.engine()).startswith(
        "tesseract 9.9.9 (languages eng"
    )
    with pytest.raises(ValueError, match=r"language deu; it has eng, osd. Run apt-get install tesseract-ocr-deu"):
        check(compose("reader=tesseract", "reader.languages=eng+deu", "logger=none"), "evaluate")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="Run apt-get install tesseract-ocr, or set reader=model"):
        check(config, "evaluate")


def test_a_missing_package_is_named_with_its_command(compose, monkeypatch):
    monkeypatch.setattr(rapidocr, "PACKAGES", ("json", "no_such_package"))
    with pytest.raises(ValueError, match=r'no_such_package. Run pip install -e "\.\[rapidocr\]", or set reader=model'):
        check(compose("reader=rapidocr", "logger=none"), "evaluate")


def test_a_reader_has_no_adapter(compose, fake, tmp_path):
    with pytest.raises(ValueError, match="reads without a model"):
        check(compose("reader=tesseract", f"adapter={tmp_path}", "logger=none"), "evaluate")
    with pytest.raises(ValueError, match=r"Set eval\.constrained=false"):
        check(compose("reader=tesseract", "eval.constrained=true", "logger=none"), "evaluate")


@pytest.mark.parametrize(
    ("word", "said"), [("languages=''", "eng"), ("segmentation=2", "6"), ("enlarge=0.5", "2"), ("enlarge=nan", "2")]
)
def test_wrong_options_are_refused(compose, word, said):
    name = word.partition("=")[0]
    with pytest.raises(ValueError, match=rf"Set reader\.{name}={said}"):
        compose("reader=tesseract", f"reader.{word}")


def test_other_tasks_are_left_out_or_refused(encoder, cache):
    source = ClinicalForms(count=24, tasks=[Task.transcribe, Task.json], kinds=["prescription"])
    both = prepare(source, Render(), encoder, budget=2048, cache=cache, workers=1, bar=False).examples["train"]
    kept, said = RapidOcr().readable(both)
    assert {one.task for one in kept} == {"transcribe"} and 0 < len(kept) < len(both)
    assert f"{len(both) - len(kept)} of {len(both)} examples are left out (json {len(both) - len(kept)})" in said
    assert RapidOcr().readable(kept) == (kept, "")
    with pytest.raises(ValueError, match=r"only transcribes pages, and no example of this set asks for that \(json"):
        RapidOcr().readable([one for one in both if one.task == "json"])


def box(left, top, right, bottom, slope=0.0):
    return [(x, y + slope * x) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


@pytest.mark.parametrize("slope", [0.0, 0.02, -0.02])
def test_boxes_become_lines_on_a_turned_page_too(slope):
    """At a slope of 0.02 the right end of a line of 1,000 px lies two lines lower than its left end."""
    boxes = {"b": (900, 2, 1000, 12), "a": (0, 0, 100, 10), "d": (900, 13, 1000, 23), "c": (0, 11, 100, 21)}
    turned = [box(*edges, slope) for edges in boxes.values()]
    assert in_lines(turned, list(boxes)) == "a b\nc d" and in_lines([], []) == ""


@pytest.mark.parametrize("reader", [Tesseract(), RapidOcr()], ids=lambda reader: reader.name)
def test_a_real_reader_reads(reader, encoder, cache):
    if reader.name == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    if reader.name == "rapidocr":
        pytest.importorskip("rapidocr")
    source = ClinicalForms(count=24, tasks=[Task.transcribe], kinds=["prescription"])
    examples = prepare(source, Render(), encoder, budget=2048, cache=cache, workers=1, bar=False).examples["val"][:2]
    rows = Evaluation().run(ReadingEngine(reader=reader), examples, bar=False)
    scores = summarize(rows)
    assert scores["cer_text"] < 0.1 and scores["combined"] > 0.8 and scores["cer_text"] < scores["cer"]
    assert all(row["finished"] and row["tokens"] == 0 for row in rows) and reader.engine().value.startswith(reader.name)


def test_evaluate_py_writes_the_same_record(script, fake, tmp_path):
    words = ("eval.limit=3", "logger=none", "hydra.run.dir=read", "trainer.bar=false")
    code, output = script("evaluate.py", "reader=tesseract", "data.count=24", "eval=held_out", *words, cwd=tmp_path)
    assert code == 0 and "tesseract 9.9.9" in output, output
    rows, results = read_jsonl(tmp_path / "read/predictions.jsonl"), read_json(tmp_path / "read/metrics.json")
    assert len(rows) == 3 and all(row["prediction"].startswith("672 448 stdin") for row in rows)
    assert results["scores"]["test"]["cer_text"] > 0.5 and {"test", "blank"} == set(results["scores"])
    choices = read_json(tmp_path / "read/environment.json")["choices"]
    assert choices["groups"]["reader"] == "tesseract" and choices["reader"]["value"] == "tesseract 9.9.9"
    assert results["answer_s"] > 0 and read_json(tmp_path / "read/status.json")["headline"]["answer_s"] > 0
    code, output = script("train.py", "reader=tesseract", "logger=none", cwd=tmp_path)
    assert code == 2 and "reader= is for evaluate, not for train" in output
