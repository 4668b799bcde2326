"""What ink and paper go through before a page is scanned."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

INK, PAPER, CONTRAST = (0, 130), (150, 255), 90  # grey levels, and the least between the two


def worn(image: Image.Image, rng: Random) -> Image.Image:
    """Let strokes of a page in black on white bleed or break, and ink and paper fade; most pages stay as they are."""
    from PIL import Image, ImageChops

    drawn = rng.random()
    if drawn < 0.3:  # letters in bold would close: strokes gain or lose half a pixel at most
        choose = ImageChops.darker if drawn < 0.18 else ImageChops.lighter
        strokes = image
        for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):  # twenty times as fast as a filter of 3 x 3 px
            strokes = choose(strokes, ImageChops.offset(image, right, down))
        image = Image.blend(image, strokes, rng.uniform(0.1, 0.5 if drawn < 0.18 else 0.35))
    if rng.random() < 0.5:
        ink = rng.randint(*INK)
        paper = rng.randint(max(PAPER[0], ink + CONTRAST), PAPER[1])
        image = image.point([ink + round((paper - ink) * grey / 255) for grey in range(256)])
    return image
