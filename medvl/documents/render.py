"""Documents to page images: the `render` config group."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medvl.documents.fonts import Font
from medvl.documents.layout import TITLE, Row, Setter, note
from medvl.documents.scan import Scan, stream
from medvl.geometry import MAX_IMAGE_PIXELS, fit, visual_tokens
from medvl.types import Document, Page

if TYPE_CHECKING:
    from PIL import ImageDraw

# Below this a lower-case letter loses its shape: three strokes need five pixel rows.
READABLE_X_HEIGHT_PX = 5.0
PT_PER_INCH = 72
BASELINE = 0.78  # of a line's height, from its top


@dataclass
class Sheet:
    """One page before it is drawn."""

    font: Font
    rows: list[Row]

    @functools.cached_property
    def text(self) -> str:
        """What stands on it, line by line."""
        return "\n".join(line for row in self.rows for line, _ in row.lines).strip("\n")

    def halves(self) -> list[Sheet]:
        """Return two sheets with half of the lines each; one that holds a single row stays as it is."""
        if len(self.rows) < 2:
            return [self]
        middle = len(self.rows) // 2
        first, second = self.rows[:middle], self.rows[middle:]
        header = second[0].header
        if header is not None and len(first) > 1:
            second = [header, *second]
        parts = [_trimmed(part) for part in (first, second)]
        return [Sheet(self.font, part) for part in parts if part]


@dataclass(kw_only=True, slots=True)
class Render:
    """How a document becomes pages. Lengths are points, 1/72 inch, so that any dpi draws the same page."""

    width_pt: float = 336
    """Width of a page in points."""
    height_pt: float = 224
    """Height of a page in points."""
    dpi: float = 72
    """Pixels per inch."""
    fonts: list[Font] = field(default_factory=lambda: [Font.mono])
    """One of them for each document."""
    font_pt: float = 11
    """Size of the type in points."""
    line_pt: float = 14
    """Distance of two lines in points."""
    margin_pt: float = 7
    """White border of a page in points."""
    max_side_px: int | None = None
    """Shrink the finished page to this side, as the baseline project did with 256; None: as drawn."""
    scan: Scan = field(default_factory=Scan)
    """What a scanner or a fax does to the page."""

    def __post_init__(self) -> None:
        for name in ("width_pt", "height_pt", "dpi", "font_pt", "line_pt"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"render.{name} must be positive, got {getattr(self, name)}. Set render=slip.")
        if not 0 <= self.margin_pt < math.inf:
            raise ValueError(f"render.margin_pt must not be negative, got {self.margin_pt}. Set render.margin_pt=7.")
        inches = self.width_pt / PT_PER_INCH * self.height_pt / PT_PER_INCH
        if inches * self.dpi * self.dpi > MAX_IMAGE_PIXELS:
            raise ValueError(
                f"a page of {self.width_pt} x {self.height_pt} pt at {self.dpi} dpi has more than {MAX_IMAGE_PIXELS:,} "
                "pixels. Set render.dpi=150, or render=slip."
            )
        if not self.fonts:
            raise ValueError("render.fonts is empty. Set render.fonts=[mono].")
        if self.px(self.font_pt) < 4:
            raise ValueError(
                f"type of {self.font_pt} pt is {self.px(self.font_pt)} px high at {self.dpi} dpi, which no one can "
                "read. Set render.dpi higher."
            )
        if self.line_pt < self.font_pt:
            raise ValueError(
                f"lines of {self.line_pt} pt overlap with type of {self.font_pt} pt. "
                f"Set render.line_pt={self.font_pt:g}."
            )
        if self.lines < 1 or self.area_px[0] < 4 * self.px(self.font_pt):
            raise ValueError(
                f"no line of text fits a page of {self.width_pt} x {self.height_pt} pt with a margin of "
                f"{self.margin_pt} pt and lines of {self.line_pt} pt. Set render=slip."
            )
        if self.max_side_px is not None and self.max_side_px < 28:
            raise ValueError(
                f"render.max_side_px must be at least 28, got {self.max_side_px}. Set render.max_side_px=null."
            )

    def px(self, length_pt: float) -> int:
        return round(length_pt * self.dpi / PT_PER_INCH)

    @property
    def area_px(self) -> tuple[int, int]:
        """(width, height) of the text area."""
        return (self.px(self.width_pt) - 2 * self.px(self.margin_pt),
                self.px(self.height_pt) - 2 * self.px(self.margin_pt))  # fmt: skip

    @property
    def lines(self) -> int:
        """Lines of text that fit one page."""
        return int(self.area_px[1] / self.line_px + 1e-6)

    @property
    def line_px(self) -> float:
        """Distance of two lines; not rounded, or a page would hold more of them at some dpi than at others."""
        return self.line_pt * self.dpi / PT_PER_INCH

    @property
    def shrink(self) -> float:
        """Size of a finished page over that of the page as drawn."""
        longest = max(self.px(self.width_pt), self.px(self.height_pt))
        return 1.0 if self.max_side_px is None else min(1.0, self.max_side_px / longest)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of a finished page."""
        height_px, width_px = (max(1, round(self.px(side) * self.shrink)) for side in (self.height_pt, self.width_pt))
        return height_px, width_px

    def page_tokens(self, *, min_pixels: int, max_pixels: int) -> int:
        """Count the language-model tokens of one page after the image processor's resize."""
        return visual_tokens(*fit(*self.size_px, min_pixels=min_pixels, max_pixels=max_pixels))

    def resized(self, *, min_pixels: int, max_pixels: int) -> float:
        """Return the height of a page after the image processor's resize over that of the finished page."""
        return fit(*self.size_px, min_pixels=min_pixels, max_pixels=max_pixels)[0] / self.size_px[0]

    def sheets(self, document: Document) -> Iterator[Sheet]:
        """Break a document into pages: as many as it takes, none of them empty."""
        digest = hashlib.sha256(document.id.encode()).digest()
        font = self.fonts[digest[0] % len(self.fonts)]
        width_px, height_px = self.area_px
        setter = Setter(font, self.px(self.font_pt), self.line_px, width_px, height_px)
        for rows in _pages(list(setter.rows(document.blocks or note(document.text))), height_px):
            yield Sheet(font, rows)

    def draw(self, sheet: Sheet, key: str) -> Page:
        """Draw a sheet.

        Args:
            key: What the strengths of the scan effects are drawn from: the same key, the same page.
        """
        from PIL import Image, ImageDraw

        width_px, height_px = self.px(self.width_pt), self.px(self.height_pt)
        image = Image.new("L", (width_px, height_px), 255)
        draw = ImageDraw.Draw(image)
        margin_px = self.px(self.margin_pt)
        placed, y_px = [], float(margin_px)
        for row in sheet.rows:
            placed.append(row.shifted(margin_px, y_px))
            self._ink(draw, placed[-1], sheet.font, f"{key}/{len(placed)}")
            y_px += row.height_px
        image, moved = self.scan.apply(image, key, self.dpi)
        if self.max_side_px is not None:
            image = image.resize(self.size_px[::-1], Image.Resampling.LANCZOS)
        return Page(
            image=image,
            text=sheet.text,
            lines=[(text, self._shrunk(moved(_whole(box)))) for row in placed for text, box in row.lines if text],
            fields=[(index, self._shrunk(moved(_whole(box)))) for row in placed for index, _, box in row.fields],
            x_height_px=self.x_height_px(sheet.font),
        )

    def x_height_px(self, font: Font) -> float:
        """Return the height of a lower-case x on a finished page."""
        return font.x_height_px(self.px(self.font_pt)) * self.shrink

    def _ink(self, draw: ImageDraw.ImageDraw, row: Row, font: Font, key: str) -> None:
        for left, top, right, bottom in row.rules:
            draw.line((left, top, right, bottom), fill=64, width=max(1, round(self.dpi / 100)))
        for number, run in enumerate(row.runs):
            size_px = round(TITLE * self.px(self.font_pt)) if run.title else self.px(self.font_pt)
            line_px = TITLE * self.line_px if run.title else self.line_px
            face = font.face(size_px, run.bold)
            # By the baseline: faces differ in the room they leave above it.
            y_px = round(run.y_px + BASELINE * line_px)
            if not self.scan.jitter:
                draw.text((run.x_px, y_px), run.text, font=face, fill=0, anchor="ls")
                continue
            words, x_px = run.text.split(" "), run.x_px
            moves = self.scan.offsets(stream(f"{key}/{number}", "jitter"), words, size_px)
            for word, (dx_px, dy_px) in zip(words, moves, strict=True):
                draw.text((x_px + dx_px, y_px + dy_px), word, font=face, fill=0, anchor="ls")
                x_px += font.width_px(f"{word} ", size_px, run.bold)

    def _shrunk(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        left, top, right, bottom = (round(edge * self.shrink) for edge in box)
        return left, top, right, bottom


def _whole(edges: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Return the smallest box of whole pixels around."""
    left, top, right, bottom = edges
    return int(left), int(top), -int(-right // 1), -int(-bottom // 1)


def _pages(rows: list[Row], height_px: float) -> Iterator[list[Row]]:
    """Break rows into pages: a head stays with what it heads, a table's header is repeated."""
    page: list[Row] = []
    blank = True  # drops leading blank lines and all but one between paragraphs
    for row in rows:
        empty = _is_blank(row) and not row.gap
        if empty and blank:
            continue
        blank = empty
        if page and _height(page) + row.height_px > height_px + 0.01:  # sums of floats
            page, carried = _cut(page)
            if _trimmed(page):
                yield _trimmed(page)
            page = carried
            if row.header is not None and all(row.header is not above for above in page):
                page.append(row.header)
        page.append(row)
    if _trimmed(page):
        yield _trimmed(page)


def _cut(page: list[Row]) -> tuple[list[Row], list[Row]]:
    """Part the heads at a page's end from it: they go to the next one."""
    at = len(page)
    while at > 1 and (page[at - 1].heads or page[at - 1].gap):
        at -= 1
    return (page[:at], page[at:]) if any(not row.heads for row in page[:at]) else (page, [])


def _height(page: list[Row]) -> float:
    return sum(row.height_px for row in page)


def _is_blank(row: Row) -> bool:
    return row.gap or not (row.rules or any(text for text, _ in row.lines))


def _trimmed(rows: list[Row]) -> list[Row]:
    """Drop blank rows at both ends of a page."""
    filled = [at for at, row in enumerate(rows) if not _is_blank(row)]
    return rows[filled[0] : filled[-1] + 1] if filled else []
