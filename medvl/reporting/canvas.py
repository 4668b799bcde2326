"""SVG figures with real text in the page's colours: readable on a phone, in dark mode and on paper.

Every figure is as wide as a phone's column, so that it is never scaled down.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_IN = 5.0  # 360 CSS px, at one CSS px per point
INK, LINE = "#010203", "#040506"  # placeholders for the page's text and line colours
COLOURS = ("#3b82c4", "#e08a2c", "#2f9e70", "#c9588f", "#8b74d6", "#6f97a8", "#b5892f", "#d0605e")
GOOD, PALE = COLOURS[0], "#8c96a0"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medvl",
    "text.parse_math": False,
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": LINE,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the page; letters that are missing here are set by the reader's browser."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def start(height_in: float) -> tuple[Figure, Axes]:
    """Return a new figure with one plot."""
    figure = canvas(height_in)
    return figure, figure.add_subplot()


def canvas(height_in: float) -> Figure:
    """Return a new figure without a plot."""
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def svg(figure: Figure) -> str:
    """Return the SVG for embedding: without header, external URLs and shared ids, in the page's colours and fonts."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    own = f"{zlib.crc32(text.encode()):08x}"  # ids must be unique across the page's figures
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{own}-", text)
    return text.replace(INK, "currentColor").replace(LINE, "var(--line)").strip()
