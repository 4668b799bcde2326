"""Pages of general text, drawn fast, with the place of every letter. Every page is a function of its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from medvl.documents.fonts import Font
from medvl.documents.general_text import Writer
from medvl.documents.records import Records
from medvl.documents.rows import draw_columns, in_cells, in_lines
from medvl.documents.scan import Scan
from medvl.documents.sheet import Sheet, advances
from medvl.documents.tasks import EXTRACT, QUESTION, TRANSCRIBE
from medvl.documents.typefaces import Typeface
from medvl.documents.worn import worn

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Families with the sizes in which they are set, in pixels, and how often: forms on slips are set in mono, 11 px.
FACES = (
    (Font.mono, (11,), 4), (Font.mono, (10, 12, 13), 3), (Font.sans, (11, 12, 13), 2), (Font.serif, (11, 12, 13), 2),
    (Font.times, (12, 13, 14), 2),
)  # fmt: skip
# Sizes of other typefaces in pixels of an em, and how often: letters of a page at 72 dpi to headings at 150 dpi.
EMS = {8: 1, 9: 2, 10: 4, 11: 5, 12: 5, 13: 5, 14: 4, 15: 3, 16: 3, 18: 3, 20: 2, 24: 2, 28: 1, 34: 0.5, 40: 0.5}
OTHERS = 0.75  # share of pages in other typefaces, where there are any


@dataclass(kw_only=True, slots=True)
class Stage:
    """Pages of one size, a step of the curriculum."""

    height_px: int = 224
    width_px: int = 336
    strings: float = 0.4
    """Share of random strings among the words of a page that is neither prose nor statements."""
    prose: float = 0.0
    """Share of pages with sentences."""
    statements: float = 0.0
    """Share of pages with statements about quantities, on which one of them may be asked for."""
    records: float = 0.0
    """Share of pages with labelled values, tables and lists, of which one, a list, or all as JSON may be asked for."""
    apart: float = 0.0
    """Share of pages whose words stand in columns: at tab stops, read line by line with a blank at every gap, or in
    tables with upright rules, read cell by cell with " | " for every rule."""
    plain: float = 0.3
    """Share of pages in mono of 11 px without bold, as forms on slips are set."""

    @property
    def letters(self) -> int:
        """Letters that a page never has more of: narrow ones on the closest lines."""
        return self.height_px // 14 * (self.width_px // 4)

    def __post_init__(self) -> None:
        for name in ("strings", "prose", "statements", "records", "apart", "plain"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.stages: {name} is a share, from 0 to 1, got {getattr(self, name)}.")
        shares = self.prose + self.statements + self.records
        if shares > 1:
            raise ValueError(f"data.stages: prose, statements and records are {shares:g} of all pages.")
        for name in ("height_px", "width_px"):
            if getattr(self, name) <= 0 or getattr(self, name) % 28:
                raise ValueError(f"data.stages: {name} must be a positive multiple of 28, got {getattr(self, name)}.")


@dataclass(slots=True)
class ReadingPage:
    """A drawn page of general text."""

    pixels: np.ndarray
    """(height, width) uint8, 255 is white."""
    text: str
    font: Font | Typeface
    prompt: str
    response: str
    glyphs: np.ndarray
    """(visual tokens, 8) int16: byte of the letter in each cell under a visual token, -1 where there is none."""
    scanned: bool


def drawn(stage: Stage, key: str, scan: Scan | None = None, others: Sequence[Typeface] = ()) -> ReadingPage:
    """Write and draw a page; the same key gives the same page.

    Args:
        scan: What a scanner does to it; None: nothing.
        others: More typefaces, in which most pages are then set, in more sizes and on worn paper.
    """
    rng = Random(key)
    plain = rng.random() < stage.plain
    shares = {"prose": stage.prose, "statements": stage.statements, "records": stage.records}
    kind = rng.choices(("any", *shares), (1 - sum(shares.values()), *shares.values()))[0]
    other = bool(others) and rng.random() < OTHERS
    font, size_px = _other(rng, stage, others) if other else _own(rng, plain)
    sheet = Sheet(stage.height_px, stage.width_px)
    x_px, y_px = rng.randint(0, 13), rng.randint(0, 13)
    pitch_px = max(10 if other else 14, round(1.2 * size_px)) + (rng.random() < 0.25)
    writer = Writer(rng, stage.strings)
    apart = kind == "any" and rng.random() < stage.apart
    columns = draw_columns(rng, stage.width_px, x_px) if apart else [(x_px, stage.width_px)]
    table, ruled = apart and rng.random() < 0.5, apart and rng.random() < 0.5
    most = (stage.height_px - y_px) // pitch_px
    count = rng.randint(max(1, most // 3), most) if most > 1 else 1
    title = count > 2 and not plain and not table and rng.random() < 0.15
    lines, top_px = [], y_px
    stream, advance = writer.stream(kind), advances(font, size_px, True)  # bold is the wider one
    records = Records(rng, writer, x_px, stage.width_px - x_px - 2, advance) if kind == "records" else None
    rows = (
        records.rows()
        if records
        else in_cells(stream, rng, columns, advance, count if ruled else 1)
        if table
        else in_lines(stream, rng, columns, advance, title)
    )
    used = 0
    for words, text in rows:
        deep = 1 + max((line for _, line, _ in words), default=0)
        large = title and not lines
        face_px = round(1.25 * size_px) if large else size_px
        height_px = round(1.25 * pitch_px) if large else pitch_px
        if lines and y_px + deep * height_px > stage.height_px:
            break
        bold = large or (not plain and rng.random() < 0.12)
        for x_there_px, line, there in words:
            sheet.set(there, font, face_px, bold, x_there_px, round(y_px + (line + 0.78) * height_px))
        lines.append(text)
        y_px, used = y_px + deep * height_px, used + deep
        if ruled and (table or rng.random() < 0.5):
            sheet.pen.line((x_px - 3, y_px, stage.width_px - 4, y_px), fill=64)
        if used >= count:
            break
    for left_px, _ in columns[1:] if table else ():
        sheet.pen.line((left_px - 4, top_px, left_px - 4, y_px), fill=64)
    text = "\n".join(lines).strip("\n")
    prompt, response = (
        records.asked(len(lines), text, key)
        if records
        else _asked(rng, text, writer.statements if kind == "statements" else {})
    )
    pixels = _inked(worn(sheet.drawn(), rng) if other else sheet.image, rng, scan, key)
    return ReadingPage(pixels, text, font, prompt, response, sheet.by_token(), scan is not None)


def _own(rng: Random, plain: bool) -> tuple[Font, int]:
    """Draw one of the families that ship, and its size in pixels."""
    font, sizes, _ = FACES[0] if plain else rng.choices(FACES, [share for *_, share in FACES])[0]
    return font, rng.choice(sizes)


def _other(rng: Random, stage: Stage, others: Sequence[Typeface]) -> tuple[Typeface, int]:
    """Draw one of other typefaces and a size, in pixels, of which a page holds a line of some words."""
    sizes = [size for size in EMS if size * 1.7 <= stage.height_px and size * 8 <= stage.width_px]
    return rng.choice(others), rng.choices(sizes, [EMS[size] for size in sizes])[0]


def _asked(rng: Random, text: str, statements: dict[str, tuple[str, str]]) -> tuple[str, str]:
    flat = " ".join(text.split())
    whole = {what: value for what, (sentence, value) in statements.items() if sentence in flat}
    if whole and rng.random() < 0.7:
        what = rng.choice(list(whole))
        return rng.choice(QUESTION).format(what=what), whole[what]
    return (EXTRACT[0] if rng.random() < 0.2 else TRANSCRIBE), text


def _inked(image: Image.Image, rng: Random, scan: Scan | None, key: str) -> np.ndarray:
    """Vary ink and paper, and scan the page."""
    import numpy as np

    ink, paper = (0, 255) if rng.random() < 0.5 else (rng.randint(0, 70), rng.randint(235, 255))
    image = image.point([ink + round((paper - ink) * grey / 255) for grey in range(256)])
    if scan is not None:
        image, _ = scan.apply(image, key, 72)
    return np.array(image)
