"""Answers before and after training, compared as text and as a picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medvl.evaluation.answer_diff import (
    BREAK,
    LAYOUT,
    LINE,
    Piece,
    compared,
    difference_lines,
    drawable,
    without_layout,
)
from medvl.evaluation.diff_figure import differences_figure
from medvl.evaluation.gate import BeforeAfter
from medvl.metrics import summarize


def said(pieces, *kinds):
    return "".join(piece.text for piece in pieces if piece.kind in kinds)


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_hold_both_texts(reference, answer):
    pieces = compared(reference, answer)
    assert said(pieces, "same", "missing") == reference and said(pieces, "same", "wrong") == answer


@given(st.text(max_size=60), st.text(max_size=60))
def test_layout_is_no_difference_and_no_word_is_lost(reference, answer):
    pieces = without_layout(compared(reference, answer))
    assert said(pieces, "same", "wrong") == answer

    def letters(text):
        return "".join(letter for letter in text if letter not in LAYOUT)

    assert letters(said(pieces, "same", "missing")) == letters(reference)
    assert all(letters(piece.text) for piece in pieces if piece.kind != "same")


def test_columns_and_line_breaks_are_no_difference():
    assert said(without_layout(compared("Hgb | 81.5\nWBC | 7", "Hgb 81.5 WBC  7")), "missing", "wrong") == ""
    told = without_layout(compared("Hgb | 81.5", "Hgb\n81.6"))
    assert said(told, "missing") == " 81.5" and said(told, "wrong") == "81.6"


def test_a_number_is_wrong_as_a_whole():
    assert compared("Hgb 81.5 g/dL", "Hgb 61.5 g/dL") == [
        Piece("same", "Hgb "),
        Piece("missing", "81.5"),
        Piece("wrong", "61.5"),
        Piece("same", " g/dL"),
    ]


def test_blanks_that_agree_do_not_chop_a_difference():
    assert [piece.kind for piece in compared("one two, three four", "eins zwei, drei four")] == [
        "missing",
        "wrong",
        "same",
    ]


def test_what_cannot_be_drawn_is_marked():
    assert drawable("Anaïs 3 µg ≥ 5\n") == "Anaïs 3 µg ≥ 5\n"
    assert drawable("a\x1b[31m\x00漢") == "a\ufffd[31m\ufffd\ufffd"


@pytest.fixture
def contrast(tmp_path):
    """Return a function that compares answers before and after training, each on its own page."""

    def made(references, before, after):
        page = tmp_path / "page.png"
        Image.new("L", (336, 224), 255).save(page)

        def rows(answers):
            return [
                {
                    "id": f"{at}",
                    "document": f"{at}",
                    "kind": "note",
                    "task": "transcribe",
                    "prompt": "Read $x$.",
                    "images": [str(page)],
                    "reference": reference,
                    "prediction": answer,
                    "scores": {"cer": [float(reference != answer), 1.0]},
                }
                for at, (reference, answer) in enumerate(zip(references, answers, strict=True))
            ]

        sides = [None if answers is None else (rows(answers), {}) for answers in (before, after)]
        sides = [side and (side[0], summarize(side[0])) for side in sides]
        return BeforeAfter(title="examples", objective="cer", before=sides[0], after=sides[1])

    return made


PAGES = [f"Page {number}\nAspirin 81 mg daily" for number in range(7)]


def test_three_examples_that_nobody_picked(contrast):
    lines = difference_lines(contrast(PAGES, ["@@@"] * 7, PAGES))
    titles = [line for line in lines if not line.startswith(" ")]
    assert "not chosen by score" in titles[0] and len(titles) == 4
    assert [title.split(":")[0] for title in titles[1:]] == ["first of 7", "middle of 7", "last of 7"]
    assert titles[2] == "middle of 7: note, transcribe (3); character error rate 100.0 % -> 0.0 %"
    assert [title.split(":")[0] for title in difference_lines(contrast(PAGES[:1], None, PAGES[:1]))[1:2]] == [
        "first of 1"
    ]


def test_six_lines_that_show_the_place(contrast):
    """A field far down a long page, and an answer far longer than the page."""
    page = "All is well. " * 200 + "Metformin 500 mg. " + "The end. " * 200
    lines = difference_lines(contrast([page], [page + "spam " * 900], [page.replace("500", "850")]))
    assert len(lines) == 1 + 6 and max(map(len, lines)) <= LINE
    after = next(line for line in lines if line.startswith("  after"))
    assert "Metformin [-500-]{+850+} mg" in after
    assert "Metformin 500 mg" in next(line for line in lines if line.startswith("  reference"))


def test_missing_parts_and_line_breaks_are_written_out(contrast):
    lines = difference_lines(contrast(["one\ntwo\nthree"], None, ["one\ntwo"]))
    assert lines[-1].endswith(f"one{BREAK}two[-{BREAK}three-]") and not any("before" in line for line in lines)
    assert "[-one" in difference_lines(contrast(["one"], None, [""]))[-1]


def colours(path):
    """Return the shares of red and blue in each column of the picture."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)[110:]  # below the legend
    red = (pixels[..., 0] > pixels[..., 2] + 20).mean(0)
    blue = (pixels[..., 2] > pixels[..., 0] + 20).mean(0)
    return red, blue


def test_the_picture_marks_what_is_wrong_where_it_is(contrast, tmp_path):
    path = tmp_path / "differences.png"
    wrong = [page.replace("Aspirin", "Ibuprofén $5 $6 \x07") for page in PAGES]
    differences_figure(contrast(PAGES, wrong, PAGES), path)
    red, blue = colours(path)
    width = len(red)
    page, reference, before, after = (
        slice(*(round(share * width) for share in part)) for part in ((0, 0.25), (0.26, 0.5), (0.51, 0.74), (0.76, 1))
    )
    assert red[before].sum() > 1 and blue[before].sum() > 0.5
    assert not any(side[part].any() for side in (red, blue) for part in (page, reference, after))
    differences_figure(contrast(PAGES, None, wrong), path)  # without a base there is one panel less
    assert len(colours(path)[0]) < width


def test_a_long_page_stays_a_picture(contrast, tmp_path):
    path = tmp_path / "differences.png"
    page = "Nothing abnormal was found, and no change is advised.\n" * 200
    differences_figure(contrast([page] * 3, ["@" * 9000] * 3, [page[:-300]] * 3), path)
    with Image.open(path) as picture:
        assert picture.width < 2000 and picture.height < 2600
