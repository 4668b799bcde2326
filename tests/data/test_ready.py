"""Ready pages that are too large for the budget: cut exactly where that is possible, otherwise shrunk and counted."""

import io
import json

import numpy as np
import pytest
from conftest import listed
from PIL import Image, ImageDraw
from test_account import check
from test_folders import every, pdf, prepared

from medvl.data.fitting import bands, shrunk
from medvl.data.prepare import prepare
from medvl.data.sources.source import Overlong
from medvl.documents.render import Render
from medvl.geometry import fit, visual_tokens
from medvl.types import Document

LINES = [f"Sodium {number} mmol/L on day {number}" for number in range(13)]


def png(size):
    file = io.BytesIO()
    Image.effect_noise(size, 40).save(file, "PNG")
    return file.getvalue()


def made_of(documents, encoder, cache, budget, **options):
    made = prepare(listed(documents, **options), Render(), encoder, budget=budget, cache=cache, workers=1, bar=False)
    check(made.account)
    return made


@pytest.mark.parametrize("size", [(3508, 2480), (100, 4000), (600, 600)])
@pytest.mark.parametrize("room", [50, 333, 4000])
def test_the_largest_size_that_fits(size, room):
    limits = {"min_pixels": 3136, "max_pixels": 12845056}
    (small,) = shrunk([size], room, **limits)
    assert visual_tokens(*small) <= room and fit(*small, **limits) == small
    whole = visual_tokens(*fit(*size, **limits))
    assert visual_tokens(*small) >= 0.6 * min(room, whole)
    assert shrunk([size] * 40, 30, **limits) is None


def test_pages_are_shrunk_alike():
    sizes = [(1400, 1400), (700, 700)]
    first, second = shrunk(sizes, 625, min_pixels=3136, max_pixels=10**7)
    assert first[0] == pytest.approx(2 * second[0], abs=28)


def test_a_page_that_is_too_large_is_shrunk_and_counted(encoder, tmp_path):
    """Nothing is dropped: the question that fits keeps the whole page, and another page is left alone."""
    asked = [("What?", "Pink."), ("Read all of it, please. " * 3, "Noise.")]
    documents = [Document(id="large", images=[png((560, 560))], questions=asked, records=1)]
    documents.append(Document(id="small", images=[png((140, 140))], questions=asked))
    made = made_of(documents, encoder, tmp_path, 470)
    by_id = {one.id: one for one in every(made)}
    assert len(by_id) == 4 and not made.account["dropped"] and not made.account["parts"]
    assert by_id["large/1"].visual_tokens == [400]
    long = by_id["large/2"]
    assert long.visual_tokens[0] < 400 and long.tokens <= 470 and long.images != by_id["large/1"].images
    seen = encoder.encode(long)
    assert int(seen["image_grid_thw"].prod()) // 4 == long.visual_tokens[0] and len(seen["input_ids"]) == long.tokens
    told = made.account["shrunk"]
    assert told["pages"] == {"batch.tokens": 1} and made.account["ready_pages"] == 2
    assert told["median"] == told["least"] == pytest.approx((long.visual_tokens[0] / 400) ** 0.5, abs=0.02)
    line = next(line for line in made.lines() if "ready pages" in line)
    assert "1 by batch.tokens" in line and f"batch.tokens={told['tokens_needed']} would keep all of it" in line
    assert made_of(documents, encoder, tmp_path, told["tokens_needed"]).account["shrunk"] == {}


def test_what_the_processor_shrinks_is_counted(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "max_pixels", 280 * 280)
    documents = [Document(id="a", images=[png((560, 560))], questions=[("What?", "Noise.")])]
    told = made_of(documents, encoder, tmp_path, 2000).account["shrunk"]
    assert told["pages"] == {"model.max_pixels": 1} and told["least"] == pytest.approx(0.5)


@pytest.mark.parametrize("overlong", list(Overlong))
def test_a_text_that_leaves_no_room_is_dropped_by_name(encoder, tmp_path, overlong):
    documents = [Document(id="a", images=[png((280, 280))], questions=[("What?", "word " * 300), ("Why?", "So.")])]
    made = made_of(documents, encoder, tmp_path, 300, overlong=overlong)
    assert made.account["sources"]["Listed"]["kept"] == 1
    if overlong is Overlong.cut:
        assert len(every(made)) == 2 and made.account["overlong"][every(made)[0].split] == [1, 0]
    else:
        (reason,) = made.account["parts"]
        assert reason.startswith("longer than 300 tokens") and "batch.tokens" in reason and "model.max_pixels" in reason


def test_overlong_drop_drops_large_pages(encoder, tmp_path):
    documents = [
        Document(id=name, images=[png((side, side))], questions=[("?", "!")]) for name, side in (("a", 560), ("b", 84))
    ]
    made = made_of(documents, encoder, tmp_path, 200, overlong=Overlong.drop)
    assert [one.document for one in every(made)] == ["b"] and not made.account["shrunk"]
    assert next(iter(made.account["dropped"])).startswith("longer than 200 tokens")


def test_a_pdf_page_is_cut_between_its_lines(encoder, tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf(LINES))
    (folder / "a.json").write_text(json.dumps({"first": LINES[0], "last": LINES[-1]}))
    whole = every(prepared(folder, encoder, tmp_path / "one", 4000, dpi=144))
    assert [one.task for one in whole] == ["json", "transcribe"] and whole[1].response == "\n".join(LINES)
    made = prepared(folder, encoder, tmp_path / "two", 400, dpi=144)
    pieces = [one for one in every(made) if one.task == "transcribe"]
    assert len(pieces) > 1 and "\n".join(one.response for one in pieces) == "\n".join(LINES)
    assert all(one.tokens <= 400 and one.page_text == one.response for one in pieces)
    assert made.account["split_pages"] == 1 and made.account["shrunk"]["pages"] == {"batch.tokens": 1}  # for its facts
    ink = 0
    for piece in pieces:
        with Image.open(piece.images[0]) as image:
            rows = np.asarray(image.convert("L"))
        assert (rows[0] == 255).all() and (rows[-1] == 255).all()  # no letter is cut
        written = (rows < 128).any(1)
        lines = int((np.diff(written.astype(int)) == 1).sum())
        assert lines >= piece.response.count("\n") + 1
        ink += int((rows < 128).sum())
    with Image.open(whole[1].images[0]) as image:
        assert ink == int((np.asarray(image.convert("L")) < 128).sum())


def test_lines_that_cannot_be_parted():
    image = Image.new("L", (100, 200), 255)
    ImageDraw.Draw(image).line((50, 0, 50, 200))
    lines = [("a", 0.1, 0.2), ("b", 0.3, 0.4), ("c", 0.15, 0.9)]  # c stands beside both

    def fits(size, text):
        return size[0] <= 120

    assert bands(image, lines, fits) is None
    cut = bands(image, lines[:2], fits)
    assert [band.text for band in cut] == ["a\nb"] and cut[0].rows[0] == 0 and 80 <= cut[0].rows[1] <= 120


def test_a_killed_preparation_draws_no_page_twice(encoder, tmp_path, monkeypatch):
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.pdf").write_bytes(pdf([f"Sodium {number}"]))
    drawn, killed = [], 2
    from medvl.data import pdf as drawing

    original = drawing.draw

    def counted(*place):
        if len(drawn) == killed:
            raise KeyboardInterrupt
        drawn.append(place[0])
        return original(*place)

    monkeypatch.setattr(drawing, "draw", counted)
    with pytest.raises(KeyboardInterrupt):
        prepared(folder, encoder, tmp_path / "cache", dpi=72)
    killed = 99
    assert len(every(prepared(folder, encoder, tmp_path / "cache", dpi=72))) == 4
    assert len(drawn) == len(set(drawn)) == 4
