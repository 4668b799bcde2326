"""Pages of general text for learning to read: drawn during training, or a fixed number of them for scoring."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

from medvl import documents
from medvl.data.sources.source import Dropped, Source
from medvl.documents.reading import ReadingPage, Stage, drawn
from medvl.documents.scan import Scan
from medvl.documents.typefaces import LIST, typefaces_in
from medvl.geometry import TOKEN_PX
from medvl.types import Document


@dataclass(kw_only=True)
class ReadingPages(Source):
    """A generator of unlimited training pages; none of them is among the `count` held-out pages."""

    live: bool = True
    """Train on new pages, drawn in the workers; false: on the prepared pages, in every epoch again."""
    count: int = 400
    """Pages to prepare, cycling through the stages."""
    stages: list[Stage] = field(default_factory=lambda: [Stage()])
    """Page sizes in the order in which they are learned."""
    first_stage: int = 0
    """Where the curriculum begins; use the last stage for a model that can already read."""
    newest_share: float = 0.6
    """Share of rows from the newest stage; the rest is drawn from all stages reached."""
    pass_mark: float = 0.93
    """Teacher-forced accuracy at which the next stage begins."""
    least_rows: int = 60
    """Minimum rows of a stage before the next stage can begin."""
    scanned: float = 0.3
    """Share of pages that look scanned."""
    scan: Scan = field(default_factory=Scan)
    scans: list[Scan] = field(default_factory=list)
    """Other ways of scanning, each as often as `scan`."""
    typefaces: str | None = None
    """Folder of more typefaces, made by experiments/gather_typefaces.py; null: the four families that ship."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse("path", "hub", because="reading pages are drawn here, not read", instead="data=mtsamples")
        if not self.stages:
            raise ValueError("data.stages is empty. Set data=reading_pages.")
        if self.count < 1 or self.least_rows < 1:
            raise ValueError(
                f"data.count and data.least_rows must be positive, got {self.count}, {self.least_rows}. "
                "Set data.count=400 data.least_rows=60."
            )
        if not 0 <= self.first_stage < len(self.stages):
            raise ValueError(
                f"data.first_stage must be from 0 to {len(self.stages) - 1}, got {self.first_stage}. "
                "Set data.first_stage=0."
            )
        if self.typefaces:
            typefaces_in(self.typefaces)
        for name in ("newest_share", "pass_mark", "scanned"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} is a share, from 0 to 1, got {getattr(self, name)}.")

    @property
    def longest(self) -> int:
        """Upper bound on the tokens of an example: visual tokens, letters, prompt and chat template."""
        wider = 1.4 if self.typefaces else 1  # lines of 10 px instead of 14
        # The answer to a record may be its JSON, and the prompt its schema.
        texts = [(2.5 if stage.records else 1) * wider * stage.letters for stage in self.stages]
        visual = [stage.height_px * stage.width_px // TOKEN_PX**2 for stage in self.stages]
        return int(max(map(sum, zip(visual, texts, strict=True)))) + 256

    @property
    def most(self) -> int:
        return self.count

    def page(self, stage: int, key: str) -> ReadingPage:
        """Draw a page of a stage, scanned or not; the same key gives the same page."""
        rng = Random(f"{key}/scan")
        scan = rng.choice([self.scan, *self.scans]) if rng.random() < self.scanned else None
        return drawn(self.stages[stage], key, scan, typefaces_in(self.typefaces) if self.typefaces else ())

    def documents(self) -> Iterator[Document | Dropped]:
        from PIL import Image

        for number in range(self.count):
            page = self.page(number % len(self.stages), f"held out/{number}")
            encoded = io.BytesIO()
            Image.fromarray(page.pixels).save(encoded, format="PNG", compress_level=1)
            yield Document(
                id=hashlib.sha256(encoded.getvalue() + page.prompt.encode()).hexdigest()[:16],
                kind=f"{page.font.name} {'scanned' if page.scanned else 'clean'}",
                layout=f"{page.pixels.shape[0]} px high",
                text=page.text,
                images=[encoded.getvalue()],
                questions=[(page.prompt, page.response)],
            )

    def content(self) -> str:
        """Return the hash of the code, the word list and the list of typefaces that generate the pages."""
        names = ("general_text.py", "reading.py", "records.py", "rows.py", "sheet.py", "typefaces.py", "worn.py")
        files: list[Any] = [resources.files(documents) / name for name in names]
        files.append(resources.files("medvl.data") / "embedded/words.txt")
        if self.typefaces:
            files.append(Path(self.typefaces, LIST))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
