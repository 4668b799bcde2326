"""Ten pages that never change: five to measure latency and memory, five to score transcriptions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from medvl.data.sources.source import Source
from medvl.documents.fixed import BENCHMARK, EVALUATION
from medvl.types import Document


class Pages(Enum):
    """Which set of pages."""

    benchmark = "benchmark"  # diagnosis, radiology, prescription, laboratory, discharge
    evaluation = "evaluation"  # reconciliation, flowsheet, consultation, laboratory panel, operative note
    all = "all"


@dataclass(kw_only=True)
class FixedPages(Source):
    """Invented clinical pages with the terms and values expected in a transcription; all are test pages."""

    prompt: str = "Extract all medical information from this clinical document."
    pages: Pages = Pages.all
    """Which of the pages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse("path", "hub", because="the fixed pages ship with the package", instead="data=mtsamples")

    def documents(self) -> Iterator[Document]:
        chosen = {Pages.benchmark: BENCHMARK, Pages.evaluation: EVALUATION, Pages.all: (*BENCHMARK, *EVALUATION)}
        for build in itertools.islice(chosen[self.pages], self.records):
            yield build()

    def content(self) -> str:
        """Return the hash of the pages, as their ids do not change with their content."""
        return hashlib.sha256(repr(list(self.documents())).encode()).hexdigest()
