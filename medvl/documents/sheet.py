"""A sheet that lines are set on, with the place of every letter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from medvl.documents.fonts import Font
from medvl.documents.rows import Advance
from medvl.documents.typefaces import Typeface

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MARGIN_PX = 64  # letters may stand over the edges
CELL_PX = (14, 7)  # height and width of the cells in which letters are looked for, 8 of them in a visual token


@functools.cache
def advances(font: Font | Typeface, size_px: int, bold: bool) -> Advance:
    """Return how far each letter of a face advances, in pixels."""
    face = font.face(size_px, bold)
    return functools.cache(lambda letter: face.getlength(letter))


class Sheet:
    """White paper."""

    def __init__(self, height_px: int, width_px: int) -> None:
        import numpy as np
        from PIL import Image, ImageDraw

        self.image = Image.new("L", (width_px, height_px), 255)
        self.pen = ImageDraw.Draw(self.image)
        self.stamped = np.full((height_px + 2 * MARGIN_PX, width_px + 2 * MARGIN_PX), 255, np.uint8)
        self.glyphs = np.full((height_px // CELL_PX[0], width_px // CELL_PX[1]), -1, np.int16)
        """Byte of the letter in each cell, -1 where there is none."""

    def set(self, line: str, font: Font | Typeface, size_px: int, bold: bool, x_px: int, baseline_px: int) -> None:
        """Draw a line, and note each letter in the cell that holds its middle."""
        if isinstance(font, Typeface):
            self._stamp(line, font, size_px, bold, x_px, baseline_px)
        else:
            self.pen.text((x_px, baseline_px), line, font=font.face(size_px, bold), fill=0, anchor="ls")
        self._mark(line, advances(font, size_px, bold), x_px, baseline_px - 0.35 * size_px)

    def _stamp(self, line: str, font: Typeface, size_px: int, bold: bool, x_px: float, baseline_px: int) -> None:
        import numpy as np

        for letter in line:
            stamp, aside_px, above_px, step_px = font.stamp(letter, size_px, bold)
            left, top = MARGIN_PX + round(x_px) + aside_px, MARGIN_PX + baseline_px + above_px
            there = self.stamped[top : top + len(stamp), left : left + stamp.shape[1]]
            if there.shape == stamp.shape:  # else it stands more than a margin outside
                np.minimum(there, stamp, out=there)
            x_px += step_px

    def drawn(self) -> Image.Image:
        """Return the page."""
        from PIL import Image, ImageChops

        inner = self.stamped[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        return ImageChops.darker(self.image, Image.fromarray(inner))

    def _mark(self, line: str, advance: Advance, x_px: float, middle_px: float) -> None:
        row = int(middle_px // CELL_PX[0])
        if row >= len(self.glyphs):
            return
        for letter in line:
            step_px = advance(letter)
            column = int((x_px + step_px / 2) // CELL_PX[1])
            if "!" <= letter <= "~" and column < self.glyphs.shape[1]:
                self.glyphs[row, column] = ord(letter)
            x_px += step_px

    def by_token(self) -> np.ndarray:
        """Return the letters under every visual token, (visual tokens, 8) int16."""
        rows, columns = self.glyphs.shape
        return self.glyphs.reshape(rows // 2, 2, columns // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 8)
