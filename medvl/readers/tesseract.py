"""Tesseract (Smith, An Overview of the Tesseract OCR Engine, ICDAR 2007), by its command line."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medvl.readers.reader import Reader, Unread
from medvl.record.shape import tidy
from medvl.types import Choice

if TYPE_CHECKING:
    from PIL import Image

PROGRAM = "tesseract"
ENOUGH_PX = 3300  # the height of a US letter page at 300 dpi, for which Tesseract was made
PAGE_S = 300  # a page that takes longer is given up


@dataclass(kw_only=True, slots=True)
class Tesseract(Reader):
    """The program `tesseract` on PATH."""

    name: ClassVar[str] = "tesseract"
    concurrent: ClassVar[bool] = True

    languages: str = "eng"
    """Of the page, joined by +: eng+deu."""
    segmentation: int = 6
    """Its page segmentation mode: 6 one block of text, 4 one column, 3 found by itself (its own default)."""
    enlarge: float = 2
    """Enlarge small pages at most so many times, up to a side of 3,300 px: it misreads an x of less than 10 px."""

    def __post_init__(self) -> None:
        if not self.languages.strip("+ "):
            raise ValueError("reader.languages is empty. Set reader.languages=eng.")
        if not 1 <= self.segmentation <= 13 or self.segmentation == 2:  # 0 and 2 read nothing
            raise ValueError(f"reader.segmentation={self.segmentation} reads no text. Set reader.segmentation=6.")
        if not 1 <= self.enlarge <= 8:
            raise ValueError(f"reader.enlarge must lie in [1, 8], got {self.enlarge}. Set reader.enlarge=2.")

    def check(self) -> None:
        if shutil.which(PROGRAM) is None:
            raise ValueError(
                "reader=tesseract needs the program tesseract, which is not on PATH. "
                "Run apt-get install tesseract-ocr, or set reader=model."
            )
        there = _said("--list-langs").splitlines()[1:]
        missing = [name for name in self.languages.split("+") if name not in there]
        if missing:
            raise ValueError(
                f"tesseract has no data for the language {missing[0]}; it has {', '.join(there) or 'none'}. "
                f"Run apt-get install tesseract-ocr-{missing[0].replace('_', '-')}, or set reader.languages=eng."
            )

    def engine(self) -> Choice:
        version = _said("--version").partition("\n")[0] or PROGRAM
        how = (
            f"languages {self.languages}, segmentation {self.segmentation}, pages enlarged up to {self.enlarge:g} times"
        )
        return Choice(version, how)

    def read(self, page: Image.Image) -> str:
        from PIL import Image

        factor = max(1.0, min(self.enlarge, ENOUGH_PX / max(page.size)))
        if factor > 1:
            width_px, height_px = (round(side * factor) for side in page.size)
            page = page.resize((width_px, height_px), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        page.convert("L").save(encoded, format="PNG", compress_level=1)
        command = [PROGRAM, "stdin", "stdout", "-l", self.languages, "--psm", str(self.segmentation)]
        try:
            done = subprocess.run(
                command,
                input=encoded.getvalue(),
                capture_output=True,
                timeout=PAGE_S,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # each core reads its own page
            )
        except subprocess.TimeoutExpired:
            raise Unread(f"no answer within {PAGE_S} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unread(tidy(said[-1]) if said else f"exit status {done.returncode}")
        return done.stdout.decode(errors="replace").replace("\f", "")


def _said(option: str) -> str:
    try:
        done = subprocess.run([PROGRAM, option], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout or done.stderr
