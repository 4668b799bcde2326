"""From the bytes of a request to pages: looked at before anything is decoded, and never written to a disk."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from medvl.data.decoding import TooManyPixels, UnreadableImage, count_pages, open_frame, open_image
from medvl.data.held import name_of
from medvl.serving.drawing import drawn_pages
from medvl.serving.refusals import Refused

if TYPE_CHECKING:
    from PIL import Image

    from medvl.data.encoding import Encoder

T = TypeVar("T")
_KINDS = (
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("PDF", re.compile(rb".{0,1019}?%PDF-", re.DOTALL)),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """One page of a request, as the model sees it."""

    name: str
    """Stands for it in examples."""
    page: Image.Image
    file: int
    """The number of its file in the request, from 1 on."""
    number: int
    """Its number in that file, from 1 on."""

    @property
    def place(self) -> dict[str, Any]:
        """Its file and number, as an answer names them."""
        return {"file": self.file, "page": self.number}


def kind_of(content: bytes) -> str:
    """Return PNG, JPEG, TIFF, WEBP or PDF, by the content alone: what a client calls it is not asked.

    Raises:
        Refused: It is something else.
    """
    for kind, start in _KINDS:
        if start.match(content):
            return kind
    raise Refused(415, "A file is not PNG, JPEG, TIFF, WebP or PDF.", "unsupported_format")


@dataclass(frozen=True, slots=True)
class Unpacking:
    """How uploads become pages.

    Args:
        drawing: As many PDFs are drawn at a time.
        most_pixels: Of one image or drawn page.
        most_pages: Of one request.
        seconds: That a PDF may take to draw.
    """

    encoder: Encoder
    threads: Executor
    drawing: asyncio.Semaphore
    most_pixels: int
    most_pages: int
    dpi: int
    seconds: float

    async def pages(self, files: Sequence[bytes]) -> list[Upload]:
        """Return the pages of all files, in their order.

        Raises:
            Refused: 413, 415 or 422, by what is wrong with them.
        """
        found: list[Upload] = []
        for at, content in enumerate(files, 1):
            async with contextlib.aclosing(self._pages(content, self.most_pages - len(found), f"File {at}")) as pages:
                async for page in pages:
                    name, fitted = await self._threaded(self._fitted, page, f"File {at}")
                    last = found[-1].number if found and found[-1].file == at else 0
                    found.append(Upload(name, fitted, at, last + 1))
        return found

    async def _pages(self, content: bytes, room: int, named: str) -> AsyncGenerator[Image.Image]:
        kind = kind_of(content)
        if kind == "PDF":
            drawn = drawn_pages(content, self.dpi, self.most_pixels, room, self.seconds, named)
            async with self.drawing, contextlib.aclosing(drawn) as pages:
                async for page in pages:
                    yield page
            return
        count = await self._threaded(self._count, content, kind, named)
        if count > room:
            raise too_many_pages(self.most_pages)
        for number in range(count):
            yield await self._threaded(self._decoded, content, number if count > 1 else None, named)

    async def _threaded(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *given)

    def _count(self, content: bytes, kind: str, named: str) -> int:
        """Count the pages of a TIFF; a JPEG may hold previews beside its only page."""
        try:
            count = 1 if kind == "JPEG" else count_pages(content, self.most_pixels)
        except UnreadableImage as error:
            raise refusal(error, named) from None
        if count > 1 and kind != "TIFF":
            raise Refused(415, f"{named} is an animation.", "unsupported_format")
        return count

    def _decoded(self, content: bytes, number: int | None, named: str) -> Image.Image:
        try:
            if number is None:
                return open_image(content, self.most_pixels)
            return open_frame(content, number, self.most_pixels)
        except UnreadableImage as error:
            raise refusal(error, named) from None

    def _fitted(self, page: Image.Image, named: str) -> tuple[str, Image.Image]:
        try:
            fitted = self.encoder.fitted(page)
        except ValueError:
            shape = f"{page.width} x {page.height} px"
            message = f"{named} is {shape}; one side may be at most 200 times the other."
            raise Refused(422, message, "extreme_aspect") from None
        return name_of(fitted), fitted


def refusal(error: UnreadableImage, named: str) -> Refused:
    """Say what is wrong with a file without a name that a client gave it."""
    if isinstance(error, TooManyPixels):
        return Refused(413, f"{named} {error.reason.partition(';')[0]}.", "too_many_pixels")
    return Refused(422, f"{named} {error.reason}.", "damaged_image")


def too_many_pages(most: int) -> Refused:
    return Refused(413, f"The request has more than {most} pages.", "too_many_pages")
