"""The one decoder of image files: the model, the figures, the trackers and the reports see the same upright page.

A page lies as its EXIF orientation says, on white paper, with 8 bits per colour, and is the first of its file.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.depth import eight_bits
from medvl.geometry import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

log = logging.getLogger(__name__)

DECODER = 3  # part of the keys of prepared data and of vision features; increase it when a file would look different

# Nothing else is tried: other formats of Pillow start programs (EPS), or are hardly ever opened by anyone.
FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "JPEG2000")
_LOOKED_AT = 20  # pages of a file to find one that is not blank
MAX_PAGES = 1000  # of one file, to count them in time that is linear in its size

_ORIENTATION = 0x0112  # tag of EXIF
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF


class UnreadableImage(ValueError):
    """An image file that is missing, empty, damaged, too large, or not an image."""

    def __init__(self, message: str, reason: str = "cannot be read") -> None:
        super().__init__(message)
        self.reason = reason
        """What is wrong, without the file's name and numbers, so that equal faults are counted together."""


class TooManyPixels(UnreadableImage):
    """An image that is larger than allowed; none of its pixels was decoded."""


def open_image(
    data: str | Path | bytes, max_pixels: int = MAX_IMAGE_PIXELS, least_px: int = 0, *, grey: bool = False
) -> Image.Image:
    """Decode an image file, or its bytes, to RGB: its first page or frame that is not blank.

    Args:
        max_pixels: Larger images are refused before any of their pixels is decoded.
        least_px: Sides that will do for a look: a JPEG is then decoded at a fraction of its size. 0: all of it.
        grey: Whether an image that is stored in grey levels stays in them: three colours take most of the time.

    Raises:
        UnreadableImage: Names the file and what is wrong with it.
    """
    from PIL import Image

    with _opened(data, max_pixels) as image:
        if least_px:
            image.draft(image.mode, (least_px, least_px))
        tile = image.tile[0] if image.tile else None  # gone when the image is loaded
        image.load()
        page = _on_paper(image, tile, grey)
        turn = _UPRIGHT.get(_orientation(image))
        if _is_blank(page):
            page = _next_written(image) or page
        return page if turn is None else page.transpose(Image.Transpose[turn])


def open_frame(data: str | Path | bytes, number: int, max_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Decode one page of a file with several, or of its bytes, from 0 on, to RGB.

    Raises:
        UnreadableImage: It is not there, or cannot be decoded.
    """
    with _opened(data, max_pixels) as image:
        image.seek(number)
        if _pixels(image) > max_pixels:  # pages may differ in size
            reason = f"has more than {max_pixels:,} pixels; set model.max_image_pixels"
            raise TooManyPixels(f"page {number + 1} of {_named(data)} {reason}", reason)
        frame = image.copy()
        return _on_paper(frame, None)  # type: ignore[arg-type]


def _is_blank(page: Image.Image) -> bool:
    ranges: Any = page.getextrema()
    return all(low == high for low, high in (ranges if page.mode == "RGB" else [ranges]))


def _next_written(image: ImageFile) -> Image.Image | None:
    """Return the first of the next pages that has anything on it: scanners put separator sheets before a page."""
    for number in range(1, min(_pages(image), _LOOKED_AT)):
        try:
            image.seek(number)
            frame = image.copy()
        except Exception:  # as in `_opened`; the page before it is there
            return None
        frame.info.pop("transparency", None)  # the first frame's; later ones have an alpha channel
        page = _on_paper(frame, None)  # type: ignore[arg-type]
        if not _is_blank(page):
            return page
    return None


def shown_image(path: str | Path) -> Image.Image | None:
    """Return an image for a figure; None, with a line in the log, if it cannot be read."""
    try:
        return open_image(path)
    except UnreadableImage as error:
        log.warning("a page is not shown: %s", error)
        return None


def viewable(path: Path) -> Path | Image.Image | None:
    """Return what any viewer shows as the model sees it: the file itself if it is plain, else the decoded image.

    None, with a line in the log, if it cannot be read.
    """
    try:
        with _opened(path, MAX_IMAGE_PIXELS) as image:
            plain = image.format in ("PNG", "JPEG") and image.mode in ("1", "L", "RGB") and _pages(image) == 1
            image.load()
            if plain and "transparency" not in image.info and _orientation(image) == 1:
                return path
    except UnreadableImage:
        pass  # said below
    return shown_image(path)


def format_of(data: bytes, max_pixels: int = MAX_IMAGE_PIXELS) -> str:
    """Return the format of an encoded image, one of FORMATS, from its header.

    Raises:
        UnreadableImage: It has none of these formats, or is too large.
    """
    with _opened(data, max_pixels) as image:
        return str(image.format)


def count_pages(data: str | Path | bytes, max_pixels: int = MAX_IMAGE_PIXELS) -> int:
    """Count the pages of a TIFF, the frames of an animation; further ones that are damaged count as one.

    Raises:
        UnreadableImage: The file cannot be opened, or has more than MAX_PAGES.
    """
    with _opened(data, max_pixels) as image:
        pages = _pages(image)
        if pages > MAX_PAGES:
            reason = f"has more than {MAX_PAGES:,} pages or frames"
            raise UnreadableImage(f"{_named(data)} {reason}", reason)
        return pages


def _pages(image: ImageFile) -> int:
    pages = 1
    try:
        if image.format != "TIFF":
            return int(getattr(image, "n_frames", 1))
        while pages <= MAX_PAGES:  # Pillow takes quadratic time for n_frames
            image.seek(pages)
            pages += 1
    except EOFError:
        return pages
    except Exception:  # as in `_opened`
        return pages + 1
    return pages


def _named(data: str | Path | bytes) -> str:
    return f"an image of {len(data)} bytes" if isinstance(data, bytes) else str(data)


@contextlib.contextmanager
def _opened(data: str | Path | bytes, max_pixels: int) -> Iterator[ImageFile]:
    """Open a file of a known format and size; every error in the block becomes an UnreadableImage."""
    from PIL import Image, UnidentifiedImageError

    name = _named(data)
    try:
        # Pillow warns of damaged metadata, and of sizes from 89 million pixels on.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as image,
        ):
            if _pixels(image) > max_pixels:
                raise Image.DecompressionBombError
            yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        reason = "is not an image, or cut off"
        raise UnreadableImage(f"{name} {reason}", reason) from error
    except Image.DecompressionBombError as error:
        reason = f"has more than {max_pixels:,} pixels; set model.max_image_pixels"
        raise TooManyPixels(f"{name} {reason}", reason) from error
    except Exception as error:  # Pillow does not say what its decoders raise on a damaged file
        raise UnreadableImage(f"{name} cannot be read: {error}", f"cannot be read: {_alike(error)}") from error


def _pixels(image: ImageFile) -> int:
    """Return how many pixels are decoded at once: those of the image, or of a tile that reaches beyond it."""
    tags = getattr(image, "tag_v2", {})
    return max(image.width * image.height, tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0))


def _alike(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(re.sub(r"\(.*?\)|b?'.*?'|-?\d+", "", said).split())


def _orientation(image: ImageFile) -> Any:
    """Return how the pixels of a loaded image lie, 1 to 8; Pillow has turned those of a TIFF already."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata do not make the pixels unreadable
        return 1


def _on_paper(image: ImageFile, tile: Any, grey: bool = False) -> Image.Image:
    """Return a loaded image as RGB; what is transparent in it becomes white.

    Args:
        tile: The first descriptor of the encoded pixels.
    """
    from PIL import Image

    ink: Image.Image = image
    opaque = _other_than_key(image, tile)
    if image.mode[0] in "IF":
        ink = eight_bits(image)
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or (image.mode == "P" and image.has_transparency_data):
        ink = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        opaque = ink.getchannel("A")
    elif image.format == "GIF" and opaque is None and tile is not None and tile[1] != (0, 0, *image.size):
        opaque = Image.new("L", image.size, 0)  # the first frame does not cover the screen
        opaque.paste(255, tile[1])
    if opaque is None:
        return ink.convert("L" if grey and ink.mode in ("1", "L") else "RGB")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(ink, mask=opaque)
    return paper


def _other_than_key(image: ImageFile, tile: Any) -> Image.Image | None:
    """Return the mask of the pixels that do not have the colour that a PNG or GIF declares to be transparent."""
    import numpy as np
    from PIL import Image

    key: Any = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "RGB", "I;16", "I;16B", "I"):
        return None
    # Pillow widens samples of 2 and 4 bits, and takes the upper byte of colours of 16 bits, but leaves the key alone.
    stored = str(tile[3]) if tile is not None else ""
    key = np.array(key)
    key = key >> 8 if stored.startswith("RGB;16") else key * {"L;2": 85, "L;4": 17}.get(stored, 1)
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    other = pixels != key
    return Image.fromarray((other.any(-1) if other.ndim == 3 else other).astype(np.uint8) * np.uint8(255))
