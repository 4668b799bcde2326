"""Examples about pages that the source supplies as images: transcriptions, their labelled facts, questions.

A page that is too large for the budget is cut between its lines if their places are known (a PDF's text layer), and
otherwise shrunk to the largest size that the budget holds, which is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from medvl.data import fitting, pdf
from medvl.data.decoding import UnreadableImage
from medvl.data.encoding import Encoder
from medvl.data.made import DocumentResult, Shrunk
from medvl.data.pages import PageFolder
from medvl.data.ready_images import Look, ReadyImages
from medvl.data.sources.dropped import Dropped
from medvl.data.wanted import Wanted, wanted_of, wanted_of_page
from medvl.geometry import fit
from medvl.types import Document, PageOf, TaskSpec, TokenCounts

FURTHER = "a further page or frame of an image file"


@dataclass(slots=True)
class ReadyPages:
    """Makes the examples of documents whose pages are images."""

    pages: PageFolder
    encoder: Encoder
    budget: int
    """Maximum tokens per example."""

    def add(self, document: Document, asking: TaskSpec, made: DocumentResult) -> list[Dropped]:
        """Add the examples of a document; return the pages of its files after the first ones."""
        images = ReadyImages(self.pages)
        try:
            looks = [images.look(image) for image in document.images]
        except UnreadableImage as error:
            made.dropped.append(Dropped(document.id, f"an image {error.reason}", document.source))
            return []
        made.pages += len(looks)
        made.ready += len(looks)
        one = _Making(document, asking, made, images, self.encoder, self.budget)
        one.about(looks, wanted_of(document, asking))
        for number, look in enumerate(looks):
            one.about_page(look, wanted_of_page(document, asking, number))
        return [
            Dropped(f"{document.id}/{images.store(look)}, page {page}", FURTHER, document.source)
            for look in looks
            for page in range(2, look.further + 2)
        ]


@dataclass(slots=True)
class _Making:
    """The examples of one document in the making."""

    document: Document
    asking: TaskSpec
    made: DocumentResult
    images: ReadyImages
    encoder: Encoder
    budget: int

    def about_page(self, look: Look, wanted: Sequence[Wanted]) -> None:
        """Add the transcription of one page, in pieces if it is too long and the places of its lines are known."""
        for one in wanted:
            long = self.asking.overlong == "split" and isinstance(look.image, PageOf) and look.image.dpi
            bands = self._bands(look, one) if long else None
            if not bands:
                self.about([look], [one])
                continue
            self.made.split_pages += 1
            for number, band in enumerate(bands, 1):
                piece = one.piece(number, band.text)
                size = (band.rows[1] - band.rows[0], look.size_px[1])
                counts = self.encoder.counts(piece.prompt, piece.response, [size])
                self._admit(piece, [self.images.store_part(look, band.rows, size)], counts)

    def _bands(self, look: Look, one: Wanted) -> list[fitting.Band] | None:
        """Return the bands of a page that is too long; None if it is not, or cannot be cut exactly."""
        page = look.image
        assert isinstance(page, PageOf)

        def fits(size: fitting.Size, text: str) -> bool:
            try:
                return self.encoder.counts(one.prompt, text, [size])["tokens"] <= self.budget
            except ValueError:  # its aspect ratio is too extreme
                return False

        if not one.response or fits(look.size_px, one.response):
            return None
        lines = pdf.lines_of(page.path, page.number)
        if [text for text, _, _ in lines] != one.response.split("\n"):
            return None
        return fitting.bands(self.images.pixels(look), lines, fits)

    def about(self, looks: Sequence[Look], wanted: Sequence[Wanted]) -> None:
        """Add what is wanted about all these pages; where the budget does not hold them, they are shrunk."""
        sizes = [look.size_px for look in looks]
        whole: list[tuple[Wanted, TokenCounts]] = []
        others: list[tuple[Wanted, TokenCounts]] = []
        for one in wanted:
            try:
                counts = self.encoder.counts(one.prompt, one.response, sizes)
            except ValueError as error:  # its aspect ratio is too extreme
                # Without the size, so that equal reasons are counted together.
                reason = re.sub(r" of \d+ x \d+ px", "", str(error))
                self.made.dropped.append(Dropped(self._id(one), reason, self.document.source))
                continue
            self.made.whole_tokens = max(self.made.whole_tokens, counts["tokens"])
            (whole if self._keeps_size(counts) else others).append((one, counts))
        smaller = self._smaller(sizes, max(map(_text_tokens, (counts for _, counts in others)))) if others else None
        if smaller is None:  # too many pages: said where they are dropped
            whole, others = whole + others, []
        if whole:
            names = [self.images.store(look) for look in looks]
            for one, counts in whole:
                self._admit(one, names, counts)
            self._count(looks, sizes, "model.max_pixels")
        if others and smaller:
            names = [
                self.images.store_part(look, (0, look.size_px[0]), size)
                for look, size in zip(looks, smaller, strict=True)
            ]
            for one, _ in others:
                self._admit(one, names, self.encoder.counts(one.prompt, one.response, smaller))
            self._count(looks, smaller, "batch.tokens")

    def _smaller(self, sizes: list[fitting.Size], text: int) -> list[fitting.Size] | None:
        limits = {"min_pixels": self.encoder.min_pixels, "max_pixels": self.encoder.max_pixels}
        return fitting.shrunk(sizes, self.budget - text, **limits)

    def _keeps_size(self, counts: TokenCounts) -> bool:
        """Whether an example is made with whole pages: it fits, or shrinking its pages is not what it needs."""
        fits = counts["tokens"] <= self.budget or self.asking.overlong == "drop"
        can_be_cut = self.asking.overlong == "cut" and counts["tokens"] - counts["answer_tokens"] < self.budget
        return fits or can_be_cut or _text_tokens(counts) > (1 - fitting.LEAST) * self.budget

    def _count(self, looks: Sequence[Look], sizes: Sequence[fitting.Size], limit: str) -> None:
        """Count the pages that the model sees smaller than they are."""
        for look, size in zip(looks, sizes, strict=True):
            seen = fit(*size, min_pixels=self.encoder.min_pixels, max_pixels=self.encoder.max_pixels)
            scale = math.sqrt(math.prod(seen) / math.prod(look.size_px))
            if limit == "batch.tokens" or math.prod(size) > self.encoder.max_pixels:
                self.made.shrunk.append(Shrunk(limit, min(1.0, scale)))

    def _id(self, one: Wanted) -> str:
        return f"{self.document.id}/{one.name}"

    def _admit(self, one: Wanted, names: list[str], counts: TokenCounts) -> None:
        example = one.example(self.document, self.asking, names, counts)
        self.made.admit(example, self.encoder, self.budget, self.asking)


def _text_tokens(counts: TokenCounts) -> int:
    return counts["tokens"] - sum(counts["visual_tokens"])
