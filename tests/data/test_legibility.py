"""The height of an x on ready pages, checked where it is known: on pages that medvl has drawn."""

import itertools
import json
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from PIL import Image

from medvl.data import legibility
from medvl.data.audit import audit
from medvl.data.audit_figure import audit_figure
from medvl.data.legibility import look_at, looks
from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.render import Render


def drawn(render, forms=12, notes=4):
    documents = [
        *itertools.islice(ClinicalForms(count=24).documents(), forms),
        *itertools.islice(MTSamples().documents(), notes),
    ]
    return [render.draw(next(iter(render.sheets(one))), str(at)) for at, one in enumerate(documents)]


@pytest.mark.parametrize("name", ["slip", "letter", "scanned", "fax", "seed"])
def test_the_height_of_an_x_is_within_15_percent(compose, name):
    pages = drawn(compose(f"render={name}").render)
    found = [(look_at(page.image), page.x_height_px) for page in pages]
    errors = sorted(abs(look.x_height_px / known - 1) for look, known in found if look is not None)
    assert len(errors) > 0.8 * len(pages)
    assert median(errors) < (0.15 if name == "seed" else 0.05)  # of the seed's 1.6 px nobody reads anything
    assert name == "seed" or errors[int(0.8 * len(errors))] < 0.15


def test_lines_are_counted_and_a_turned_page_is_measured():
    pages = drawn(Render(), forms=0, notes=4)
    for page in pages:
        look = look_at(page.image)
        assert look.lines == pytest.approx(len(page.lines), abs=1) and look.skew_deg == pytest.approx(0, abs=0.15)
        assert look.contrast > 0.7
        turned = page.image.resize((672, 448)).rotate(-1.5, Image.Resampling.BICUBIC, fillcolor=255)
        assert look_at(turned).skew_deg == pytest.approx(1.5, abs=0.25)
        pale = page.image.point(lambda grey: 180 + grey * 60 // 255)
        assert look_at(pale).contrast < 0.35 and look_at(pale).x_height_px == pytest.approx(6, rel=0.15)


def test_a_picture_has_no_lines():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400))
    for grey in (noise, noise * 0, noise * 0 + 255, np.add.outer(np.arange(300), np.arange(400)) // 3):
        assert look_at(Image.fromarray(grey.astype(np.uint8))) is None


@pytest.fixture(scope="module")
def forms(encoder, cache):
    return prepare(ClinicalForms(count=120), Render(), encoder, budget=2048, cache=cache, workers=1, bar=False).examples


def ready(examples, folder, shrink=1):
    """Return examples as if their pages had come ready, shrunk before or by the image processor."""
    made = []
    for example in examples:
        image = Image.open(example.images[0])
        path = folder / f"{shrink}-{example.images[0].rpartition('/')[2]}"
        image.resize((image.width // shrink, image.height // shrink), Image.Resampling.LANCZOS).save(path)
        tokens = [max(1, count // shrink**2) for count in example.visual_tokens]
        made.append(replace(example, x_height_px=None, images=[str(path)], visual_tokens=tokens))
    return made


def test_shrunk_scans_are_unreadable(forms, tmp_path):
    train, test = forms["train"][:40], forms["test"]
    report = audit(ready(train, tmp_path), ready(test, tmp_path), lost=0, cut=0, budget=2048)
    assert "UNREADABLE" not in report.verdict and median(report.train.x_height_px) == pytest.approx(6, rel=0.1)
    text = "\n".join(report.lines())
    assert json.loads(json.dumps(report.to_json()))["train"]["lines"][2] > 3  # audit.json
    assert "ready images; looked at" in text and "skew in degrees" in text and report.train.ready > 10
    report = audit(ready(train, tmp_path, 3), test, lost=0, cut=0, budget=2048)
    assert "UNREADABLE" in report.verdict and "of the training pages an x is less than 5 px" in report.faults[0]
    assert "model.max_pixels higher, or scan the pages larger" in report.faults[0] and "MISMATCHED" in report.verdict


def test_the_processors_resize_counts(forms, tmp_path):
    (one,) = ready(forms["train"][:1], tmp_path)
    (whole,), (quarter,) = looks([(one.images[0], 96)]), looks([(one.images[0], 24)])
    assert whole.x_height_px == pytest.approx(6, rel=0.1) and quarter.x_height_px == whole.x_height_px / 2


def test_a_sample_is_looked_at_and_lost_files_are_left_out(forms, tmp_path, monkeypatch):
    monkeypatch.setattr(legibility, "SAMPLE", 3)
    (one,) = ready(forms["train"][:1], tmp_path)
    assert len(looks([(one.images[0], tokens) for tokens in range(1, 30)])) == 3
    assert looks([(str(tmp_path / "gone.png"), 4)]) == [] and looks([]) == []


def test_the_figure_has_no_empty_panel(forms, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn_panels = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn_panels.append(self), save(self, *a, **k)))
    train, test = forms["train"][:40], forms["test"]
    audit_figure(audit(train, test, lost=0, cut=0, budget=2048), tmp_path / "drawn.png")
    shown = [panel.get_xlabel() for panel in drawn_panels[0].axes]
    assert not any("ready" in label or "x-height" in label for label in shown)  # all of one height
    assert "x-height after the processor's resize, px: 6" in drawn_panels[0]._suptitle.get_text().replace("\n", " ")
    audit_figure(audit(ready(train, tmp_path), test, lost=0, cut=0, budget=2048), tmp_path / "ready.png")
    panels = drawn_panels[1].axes
    assert any("skew" in panel.get_xlabel() or "lines" in panel.get_xlabel() for panel in panels)
    assert all(panel.patches for panel in panels)
