"""Text to page images: the `render` config group."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.geometry import fit, visual_tokens
from medvl.types import Page

if TYPE_CHECKING:
    from PIL import ImageFont

# Below this a lower-case letter loses its shape: three strokes need five pixel rows.
READABLE_X_HEIGHT_PX = 5.0


class Font(Enum):
    """DejaVu faces that ship with matplotlib."""

    mono = "DejaVuSansMono.ttf"
    sans = "DejaVuSans.ttf"
    serif = "DejaVuSerif.ttf"


@dataclass(kw_only=True, slots=True)
class Render:
    """How a text becomes pages. Lengths are pixels of the page as drawn."""

    width_px: int = 336
    height_px: int = 224
    font: Font = Font.mono
    font_px: int = 11
    line_px: int = 14
    margin_px: int = 7
    max_side_px: int | None = None
    """Shrink the finished page to this side, as the seed project did with 256; None: as drawn."""

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px", "font_px", "line_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"render.{name} must be positive, got {getattr(self, name)}. Set render=slip.")
        if self.lines < 1 or self.width_px - 2 * self.margin_px < 4 * self.font_px:
            raise ValueError(
                f"no line of text fits a page of {self.width_px} x {self.height_px} px with a margin of "
                f"{self.margin_px} px and lines of {self.line_px} px. Set render=slip."
            )
        if self.max_side_px is not None and self.max_side_px < 28:
            raise ValueError(
                f"render.max_side_px must be at least 28, got {self.max_side_px}. Set render.max_side_px=null."
            )

    @property
    def lines(self) -> int:
        """Lines that fit one page."""
        return (self.height_px - 2 * self.margin_px) // self.line_px

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of a finished page."""
        shrink = self._shrink()
        return max(1, round(self.height_px * shrink)), max(1, round(self.width_px * shrink))

    def _shrink(self) -> float:
        longest = max(self.width_px, self.height_px)
        return 1.0 if self.max_side_px is None else min(1.0, self.max_side_px / longest)

    def page_tokens(self, *, min_pixels: int, max_pixels: int) -> int:
        """Count the language-model tokens of one page after the image processor's resize."""
        return visual_tokens(*fit(*self.size_px, min_pixels=min_pixels, max_pixels=max_pixels))

    def x_height_px(self, *, min_pixels: int, max_pixels: int) -> float:
        """Return the height of a lower-case x after the image processor's resize, in pixels."""
        top, bottom = _bounds(self.font, self.font_px, "x")
        height_px = fit(*self.size_px, min_pixels=min_pixels, max_pixels=max_pixels)[0]
        return (bottom - top) * height_px / self.height_px

    def pages(self, text: str) -> Iterator[Page]:
        """Draw a text: line breaks stay, long lines wrap at words, as many pages as it takes."""
        lines = list(self._wrap(text))
        for start in range(0, len(lines), self.lines):
            page = _trim(lines[start : start + self.lines])
            if page:
                yield Page(image=self._draw(page), text="\n".join(page))

    def _wrap(self, text: str) -> Iterator[str]:
        width_px = self.width_px - 2 * self.margin_px
        measure = _measure(self.font, self.font_px)
        blank = True  # drops leading blank lines and all but one between paragraphs
        for line in text.expandtabs(4).splitlines():
            line = line.rstrip()
            if line or not blank:
                yield from _wrap_line(line, width_px, measure)
            blank = not line

    def _draw(self, lines: list[str]) -> Any:
        from PIL import Image, ImageDraw

        image = Image.new("L", (self.width_px, self.height_px), 255)
        draw = ImageDraw.Draw(image)
        font = _font(self.font, self.font_px)
        for row, line in enumerate(lines):
            draw.text((self.margin_px, self.margin_px + row * self.line_px), line, font=font, fill=0)
        if self.max_side_px is not None:
            height_px, width_px = self.size_px
            image = image.resize((width_px, height_px), Image.Resampling.LANCZOS)
        return image


def _trim(lines: list[str]) -> list[str]:
    """Drop blank lines at both ends of a page."""
    filled = [row for row, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _wrap_line(line: str, width_px: float, measure: Callable[[str], float]) -> Iterator[str]:
    """Break a line at blanks; a word that is wider than the page is cut."""
    while measure(line) > width_px:
        cut = _fitting(line, width_px, measure)
        space = line.rfind(" ", 1, cut + 1)
        cut = space if space > 0 and line[:space].strip() else cut
        yield line[:cut].rstrip()
        line = line[cut:].lstrip()
    yield line


def _fitting(line: str, width_px: float, measure: Callable[[str], float]) -> int:
    """Return how many leading characters fit, at least one."""
    low, high = 1, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(line[:middle]) <= width_px else (low, middle - 1)
    return low


@functools.cache
def _font(face: Font, size_px: int) -> ImageFont.FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", face.value)
    # The basic layout engine draws the same page on every machine, with or without libraqm.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _measure(face: Font, size_px: int) -> Callable[[str], float]:
    font = _font(face, size_px)
    if face is Font.mono:
        cell_px = font.getlength("0")
        return lambda text: cell_px * len(text)
    return font.getlength


@functools.cache
def _bounds(face: Font, size_px: int, text: str) -> tuple[float, float]:
    _, top, _, bottom = _font(face, size_px).getbbox(text)
    return top, bottom
