"""Pages and text layers of PDF files, by PDFium. The package pypdfium2 is optional."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import TooManyPixels, UnreadableImage
from medvl.model.prompt import normalized

if TYPE_CHECKING:
    from PIL import Image

PDF_BYTES = 2**28  # maximum of one file
_POINTS = 72  # an inch
_PASSWORD = 4  # PDFium's FPDF_ERR_PASSWORD

Line = tuple[str, float, float]  # text; top and bottom as shares of the page's height, from its top


def check_pdf() -> None:
    """Refuse PDFs where their package is missing.

    Raises:
        ValueError: The message names the pip command.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise ValueError('a PDF file needs pypdfium2, not installed here. pip install -e ".[pdf]", or remove the PDFs.')


@contextlib.contextmanager
def _opened(path: str | Path | bytes) -> Iterator[Any]:
    """Open a file, or its bytes; every error in the block becomes an UnreadableImage."""
    import pypdfium2
    from pypdfium2 import raw

    data, path = path, f"a PDF of {len(path)} bytes" if isinstance(path, bytes) else path
    try:
        if (len(data) if isinstance(data, bytes) else Path(path).stat().st_size) > PDF_BYTES:
            raise UnreadableImage(f"{path} is too large", "is a PDF that is too large")
        with pypdfium2.PdfDocument(data) as document:
            yield document
    except UnreadableImage:
        raise
    except OSError as error:
        raise UnreadableImage(f"{path} cannot be read", "cannot be read") from error
    except pypdfium2.PdfiumError as error:
        locked = getattr(error, "err_code", None) == _PASSWORD or raw.FPDF_GetLastError() == _PASSWORD
        reason = "is a PDF that needs a password" if locked else "is a PDF that is broken"
        raise UnreadableImage(f"{path} {reason}: {error}", reason) from error


def texts_of(path: str | Path, most: int) -> tuple[list[str], int]:
    """Return the text layers of the first pages, empty where there is none, and the number of all pages.

    Raises:
        UnreadableImage: The file is broken, needs a password, or is too large.
    """
    with _opened(path) as document:
        return [_text(page) for page in _pages(document, most)], len(document)


def _pages(document: Any, most: int) -> Iterator[Any]:
    for number in range(min(len(document), most)):
        page = document[number]
        yield page
        page.close()


def _text(page: Any) -> str:
    layer = page.get_textpage()
    try:
        return "\n".join(filter(None, map(_clean, layer.get_text_range().splitlines())))
    finally:
        layer.close()


def _clean(line: str) -> str:
    """Return a line without control characters; PDFium marks a hyphen at its end by U+FFFE or U+0002."""
    written = line.replace("\ufffe", "-").replace("\x02", "-").replace("\t", " ")
    return normalized("".join(letter for letter in written if letter.isprintable())).rstrip()


def lines_of(path: str | Path, number: int) -> list[Line]:
    """Return the lines of a page's text layer with their places, in the order and wording of `texts_of`.

    None are returned if the places of its letters cannot be told.

    Raises:
        UnreadableImage: The file is broken.
    """
    with _opened(path) as document:
        page = document[number]
        layer, height = page.get_textpage(), page.get_height()
        lines: list[Line] = []
        at, said = 0, layer.get_text_range()
        for text in said.splitlines(keepends=True) if len(said) == layer.count_chars() else ():
            boxes = [layer.get_charbox(at + place) for place, letter in enumerate(text) if not letter.isspace()]
            at += len(text)
            if boxes:
                top, bottom = max(box[3] for box in boxes), min(box[1] for box in boxes)
                lines.append((_clean(text.rstrip("\r\n")), 1 - top / height, 1 - bottom / height))
        layer.close()
        page.close()
        return lines


def count(path: str | Path | bytes) -> int:
    """Count the pages of a file.

    Raises:
        UnreadableImage: It is broken, needs a password, or is too large.
    """
    with _opened(path) as document:
        return len(document)


def draw(path: str | Path | bytes, number: int, dpi: int, max_pixels: int) -> Image.Image:
    """Draw a page on white, in grey levels if it has no colour.

    Raises:
        UnreadableImage: The file is broken, or the page has more pixels than that.
    """
    import numpy as np

    with _opened(path) as document:
        page = document[number]
        width, height = (side / _POINTS * dpi for side in page.get_size())
        if width * height > max_pixels or not (width >= 1 and height >= 1):
            reason = f"has more than {max_pixels:,} pixels at data.dpi={dpi}; lower data.dpi"
            named = "a PDF" if isinstance(path, bytes) else path
            raise TooManyPixels(f"page {number + 1} of {named} {reason}", reason)
        bitmap = page.render(scale=dpi / _POINTS)
        image = bitmap.to_pil().convert("RGB")
        bitmap.close()
        page.close()
    pixels = np.asarray(image)
    grey = bool((pixels[..., :1] == pixels[..., 1:]).all())
    return image.convert("L") if grey else image
