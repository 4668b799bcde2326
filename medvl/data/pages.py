"""The folder of page images, each drawn or stored once under the hash of its content, and the size that models see."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.data.decoding import UnreadableImage, format_of
from medvl.documents.render import Render, Sheet
from medvl.geometry import MAX_IMAGE_PIXELS, fit
from medvl.record.files import write_bytes
from medvl.types import PageOf

if TYPE_CHECKING:
    from PIL import Image

VERSION = 6  # part of the cache key; increase it when the same input would give different examples
DRAWING = 3  # part of a drawn page's name, from which its scan is drawn; increase it when a sheet would look different
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(slots=True)
class PageFolder:
    """The pages shared by all preparations."""

    render: Render
    folder: Path
    max_image_pixels: int = MAX_IMAGE_PIXELS
    """Image files with more pixels are refused."""

    def name(self, sheet: Sheet) -> str:
        """Return the file name of a drawn page: a hash of its content and of the render options."""
        return f"{digest(f'{DRAWING}{asdict(self.render)}{sheet.font}{sheet.rows}')}.png"

    def draw(self, sheet: Sheet, name: str) -> None:
        """Draw a page unless its file exists, and store its boxes beside it. Files are written atomically."""
        path = self.folder / name
        if path.exists() and not is_damaged(path):
            return
        page, encoded = self.render.draw(sheet, path.stem), io.BytesIO()
        page.image.save(encoded, format="PNG", compress_level=1)
        boxes = json.dumps({"lines": page.lines, "fields": page.fields}, ensure_ascii=False)
        write_bytes(path.with_suffix(".json"), boxes.encode())
        write_bytes(path, encoded.getvalue())

    def spill(self, image: bytes | str | PageOf) -> bytes | str | PageOf:
        """Write an image's bytes unchanged to disk, to free memory; return its path.

        Bytes that cannot be used as an image are returned as they are, and dropped with a reason later.
        """
        if not isinstance(image, bytes):
            return image
        try:
            suffix = format_of(image, self.max_image_pixels).lower()
        except UnreadableImage:
            return image
        path = self.folder / f"{content_hash(image)}.{suffix}"
        if not path.exists() or path.read_bytes() != image:  # damaged, see below
            write_bytes(path, image)
        return str(path)


def is_damaged(path: Path) -> bool:
    """Return whether a power cut has emptied a page, cut it off or left zeros in it.

    To be quick, only its ends are read; a stored image with unusual ones must have the content that it is named after.
    """
    with path.open("rb") as file:
        start = file.read(len(_PNG_START))
        file.seek(max(0, path.stat().st_size - len(_PNG_END)))
        end = file.read()
    unusual = (start, end) != (_PNG_START, _PNG_END) if path.suffix == ".png" else not any(start) or not any(end)
    return unusual and content_hash(path.read_bytes()) != path.stem


def content_hash(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()[:24]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def fitted(image: Image.Image, min_pixels: int, max_pixels: int) -> Image.Image:
    """Return a page as the model sees it, on the 28-px grid and within the pixel budget; grey pages stay grey.

    Other engines resize in their own ways (llama.cpp pads where transformers stretches). They leave a page of this size
    as it is, unless it is so thin that no size within the budget is on the grid.

    Raises:
        ValueError: The aspect ratio is too extreme.

    Source:
        The resampling of transformers' `Qwen2VLImageProcessor`; a test compares them to the bit.
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    page = image if image.mode in ("L", "RGB") else image.convert("RGB")
    height_px, width_px = fit(page.height, page.width, min_pixels=min_pixels, max_pixels=max_pixels)
    if page.size == (width_px, height_px):
        return page
    pixels = functional.pil_to_tensor(page)
    resized = functional.resize(pixels, [height_px, width_px], InterpolationMode.BICUBIC, antialias=True)
    return functional.to_pil_image(resized)
