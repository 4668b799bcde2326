"""Ready pages that are too large for the token budget: cut between their lines, or shrunk to what it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medvl.geometry import TOKEN_PX, fit, visual_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST = 0.25  # share of the budget that pages get; a longer text is refused, as its page would be unreadable

_MARGIN = 4  # pixels that stay below a line

Size = tuple[int, int]  # height and width in pixels


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a page, and the text that stands on them."""

    rows: tuple[int, int]
    text: str


def shrunk(sizes_px: Sequence[Size], room: int, *, min_pixels: int, max_pixels: int) -> list[Size] | None:
    """Return the largest sizes at which images take at most so many tokens together; None if they would be too small.

    All are shrunk alike. Sizes are those that the image processor leaves as they are.
    """
    limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    now = [fit(*size, **limits) for size in sizes_px]
    tokens = [visual_tokens(*size) for size in now]
    share = room / sum(tokens)
    made = []
    for size, count in zip(sizes_px, tokens, strict=True):
        most = math.floor(share * count) * TOKEN_PX**2
        if most < max(min_pixels, TOKEN_PX**2):
            return None
        made.append(fit(*size, min_pixels=min_pixels, max_pixels=min(most, max_pixels)))
    return made if sum(visual_tokens(*size) for size in made) <= room else None


def bands(
    image: Image, lines: Sequence[tuple[str, float, float]], fits: Callable[[Size, str], bool]
) -> list[Band] | None:
    """Cut a page between its lines into as few bands as fit, from the top; None if a band does not fit.

    Args:
        lines: Text, and top and bottom as shares of the page's height, in reading order.
        fits: Whether a size with such a text keeps the budget.
    """
    placed = [
        (text, max(0, math.floor(top * image.height)), math.ceil(bottom * image.height)) for text, top, bottom in lines
    ]
    cuts = [_blank_row(image, *gap) for gap in _gaps(placed, image.height)]
    found: list[Band] = []
    start = 0
    while any(top >= start for _, top, _ in placed):
        ends = [row for row in cuts if row > start and fits((row - start, image.width), _within(placed, start, row))]
        if not ends:
            return None
        found.append(Band((start, ends[-1]), _within(placed, start, ends[-1])))
        start = ends[-1]
    return found


def _gaps(placed: Sequence[tuple[str, int, int]], height: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of rows below a line that no line crosses, from the top."""
    reached: int | None = None
    for _, top, bottom in sorted(placed, key=lambda line: line[1]):
        if reached is not None and top > reached:
            yield reached, top
        reached = max(reached or 0, bottom)
    if reached is not None:
        yield min(reached, height), height


def _within(placed: Sequence[tuple[str, int, int]], start: int, end: int) -> str:
    return "\n".join(text for text, top, bottom in placed if start <= top and bottom <= end)


def _blank_row(image: Image, first: int, last: int) -> int:
    """Return a row in a range that has one colour, near its start; if there is none, the row that would be."""
    wanted = first + min(_MARGIN, (last - first) // 2)
    for row in sorted(range(first, last), key=lambda row: abs(row - wanted)):
        low, high = image.crop((0, row, image.width, row + 1)).convert("L").getextrema()
        if low == high:
            return row
    return max(wanted, 1)
