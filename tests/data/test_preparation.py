"""From documents to examples on disk: token budget, export, and what survives a kill."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from conftest import listed
from PIL import Image

from medvl import cli
from medvl.data import examples as drawing
from medvl.data import prepare as module
from medvl.data.duplicates import SIMILAR
from medvl.data.examples import ExampleBuilder
from medvl.data.export import export
from medvl.data.pages import PageFolder
from medvl.data.prepare import prepare
from medvl.data.sources.fixed_pages import FixedPages
from medvl.data.sources.mixture import Mixture
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.source import NearDuplicates, Overlong
from medvl.documents.forms.form import Form, Style
from medvl.documents.render import Render
from medvl.documents.tasks import Task
from medvl.metrics import score
from medvl.types import Document, Example


def form(seed=0, drugs=4, style=Style.table):
    written = Form(kind="prescription", rng=Random(seed), style=style)
    written.title("PRESCRIPTION")
    written.pairs([("Patient", written.field("patient.name", f"Ada {seed}", "name"))])
    rows = []
    for at in range(drugs):
        name = written.field(f"medications.{at}.name", f"Drug{at}", "name")
        rows.append([name, written.field(f"medications.{at}.dose", f"{at + 1}{seed} mg", "dose", critical=True)])
    written.table(["Drug", "Dose"], rows)
    return written.document()


def run(source, encoder, cache, *, budget=2048, render=None):
    return prepare(source, render or Render(), encoder, budget=budget, cache=cache, workers=1, bar=False)


def test_preparation_is_cached_and_survives_a_kill(encoder, tmp_path, monkeypatch):
    drawn, original = [], PageFolder.draw

    def killed_after_three(self, sheet, name):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(sheet)
        return original(self, sheet, name)

    monkeypatch.setattr(PageFolder, "draw", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        run(MTSamples(limit=5), encoder, tmp_path)
    monkeypatch.setattr(PageFolder, "draw", original)
    pages = {path: path.stat().st_mtime_ns for path in (tmp_path / "pages").glob("*.png")}
    first = run(MTSamples(limit=5), encoder, tmp_path)
    assert len(pages) == 3 and all(path.stat().st_mtime_ns == when for path, when in pages.items())
    monkeypatch.setattr(module, "_prepare", lambda *args: pytest.fail("the cache was not used"))
    assert run(MTSamples(limit=5), encoder, tmp_path) == first
    assert {name: len(first.examples[name]) for name in first.account["examples"]} == first.account["examples"]


def test_a_page_missing_from_the_cache_is_drawn_again(encoder, tmp_path):
    first = run(MTSamples(limit=5), encoder, tmp_path)
    lost = first.examples["train"][0].images[0]
    os.unlink(lost)
    assert run(MTSamples(limit=5), encoder, tmp_path) == first and os.path.exists(lost)


def test_other_pixels_or_pages_are_another_preparation(encoder):
    keys = {
        module._key(source, render, encoder, budget)
        for source in (MTSamples(limit=5), MTSamples(limit=6), MTSamples(limit=5, prompt="Read."))
        for render in (Render(), Render(font_pt=12))
        for budget in (1024, 2048)
    }
    assert len(keys) == 12


def test_boxes_lie_beside_the_page(encoder, tmp_path):
    example = run(listed([form(n) for n in range(3)]), encoder, tmp_path).examples["train"][0]
    boxes = json.loads(Path(example.images[0]).with_suffix(".json").read_text())
    assert [text for text, _ in boxes["lines"]] == example.page_text.split("\n")
    assert [index for index, _ in boxes["fields"]] == list(range(9))


def test_a_page_that_exceeds_the_budget_becomes_two(encoder, tmp_path):
    whole = run(MTSamples(limit=5), encoder, tmp_path)
    halved = run(MTSamples(limit=5), encoder, tmp_path, budget=600)
    dropped = run(MTSamples(limit=5, overlong=Overlong.drop), encoder, tmp_path, budget=600)
    lost = sum(dropped.account[unit].get("longer than 600 tokens", 0) for unit in ("dropped", "parts"))
    assert lost == halved.account["split_pages"] > 0 and halved.account["dropped"] == {"beyond data.limit": 55}
    assert halved.account["pages"] == whole.account["pages"] + halved.account["split_pages"]
    assert dropped.account["pages"] == whole.account["pages"] == sum(dropped.account["examples"].values()) + lost
    for prepared in (halved, dropped):
        assert max(one.tokens for part in prepared.examples.values() for one in part) <= 600

    def words(prepared):
        return " ".join(one.response for name in ("train", "val", "test") for one in prepared.examples[name]).split()

    assert words(halved) == words(whole)  # no text is lost
    listed_ = [item for item in dropped.account["dropped_records"] if item["reason"].startswith("longer")]
    assert len(listed_) == lost
    with pytest.raises(ValueError, match="no example of 5 documents can be used"):
        run(MTSamples(limit=5), encoder, tmp_path, budget=130)


def test_a_response_is_cut_only_where_asked_for(encoder, tmp_path):
    whole = run(MTSamples(limit=5), encoder, tmp_path)
    cut = run(MTSamples(limit=5, overlong=Overlong.cut), encoder, tmp_path, budget=600)
    long = {one.id: one.response for part in whole.examples.values() for one in part if one.tokens > 600}
    assert sum(count for count, _ in cut.account["overlong"].values()) == len(long) > 0
    assert cut.account["dropped"] == {"beyond data.limit": 55} and not cut.account["parts"]
    for example in (one for name in ("train", "val", "test") for one in cut.examples[name]):
        assert example.tokens <= 600 and len(encoder.encode(example)["input_ids"]) == example.tokens
        if example.id in long:
            assert long[example.id].startswith(example.response) and example.tokens == 600


def test_image_tokens_are_never_cut(encoder, tmp_path):
    prepared = run(listed([form(n, drugs=30) for n in range(3)], tasks=list(Task)), encoder, tmp_path, budget=900)
    for example in prepared.examples["train"]:
        encoded = encoder.encode(example)
        assert int((encoded["input_ids"] == encoder.image_token).sum()) == sum(example.visual_tokens) == 96


def test_examples_know_their_terms_and_values(examples):
    for example in examples:
        flat = " ".join(example.page_text.split())
        assert all(term.lower() in flat.lower() for term in example.terms)
        assert all(value in flat for value in example.values)
    assert any(example.terms for example in examples) and any(example.values for example in examples)


def test_short_responses_are_dropped_and_counted(encoder, tmp_path):
    documents = [Document(id=str(n), text="word " * (3 + 20 * (n % 2))) for n in range(10)]
    account = run(listed(documents, min_chars=50), encoder, tmp_path).account
    assert account["dropped"] == {"response shorter than 50 characters": 5}
    assert account["x_height_px"] == 6.0
    part = account["sources"]["Listed"]
    assert part["raw"] == 10 and part["kept"] == 5 and part["pages"] == 10


def test_minitrain_is_a_part_of_train(encoder, tmp_path):
    prepared = run(listed([form(n) for n in range(30)]), encoder, tmp_path)
    mini, val = ({one.document for one in prepared.examples[name]} for name in ("minitrain", "val"))
    assert len(mini) == len(val) == 3 and mini <= {one.document for one in prepared.examples["train"]}
    assert not mini & val


def test_an_entry_without_its_name_on_the_page_says_nothing(encoder, tmp_path):
    prepared = run(listed([form(n, drugs=30) for n in range(3)], tasks=[Task.json]), encoder, tmp_path)
    for example in prepared.examples["train"]:
        assert all(set(item) == {"name", "dose"} for item in json.loads(example.response)["medications"])


def test_near_duplicates_that_a_source_parts_are_reported(encoder, tmp_path):
    text = " ".join(f"word{n}" for n in range(60))
    documents = [
        Document(id="a", text=text, split="train"),
        Document(id="b", text=f"{text} more", split="test"),
        Document(id="c", text="else " * 9, split="val"),
    ]
    prepared = run(listed(documents), encoder, tmp_path)
    assert prepared.account["near_duplicates"] == {"pairs": 1, "across_splits": 1, "examples": [["a", "b"]]}
    assert any("nearly repeat" in line for line in prepared.lines())
    apart = [replace(one, split=None) for one in documents]
    together = run(listed(apart, near_duplicates=NearDuplicates.together, seed=1), encoder, tmp_path)
    assert together.account["near_duplicates"]["across_splits"] == 0 and SIMILAR == 0.8


def test_a_document_in_two_parts_stands_once(encoder, tmp_path):
    parts = {name: listed([form(n) for n in range(6)]) for name in "ab"}
    account = run(Mixture(parts=parts), encoder, tmp_path).account
    assert account["records"] == 12 and sum(account["documents"].values()) == 6
    assert account["dropped"] == {"repeats an earlier record": 6}


def test_a_value_that_a_page_break_cuts_is_asked_of_neither_page(encoder, tmp_path):
    lines = "\n".join(["line"] * 14)
    written = Form(kind="note", rng=Random(0), style=Style.free_text)
    value = written.field("stay.reason", "chest pain and dyspnea on exertion for three days", "text")
    written.paragraph(f"{lines}\nAdmitted for {value}.")
    first = listed([written.document()], tasks=[Task.json, Task.transcribe])
    examples = run(first, encoder, tmp_path).examples["train"]
    assert [one.task for one in examples] == ["transcribe", "transcribe"] and "exertion" in examples[1].page_text


def test_split_pages_keep_the_header_of_their_table(encoder, tmp_path):
    long = listed([form(0, drugs=12)], tasks=[Task.transcribe])
    examples = run(long, encoder, tmp_path, budget=400).examples["train"]
    assert len(examples) > 1 and examples[1].response.startswith("Drug | Dose\n")


def test_images_leave_memory_when_they_are_read(encoder, tmp_path):
    encoded = io.BytesIO()
    Image.new("RGB", (80, 60), "pink").save(encoded, format="JPEG")
    documents = [Document(id=str(n), images=[encoded.getvalue()], questions=[("What?", "Pink.")]) for n in range(2)]
    documents.append(Document(id="x", images=[b"no image"], questions=[("What?", "Nothing.")]))
    prepared = run(listed(documents), encoder, tmp_path)
    assert prepared.account["dropped"] == {"an image is not an image, or cut off": 1}
    (name,) = {Path(image).name for part in prepared.examples.values() for one in part for image in one.images}
    assert name.endswith(".jpeg") and (tmp_path / "pages" / name).read_bytes() == encoded.getvalue()
    assert all(isinstance(document.images[0], str) for document in documents[:2])


def test_the_export_is_in_the_seeds_format(encoder, tmp_path):
    prepared = run(listed([form(n) for n in range(20)]), encoder, tmp_path / "cache")
    folder = tmp_path / "out"
    counts = export(prepared, folder)
    assert export(prepared, folder) == counts == {name: len(prepared.examples[name]) for name in counts}
    rows = [json.loads((folder / f"{name}.json").read_text()) for name in ("train", "val", "test")]
    for row in (row for part in rows for row in part):
        assert set(row) == {"image_path", "prompt", "response"} and (folder / row["image_path"]).is_file()
    assert len(rows[0]) == 16
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        export(prepared, folder)


def test_an_export_folder_is_refused_before_anything_is_prepared(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match=r"holds other files\. Set export="):
            cli.prepare(
                SimpleNamespace(config=SimpleNamespace(export=str(taken)))
            )  # fails if it gets to the preparation


def test_examples_survive_the_disk(encoder, tmp_path):
    example = run(listed([form(n) for n in range(3)], tasks=[Task.json]), encoder, tmp_path).examples["train"][0]
    assert Example.from_json(json.loads(json.dumps(example.to_json()))) == example and example.fields


def test_workers_make_what_one_process_makes(encoder, tmp_path):
    documents = [form(n) for n in range(70)]
    results = []
    for workers in (1, 2):
        builder = ExampleBuilder(PageFolder(Render(), tmp_path / str(workers)), encoder, 2048)
        builder.pages.folder.mkdir()
        stamped = list(listed(documents).read())
        results.append([made.examples for made in drawing.build_all(builder, stamped, workers)])
    assert results[0] == results[1]
    names = [{path.name for path in (tmp_path / str(workers)).iterdir()} for workers in (1, 2)]
    assert names[0] == names[1] and len(names[0]) == 140


def test_the_fixed_pages_score_fully_against_themselves(encoder, tmp_path):
    letter = Render(width_pt=612, height_pt=792, dpi=100, font_pt=10, line_pt=12, margin_pt=36)
    prepared = run(FixedPages(), encoder, tmp_path, budget=16384, render=letter)
    assert len(prepared.examples["test"]) == 10 and not prepared.examples["train"]
    for example in prepared.examples["test"]:
        scores = score(example, example.response)
        assert {"combined", "combined_strict", "field_recall", "critical", "cer"} <= scores.keys()
        for name in ("term", "value", "term_strict", "value_strict", "field_recall", "critical", "exact"):
            assert scores[name][0] == scores[name][1], (example.id, name)
        assert scores["invented"][0] == scores["cer"][0] == 0
