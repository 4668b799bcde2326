"""What a ready page looks like: height of its letters, lines, skew and contrast, estimated from its ink.

Of pages that medvl draws the height of an x is known; scans and photographs come without it. The page is turned
upright and cut into strips. In the row profile of a strip each line of text is a bump, whose width at half of its
height is the height of its letters: of an x where lower-case letters prevail, of a capital in a row of digits. So a low
quantile of all bumps is the height of an x. docs/data.md has the measured errors.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import UnreadableImage, open_image
from medvl.geometry import LARGEST_IMAGE_PIXELS, TOKEN_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

SAMPLE = 64  # pages of a set that are looked at, spread evenly
ENOUGH_PX = 2400  # larger pages are halved first: their letters stay tall enough
STRIPS = 8  # side by side; text in columns seldom shares its lines
MOST_SKEW_DEG = 3.0
LOW = 0.2  # quantile of the bumps, by ink, that an x has
BLUR_PX = 1.3  # width at half height of the blur of drawing and scanning; it adds in squares
RULE = 0.75  # of a strip's width: darker rows are rules
# A picture without text has few bumps, or unequal ones, or ink without paper around it.
FEWEST_BUMPS, MOST_INK, LEAST_ALIKE = 6, 0.25, 0.4
ALIKE = (0.75, 1.6)  # of the height of an x: from an x to a capital


@dataclass(frozen=True, slots=True)
class Look:
    """Estimates of one page; x_height_px is that of the image as it is stored."""

    x_height_px: float
    lines: int
    """Of the page; lines of columns side by side that share a height count once."""
    skew_deg: float
    """Positive if lines rise to the left, so that the page has to be turned anticlockwise."""
    contrast: float
    """Of the ink against the paper around it, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Bump:
    height_px: float
    ink: float
    middle_px: float


def look_at(image: Image.Image) -> Look | None:
    """Estimate how a page looks; None if no text is found."""
    import numpy as np
    from PIL import Image

    factor = 2 if max(image.size) > ENOUGH_PX else 1
    dark = _darkness(np.asarray(image.convert("L").reduce(factor), dtype=np.float32))
    level = _otsu(dark)
    ink = dark > level
    if not 0 < ink.mean() <= MOST_INK:
        return None
    contrast, skew = float(np.median(dark[ink])), _skew(ink)
    dark = np.where(dark > level / 2, dark, 0)
    if skew:
        dark = np.asarray(Image.fromarray(dark).rotate(skew, Image.Resampling.BILINEAR))
    bumps = [bump for strip in np.array_split(dark, STRIPS, axis=1) if strip.size for bump in _bumps(strip, level)]
    bumps = [one for one in bumps if one.height_px > 0.4 * _quantile(bumps, 0.5)]  # rests of rules
    if len(bumps) < FEWEST_BUMPS:
        return None
    x_px = _quantile(bumps, LOW)
    alike = [bump for bump in bumps if ALIKE[0] * x_px < bump.height_px < ALIKE[1] * x_px]
    if sum(bump.ink for bump in alike) < LEAST_ALIKE * sum(bump.ink for bump in bumps):
        return None
    middles = sorted(bump.middle_px for bump in alike)
    lines = 1 + sum(bool(after - before > x_px) for before, after in itertools.pairwise(middles))
    return Look(x_height_px=factor * x_px, lines=lines, skew_deg=skew, contrast=contrast)


def looks(pages: Sequence[tuple[str, int]]) -> list[Look]:
    """Look at some pages of a set, several at a time; those without text are left out.

    Args:
        pages: Paths with the visual tokens of each.

    Returns:
        One look for each page with text, its x-height after the image processor's resize.
    """
    chosen = list(dict.fromkeys(pages))
    if len(chosen) > SAMPLE:
        chosen = [chosen[at * len(chosen) // SAMPLE] for at in range(SAMPLE)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [look for look in pool.map(_resized_look, chosen) if look is not None]


def _resized_look(page: tuple[str, int]) -> Look | None:
    path, tokens = page
    try:
        image = open_image(path, LARGEST_IMAGE_PIXELS)  # the preparation has refused larger ones
    except UnreadableImage:  # deleted or damaged since; whoever trains on it says so
        return None
    look = look_at(image)
    if look is None:
        return None
    resized = (tokens * TOKEN_PX**2 / (image.width * image.height)) ** 0.5
    return Look(look.x_height_px * resized, look.lines, look.skew_deg, look.contrast)


def _darkness(grey: NDArray[Any]) -> NDArray[Any]:
    """Return ink in [0, 1] on evened paper: the paper of a tile is its brightest tenth."""
    import numpy as np
    from scipy import ndimage

    height, width = grey.shape
    tile = max(16, min(height, width) // 16)
    whole = np.pad(grey, ((0, -height % tile), (0, -width % tile)), mode="edge")
    tiles = whole.reshape(whole.shape[0] // tile, tile, whole.shape[1] // tile, tile)
    paper = ndimage.median_filter(np.quantile(tiles, 0.9, axis=(1, 3)), 3, mode="nearest")
    paper = ndimage.zoom(paper, tile, order=1, mode="nearest", grid_mode=True)[:height, :width]
    return np.clip(1 - grey / np.maximum(paper, 1), 0, 1)


def _otsu(dark: NDArray[Any]) -> float:
    """Return the level that parts ink from paper (Otsu 1979)."""
    import numpy as np

    counts, edges = np.histogram(dark, 128, (0, 1))
    below, sums = counts.cumsum()[:-1], (counts * (edges[:-1] + edges[1:]) / 2).cumsum()
    above = counts.sum() - below
    between = (sums[-1] * below / counts.sum() - sums[:-1]) ** 2 / np.maximum(below * above, 1)
    return float(edges[1 + int(between.argmax())])


def _skew(ink: NDArray[Any]) -> float:
    """Return the angle at which the row profile has the steepest edges; 0 below a twentieth of a degree."""
    import numpy as np

    ys, xs = np.nonzero(ink)
    step = 1 + len(ys) // 100_000
    ys, xs = ys[::step], xs[::step]

    def steepness(angle: float) -> float:
        rows = np.round(ys - xs * np.tan(np.radians(angle))).astype(np.int64)
        return float((np.diff(np.bincount(rows - rows.min()).astype(np.float64)) ** 2).sum())

    rough = max(np.arange(-MOST_SKEW_DEG, MOST_SKEW_DEG + 0.01, 0.2), key=steepness)
    angle = float(max(np.arange(rough - 0.2, rough + 0.21, 0.05), key=steepness))
    return angle if abs(angle) > 0.06 else 0.0


def _bumps(strip: NDArray[Any], level: float) -> Iterator[_Bump]:
    """Yield the lines of text in a strip of a page, by its row profile."""
    import numpy as np
    from scipy import ndimage

    profile = strip.mean(1)
    profile = profile - np.quantile(profile, 0.05)
    profile[ndimage.binary_dilation((strip > level).mean(1) > RULE)] = 0
    top = np.quantile(profile, 0.98)
    if top <= 0:
        return
    for first, end in _pieces(profile, 0.1 * top):
        piece = profile[first:end]
        half = np.sort(piece)[-max(1, len(piece) // 2) :].mean() / 2
        inside = np.flatnonzero(piece > half)
        if not len(inside):
            continue
        start, stop = first + inside[0], first + inside[-1]
        height = stop - start + _crossing(profile, start, -1, half) + _crossing(profile, stop, 1, half)
        sharp = max(0.1, height**2 - BLUR_PX**2) ** 0.5
        yield _Bump(float(sharp), float(profile[start : stop + 1].sum()), (start + stop) / 2)


def _pieces(profile: NDArray[Any], low: float) -> Iterator[tuple[int, int]]:
    """Yield where a profile exceeds a low level; at small type, where lines touch, each of them."""
    import numpy as np
    from scipy.signal import find_peaks

    edges = np.flatnonzero(np.diff(np.concatenate([[0], profile > low, [0]])))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        piece = profile[first:end]
        peaks = find_peaks(np.concatenate([[0], piece, [0]]), prominence=0.25 * piece.max())[0] - 1
        cuts = [0, end - first]
        if len(peaks) > 3:  # one line has at most three: capitals, the upper and the lower end of an x
            valleys = [int(a + piece[a:b].argmin()) for a, b in itertools.pairwise(peaks)]
            cuts = [0, *valleys, end - first]
        yield from ((first + a, first + b) for a, b in itertools.pairwise(cuts) if a < b)


def _crossing(profile: NDArray[Any], at: int, step: int, level: float) -> float:
    """Return how far beyond a place the profile falls to a level, as a share of a row."""
    outside = profile[at + step] if 0 <= at + step < len(profile) else 0.0
    return float((profile[at] - level) / max(profile[at] - outside, 1e-9))


def _quantile(bumps: Sequence[_Bump], share: float) -> float:
    """Return a quantile of the heights, weighted by ink."""
    ranked, sought = sorted(bumps, key=lambda bump: bump.height_px), share * sum(bump.ink for bump in bumps)
    for bump in ranked:
        sought -= bump.ink
        if sought <= 0:
            return bump.height_px
    return ranked[-1].height_px if ranked else 0.0
