"""Where values stand: the boxes of facts on drawn pages, the place that heads look at, and how often that is right."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.documents.render import Render
from medvl.documents.tasks import Task
from medvl.evaluation.calibration import Calibration
from medvl.evaluation.evidence import Evidence, Extraction, choose, fact_boxes, fit, measure, spot
from medvl.generation.seen import Seen
from medvl.generation.values import SaidValue
from medvl.run import calibrating

GRID = (10, 8)


@pytest.fixture(scope="module")
def forms(encoder, tmp_path_factory):
    source = ClinicalForms(count=40, tasks=[Task.json])
    made = prepare(source, Render(), encoder, budget=4096, cache=tmp_path_factory.mktemp("c"), workers=1, bar=False)
    return [example for split in ("train", "val", "test") for example in made.examples[split]]


def said(fact, path=None, at=0):
    return SaidValue(path or fact.path, fact.value, -0.1, -0.1, 1.0, 3, inside=(at, at + 1, at + 2))


def test_every_fact_has_the_boxes_of_its_lines(forms):
    """Text that a box encloses on the page is the fact's, also where facts share a line or fill several."""
    assert len({example.kind for example in forms}) == 12
    for example in forms:
        boxes, stored = fact_boxes(example), json.loads(Path(example.images[0]).with_suffix(".json").read_text())
        assert set(boxes) == {fact.path for fact in example.fields}
        height = max(line[3] for _, line in stored["lines"])
        for fact in example.fields:
            lines = [
                text
                for _, top, _, bottom in boxes[fact.path]
                for text, line in stored["lines"]
                if line[1] < bottom * height * 1.001 + 60 and top * height - 60 < line[3]
            ]
            assert all(word in " ".join(lines) for word in fact.value.split()), (example.id, fact)


def test_no_boxes_are_known_of_other_pages(forms, tmp_path):
    from dataclasses import replace

    (tmp_path / "a.png").write_bytes(Path(forms[0].images[0]).read_bytes())
    assert fact_boxes(replace(forms[0], images=[str(tmp_path / "a.png")])) == {}
    assert fact_boxes(replace(forms[0], images=[])) == fact_boxes(replace(forms[0], images=["a", "b"])) == {}


def test_the_spot_is_what_hangs_together_with_the_peak():
    attention = np.zeros((4, 6 + 12), np.float32)
    second = attention[:, 6:].reshape(4, 3, 4)
    second[1:3, 1, 1:3] = [0.4, 0.2]
    second[1, 0, 3] = 0.3  # its mean is 0.15, and it touches by a corner
    second[1:3, 2, 0] = 0.05  # too little
    attention[1:3, 0] = 0.35  # too far
    seen = Seen([(2, 3), (3, 4)], attention=attention)
    value = SaidValue("a", "x", -1.0, -1.0, 1.0, 4, inside=(0, 1, 2, 3))  # quotes look elsewhere
    found = spot(value, seen)
    assert found.image == 1 and found.box == (0.25, 0.0, 1.0, 2 / 3) and found.peak == 6 + 5
    assert found.share == pytest.approx(0.4 + 0.2 + 0.15)
    assert spot(value, None) is None and spot(value, Seen([(2, 3)])) is None
    silent = SaidValue("a", None, -1.0, -1.0, 1.0, 4, inside=(0, 1))
    assert Evidence([[0, 0]], 0.0, "", 1).of(silent, seen) is None
    assert Evidence([[0, 0]], 0.8, "", 1).of(value, seen) is None
    assert Evidence([[0, 0]], 0.7, "", 1).of(value, seen) == found


def cell(box):
    left, top, right, bottom = box
    return int((top + bottom) / 2 * GRID[0]) * GRID[1] + int((left + right) / 2 * GRID[1])


def read(forms, rng, *, right_of=1.0):
    """Answers with all facts of forms, watched at heads of which 1.2, 0.1, 2.0 and 2.1 look at what they write."""
    found = []
    for example in forms:
        boxes = fact_boxes(example)
        values = [(said(fact, at=3 * at), True) for at, fact in enumerate(example.fields)]
        shape = 3, 3, 3 * len(values)
        peaks = rng.integers(0, GRID[0] * GRID[1], shape)
        attention = np.full((shape[2], GRID[0] * GRID[1]), 1e-4, np.float32)
        for at, fact in enumerate(example.fields):
            here = cell(boxes[fact.path][0])
            for layer, head in ((1, 2), (0, 1), (2, 0), (2, 1)):
                peaks[layer, head, 3 * at : 3 * at + 3] = here
            attention[3 * at : 3 * at + 3, here if rng.random() < right_of else (here + 40) % 80] = 0.5
        found.append(Extraction(example, values, Seen([GRID], attention, peaks.astype(np.int32))))
    return found


def test_the_heads_that_look_at_what_they_write_are_chosen(forms):
    rng = np.random.default_rng(0)
    known = read(forms[:12], rng)
    places = choose(known, "forms")
    assert sorted(places.heads) == [[0, 1], [1, 2], [2, 0], [2, 1]] and places.documents == len(
        {example.document for example in forms[:12]}
    )
    known[0].values[5:] = []
    assert choose(known[:1], "forms") is None  # too few values
    fit(places, read(forms[12:24], rng))
    assert places.least == pytest.approx(0.5, abs=0.01)


def test_pointing_is_measured_beside_chance_and_invented_values_are_counted(forms):
    rng = np.random.default_rng(0)
    places = choose(read(forms[:12], rng), "forms")
    fit(places, read(forms[:12], rng))
    test = read(forms[24:], rng, right_of=0.7)
    for one in test:  # a value that no page has; the heads look nowhere
        attention = np.concatenate([one.seen.attention, np.full((3, 80), 1e-4, np.float32)])
        invented = said(SimpleNamespace(value="Zzyzx 77", path="x"), at=len(attention) - 3)
        one.values.append((invented, False))
        object.__setattr__(one.seen, "attention", attention)
    measure(places, test)
    known = places.measured
    assert known["values"] == sum(len(one.example.fields) for one in test) and 0.6 < known["pointing"] < 0.85
    assert 0 < known["chance"] < 0.1 and known["missed"] == 0
    assert known["invented"] == len(test) and known["flagged"] == 1


def test_other_documents_choose_the_heads_than_set_the_least_share(forms, reader, monkeypatch):
    rng, asked = np.random.default_rng(0), []

    def extracted(engine, examples, most):
        asked.append((engine.heads, [example.document for example in examples]))
        return read(examples, rng)

    monkeypatch.setattr(calibrating, "extracted", extracted)
    val, test = forms[:24], forms[24:]
    known, last, places = calibrating.extractions(reader, val, test, None, "forms")
    (every, choosing), (heads, others), (same, tested) = asked
    assert every == "all" and heads == same == places.pairs and reader.heads == ()
    assert not set(choosing) & set(others) and set(choosing) | set(others) == {one.document for one in val}
    assert tested == [one.document for one in test] and len(known) == 24 and len(last) == len(test)
    said = calibrating.evidence_text(places)
    assert f"of {places.measured['values']} right values of the test split they point at 100.0 %" in said.replace(
        "%", " %"
    )
    assert calibrating.evidence_text(None).startswith("no evidence: too few boxes")


def test_evidence_of_an_earlier_call_ends_with_one_that_finds_none(tmp_path):
    found = Calibration([0.0] * 4, [1.0] * 4, [0.0] * 4, [1.0] * 4, [0.0] * 4, 0.0, "forms", 12, 30)
    calibrating.store(tmp_path, found, Evidence([[1, 2]], 0.25, "forms", 12), "step-000005")
    assert Evidence.read(tmp_path).checkpoint == Calibration.read(tmp_path).checkpoint == "step-000005"
    calibrating.store(tmp_path, found, None, "step-000009")
    assert Evidence.read(tmp_path) is None and Calibration.read(tmp_path).checkpoint == "step-000009"


def test_it_is_stored_with_the_run(tmp_path):
    assert Evidence.read(tmp_path) is None
    places = Evidence([[1, 2]], 0.25, "forms", 12, "step-000005", {"pointing": 0.5})
    places.write(tmp_path)
    assert Evidence.read(tmp_path) == places
    text = SimpleNamespace(num_hidden_layers=2, num_attention_heads=2)
    with pytest.raises(ValueError, match="heads that the model does not have"):
        places.of_model(text)
    for damage in ('{"heads": []}', '{"heads": [[1]], "least": 0, "fitted_on": "", "documents": 1}', "[]"):
        (tmp_path / "evidence.json").write_text(damage)
        if damage != "[]":
            with pytest.raises(ValueError, match=r"evidence.json is damaged. Run medvl calibrate"):
                Evidence.read(tmp_path)
