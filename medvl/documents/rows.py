"""Rows of words: how they are placed on a page of general text, and how they are read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

from medvl.documents.layout import CELL

Advance = Callable[[str], float]  # width of a letter, in pixels
Columns = list[tuple[int, int]]  # where each begins and the next one does, in pixels
Placed = list[tuple[int, int, str]]  # left edge in pixels, line within the row, words


def in_lines(
    stream: Iterator[str], rng: Random, columns: Columns, advance: Advance, title: bool
) -> Iterator[tuple[Placed, str]]:
    """Yield lines that fit a page, some of them short, some blank between two others, and how they are read."""
    line, used_px, blank = "", 0.0, True
    full_px = columns[-1][1] - columns[0][0]
    room_px = full_px / 1.3 if title else full_px
    for word in stream:
        wide_px = _wide(word, advance) + (advance(" ") if line else 0)
        if word and used_px + wide_px <= room_px:
            line, used_px = f"{line} {word}" if line else word, used_px + wide_px
            continue
        if line:
            placed = _at_stops(line, columns, advance)
            yield placed, " ".join(words for *_, words in placed)
            room_px = full_px
            blank = not blank and rng.random() < 0.04
            if blank:
                yield [], ""
        line = _cut(word, advance, room_px)
        used_px = _wide(line, advance)


def draw_columns(rng: Random, width_px: int, x_px: int) -> Columns:
    """Draw where the columns of a page begin."""
    count = rng.randint(2, 5 if width_px > 300 else 2)
    step_px = (width_px - x_px) / count
    lefts_px = [x_px, *(round(x_px + step_px * (at + rng.uniform(-0.25, 0.25))) for at in range(1, count))]
    return list(zip(lefts_px, [*lefts_px[1:], width_px], strict=True))


def _at_stops(line: str, columns: Columns, advance: Advance) -> Placed:
    """Lay the words of a line from stop to stop, as many as the room before the next one takes."""
    if len(columns) == 1:
        return [(columns[0][0], 0, line)]
    waiting, placed = line.split(" "), []
    for left_px, next_px in columns:
        here, used_px = [], 0.0
        while waiting and len(here) < 3:
            used_px += _wide(waiting[0] + "  ", advance)
            if used_px > next_px - left_px:
                break
            here.append(waiting.pop(0))
        if here:
            placed.append((left_px, 0, " ".join(here)))
    return placed


def in_cells(
    stream: Iterator[str], rng: Random, columns: Columns, advance: Advance, most: int
) -> Iterator[tuple[Placed, str]]:
    """Yield rows of a table and how they are read; cells wrap to at most `most` lines."""
    while True:
        placed, cells = [], []
        for left_px, next_px in columns:
            count = 0 if rng.random() < 0.05 else rng.choices((1, 2, 3, 6), (5, 3, 2, 1))[0]
            room_px, lines = next_px - left_px - advance("n"), [""]
            for word in filter(None, itertools.islice(stream, count)):
                word = _cut(word, advance, room_px)
                longer = f"{lines[-1]} {word}".strip()
                if _wide(longer, advance) <= room_px:
                    lines[-1] = longer
                elif len(lines) < most:
                    lines.append(word)
                else:
                    break
            placed += [(left_px, number, line) for number, line in enumerate(lines) if line]
            cells.append(" ".join(lines))
        if placed:
            yield placed, CELL.join(cells).rstrip(" |")


def _wide(text: str, advance: Advance) -> float:
    return sum(map(advance, text))


def _cut(word: str, advance: Advance, room_px: float) -> str:
    """Return what of a word fits."""
    while word and _wide(word, advance) > room_px:
        word = word[:-1]
    return word
