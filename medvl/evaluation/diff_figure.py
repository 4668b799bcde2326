"""What training changed, as a picture: pages, references and answers of three examples."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import shown_image
from medvl.evaluation.answer_diff import (
    BREAK,
    MISSING,
    MOST,
    SAME,
    WORD,
    WRONG,
    Piece,
    compared,
    drawable,
    first_difference,
    heading_of,
    pieces_from,
    score_of,
    spread,
)
from medvl.evaluation.gate import BeforeAfter
from medvl.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The picture: a grid of characters beside each page. At this size and resolution a character is 8.03 px wide; the
# drawing rounds to whole pixels.
DPI, POINTS, ADVANCE, LEADING = 120, 8.0, 0.602, 1.3  # the last two in multiples of the type size
COLUMNS, LINES = 48, 34  # of a panel
PANEL_IN, LINE_IN = COLUMNS * ADVANCE * POINTS / 72, LEADING * POINTS / 72
PAGE_IN, GAP_IN, HEAD_IN, TOP_IN = 3.4, 0.25, 0.62, 0.75
UNREAD_PX = (336, 224)  # in place of a page that cannot be shown
INK = {SAME: "#1a1a1a", WRONG: "#b3001b", MISSING: "#1f5fa8"}
PAPER = {WRONG: "#fbdcdc", MISSING: "#dbe9f8"}
LEGEND = ((WRONG, "wrong or invented"), (MISSING, "missing from the answer"))


Line = list[tuple[int, str, str]]  # (column, text, kind) of every run


@dataclass(kw_only=True, slots=True)
class _Band:
    """One example of the picture."""

    title: str
    prompt: str
    page: Any
    panels: list[tuple[str, list[Line]]]

    @property
    def page_in(self) -> tuple[float, float]:
        """(width, height) of the page."""
        width_px, height_px = self.page.size
        scale = min(PAGE_IN / width_px, LINES * LINE_IN / height_px)
        return width_px * scale, height_px * scale

    @property
    def height_in(self) -> float:
        return HEAD_IN + max(self.page_in[1], max(len(lines) for _, lines in self.panels) * LINE_IN) + GAP_IN


def differences_figure(contrast: BeforeAfter, path: Path) -> None:
    """Draw the three examples: the page, its reference, and the answers with what is wrong and what is missing."""
    from matplotlib.figure import Figure

    bands = [_band(*one, contrast.objective) for one in spread(contrast)]
    width_in = GAP_IN + PAGE_IN + len(bands[0].panels) * (GAP_IN + PANEL_IN) + GAP_IN
    height_in = TOP_IN + sum(band.height_in for band in bands)
    figure = Figure(figsize=(width_in, height_in))
    figure.text(GAP_IN / width_in, 1 - 0.3 / height_in, "What training changed", fontsize=13, weight="bold")
    count = len(contrast.after[0])
    note = f"The first, the middle and the last of {count} evaluated examples; not chosen by score."
    figure.text(GAP_IN / width_in, 1 - 0.55 / height_in, note, fontsize=9)
    left_in = 2 * GAP_IN + PAGE_IN + PANEL_IN + GAP_IN
    legend = [(at * 22, text, kind) for at, (kind, text) in enumerate(LEGEND)]
    _panel(figure, left_in, height_in - 0.42, [legend])
    top_in = height_in - TOP_IN
    for band in bands:
        _draw(figure, band, top_in)
        top_in -= band.height_in
    figure.savefig(path, dpi=DPI)


def _band(place: str, before: dict[str, Any] | None, after: dict[str, Any], objective: str) -> _Band:
    from PIL import Image

    page = shown_image(after["images"][0]) or Image.new("RGB", UNREAD_PX, "lightgrey")
    answers = {"before": before, "after": after}
    sides = {when: compared(row["reference"], row["prediction"]) for when, row in answers.items() if row}
    texts = {"reference": [Piece(SAME, after["reference"])], **sides}
    longest = max(len(_set(pieces)) for pieces in texts.values())
    start = first_difference(list(sides.values())) if longest > LINES else 0
    title, scores = METRICS[objective].title, {when: score_of(row, objective) for when, row in answers.items()}
    heads = {when: f"{when}: {title} {score}" if score else when for when, score in scores.items()}
    panels = [(heads.get(when, when), _cut(_set(pieces_from(pieces, start)))) for when, pieces in texts.items()]
    title = f"{place}: {heading_of(after)}" + (f", from character {start + 1:,} of the reference on" if start else "")
    return _Band(title=title, prompt=after["prompt"], page=page, panels=panels)


def _set(pieces: Iterable[Piece]) -> list[Line]:
    """Break pieces into the lines of a panel, between words if possible."""
    lines: list[Line] = [[]]
    for piece in pieces:
        text, more = piece.text, len(piece.text) - MOST
        if piece.kind != SAME and more > MOST // 4:  # otherwise the note would take the space that it saves
            text = f"{text[:MOST]} ... {more:,} more characters"
        for word in WORD.findall(text):
            shown = ("" if piece.kind == SAME else BREAK) if word == "\n" else drawable(word)
            for at in range(0, len(shown), COLUMNS):
                _append(lines, shown[at : at + COLUMNS], piece.kind)
            if word == "\n" and piece.kind != MISSING:
                lines.append([])
    return lines


def _append(lines: list[Line], text: str, kind: str) -> None:
    """Append text to the last line, or put it on a new one if it does not fit."""
    column = lines[-1][-1][0] + len(lines[-1][-1][1]) if lines[-1] else 0
    hang = 2 if text in tuple(",.;:)]}") else 0  # punctuation may pass the edge rather than start a line
    if column + len(text) > COLUMNS + hang:
        lines.append([])
        column, text = 0, text.lstrip(" ") if kind == SAME else text
    if lines[-1] and lines[-1][-1][2] == kind:
        start, before, _ = lines[-1].pop()
        lines[-1].append((start, before + text, kind))
    elif text:
        lines[-1].append((column, text, kind))


def _cut(lines: list[Line]) -> list[Line]:
    if len(lines) <= LINES:
        return lines
    return [*lines[: LINES - 1], [(0, f"... {len(lines) - LINES + 1:,} more lines", SAME)]]


def _draw(figure: Figure, band: _Band, top_in: float) -> None:
    width_in, height_in = figure.get_size_inches()
    figure.text(
        GAP_IN / width_in, (top_in - 0.15) / height_in, band.title, fontsize=10, weight="bold", parse_math=False
    )
    asked = textwrap.shorten(f"asked: {drawable(band.prompt)}", 160, placeholder=" ...")
    figure.text(GAP_IN / width_in, (top_in - 0.33) / height_in, asked, fontsize=9, parse_math=False)
    body_in = top_in - HEAD_IN
    page_in = band.page_in
    spot = figure.add_axes(
        (GAP_IN / width_in, (body_in - page_in[1]) / height_in, page_in[0] / width_in, page_in[1] / height_in)
    )
    spot.imshow(band.page)
    spot.set_xticks([])
    spot.set_yticks([])
    for number, (heading, lines) in enumerate(band.panels):
        left_in = 2 * GAP_IN + PAGE_IN + number * (PANEL_IN + GAP_IN)
        figure.text(left_in / width_in, (body_in + 0.07) / height_in, heading, fontsize=9, weight="bold")
        _panel(figure, left_in, body_in, lines)


def _panel(figure: Figure, left_in: float, top_in: float, lines: list[Line]) -> None:
    """Draw lines on a grid whose unit is a character."""
    from matplotlib.patches import Rectangle

    width_in, height_in = figure.get_size_inches()
    tall_in = len(lines) * LINE_IN
    spot = figure.add_axes(
        (left_in / width_in, (top_in - tall_in) / height_in, PANEL_IN / width_in, tall_in / height_in)
    )
    spot.set_xlim(0, COLUMNS)
    spot.set_ylim(len(lines), 0)
    spot.axis("off")
    for row, line in enumerate(lines):
        for column, text, kind in line:
            if kind != SAME:
                spot.add_patch(Rectangle((column, row), len(text), 1, color=PAPER[kind], linewidth=0, clip_on=False))
            if kind == MISSING:
                spot.plot([column, column + len(text)], [row + 0.5] * 2, color=INK[kind], linewidth=0.7)
            spot.text(
                column,
                row + 0.5,
                text,
                family="DejaVu Sans Mono",
                fontsize=POINTS,
                color=INK[kind],
                va="center_baseline",
                parse_math=False,
            )
