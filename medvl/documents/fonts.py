"""Faces that pages are set in, and how wide their words are."""

from __future__ import annotations

import functools
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont


class Font(Enum):
    """Families that ship with matplotlib: DejaVu, and STIX, which resembles Times."""

    mono = ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")
    sans = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
    serif = ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf")
    times = ("STIXGeneral.ttf", "STIXGeneralBol.ttf")

    def face(self, size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Return the loaded face."""
        return _load(self.value[bold], size_px)

    def width_px(self, text: str, size_px: int, bold: bool = False) -> float:
        """Return how far a text advances."""
        if self is Font.mono:
            return _cell_px(size_px) * len(text)
        return self.face(size_px, bold).getlength(text)

    def x_height_px(self, size_px: int) -> float:
        """Return the height of a lower-case x."""
        _, top, _, bottom = self.face(size_px).getbbox("x")
        return bottom - top


@functools.cache
def _load(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    # The basic layout engine draws the same page on every machine, with or without libraqm.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _cell_px(size_px: int) -> float:
    return Font.mono.face(size_px).getlength("0")
