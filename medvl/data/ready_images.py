"""The images that a source supplies: looked at, stored once, drawn from their file or shrunk where that is needed."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.data import dicom, pdf
from medvl.data.decoding import DECODER, count_pages, open_frame, open_image
from medvl.data.pages import PageFolder, content_hash, digest, is_damaged
from medvl.record.files import write_bytes
from medvl.types import PageOf

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Look:
    """An image that can be decoded."""

    image: bytes | str | PageOf
    key: str
    """Hash of what it shows."""
    size_px: tuple[int, int]
    """Height and width."""
    further: int = 0
    """Pages or frames of its file that are not used."""
    lossy: bool = False
    """Whether it is a JPEG, so that a part of it may be one, too: encoding a PNG takes ten times as long."""


@dataclass(slots=True)
class ReadyImages:
    """Images and where they are stored."""

    pages: PageFolder
    _last: tuple[str, Image] | None = field(default=None, repr=False)
    """Key and pixels of the last image that was decoded; only one is in memory."""

    def look(self, image: bytes | str | PageOf) -> Look:
        """Decode an image, or draw the page of a file and store it.

        Raises:
            UnreadableImage: Its first page, which is the one that is used, cannot be decoded.
        """
        if isinstance(image, PageOf):
            return self._drawn(image)
        most = self.pages.max_image_pixels
        further = count_pages(image, most) - 1
        decoded = open_image(image, most, grey=True)
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        key = content_hash(content)
        self._last = (key, decoded)
        return Look(image, key, (decoded.height, decoded.width), further, content.startswith(_JPEG))

    def store(self, look: Look) -> str:
        """Store an image as it is, if it is not stored yet; return its name."""
        if isinstance(look.image, PageOf):
            return f"{look.key}.png"
        path = Path(look.image) if isinstance(look.image, str) else None
        if path is None or path.parent != self.pages.folder:
            path = Path(str(self.pages.spill(path.read_bytes() if path else look.image)))
        return path.name

    def store_part(self, look: Look, rows: tuple[int, int], size_px: tuple[int, int]) -> str:
        """Store some rows of an image, resized to (height, width); return their name."""
        from PIL.Image import Resampling

        name = f"{digest(f'{DECODER}{look.key}{rows}{size_px}')}.{'jpeg' if look.lossy else 'png'}"
        path = self.pages.folder / name
        if not path.exists() or is_damaged(path):
            part = self.pixels(look)
            if rows != (0, look.size_px[0]):
                part = part.crop((0, rows[0], look.size_px[1], rows[1]))
            if part.size != size_px[::-1]:
                part = _grey(part).resize(size_px[::-1], Resampling.HAMMING)  # as good as BICUBIC here
            write_bytes(path, _jpeg(part) if look.lossy else _png(part))
        return name

    def pixels(self, look: Look) -> Image:
        """Return an image's pixels, decoded again unless it is the last one."""
        if self._last is None or self._last[0] != look.key:
            drawn = str(self.pages.folder / f"{look.key}.png")
            image = drawn if isinstance(look.image, PageOf) else look.image
            self._last = (look.key, open_image(image, self.pages.max_image_pixels, grey=True))
        return self._last[1]

    def _drawn(self, page: PageOf) -> Look:
        key = digest(f"{DECODER}{page.content}{page.number}{page.dpi}")
        path = self.pages.folder / f"{key}.png"
        if path.exists() and not is_damaged(path):
            decoded = open_image(path, self.pages.max_image_pixels, grey=True)
        else:
            decoded = _page(page, self.pages.max_image_pixels)
            write_bytes(path, _png(decoded))
        self._last = (key, decoded)
        return Look(page, key, (decoded.height, decoded.width))


def _page(page: PageOf, max_pixels: int) -> Image:
    if Path(page.path).suffix.lower() == ".pdf":
        return pdf.draw(page.path, page.number, page.dpi, max_pixels)
    if dicom.is_dicom(Path(page.path)):
        return dicom.draw(page.path, page.number, max_pixels)
    return open_frame(page.path, page.number, max_pixels)


def _grey(image: Image) -> Image:
    """Return an image in grey levels if it has no colour."""
    from PIL import ImageChops

    if image.mode == "L":
        return image
    red, *others = image.split()
    return image if any(ImageChops.difference(red, other).getbbox() for other in others) else red


def _jpeg(image: Image) -> bytes:
    encoded = io.BytesIO()
    _grey(image).save(encoded, format="JPEG", quality=95, subsampling=0)
    return encoded.getvalue()


def _png(image: Image) -> bytes:
    encoded = io.BytesIO()
    _grey(image).save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()
