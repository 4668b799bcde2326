"""Scans: the same key gives the same page, stronger settings have more effect, boxes and full stops keep their ink."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from medvl.documents.scan import EFFECTS, LIMITS, Scan, Transform, stream

STEPS = {
    "stamp": (0.2, 0.5, 1),
    "fold": (0.2, 0.5, 1),
    "rotation_deg": (0.1, 0.3, 0.9),
    "specks": (3, 10, 40),
    "light": (0.2, 0.5, 1),
    "blur": (0.4, 0.8, 2),
    "noise": (3, 8, 20),
    "fax": (0.3, 0.6, 1),
    "jpeg": (0.2, 0.6, 1),
}
# Hash of PATTERN, scanned with the last of the steps.
DIGESTS = {
    "fold": "97f8716a9678",
    "rotation_deg": "698ab499d4a1",
    "light": "1dfcc20ecbdf",
    "blur": "b9f03c3285cc",
    "noise": "65cfedb92091",
    "fax": "ef15927d548c",
}
PATTERN = Image.fromarray((np.arange(300)[:, None] * 7 + np.arange(400) * 5).astype(np.uint8))
MILD = Scan(rotation_deg=0.7, blur=0.5, noise=6, jpeg=0.3, light=0.2, fold=0.2, stamp=0.4, specks=0.5)
FAX = Scan(rotation_deg=1, blur=0.5, noise=10, fax=1, fold=0.4)
KEYS = [str(number) for number in range(4)]


def font(size_px):
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSerif.ttf")
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@pytest.fixture(scope="module")
def page():
    """10 pt text on the upper half of a small page at 150 dpi."""
    image = Image.new("L", (640, 480), 255)
    line = "Metoprolol succinate 25 mg PO daily, BP 128/76 mmHg"
    ImageDraw.Draw(image).multiline_text((30, 20), "\n".join([line] * 8), font=font(21), fill=0)
    return image


def change(image, scan, key):
    return np.abs(np.asarray(scan.apply(image, key, 150)[0], int) - np.asarray(image, int))


def bearing(name):
    """Return a key whose page has the effect; only half of the pages have folds or stamps."""
    return next(key for key in map(str, range(99)) if Scan(**{name: 1}).levels(key)[name])


def test_nothing_is_off_by_default(page):
    scan = Scan()
    image, transform = scan.apply(page, "a", 150)
    assert not scan.active and image.tobytes() == page.tobytes() and image.mode == "L"
    assert transform((3, 4, 50, 60)) == (3, 4, 50, 60)
    assert scan.offsets(stream("a", "jitter"), ["two", "words"], 21) == [(0, 0), (0, 0)]


@pytest.mark.parametrize("name", STEPS)
def test_each_effect_does_more_when_told_more(page, name):
    key = bearing(name)
    assert all(Scan(**{name: step}).active for step in STEPS[name])
    changes = [change(page, Scan(**{name: step}), key).mean() for step in STEPS[name]]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_every_effect_has_its_steps():
    assert STEPS.keys() == EFFECTS.keys() == Scan().levels("a").keys() - {"jitter"}


def test_the_key_decides(page):
    pages = [MILD.apply(page, key, 150)[0].tobytes() for key in (*KEYS, *KEYS)]
    assert pages[:4] == pages[4:] and len(set(pages)) == 4


@pytest.mark.parametrize("name", DIGESTS)
def test_the_same_pixels_on_every_machine(name):
    scanned = Scan(**{name: STEPS[name][-1]}).apply(PATTERN, bearing(name), 150)[0]
    assert hashlib.sha256(scanned.tobytes()).hexdigest()[:12] == DIGESTS[name]


def test_strengths_do_not_disturb_each_other():
    alone = [Scan(stamp=0.6, rotation_deg=2).levels(key) for key in KEYS]
    among = [Scan(stamp=0.6, rotation_deg=2, noise=9, fold=1).levels(key) for key in KEYS]
    assert [(one["stamp"], one["rotation_deg"]) for one in alone] == [
        (two["stamp"], two["rotation_deg"]) for two in among
    ]


def test_strengths_of_pages():
    levels = [Scan(rotation_deg=2, blur=1, stamp=0.6, fax=0.7).levels(str(number)) for number in range(400)]
    angles = np.array([level["rotation_deg"] for level in levels])
    assert np.abs(angles).max() <= 2 and abs(angles.mean()) < 0.2 and angles.std() > 1
    assert all(0.5 <= level["blur"] <= 1 and level["fax"] == 0.7 for level in levels)
    stamps = [level["stamp"] for level in levels if level["stamp"]]
    assert 150 < len(stamps) < 250 and min(stamps) >= 0.3 and max(stamps) <= 0.6


@settings(max_examples=40, deadline=None)
@given(st.data(), st.text(max_size=5), st.sampled_from([0.5, 3, 10]))
def test_boxes_follow_the_ink(data, key, angle):
    left, top = data.draw(st.integers(60, 250)), data.draw(st.integers(60, 350))
    box = (left, top, left + data.draw(st.integers(3, 100)), top + data.draw(st.integers(3, 100)))
    image = Image.new("L", (400, 500), 255)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=0)
    scanned, transform = Scan(rotation_deg=angle).apply(image, key, 150)
    ink = np.where(np.asarray(scanned) < 225, 255 - np.asarray(scanned, int), 0)  # the lid is grey 232
    left, top, right, bottom = transform(box)
    assert ink[top:bottom, left:right].sum() >= 0.95 * ink.sum() > 0
    rows, columns = np.flatnonzero(ink.sum(1)), np.flatnonzero(ink.sum(0))
    around = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.subtract(around, transform(box))).max() <= 2


@given(st.data(), st.integers(28, 3000), st.integers(28, 3000), st.floats(-0.18, 0.18))
def test_boxes_stay_on_the_page(data, width_px, height_px, slope):
    left, right = sorted(data.draw(st.tuples(st.integers(0, width_px), st.integers(0, width_px))))
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, height_px), st.integers(0, height_px))))
    box = Transform(width_px, height_px, slope)((left, top, right, bottom))
    assert 0 <= box[0] <= box[2] <= width_px and 0 <= box[1] <= box[3] <= height_px
    assert all(type(edge) is int for edge in box)


@pytest.mark.parametrize("scan", [MILD, FAX])
@pytest.mark.parametrize("key", KEYS)
def test_full_stops_survive(scan, key):
    """1.2 must not become 12: the full stop, the faintest mark of a 10 pt page, in every corner of it."""
    image, boxes = Image.new("L", (1275, 1650), 255), []
    draw = ImageDraw.Draw(image)
    for left in range(60, 1230, 90):
        for top in range(60, 1600, 90):
            draw.text((left, top), ".", font=font(21), fill=0)
            boxes.append(draw.textbbox((left, top), ".", font=font(21)))
    scanned, transform = scan.apply(image, key, 150)
    pixels = np.asarray(scanned)
    paper = np.median(pixels)
    for left, top, right, bottom in map(transform, boxes):
        assert pixels[top:bottom, left:right].min() < paper - 60


def test_a_fax_is_black_and_white(page):
    assert set(np.unique(np.asarray(FAX.apply(page, "a", 150)[0]))) == {0, 255}


def test_a_stamp_avoids_the_text(page):
    ink = np.asarray(page.filter(ImageFilter.MinFilter(3))) < 255
    for key in [key for key in map(str, range(20)) if Scan(stamp=1).levels(key)["stamp"]]:
        stamped = change(page, Scan(stamp=1), key) > 0
        assert stamped.sum() > 500 and not (stamped & ink).any()


@pytest.mark.parametrize("size", [(336, 224), (28, 28)])
def test_small_pages_are_scanned_too(size):
    scan = Scan(**{name: steps[-1] for name, steps in STEPS.items()})
    for key in KEYS:
        assert scan.apply(Image.new("L", size, 255), key, 75)[0].size == size


def test_no_dust_among_letters(page):
    """A speck of noise between two digits would be read as a decimal point."""
    near = np.asarray(page.filter(ImageFilter.MinFilter(7))) < 128
    dust = change(page, Scan(specks=100), "a") > 0
    assert dust.sum() > 100 and not (dust & near).any()


def test_blur_grows_with_the_resolution():
    spreads = []
    for dpi in (150, 300):
        image = Image.new("L", (41, 41), 255)
        ImageDraw.Draw(image).line((20, 0, 20, 40), fill=0)
        ink = 255.0 - np.asarray(Scan(blur=1.5).apply(image, "a", dpi)[0])[20]
        spreads.append((ink @ (np.arange(41) - 20.0) ** 2 / ink.sum()) ** 0.5)
    assert 0.7 < spreads[0] < 1.6 and spreads[1] == pytest.approx(2 * spreads[0], rel=0.1)


def test_jitter_keeps_words_apart():
    words = ["word"] * 500
    moves = np.array(Scan(jitter=1).offsets(stream("a", "jitter"), words, 40))
    assert moves.shape == (500, 2) and np.abs(moves[:, 0]).max() == 4 and 5 < np.abs(moves[:, 1]).max() <= 10
    half = np.array(Scan(jitter=0.5).offsets(stream("a", "jitter"), words, 40))
    assert 0 < np.abs(half).mean() < np.abs(moves).mean()


@pytest.mark.parametrize("name", [*STEPS, "jitter"])
def test_bad_strengths_name_their_override(name):
    for strength in (-0.1, LIMITS.get(name, 1) * 1.01, float("nan")):
        with pytest.raises(ValueError, match=rf"render\.scan\.{name} .*Set render\.scan\.{name}=0\."):
            Scan(**{name: strength})


def test_the_settings_load_without_numpy():
    code = "import sys, medvl.documents.scan; sys.exit(any(name in sys.modules for name in ('numpy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
