"""Images of more than 8 bits a sample in 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL.ImageFile import ImageFile

_BITS, _PHOTOMETRIC, _SAMPLES = 258, 262, 339  # tags of TIFF
_MIN_IS_WHITE, _UNSIGNED = 0, 1
_NO_DATA = 1e30  # floats beyond it mark pixels without a value
_OVERSHOOT = 1.02  # resampling leaves values a little beyond the scale


def eight_bits(image: ImageFile) -> Image.Image:
    """Return an image of 16 or 32 bits or of floats in 8 bits, its whole range kept; Pillow would clip it at 255."""
    import numpy as np
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLES, (_UNSIGNED,))[0] == _UNSIGNED:
        values = values.view(np.uint32)
    values = values.astype(np.float32)
    black, white = _range(image, values)
    values = np.nan_to_num(values, nan=black, posinf=white, neginf=black)
    values = np.clip((values - black) * (255 / ((white - black) or 1)), 0, 255).round()
    if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:  # Pillow turns only 1 to 8 bits around
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _range(image: ImageFile, values: np.ndarray) -> tuple[float, float]:
    """Return which values are black and white.

    A scan is as bright as its depth says: what a page's darkest and lightest pixels are must not change its contrast.
    Devices of 10 to 14 bits write files of 16, so the smallest depth that holds the values is taken for theirs. Only
    where any number may stand do the values decide, unless they fit the two common scales, to 255 and (floats) to 1.
    """
    import numpy as np

    if image.mode == "I" and image.format == "PPM":  # Pillow widens its values to 16 bits
        return 0, 2**16 - 1
    finite = values[np.isfinite(values) & (np.abs(values) < _NO_DATA)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode.startswith("I;16"):
        stored = int(getattr(image, "tag_v2", {}).get(_BITS, (16,))[0])
        return 0, white_of(high, stored)
    if image.mode == "F":
        low, high = _without_outliers(finite, low, high)
        if low >= 0 and high <= _OVERSHOOT:
            return 0, 1
        if low >= 0 and 128 <= high <= 255 * _OVERSHOOT:
            return 0, 255
    elif low >= 0 and high <= 255:
        return 0, 255
    return low, high


def white_of(high: float, stored: int) -> int:
    """Return the largest value of the smallest depth, of those that devices have, that holds a value.

    Args:
        stored: Bits that a value has in the file.
    """
    return 2 ** next((bits for bits in (8, 10, 12, 14) if bits < stored and high < 2**bits), stored) - 1


def _without_outliers(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range of values without single ones far outside of all others, as marks of missing pixels are."""
    import numpy as np

    if not values.size:
        return low, high
    inner_low, inner_high = (float(one) for one in np.percentile(values, (0.1, 99.9)))
    span = inner_high - inner_low
    return (
        inner_low if span and inner_low - low > span else low,
        inner_high if span and high - inner_high > span else high,
    )
