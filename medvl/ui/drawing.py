"""Draws the pages of a PDF or TIFF file for a browser, as a program: file in on standard input, JSON lines out.

Files of strangers are decoded in this process only, with limits on memory and time. The Pillow that gradio allows has
known faults in decoding JPEG and tiled TIFF data, so such TIFF files are not decoded at all.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

WIDTH_PX = 1240  # of a drawn page: A4 at 150 dpi
MOST_PIXELS = 40_000_000
MOST_PAGES = 16
MEMORY = 2 * 2**30  # bytes of address space
CPU_S = 20
_TILES, _COMPRESSION, _JPEG = 322, 259, (6, 7, 34892)  # tags of TIFF 6.0, and kinds of JPEG in it


def pdf_pages(content: bytes) -> Iterator[Image.Image]:
    """Yield the pages of a PDF."""
    import pypdfium2

    document = pypdfium2.PdfDocument(content)
    for number in range(min(len(document), MOST_PAGES)):
        page = document[number]
        width, height = page.get_size()
        scale = min(WIDTH_PX / width, (MOST_PIXELS / (width * height)) ** 0.5)
        yield page.render(scale=scale).to_pil().convert("RGB")


def tiff_pages(content: bytes) -> Iterator[Image.Image]:
    """Yield the pages of a TIFF."""
    from PIL import Image, ImageOps, ImageSequence

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # it refuses what has twice as many
    with Image.open(io.BytesIO(content), formats=["TIFF"]) as image:
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            tags = image.tag_v2  # type: ignore[attr-defined]
            if number == MOST_PAGES or _TILES in tags or tags.get(_COMPRESSION) in _JPEG:
                return
            page = ImageOps.exif_transpose(frame).convert("RGB")
            page.thumbnail((WIDTH_PX, 4 * WIDTH_PX))
            yield page


def main(kind: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    content = sys.stdin.buffer.read()
    for page in (pdf_pages if kind == "pdf" else tiff_pages)(content):
        written = io.BytesIO()
        page.save(written, "JPEG", quality=85)
        print(json.dumps(base64.b64encode(written.getvalue()).decode()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
