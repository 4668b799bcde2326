"""Pages: every word is on one, no line is wider than the page, every field's box contains its ink."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvl.documents.fonts import Font
from medvl.documents.layout import Row, Setter
from medvl.documents.marks import mark, unmarked
from medvl.documents.render import READABLE_X_HEIGHT_PX, Render
from medvl.documents.scan import Scan
from medvl.types import Columns, Document, Field, Heading, Pairs, Rule, Table, Text

LETTER = {"width_pt": 612, "height_pt": 792, "dpi": 150, "font_pt": 10, "line_pt": 12, "margin_pt": 36}
SERIF = Render(**LETTER, fonts=[Font.serif])
PIXELS = {"min_pixels": 3136, "max_pixels": 1003520}
CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Zl", "Zp"))
TEXT = st.text(CHARACTERS | st.just("\n"), max_size=1500)
WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)


def sheets(render, text="", blocks=()):
    return list(render.sheets(Document(id="d", text=text, blocks=list(blocks))))


def drawn(render, text="", blocks=()):
    return [render.draw(sheet, f"key {number}") for number, sheet in enumerate(sheets(render, text, blocks))]


@settings(max_examples=60, deadline=None)
@given(TEXT, st.sampled_from([Render(), SERIF, Render(fonts=[Font.sans]), Render(fonts=[Font.times])]))
def test_pages_hold_the_whole_text(text, render):
    pages = sheets(render, text)
    assert "".join("".join(page.text.split()) for page in pages) == "".join(text.split())
    width_px, height_px = render.area_px
    for page in pages:
        assert page.text and sum(row.height_px for row in page.rows) <= height_px + 0.01
        for row in page.rows:
            assert all(line[1][2] <= width_px or len(line[0]) == 1 for line in row.lines if not row.runs[0].bold)


@st.composite
def marked_blocks(draw):
    """Blocks of every kind, with every field once."""
    values, blocks = [], []

    def words():
        values.append(draw(WORDS))
        return mark(len(values) - 1, values[-1])

    for _ in range(draw(st.integers(1, 6))):
        match draw(st.sampled_from(["title", "section", "text", "pairs", "table", "columns", "rule"])):
            case "title":
                blocks.append(Heading(draw(WORDS), level=1))
            case "section":
                blocks.append(Heading(draw(WORDS)))
            case "text":
                blocks.append(Text(f"Seen with {words()} and {words()} today.", bold=4))
            case "pairs":
                pairs = [(draw(WORDS), words()) for _ in range(draw(st.integers(1, 5)))]
                blocks.append(Pairs(pairs, columns=draw(st.integers(1, 2))))
            case "table":
                size = draw(st.integers(1, 5))
                rows = [[words() for _ in range(size)] for _ in range(draw(st.integers(1, 25)))]
                blocks.append(Table([draw(WORDS) for _ in range(size)], rows, rules=draw(st.booleans())))
            case "columns":
                blocks.append(Columns([Text(words())], [Text(words()), Text(words())]))
            case "rule":
                blocks.append(Rule())
    return blocks, values


@settings(max_examples=60, deadline=None)
@given(marked_blocks(), st.sampled_from([Render(), SERIF, Render(**LETTER, fonts=[Font.sans], max_side_px=900)]))
def test_every_field_has_a_box_with_its_ink(content, render):
    blocks, values = content
    boxed = set()
    for page in drawn(render, blocks=blocks):
        ink = np.asarray(page.image) < 160
        height, width = ink.shape
        for index, (left, top, right, bottom) in page.fields:
            boxed.add(index)
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            assert ink[top:bottom, left:right].any(), values[index]
        for text, (left, top, right, bottom) in page.lines:
            assert text in page.text and ink[top:bottom, left:right].any()
        flat = "".join(page.text.split())
        assert all(values[index] in flat for index, _ in page.fields)
    assert boxed == set(range(len(values)))


def test_no_ink_lies_outside_the_boxes_of_the_lines():
    blocks = [Heading("LABS", level=1), Text("Na 138\n\nK 4.1"), Pairs([("Name", "Ada"), ("Sex", "F")], columns=2)]
    page = drawn(SERIF, blocks=blocks)[0]
    left_over = np.asarray(page.image).copy()
    for _, (left, top, right, bottom) in page.lines:
        left_over[top:bottom, left : right + 2] = 255
    assert left_over.min() == 255


def test_marks_leave_no_trace():
    assert unmarked(f"dose {mark(3, '81 mg')} daily") == "dose 81 mg daily"


def test_wrapping_breaks_at_words_and_keeps_paragraphs():
    page = sheets(Render(), "SUBJECTIVE:  " + "word " * 20 + "\n\n\n\nPLAN:  rest")[0]
    assert page.text.split("\n") == [
        "SUBJECTIVE:  word word word word word word",
        "word word word word word word word word word",
        "word word word word word",
        "",
        "PLAN:  rest",
    ]
    assert [run.text for row in page.rows for run in row.runs if run.bold] == ["SUBJECTIVE:", "PLAN:"]


def test_a_word_longer_than_the_line_is_cut():
    assert [len(line) for line in sheets(Render(), "x" * 100)[0].text.split("\n")] == [46, 46, 8]


def test_thirty_thousand_characters_become_many_pages():
    text = "\n".join(f"{number}. Aspirin 81 mg PO daily for coronary artery disease." for number in range(540))
    pages = sheets(Render(), text)
    assert len(text) > 30_000 and len(pages) > 50
    assert "\n".join(page.text for page in pages).split() == text.split()


def test_a_tables_header_returns_on_every_page():
    table = Table(["Drug", "Dose"], [[f"Drug{number}", f"{number} mg"] for number in range(40)], rules=True)
    pages = sheets(Render(), blocks=[table])
    assert len(pages) > 2 and all(page.text.startswith("Drug | Dose\nDrug") for page in pages)


def test_a_heading_stays_with_what_it_heads():
    for above in range(10, 15):
        pages = sheets(Render(), blocks=[Text("\n".join(["line"] * above)), Heading("PLAN"), Text("rest")])
        assert any("PLAN\nrest" in page.text for page in pages)


def test_a_table_too_wide_for_the_page_becomes_lines():
    wide = Table([f"Heading{n}" for n in range(9)], [["1234567"] * 9])
    assert sheets(Render(), blocks=[wide])[0].text.startswith("Heading0 | Heading1 | Heading2 | Heading3 |")
    assert not any(row.rules for row in sheets(Render(), blocks=[wide])[0].rows)


def test_a_cell_taller_than_the_page_goes_on_on_the_next():
    cell = " ".join(f"word{number}" for number in range(150))
    for blocks in ([Table(["Drug", "Note"], [["Aspirin", cell]])], [Pairs([("Note", cell), ("Sex", "F")], columns=2)]):
        pages = sheets(Render(), blocks=blocks)
        assert len(pages) > 1 and all(sum(row.height_px for row in page.rows) <= 210 for page in pages)
        assert all(f"word{number}" in " ".join(page.text for page in pages) for number in range(150))


def test_columns_are_read_left_then_right():
    columns = Columns([Text("one\ntwo")], [Text("three\nfour")])
    assert sheets(SERIF, blocks=[columns])[0].text == "one\ntwo\nthree\nfour"
    setter = Setter(Font.serif, 21, 25, 1125, 1500)
    (row,) = setter.rows([columns])
    assert row.height_px == 50 and row.lines[2][1][0] > 500


def test_half_of_a_sheet_is_half_of_its_rows():
    sheet = sheets(Render(), "\n".join(map(str, range(15))))[0]
    assert [half.text for half in sheet.halves()] == ["0\n1\n2\n3\n4\n5\n6", "7\n8\n9\n10\n11\n12\n13\n14"]
    single = type(sheet)(sheet.font, [Row(14, lines=[("x", (0, 0, 7, 14))])])
    assert single.halves() == [single]


def test_the_same_content_gives_the_same_pixels():
    one, two = (drawn(Render(scan=Scan(noise=5, jitter=0.5)), "BP 120/80 mmHg")[0].image for _ in range(2))
    assert one.size == (336, 224) and one.mode == "L"
    assert hashlib.sha256(one.tobytes()).digest() == hashlib.sha256(two.tobytes()).digest()


def test_words_leave_their_place_as_handwriting_does():
    still, moved = (drawn(Render(scan=Scan(jitter=jitter)), "BP 120/80 mmHg today")[0] for jitter in (0, 1))
    assert still.text == moved.text and not np.array_equal(np.asarray(still.image), np.asarray(moved.image))


def test_any_dpi_draws_the_same_page():
    text = "\n".join(f"{number}. Aspirin 81 mg PO daily" for number in range(90))
    low, high = (sheets(Render(**LETTER | {"dpi": dpi}), text) for dpi in (100, 300))
    assert [sheet.text for sheet in low] == [sheet.text for sheet in high]
    assert Render(**LETTER | {"dpi": 300}).size_px == (3300, 2550)


def test_documents_take_turns_with_the_fonts():
    render = Render(fonts=list(Font))
    fonts = {next(iter(render.sheets(Document(id=str(n), text="x")))).font for n in range(40)}
    assert fonts == set(Font)


@pytest.mark.parametrize(
    ("render", "tokens", "readable"),
    [(Render(), 96, True), (SERIF, 1240, True), (Render(**LETTER, fonts=[Font.serif], max_side_px=256), 63, False)],
)
def test_legibility_is_known_before_training(render, tokens, readable):
    assert render.page_tokens(**PIXELS) == tokens
    x_px = render.x_height_px(render.fonts[0]) * render.resized(**PIXELS)
    assert (x_px >= READABLE_X_HEIGHT_PX) is readable
    assert drawn(render, "text")[0].x_height_px == render.x_height_px(render.fonts[0])


def test_shrunk_pages_and_boxes_have_the_size_they_promise():
    render = Render(**LETTER, max_side_px=256)
    page = drawn(render, blocks=[Text(mark(0, "text"))])[0]
    assert (page.image.height, page.image.width) == render.size_px == (256, 198)
    assert page.fields[0][1][3] < 30


def test_fields_keep_their_words_through_rotation():
    render = Render(**LETTER, scan=Scan(rotation_deg=2))
    field = Field(path="a", value="Aspirin", type="name")
    (sheet,) = render.sheets(Document(id="d", blocks=[Text(f"\n{mark(0, 'Aspirin')}")], fields=[field]))
    page = render.draw(sheet, "tilted")
    left, top, right, bottom = page.fields[0][1]
    ink = np.asarray(page.image)[:, 60:1200] < 100  # outside of it is the scanner's lid
    assert ink[max(0, top) : bottom, max(0, left - 60) : right - 60].sum() >= 0.9 * ink.sum() > 0


@pytest.mark.parametrize(
    ("options", "mends"),
    [
        ({"dpi": 0}, "render=slip"),
        ({"fonts": []}, "fonts=\\[mono\\]"),
        ({"dpi": 12}, "dpi higher"),
        ({"margin_pt": 112}, "render=slip"),
        ({"max_side_px": 27}, "max_side_px=null"),
    ],
)
def test_pages_that_cannot_be_are_refused(options, mends):
    with pytest.raises(ValueError, match=mends):
        Render(**options)
