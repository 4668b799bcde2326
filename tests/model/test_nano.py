"""The shipped weights are the ones described, and they can read."""

import hashlib
from importlib import resources

import pytest
from asking import about
from PIL import Image

from medvl.data.encoding import Encoder
from medvl.documents.reading import Stage, drawn
from medvl.documents.scan import Scan
from medvl.generation.engine import Engine
from medvl.hardware.plan import Device, Hardware
from medvl.metrics.text import character_errors
from medvl.model.loading import Model
from medvl.model.precision import Compute, Precision, Storage

FOLDER = resources.files("medvl.shapes") / "nano"
SCAN = Scan(rotation_deg=0.3, blur=0.5, noise=6, light=0.1)


def engine(storage):
    from medvl.model.attention import choose

    precision, hardware = Precision(storage=Storage[storage], compute=Compute.fp32), Hardware(device=Device.cpu)
    plan = hardware.plan(compute="fp32", storage=storage, attention=choose)
    loaded = Model().load(precision, hardware, plan)
    return Engine(model=loaded.model, encoder=Encoder(loaded.processor), precision=precision), loaded


def test_the_weights_are_those_of_the_card():
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert digest in card and "Not for clinical use" in card
    assert (FOLDER / "model.safetensors").stat().st_size < 17e6


@pytest.fixture(scope="module")
def reader():
    return engine("nf4")


def test_nano_is_small_and_not_random(reader):
    _, loaded = reader
    assert loaded.base == "nano" and Model().config().text_config.vocab_size == 288


def test_nano_reads(reader, tmp_path):
    """A looser bound than evaluate.py finds (experiments/RESULTS.md): 12 unseen pages, half of them scanned."""
    own, _ = reader
    stages = [Stage(plain=0.5, prose=0.5), Stage(plain=0.5, prose=0.2, height_px=112)]
    pages = [drawn(stages[number % 2], f"bound/{number}", SCAN if number % 4 > 1 else None) for number in range(12)]
    asked = [about([Image.fromarray(page.pixels)], own.encoder, tmp_path) for page in pages]
    answers = own.answers(asked, max_new_tokens=max(len(page.text.encode()) for page in pages) + 8, batch=6)
    counts = [character_errors(page.text, answer.text) for page, answer in zip(pages, answers, strict=True)]
    assert sum(wrong for wrong, _ in counts) / sum(total for _, total in counts) < 0.06
    assert sum(answer.finished for answer in answers) >= 11


def test_nothing_is_read_from_white_paper(reader, tmp_path):
    own, _ = reader
    white = about([Image.new("RGB", (336, 224), "white")], own.encoder, tmp_path)
    assert len(own.answers([white], max_new_tokens=64, batch=1)[0].text) < 16
