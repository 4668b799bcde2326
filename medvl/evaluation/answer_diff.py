"""What training changed, as text: three answers from before and after training, compared with their references."""

from __future__ import annotations

import difflib
import functools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvl.evaluation.gate import BeforeAfter
from medvl.metrics import METRICS

if TYPE_CHECKING:
    pass

WORD = re.compile(r"\n|[^\S\n]+|\d+(?:[.,/:-]\d+)*|\w+|[^\w\s]")  # 81.5 is one word, so that numbers are not split
SAME, WRONG, MISSING = "same", "wrong", "missing"
MOST = 240  # characters shown of a changed piece in a panel
LEAD = 40  # characters shown before the first difference
LINE = 112  # characters per line of text
LAYOUT = "| \t\r\n\f\v"
BREAK = "\u21b5"  # stands for a line break


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a comparison: text in both, only in the answer, or only in the reference."""

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
        # Blanks and punctuation that happen to agree between two changes would split both into fragments.
        agree = what == "equal" and not (runs and (end_a < len(a) or end_b < len(b)) and not re.search(r"\w", said[0]))
        if runs and not agree and not runs[-1][0]:
            runs[-1] = (False, runs[-1][1] + said[0], runs[-1][2] + said[1])
        else:
            runs.append((agree, *said))
    pieces = []
    for agree, said_a, said_b in runs:
        pieces += [Piece(SAME, said_a)] if agree else [Piece(MISSING, said_a), Piece(WRONG, said_b)]
    return [piece for piece in pieces if piece.text]


def without_layout(pieces: Sequence[Piece]) -> list[Piece]:
    """Return a comparison in which other white space, line breaks and | between columns are no difference.

    >>> [(piece.kind, piece.text) for piece in without_layout(compared("a | b c", "a\\nb d"))]
    [('same', 'a'), ('same', '\\n'), ('same', 'b '), ('missing', 'c'), ('wrong', 'd')]
    """
    kept: list[Piece] = []
    for piece in pieces:
        if kept and kept[-1].kind == MISSING and piece.kind == WRONG and _words(kept[-1].text) == _words(piece.text):
            kept[-1] = Piece(SAME, piece.text)
        else:
            kept.append(piece)
    return [part for piece in kept for part in _trimmed(piece)]


def _trimmed(piece: Piece) -> list[Piece]:
    """Take the layout around a change out of it: that of an answer stays as it is, that of a reference is one blank."""
    if piece.kind == SAME:
        return [piece]
    words = piece.text.strip(LAYOUT)
    if not words:
        return [Piece(SAME, piece.text)] if piece.kind == WRONG else []
    start = piece.text.index(words)
    around = piece.text[:start], piece.text[start + len(words) :]
    if piece.kind == MISSING:
        return [Piece(MISSING, words.join(" " if one else "" for one in around))]
    parts = [Piece(SAME, around[0]), Piece(WRONG, words), Piece(SAME, around[1])]
    return [part for part in parts if part.text]


def _words(text: str) -> str:
    return text.translate(str.maketrans("", "", LAYOUT))


def sides(reference: str, answer: str) -> tuple[list[Piece], list[Piece]]:
    """Return a reference and an answer each in full, with what the other lacks marked.

    White space and the | between columns are never a difference, as in the layout-free character error rate.

    >>> [(piece.kind, piece.text) for piece in sides("Dose: 81 mg", "Dose: | 8 mg")[0]]
    [('same', 'Dose: '), ('missing', '81'), ('same', ' mg')]
    """
    texts = (reference, answer)
    words = [[found for found in WORD.finditer(text) if found[0].strip(" \t\r\n|")] for text in texts]
    a, b = ([found[0] for found in side] for side in words)
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    agreeing = (
        {block.a + at for block in blocks for at in range(block.size)},
        {block.b + at for block in blocks for at in range(block.size)},
    )
    first, second = (
        _pieces(text, [found.span() for at, found in enumerate(side) if at not in same], kind)
        for text, side, same, kind in zip(texts, words, agreeing, (MISSING, WRONG), strict=True)
    )
    return first, second


def _pieces(text: str, spans: Sequence[tuple[int, int]], kind: str) -> list[Piece]:
    """Cut a text into what lies in spans and what does not; spans with only blanks between them are one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip(" \t"):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    pieces, at = [], 0
    for start, end in joined:
        pieces += [Piece(SAME, text[at:start]), Piece(kind, text[start:end])]
        at = end
    return [piece for piece in [*pieces, Piece(SAME, text[at:])] if piece.text]


def spread(contrast: BeforeAfter) -> list[tuple[str, dict[str, Any] | None, dict[str, Any]]]:
    """Return the first, the middle and the last example, not chosen by score: (place, row before, row after)."""
    after = contrast.after[0]
    before = {row["id"]: row for row in contrast.before[0]} if contrast.before is not None else {}
    places = {len(after) - 1: "last", (len(after) - 1) // 2: "middle", 0: "first"}
    return [(f"{name} of {len(after)}", before.get(after[at]["id"]), after[at]) for at, name in sorted(places.items())]


def difference_lines(contrast: BeforeAfter) -> list[str]:
    """Return the three examples as lines of text, each from its first difference on."""
    lines = ["the first, the middle and the last example, not chosen by score; [-missing-] {+wrong or invented+}"]
    for place, before, after in spread(contrast):
        answers = {"before": before, "after": after}
        sides = {when: compared(row["reference"], row["prediction"]) for when, row in answers.items() if row}
        start = first_difference(list(sides.values()))
        scores = [score for row in answers.values() if (score := score_of(row, contrast.objective))]
        title = f"; {METRICS[contrast.objective].title} {' -> '.join(scores)}" if scores else ""
        lines.append(f"{place}: {heading_of(after)}{title}")
        lines += _wrapped("reference", _flat(after["reference"][start:]) or "nothing", 1)
        for when, pieces in sides.items():
            marked = "".join(_marked(piece) for piece in pieces_from(pieces, start)) or "nothing"
            lines += _wrapped(when, marked, 2)
    return lines


def first_difference(sides: Sequence[list[Piece]]) -> int:
    """Return where in the reference to begin: before the first difference after training, else the one before it."""
    for pieces in reversed(sides):
        if len(pieces) > 1 or any(piece.kind != SAME for piece in pieces):
            at = len(pieces[0].text) if pieces[0].kind == SAME else 0
            if at <= LEAD:
                return 0
            blank = pieces[0].text.find(" ", at - LEAD, at)
            return at - LEAD if blank < 0 else blank + 1
    return 0


def pieces_from(pieces: Sequence[Piece], start: int) -> Iterator[Piece]:
    """Yield the pieces from a position in the reference on."""
    for piece in pieces:
        length = 0 if piece.kind == WRONG else len(piece.text)
        if start < length:
            yield Piece(piece.kind, piece.text[start:])
        elif piece.kind == WRONG and start == 0:
            yield piece
        start = max(0, start - length)


def heading_of(row: dict[str, Any]) -> str:
    return f"{row['kind']}, {row['task']} ({row['id']})"


def score_of(row: dict[str, Any] | None, objective: str) -> str:
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
    return textwrap.wrap(
        text,
        LINE,
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
        initial_indent=f"  {label:<11}",
        subsequent_indent=" " * 13,
    )


def drawable(text: str) -> str:
    """Replace every character that the font lacks or that is invisible by a mark."""
    known = _letters()
    return "".join(letter if letter == "\n" or ord(letter) in known else "\ufffd" for letter in text)


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(code for code in get_font(findfont("DejaVu Sans Mono")).get_charmap() if chr(code).isprintable())
