"""Pages rendered during training: their content, the curriculum, and what a resumed run repeats."""

import itertools
import string
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from medvl.data.datamodule import DocumentData
from medvl.data.live import Curriculum, LiveRows, LiveSampler, grey_patches
from medvl.data.packing import tower_bounds
from medvl.data.sources.reading_pages import ReadingPages
from medvl.documents.fonts import Font
from medvl.documents.reading import FACES, Stage, drawn
from medvl.documents.rows import in_cells
from medvl.documents.scan import Scan
from medvl.documents.tasks import EXTRACT, TRANSCRIBE
from medvl.model.packed_forward import normalized, vision_features
from medvl.training.glyphs import GlyphHead
from medvl.training.loss import answer_states
from medvl.types import IGNORE

SHORT, SLIP = Stage(height_px=28, width_px=112), Stage(prose=0.3, statements=0.3, apart=0.5)
SCAN = Scan(rotation_deg=0.3, blur=0.5, noise=6, light=0.1)


@pytest.fixture(scope="module")
def source():
    return ReadingPages(stages=[SHORT, Stage(height_px=56, width_px=224), SLIP], scan=SCAN, least_rows=3, count=12)


def pages(stage, count, **options):
    return [drawn(stage, f"test/{number}", **options) for number in range(count)]


def asked(page):
    return {TRANSCRIBE: "transcribe", EXTRACT[0]: "extract"}.get(page.prompt, "question")


def test_a_page_is_a_function_of_its_key():
    first, again, other = drawn(SLIP, "a", SCAN), drawn(SLIP, "a", SCAN), drawn(SLIP, "b", SCAN)
    assert np.array_equal(first.pixels, again.pixels) and first.text == again.text
    assert first.text != other.text
    assert not np.array_equal(first.pixels, drawn(SLIP, "a").pixels)


def test_pages_hold_ink_where_letters_are_marked():
    for page in pages(SLIP, 12):
        assert page.pixels.shape == (224, 336) and page.glyphs.shape == (8 * 12, 8)
        cells = page.glyphs.reshape(8, 12, 2, 4).transpose(0, 2, 1, 3).reshape(16, 48)
        paper = int(page.pixels.max())
        for row, column in zip(*np.nonzero(cells >= 0), strict=True):
            # letters are as wide as a cell or wider, and may extend over its edges
            around = page.pixels[max(0, 14 * row - 7) : 14 * row + 21, max(0, 7 * column - 4) : 7 * column + 11]
            assert around.min() < paper - 60, (chr(cells[row, column]), row, column)


def test_marked_letters_are_those_of_the_text_in_its_order():
    """In the 11 px monospaced font a letter is as wide as a cell, so that no letter hides another."""
    for page in pages(Stage(plain=1.0, strings=0.5), 8):
        cells = page.glyphs.reshape(8, 12, 2, 4).transpose(0, 2, 1, 3).reshape(16, 48)
        read = "".join(chr(code) for code in cells.ravel() if code >= 0)
        assert page.font is Font.mono
        assert read == "".join(letter for letter in page.text if "!" <= letter <= "~")


def test_tables_are_read_by_cell_and_columns_without_rules_by_line():
    tables = [page for page in pages(Stage(apart=1.0, plain=1.0), 80) if " | " in page.text]
    assert 20 < len(tables) < 60
    wrapped = 0
    for page in tables:
        dark = (page.pixels < 140).sum(axis=0)
        lines = page.text.split("\n")
        # As many vertical lines as the fullest row has bars; they run from the first row to below the last.
        assert (dark > 12 * len(lines)).sum() >= max(line.count(" | ") for line in lines)
        letters = sum(letter not in " |" for line in lines for letter in line)
        assert (page.glyphs >= 0).sum() > 0.8 * letters
        rows_inked = ((page.pixels < 140).sum(axis=1) > 0).sum()
        wrapped += rows_inked > 16 * len(lines)
    assert wrapped > 5
    columns = [(10, 90), (90, 200), (200, 336)]
    stops = [left_px for left_px, _ in columns]
    rows = itertools.islice(
        in_cells(itertools.cycle(["pulse", "88", "irregular", "stat"]), Random(1), columns, lambda letter: 7.0, 3), 40
    )
    for placed, text in rows:
        assert {line for _, line, _ in placed} <= {0, 1, 2} and {x_px for x_px, *_ in placed} <= set(stops)
        for x_px, _, words in placed:
            assert 7 * len(words) <= dict(columns)[x_px] - x_px - 7
        cells = [" ".join(words for at_px, _, words in placed if at_px == x_px) for x_px in stops]
        assert text == " | ".join(cells).rstrip(" |")


def test_the_diet_holds_every_kind_of_prompt_face_and_sign():
    many = pages(SLIP, 300)
    tasks = [asked(page) for page in many]
    assert {task: tasks.count(task) > 10 for task in ("transcribe", "extract", "question")} == dict.fromkeys(
        ("transcribe", "extract", "question"), True
    )
    assert {page.font for page in many} == {face for face, *_ in FACES}
    written = "".join(page.text for page in many)
    assert set(string.printable[:94]) <= set(written) and "°" in written
    for page in many:
        if asked(page) == "question":
            what = page.prompt.rstrip(".?").split("the ", 1)[1].removeprefix("what is the ")
            assert page.response in " ".join(page.text.split()) and what.split()[-1] in page.text
        else:
            assert page.response == page.text and page.prompt in (EXTRACT[0], TRANSCRIBE)


def test_grey_patches_are_what_the_image_processor_makes(processor):
    page = drawn(SLIP, "a", SCAN)
    expected = processor.image_processor(images=[Image.fromarray(page.pixels)], return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [[1, 16, 24]]
    torch.testing.assert_close(normalized(grey_patches(page.pixels)), expected["pixel_values"], atol=1e-6, rtol=1e-6)


def test_the_tower_is_told_what_it_would_work_out(nano, encoder, source):
    row = LiveRows(source, encoder, 2000)[{"key": "a", "stage": 2, "rows": 1}]
    own = {name: value for name, value in row.items() if name != "tower"} | {"tower": {}}
    torch.testing.assert_close(vision_features(nano.model.visual, row), vision_features(nano.model.visual, own))
    mixed = torch.tensor([[1, 16, 24], [1, 2, 8], [1, 34, 24], [1, 10, 6]])
    bounds = tower_bounds(mixed)
    assert bounds["max_seqlen"] == 816 and bounds["max_window_seqlen"] == 64
    assert sorted(bounds["window_index"].tolist()) == list(range(int(mixed.prod(1).sum()) // 4))


def test_a_live_row_fits_and_counts_its_answers(nano, encoder, source):
    row = LiveRows(source, encoder, 1500)[{"key": "a", "stage": 1, "rows": 2}]
    assert row["input_ids"].shape[1] <= 1500 and row["examples"] > 5
    _, targets = answer_states(nano, row)
    assert row["window_tokens"] == 2 * len(targets) == 2 * int((row["labels"] != IGNORE).sum())
    features = vision_features(nano.model.visual, row)
    assert row["glyphs"].shape == (len(features), 8)
    loss, accuracy = GlyphHead(features.shape[1])(torch.zeros_like(features), row["glyphs"])
    assert 4.7 < loss.item() < 5.1 and accuracy.item() < 0.3  # log 128 = 4.85: chance level on white paper


def test_the_curriculum_waits_then_moves_on_and_keeps_earlier_stages(source):
    curriculum = Curriculum(source)
    assert {curriculum.draw(Random(number)) for number in range(50)} == {0}
    assert [curriculum.note(0, 0.99) for _ in range(3)] == [False, False, True]  # least_rows
    assert not any(curriculum.note(0, 1.0) for _ in range(9))  # only the newest stage counts
    drawn_stages = [curriculum.draw(Random(number)) for number in range(400)]
    assert 0.7 < drawn_stages.count(1) / 400 < 0.9 and drawn_stages.count(2) == 0
    assert not any(curriculum.note(1, 0.5) for _ in range(9))
    for _ in range(40):
        curriculum.note(1, 0.97)
    assert curriculum.newest == 2
    assert not any(curriculum.note(2, 1.0) for _ in range(9))  # there is no further stage


def sampler(source):
    return LiveSampler(Curriculum(source), seed=7, accumulate=1, ranks=1, rank=0, steps=40)


def test_rows_in_flight_keep_their_stage_over_a_resume(source):
    first = sampler(source)
    stream = iter(first)
    asked = [next(stream) for _ in range(6)]  # two used, four prefetched by workers
    for _ in range(3):
        first.curriculum.note(0, 1.0)
    state = first.state_dict(used=2)
    rest = list(stream)
    second = sampler(source)
    second.start = 2
    second.load_state_dict(state)
    assert list(second) == asked[2:] + rest
    assert {row["stage"] for row in rest} == {0, 1}


def test_ranks_draw_different_rows_of_one_stage(source):
    curriculum = Curriculum(source)
    curriculum.newest = 2
    rows = [list(LiveSampler(curriculum, seed=7, accumulate=2, ranks=2, rank=rank, steps=20)) for rank in (0, 1)]
    keys = [{row["key"] for row in part} for part in rows]
    assert len(keys[0]) == len(keys[1]) == 40 and not keys[0] & keys[1]
    stages = [[row["stage"] for row in part] for part in rows]
    assert stages[0] == stages[1] and set(stages[0]) == {0, 1, 2}


def test_what_cannot_work_is_refused(source, encoder):
    def data(**options):
        settings = {
            "budget": 4096,
            "seed": 1,
            "accumulate": 1,
            "steps": 5,
            "epochs": 1.0,
            "workers": 0,
            "pin": False,
            "val_rows": 1,
            "reading": source,
        }
        return DocumentData(None, encoder, **(settings | options)).sampler(ranks=1, rank=0)

    assert len(data()) == 5
    with pytest.raises(ValueError, match="without end"):
        data(steps=None)
    with pytest.raises(ValueError, match="a row of 500 tokens may not hold a page of the last stage"):
        data(budget=500)
    with pytest.raises(ValueError, match="first_stage must be from 0 to 0"):
        ReadingPages(first_stage=1)
    with pytest.raises(ValueError, match="prose, statements and records are 1"):
        Stage(prose=0.6, statements=0.6)
    with pytest.raises(ValueError, match="apart is a share"):
        Stage(apart=-0.1)
    with pytest.raises(ValueError, match="multiple of 28"):
        Stage(height_px=30)
    with pytest.raises(ValueError, match="drawn here, not read"):
        ReadingPages(hub="some/set")


def test_no_page_is_longer_than_it_says(source, encoder):
    for number in range(60):
        stage = source.stages[number % 3]
        page = drawn(stage, f"long/{number}")
        assert len(page.text.encode()) <= stage.letters
        assert len(encoder.encode_images([Image.fromarray(page.pixels)], page.prompt, page.text)["input_ids"]) <= (
            source.longest
        )
