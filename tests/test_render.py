"""Pages: every word is on one, no line is wider than the page, the same text gives the same pixels."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.documents.render import Font, Render, _measure

LETTER = Render(width_px=1275, height_px=1650, font=Font.serif, font_px=21, line_px=25, margin_px=75)
PIXELS = {"min_pixels": 3136, "max_pixels": 1003520}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")) | st.just("\n"), max_size=1500)


@settings(max_examples=60, deadline=None)
@given(TEXT, st.sampled_from([Render(), LETTER, Render(font=Font.sans)]))
def test_pages_hold_the_whole_text(text, render):
    pages = list(render.pages(text))
    drawn = "".join("".join(page.text.split()) for page in pages)
    assert drawn == "".join(text.split())
    measure = _measure(render.font, render.font_px)
    for page in pages:
        lines = page.text.split("\n")
        assert len(lines) <= render.lines and lines[0] and lines[-1]
        assert all(measure(line) <= render.width_px - 2 * render.margin_px or len(line) == 1 for line in lines)


def test_wrapping_breaks_at_words_and_keeps_paragraphs():
    page = next(Render().pages("SUBJECTIVE:  " + "word " * 20 + "\n\n\n\nPLAN:  rest"))
    assert page.text.split("\n") == [
        "SUBJECTIVE:  word word word word word word",
        "word word word word word word word word word",
        "word word word word word",
        "",
        "PLAN:  rest",
    ]


def test_a_word_longer_than_the_line_is_cut():
    lines = next(Render().pages("x" * 100)).text.split("\n")
    assert [len(line) for line in lines] == [46, 46, 8]


def test_thirty_thousand_characters_become_many_pages():
    text = "\n".join(f"{number}. Aspirin 81 mg PO daily for coronary artery disease." for number in range(540))
    pages = list(Render().pages(text))
    assert len(text) > 30_000 and len(pages) > 50
    assert "\n".join(page.text for page in pages).split() == text.split()


def test_the_same_text_gives_the_same_pixels():
    image = next(Render().pages("BP 120/80 mmHg")).image
    assert image.size == (336, 224) and image.mode == "L"
    again = next(Render().pages("BP 120/80 mmHg")).image
    assert hashlib.sha256(image.tobytes()).digest() == hashlib.sha256(again.tobytes()).digest()


def test_ink_lies_where_the_text_is():
    ink = np.asarray(next(Render().pages("line one\n\nline three")).image) < 128
    rows = [bool(ink[7 + 14 * row : 21 + 14 * row].any()) for row in range(4)]
    assert rows == [True, False, True, False]


@pytest.mark.parametrize(
    ("render", "tokens", "readable"),
    [
        (Render(), 96, True),
        (LETTER, 1240, True),
        (Render(width_px=1275, height_px=1650, font=Font.serif, font_px=21, max_side_px=256), 63, False),
    ],
)
def test_legibility_is_known_before_training(render, tokens, readable):
    from medvl.documents.render import READABLE_X_HEIGHT_PX

    assert render.page_tokens(**PIXELS) == tokens
    assert (render.x_height_px(**PIXELS) >= READABLE_X_HEIGHT_PX) is readable


def test_shrunk_pages_have_the_size_they_promise():
    render = Render(width_px=1275, height_px=1650, max_side_px=256)
    image = next(render.pages("text")).image
    assert (image.height, image.width) == render.size_px == (256, 198)
