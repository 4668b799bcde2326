"""What a scanner or a fax machine does to a finished page: `render.scan`.

Strengths, places and pixels are settled in whole numbers, which makes a page the same on every machine; only jpeg and
the letters of a stamp depend on the libraries that draw them. Each effect has its own random stream, so that changing
one strength leaves the other effects as they were.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import statistics
from collections.abc import Callable, Sized
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from medvl.documents.fonts import Font
from medvl.types import Box

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    Pixels = np.ndarray  # (height, width) uint8, 255 = white
    Effect = Callable[[Pixels, float, np.random.Generator, float], Pixels | Image.Image]

LIMITS = {"rotation_deg": 10.0, "blur": 3.0, "noise": 40.0, "specks": 100.0}  # the others end at 1
LID = 232  # grey level of the scanner's lid, seen beside a tilted page
STAMPS = ("RECEIVED\n{}", "COPY", "CONFIDENTIAL", "FAXED\n{}", "SCANNED\n{}", "FILED\n{}", "REVIEWED\n{}", "DUPLICATE")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
FOLDS = (((1 / 2,), ()), ((1 / 3, 2 / 3), ()), ((), (1 / 2,)), ((1 / 2,), (1 / 2,)))  # down and across the page


@dataclass(kw_only=True, slots=True)
class Scan:
    """Largest strength of each effect, 0 = off; a page draws half to all of it, of fax all."""

    rotation_deg: float = 0.0
    """Tilt in degrees, either way, drawn evenly."""
    blur: float = 0.0
    """Standard deviation of the optics in pixels at 150 dpi; it grows with dpi."""
    noise: float = 0.0
    """Standard deviation of the sensor in grey levels of 255."""
    fax: float = 0.0
    """Share of a bilevel page in the result: 1 is black and white, by a threshold that wanders."""
    jpeg: float = 0.0
    """0 .. 1: JPEG quality 95 .. 15."""
    light: float = 0.0
    """0 .. 1: uneven light and vignette; at 1 the darkest corner loses 4/5 of its light."""
    fold: float = 0.0
    """0 .. 1: depth of creases and their shadow, on half of the pages."""
    stamp: float = 0.0
    """0 .. 1: opacity of a rubber stamp where there is least text, on half of the pages."""
    specks: float = 0.0
    """Grains of dust per square inch; none falls among letters."""
    jitter: float = 0.0
    """0 .. 1: words leave their place as handwriting does, at 1 by up to 0.1 em sideways and 0.25 em up or down."""

    def __post_init__(self) -> None:
        for name, strength in asdict(self).items():
            limit = LIMITS.get(name, 1.0)
            if not 0 <= strength <= limit:  # also refuses NaN
                raise ValueError(
                    f"render.scan.{name} must be from 0 (off) to {limit:g}, got {strength}. Set render.scan.{name}=0."
                )

    @property
    def active(self) -> bool:
        return any(asdict(self).values())

    def levels(self, key: str) -> dict[str, float]:
        """Draw the strength of each effect for one page; 0 where it goes without a fold or a stamp."""
        levels = asdict(self)
        for name in levels:
            share, chance = stream(f"{key}/level", name).random(2).tolist()
            absent = name in ("fold", "stamp") and chance < 0.5
            share = {"rotation_deg": 2 * share - 1, "fax": 1.0}.get(name, 0.0 if absent else (1 + share) / 2)
            levels[name] *= share
        return levels

    def apply(self, image: Image.Image, key: str, dpi: float) -> tuple[Image.Image, Transform]:
        """Scan a finished page of mode L; what is random follows from the key. The page keeps its size."""
        import numpy as np
        from PIL import Image

        pixels, levels = np.asarray(image), self.levels(key)
        for name, effect in EFFECTS.items():
            if levels[name]:
                pixels = np.asarray(effect(pixels, levels[name], stream(key, name), dpi))
        return Image.fromarray(pixels), Transform(*image.size, math.sin(math.radians(levels["rotation_deg"])))

    def offsets(self, rng: np.random.Generator, words: Sized, font_px: float) -> list[tuple[int, int]]:
        """Return how far right and down each word of a line moves, in pixels; neighbours never close the gap."""
        drift, moves = 0.0, []
        for aside, down in rng.uniform(-1, 1, (len(words), 2)).tolist():
            drift = 0.6 * drift + 0.4 * down  # the hand leaves the line and comes back to it
            moves.append((round(0.1 * self.jitter * font_px * aside), round(0.25 * self.jitter * font_px * drift)))
        return moves


@dataclass(frozen=True, slots=True)
class Transform:
    """From the flat page to the scanned one, which has the same size."""

    width_px: int
    height_px: int
    slope: float = 0.0
    """Of the tilt, clockwise, in px per px."""

    def __call__(self, box: Box) -> Box:
        """Return the upright box around a tilted one, cut at the page's edges; it is empty if all of it left."""
        left, top, right, bottom = box
        points = []
        for x, y in itertools.product((left, right), (top, bottom)):
            x -= self.slope * (y - self.height_px / 2)
            points.append((x, y + self.slope * (x - self.width_px / 2)))
        xs, ys = zip(*points, strict=True)
        left, right = (min(max(edge, 0), self.width_px) for edge in (math.floor(min(xs)), math.ceil(max(xs))))
        top, bottom = (min(max(edge, 0), self.height_px) for edge in (math.floor(min(ys)), math.ceil(max(ys))))
        return left, top, right, bottom


def stream(key: str, name: str) -> np.random.Generator:
    """Return the random numbers of one effect on one page, the same on every machine."""
    import numpy as np

    seed = int.from_bytes(hashlib.sha256(f"{key}/{name}".encode()).digest())
    return np.random.Generator(np.random.PCG64(seed))


def _stamp(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Image.Image:
    from PIL import Image, ImageChops

    page, ink = Image.fromarray(pixels), _imprint(rng, dpi)
    ink.thumbnail((max(1, page.width * 3 // 5), max(1, page.height * 2 // 5)))
    # Worn rubber: patches of 1/40 inch print with 2/5 to all of the opacity.
    patches = [-(-side // max(1, round(dpi / 40))) for side in ink.size]
    wear = Image.frombytes("L", patches, rng.bytes(math.prod(patches))).point([102 + 3 * v // 5 for v in range(256)])
    ink = ImageChops.multiply(ink, wear.resize(ink.size, Image.Resampling.BILINEAR))
    film = ink.point([255 - round(0.85 * level * v) for v in range(256)])  # never so dark that words under it drown
    left, top = _emptiest(page, ink.size, rng)
    under = page.crop((left, top, left + ink.width, top + ink.height))
    page.paste(ImageChops.multiply(under, film), (left, top))
    return page


def _imprint(rng: np.random.Generator, dpi: float) -> Image.Image:
    """Draw a framed stamp with letters of 14 pt, tilted by up to 12 degrees; 255 = ink."""
    from PIL import Image, ImageDraw

    words = STAMPS[int(rng.integers(len(STAMPS)))]
    day, month, year = int(rng.integers(1, 29)), MONTHS[int(rng.integers(12))], int(rng.integers(2015, 2026))
    text = words.format(f"{day:02d} {month} {year}")
    font = Font.sans.face(max(8, round(0.2 * dpi)), bold=True)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font)
    pad, line = round(0.09 * dpi) + 2, max(1, round(0.02 * dpi))
    mask = Image.new("L", (math.ceil(right - left) + 2 * pad, math.ceil(bottom - top) + 2 * pad))
    draw = ImageDraw.Draw(mask)
    edge = (line, line, mask.width - 1 - line, mask.height - 1 - line)
    draw.rounded_rectangle(edge, radius=pad, outline=255, width=line)
    draw.multiline_text((pad - left, pad - top), text, font=font, fill=255, align="center")
    return mask.rotate(round(float(rng.uniform(-12, 12)), 2), Image.Resampling.BILINEAR, expand=True)


def _emptiest(page: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Return that one of 200 random corners whose window of this size holds the least ink."""
    import numpy as np

    ink, (width, height) = 255 - np.asarray(page.reduce(8)), size
    places = rng.integers((page.width - width + 1, page.height - height + 1), size=(200, 2)).tolist()
    left, top = min(places, key=lambda at: ink[at[1] // 8 :, at[0] // 8 :][: height // 8 + 1, : width // 8 + 1].sum())
    return left, top


def _fold(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Pixels:
    import numpy as np

    pixels = pixels.copy()
    for page, places in zip((pixels, pixels.T), FOLDS[int(rng.integers(len(FOLDS)))], strict=True):
        for place in places:
            middle = (place + float(rng.uniform(-0.02, 0.02))) * len(page)
            away = (np.arange(len(page)) + 0.5 - middle) / dpi * (1 if rng.random() < 0.5 else -1)  # inches
            crease = 0.55 * np.exp(-((away / 0.012) ** 2))
            shadow = np.where(away > 0, 0.35 * np.exp(-np.abs(away) / 0.2), 0.1 * np.exp(-np.abs(away) / 0.05))
            gain = 256 - np.rint(256 * level * (crease + shadow)).astype(np.uint16)
            band = gain < 256
            page[band] = page[band] * gain[band, None] >> 8
    return pixels


def _tilt(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Pixels:
    # Two shears: a third of the time of a resampled rotation, and off by less than 0.4 % of a length below 5 degrees.
    slope = round(65536 * math.sin(math.radians(level)))
    return _shear(_shear(pixels, -slope).T, slope).T  # positive: clockwise


def _shear(pixels: Pixels, slope: int) -> Pixels:
    """Move rows right by `slope` 1/65536 px per row below the middle, linearly between pixels."""
    import numpy as np

    rows, columns = pixels.shape
    shift = slope * (2 * np.arange(rows) + 1 - rows) // 512  # 1/256 px
    whole, part = shift >> 8, (shift & 255).astype(np.uint16)[:, None]
    reach = int(np.abs(whole).max()) + 1
    wide = np.pad(pixels, ((0, 0), (reach, reach)), constant_values=LID)
    sheared = np.empty_like(pixels)
    starts = np.flatnonzero(np.diff(whole)) + 1
    for first, end in itertools.pairwise([0, *starts.tolist(), rows]):  # rows that move by the same whole pixels
        left = reach - int(whole[first])
        here, before = wide[first:end, left : left + columns], wide[first:end, left - 1 : left - 1 + columns]
        sheared[first:end] = (here * (256 - part[first:end]) + before * part[first:end] + 128) >> 8
    return sheared


def _specks(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFilter

    page, cell = Image.fromarray(pixels), max(1, round(dpi / 20))
    draw, near = ImageDraw.Draw(page), page.reduce(cell).filter(ImageFilter.MinFilter(3)).load()
    for across, down, size, shade in rng.random((round(level * pixels.size / dpi**2), 4)).tolist():
        x, y, radius = across * page.width, down * page.height, (0.001 + 0.009 * size**4) * dpi
        # A grain is as large as a full stop. Among the letters it would turn 12 into 1.2, and the label into a lie.
        if near[int(x) // cell, int(y) // cell] > 240:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=round(40 + 140 * shade))
    return page


def _light(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Pixels:
    import numpy as np

    # Losses add up over the two axes: a slope of at most 0.25 and a vignette of at most 0.15 each.
    loss = []
    for length in pixels.shape:
        place = (2 * np.arange(length) + 1 - length) / length  # -1 .. 1
        loss.append(0.15 * place**2 + 0.25 * (1 + place * float(rng.uniform(-1, 1))) / 2)
    down, across = (np.rint(256 * level * part).astype(np.uint16) for part in loss)
    return (pixels * (256 - down[:, None] - across) >> 8).astype(np.uint8)


def _blur(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Pixels:
    import numpy as np

    sigma = level * dpi / 150
    bell = statistics.NormalDist(0, sigma)
    steps = [bell.cdf(away + 0.5) for away in range(math.ceil(3 * sigma) + 1)]
    # Whole numbers that sum to 256 with the middle: exact, and white stays white.
    sides = [weight for low, high in itertools.pairwise(steps) if (weight := round(256 * (high - low)))]
    reach, middle = len(sides), np.uint16(256 - 2 * sum(sides))
    for _ in ("down", "across"):
        rows, wide = len(pixels), np.pad(pixels, ((reach, reach), (0, 0)), mode="edge")
        sums = np.multiply(pixels, middle, dtype=np.uint16)
        for away, weight in enumerate(sides, start=1):
            pair = np.add(wide[reach - away :][:rows], wide[reach + away :][:rows], dtype=np.uint16)
            pair *= np.uint16(weight)
            sums += pair
        sums += np.uint16(128)
        pixels = (sums >> 8).astype(np.uint8).T
    return pixels


def _noise(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Image.Image:
    from PIL import Image, ImageChops

    bell = statistics.NormalDist(128, level)
    grains = Image.frombytes("L", pixels.shape[::-1], rng.bytes(pixels.size))
    grains = grains.point([round(bell.inv_cdf((value + 0.5) / 256)) for value in range(256)])
    return ImageChops.add(Image.fromarray(pixels), grains, 1, -128)


def _fax(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Pixels:
    import numpy as np

    # Down and across the page the threshold wanders by 20 grey levels each, with a new value every half inch.
    wander = []
    for length in pixels.shape:
        knots = np.arange(0, length + dpi / 2, dpi / 2)
        wander.append(np.rint(np.interp(np.arange(length), knots, rng.uniform(-20, 20, len(knots)))).astype(np.int16))
    bilevel = np.where(pixels > 155 + wander[0][:, None] + wander[1], np.uint16(255), np.uint16(0))
    share = round(256 * level)
    return (pixels * np.uint16(256 - share) + bilevel * np.uint16(share) + 128 >> 8).astype(np.uint8)


def _jpeg(pixels: Pixels, level: float, rng: np.random.Generator, dpi: float) -> Image.Image:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(95 - 80 * level))
    return Image.open(file)


# In the order of the paper's way: what is on it, how it lies, the glass, the lamp, the optics, the sensor, the file.
EFFECTS: dict[str, Effect] = {
    "stamp": _stamp, "fold": _fold, "rotation_deg": _tilt, "specks": _specks,
    "light": _light, "blur": _blur, "noise": _noise, "fax": _fax, "jpeg": _jpeg,
}  # fmt: skip
