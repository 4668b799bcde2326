"""Typefaces of a folder, to learn to read in: more of them than the package ships."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import ImageFont

    Stamp = tuple[np.ndarray, int, int, float]

LIST = "typefaces.json"


@dataclass(frozen=True, slots=True)
class Typeface:
    """One family, regular and bold."""

    name: str
    regular: str
    bold: str

    def face(self, size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Return the loaded face."""
        return _load(self.bold if bold else self.regular, size_px)

    def stamp(self, letter: str, size_px: int, bold: bool = False) -> Stamp:
        """Return a letter, (height, width) uint8 in black on white, and its place from the pen and the pen's step.

        The place is in pixels right and down, the step in pixels right.
        """
        return _stamp(self.bold if bold else self.regular, size_px, letter)


@functools.lru_cache(maxsize=4096)
def _load(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=200_000)
def _stamp(path: str, size_px: int, letter: str) -> Stamp:
    import numpy as np
    from PIL import Image, ImageDraw

    face = _load(path, size_px)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(letter, anchor="ls"))
    image = Image.new("L", (max(0, right - left), max(0, bottom - top)), 255)
    ImageDraw.Draw(image).text((-left, -top), letter, font=face, fill=0, anchor="ls")
    return np.array(image), left, top, face.getlength(letter)


@functools.cache
def typefaces_in(folder: str) -> tuple[Typeface, ...]:
    """Return the families that a folder's typefaces.json lists: `name`, `regular`, `bold` (or null) of each.

    Raises:
        ValueError: There is no such list, it is empty, or a file is missing.
    """
    listed = Path(folder) / LIST
    try:
        rows = json.loads(listed.read_text(encoding="utf-8"))
        files = [(row["name"], row["regular"], row["bold"] or row["regular"]) for row in rows]
        found = tuple(Typeface(name, *(str(listed.parent / file) for file in faces)) for name, *faces in files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"data.typefaces={folder} has no list of typefaces ({type(error).__name__}: {error}). "
            "Make one with python experiments/gather_typefaces.py, or set data.typefaces=null."
        ) from error
    missing = next((path for one in found for path in (one.regular, one.bold) if not Path(path).is_file()), None)
    if missing or not found:
        raise ValueError(
            f"data.typefaces={folder}: {f'{missing} is missing' if missing else 'the list is empty'}. "
            "Make it again with python experiments/gather_typefaces.py, or set data.typefaces=null."
        )
    return found
