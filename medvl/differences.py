"""What training changed, to be read: three answers before and after it against their references."""

from __future__ import annotations

import difflib
import functools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.gate import Contrast
from medvl.measures import MEASURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORD = re.compile(r"\n|[^\S\n]+|\d+(?:[.,/:-]\d+)*|\w+|[^\w\s]")  # 81.5 is one word: half of a number is no number
SAME, WRONG, MISSING = "same", "wrong", "missing"
MOST = 240  # characters of a changed piece that a panel shows
LEAD = 40  # characters shown before the first difference
LINE = 112  # characters of a line of text
BREAK = "\u21b5"  # stands for a line break

# The picture: a grid of characters beside each page. At this size and resolution a character is 8.03 px wide; the
# drawing rounds to whole pixels.
DPI, POINTS, ADVANCE, LEADING = 120, 8.0, 0.602, 1.3  # advance and distance of lines, of the type size
COLUMNS, LINES = 48, 34  # of a panel
PANEL_IN, LINE_IN = COLUMNS * ADVANCE * POINTS / 72, LEADING * POINTS / 72
PAGE_IN, GAP_IN, HEAD_IN, TOP_IN = 3.4, 0.25, 0.62, 0.75
INK = {SAME: "#1a1a1a", WRONG: "#b3001b", MISSING: "#1f5fa8"}
PAPER = {WRONG: "#fbdcdc", MISSING: "#dbe9f8"}
LEGEND = ((WRONG, "wrong or invented"), (MISSING, "missing from the answer"))


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a comparison: text that both have, that the answer alone has, or the reference alone."""

    kind: str
    text: str


def compared(reference: str, answer: str) -> list[Piece]:
    """Return a reference and an answer as one sequence of pieces, compared by words.

    >>> [(piece.kind, piece.text) for piece in compared("aspirin 81 mg", "aspirin 8 mg")]
    [('same', 'aspirin '), ('missing', '81'), ('wrong', '8'), ('same', ' mg')]
    """
    a, b = WORD.findall(reference), WORD.findall(answer)
    runs: list[tuple[bool, str, str]] = []  # whether they agree, and what each says
    for what, start_a, end_a, start_b, end_b in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        said = ("".join(a[start_a:end_a]), "".join(b[start_b:end_b]))
        # Blanks and stops that happen to agree between two changes would chop both into crumbs.
        agree = what == "equal" and not (runs and (end_a < len(a) or end_b < len(b)) and not re.search(r"\w", said[0]))
        if runs and not agree and not runs[-1][0]:
            runs[-1] = (False, runs[-1][1] + said[0], runs[-1][2] + said[1])
        else:
            runs.append((agree, *said))
    pieces = []
    for agree, said_a, said_b in runs:
        pieces += [Piece(SAME, said_a)] if agree else [Piece(MISSING, said_a), Piece(WRONG, said_b)]
    return [piece for piece in pieces if piece.text]


def spread(contrast: Contrast) -> list[tuple[str, dict[str, Any] | None, dict[str, Any]]]:
    """Return the first, the middle and the last example, not chosen by score: (place, row before, row after)."""
    after = contrast.after[0]
    before = {row["id"]: row for row in contrast.before[0]} if contrast.before is not None else {}
    places = {len(after) - 1: "last", (len(after) - 1) // 2: "middle", 0: "first"}
    return [(f"{name} of {len(after)}", before.get(after[at]["id"]), after[at]) for at, name in sorted(places.items())]


def difference_lines(contrast: Contrast) -> list[str]:
    """Return the three examples as lines of text, each from its first difference on."""
    lines = ["the first, the middle and the last example, not chosen by score; [-missing-] {+wrong or invented+}"]
    for place, before, after in spread(contrast):
        answers = {"before": before, "after": after}
        sides = {when: compared(row["reference"], row["prediction"]) for when, row in answers.items() if row}
        start = _start(list(sides.values()))
        scores = [score for row in answers.values() if (score := _score(row, contrast.objective))]
        title = f"; {MEASURES[contrast.objective].title} {' -> '.join(scores)}" if scores else ""
        lines.append(f"{place}: {_named(after)}{title}")
        lines += _wrapped("reference", _flat(after["reference"][start:]) or "nothing", 1)
        for when, pieces in sides.items():
            marked = "".join(_marked(piece) for piece in _from(pieces, start)) or "nothing"
            lines += _wrapped(when, marked, 2)
    return lines


def _start(sides: Sequence[list[Piece]]) -> int:
    """Return where in the reference to begin: before the first difference that is left, else that there was."""
    for pieces in reversed(sides):
        if len(pieces) > 1 or any(piece.kind != SAME for piece in pieces):
            at = len(pieces[0].text) if pieces[0].kind == SAME else 0
            if at <= LEAD:
                return 0
            blank = pieces[0].text.find(" ", at - LEAD, at)
            return at - LEAD if blank < 0 else blank + 1
    return 0


def _from(pieces: Sequence[Piece], start: int) -> Iterator[Piece]:
    """Yield the pieces from a place of the reference on."""
    for piece in pieces:
        length = 0 if piece.kind == WRONG else len(piece.text)
        if start < length:
            yield Piece(piece.kind, piece.text[start:])
        elif piece.kind == WRONG and start == 0:
            yield piece
        start = max(0, start - length)


def _named(row: dict[str, Any]) -> str:
    return f"{row['kind']}, {row['task']} ({row['id']})"


def _score(row: dict[str, Any] | None, objective: str) -> str:
    if row is None or objective not in row["scores"]:
        return ""
    above, below = row["scores"][objective]
    return f"{100 * above / below:.1f} %"


def _flat(text: str) -> str:
    return "".join(BREAK if letter == "\n" else letter for letter in drawable(text))


def _marked(piece: Piece) -> str:
    left, right = {SAME: ("", ""), WRONG: ("{+", "+}"), MISSING: ("[-", "-]")}[piece.kind]
    text = _flat(piece.text)
    if piece.kind != SAME and len(text) > LINE:
        text = f"{text[: LINE // 2]} ... {text[-LINE // 3 :]}"
    return f"{left}{text}{right}"


def _wrapped(label: str, text: str, most: int) -> list[str]:
    """Return a labelled text in at most so many lines."""
    return textwrap.wrap(text, LINE, max_lines=most, placeholder=" ...", break_on_hyphens=False,
                         initial_indent=f"  {label:<11}", subsequent_indent=" " * 13)  # fmt: skip


def drawable(text: str) -> str:
    """Return a text with a mark in the place of every character that the type lacks or that cannot be seen."""
    known = _letters()
    return "".join(letter if letter == "\n" or ord(letter) in known else "\ufffd" for letter in text)


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(code for code in get_font(findfont("DejaVu Sans Mono")).get_charmap() if chr(code).isprintable())


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


def differences_figure(contrast: Contrast, path: Path) -> None:
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

    with Image.open(after["images"][0]) as page:
        page = page.convert("RGB")
    answers = {"before": before, "after": after}
    sides = {when: compared(row["reference"], row["prediction"]) for when, row in answers.items() if row}
    texts = {"reference": [Piece(SAME, after["reference"])], **sides}
    longest = max(len(_set(pieces)) for pieces in texts.values())
    start = _start(list(sides.values())) if longest > LINES else 0
    title, scores = MEASURES[objective].title, {when: _score(row, objective) for when, row in answers.items()}
    heads = {when: f"{when}: {title} {score}" if score else when for when, score in scores.items()}
    panels = [(heads.get(when, when), _cut(_set(_from(pieces, start)))) for when, pieces in texts.items()]
    title = f"{place}: {_named(after)}" + (f", from character {start + 1:,} of the reference on" if start else "")
    return _Band(title=title, prompt=after["prompt"], page=page, panels=panels)


def _set(pieces: Iterable[Piece]) -> list[Line]:
    """Break pieces into the lines of a panel, between words where it can."""
    lines: list[Line] = [[]]
    for piece in pieces:
        text, more = piece.text, len(piece.text) - MOST
        if piece.kind != SAME and more > MOST // 4:  # else the note takes the room that it saves
            text = f"{text[:MOST]} ... {more:,} more characters"
        for word in WORD.findall(text):
            shown = ("" if piece.kind == SAME else BREAK) if word == "\n" else drawable(word)
            for at in range(0, len(shown), COLUMNS):
                _append(lines, shown[at : at + COLUMNS], piece.kind)
            if word == "\n" and piece.kind != MISSING:
                lines.append([])
    return lines


def _append(lines: list[Line], text: str, kind: str) -> None:
    """Put text at the end of the last line, or on a new one where there is no room."""
    column = lines[-1][-1][0] + len(lines[-1][-1][1]) if lines[-1] else 0
    hang = 2 if text in tuple(",.;:)]}") else 0  # beyond the edge rather than at the start of a line
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
    spot = figure.add_axes((GAP_IN / width_in, (body_in - page_in[1]) / height_in,
                            page_in[0] / width_in, page_in[1] / height_in))  # fmt: skip
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
    spot = figure.add_axes((left_in / width_in, (top_in - tall_in) / height_in, PANEL_IN / width_in,
                            tall_in / height_in))  # fmt: skip
    spot.set_xlim(0, COLUMNS)
    spot.set_ylim(len(lines), 0)
    spot.axis("off")
    for row, line in enumerate(lines):
        for column, text, kind in line:
            if kind != SAME:
                spot.add_patch(Rectangle((column, row), len(text), 1, color=PAPER[kind], linewidth=0, clip_on=False))
            if kind == MISSING:
                spot.plot([column, column + len(text)], [row + 0.5] * 2, color=INK[kind], linewidth=0.7)
            spot.text(column, row + 0.5, text, family="DejaVu Sans Mono", fontsize=POINTS, color=INK[kind],
                      va="center_baseline", parse_math=False)  # fmt: skip
