"""Scans of one page stay together; forms of one template, which look the same, do not drag each other along."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvl.data.likeness import ALIKE, MOST, look, look_alikes
from medvl.data.pages import PageFolder
from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.json_records import JsonRecords
from medvl.documents.render import Render
from medvl.documents.scan import Scan
from medvl.types import Document, Heading, Pairs, Text

SCAN = Scan(rotation_deg=0.7, blur=0.5, noise=6, jpeg=0.3, light=0.2)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two scans of the first page of each of 24 forms: two kinds of forms, twelve of each kind."""
    folder, render = tmp_path_factory.mktemp("scans"), Render(scan=SCAN)
    for number, form in enumerate(ClinicalForms(count=24, kinds=["prescription", "laboratory panel"]).documents()):
        sheet = next(render.sheets(form))
        for copy in range(2):
            render.draw(sheet, f"{number}/{copy}").image.save(folder / f"{number:02}_{copy}.{('png', 'jpg')[copy]}")
    return folder


def ready(*paths):
    return [Document(id=f"d{at}", images=[str(path)], layout="image") for at, path in enumerate(paths)]


PAGES = PageFolder(Render(), Path("not written to"))


def alike(*documents):
    return look_alikes(documents, PAGES, workers=1)


def test_two_scans_of_a_page_are_alike_and_two_forms_are_not(scans):
    paths = sorted(scans.glob("*_*"))
    pairs, templates = alike(*ready(*paths))
    assert pairs == [(at, at + 1) for at in range(0, 48, 2)] and templates == 0
    hashes = [look(str(path), PAGES) for path in paths]
    others = [np.mean(a != b) for at, a in enumerate(hashes) for b in hashes[at + 1 + (at % 2 == 0) :]]
    assert min(others) > ALIKE


def test_an_image_that_shows_nothing_is_like_no_other(tmp_path):
    for name, size in (("flat", (200, 200)), ("small", (30, 20))):
        for at in range(3):
            Image.new("RGB", size, (0, 0, at)).save(tmp_path / f"{name}{at}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert alike(*ready(*sorted(tmp_path.glob("*.png")))) == ([], 0)


def test_known_text_decides_instead(scans):
    documents = ready(*sorted(scans.glob("0[0-5]_*")))
    documents[0].text = "known"
    assert alike(*documents)[0] == [(at, at + 1) for at in range(2, 12, 2)]


def filled_in(number):
    """A form of one template, with a few numbers of its own."""
    rng = random.Random(number)
    text = "I consent to examination and treatment, and I have read the notice of privacy practices before signing."
    blocks = [Heading("Intake", level=1)]
    for name in ("Heart rate", "Weight", "Height"):
        blocks += [Text(text), Pairs([(name, str(rng.randint(10, 99)))])]
    return Document(id="same font", blocks=blocks)


def test_forms_of_one_template_are_counted_and_left_apart(tmp_path):
    render = Render(scan=SCAN)
    for at in range(12):
        render.draw(next(render.sheets(filled_in(at))), str(at)).image.save(tmp_path / f"{at:02}.png")
    documents = ready(*sorted(tmp_path.glob("*.png")))
    assert alike(*documents) == ([], 12)
    few, others = documents[:MOST], ready(*[tmp_path / "none.png"] * 9)
    assert len({at for pair in alike(*few, *others)[0] for at in pair}) == MOST  # kept together in vain, at no cost
    assert alike(*few) == ([], MOST)  # all of the data: nothing would be left to test on


@pytest.mark.parametrize("given", [False, True])
def test_scans_of_a_page_are_in_one_split(scans, encoder, tmp_path, given):
    rows = [{"image": path.name, "question": "What is it?", "answer": path.stem} for path in sorted(scans.glob("*_*"))]
    parts = {"train": rows[:36], "test": rows[36:]} if given else {"records": rows}
    for name, part in parts.items():
        (scans / f"{name}.json").write_text(json.dumps(part))
    options = {"budget": 2048, "workers": 1, "bar": False, "cache": tmp_path}
    prepared = prepare(JsonRecords(path=str(scans)), Render(), encoder, **options)
    for name in parts:
        (scans / f"{name}.json").unlink()
    splits = {example.response: example.split for split in prepared.examples.values() for example in split}
    assert len(splits) == 48 and set(splits.values()) == {"train", "val", "test"}
    assert all(splits[f"{at:02}_0"] == splits[f"{at:02}_1"] for at in range(24))
    assert prepared.account["near_duplicates"]["pairs"] == 24
    assert not given or [name for name, split in splits.items() if split == "test"] == [
        row["answer"] for row in rows[36:]
    ]
