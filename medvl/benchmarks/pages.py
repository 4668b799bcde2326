"""How fast pages are rendered: benchmark.py bench=pages."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.benchmarks.bench import Bench
from medvl.types import Document

if TYPE_CHECKING:
    from medvl.data.sources.source import Source
    from medvl.documents.render import Render


@dataclass(kw_only=True)
class PageBench(Bench):
    """Rendering on one core: from a document's blocks to a finished page, and on to its PNG bytes."""

    objective: ClassVar[str] = "pages_per_s"
    higher_is_better: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("pages_per_s", "pages_and_png_per_s", "page_ms_p95")

    pages: int = 200
    """Pages timed, after ten warm-up pages."""

    def __post_init__(self) -> None:
        if self.pages < 2:
            raise ValueError(f"bench.pages must be at least 2, got {self.pages}. Set bench.pages=200.")

    def run(self, source: Source, render: Render) -> dict[str, Any]:
        """Render pages of a source's documents; return every number and every sample."""
        documents = _documents(source)
        sheets_ms: list[float] = []
        draw_ms: list[float] = []
        png_ms: list[float] = []
        while len(draw_ms) < self.pages + 10:
            document = next(documents)
            started = time.perf_counter()
            sheets = list(render.sheets(document))
            laid = (time.perf_counter() - started) / max(1, len(sheets))
            for number, sheet in enumerate(sheets):
                started = time.perf_counter()
                page = render.draw(sheet, f"{document.id}/{number}")
                drawn = time.perf_counter()
                page.image.save(io.BytesIO(), format="PNG", compress_level=1)
                sheets_ms.append(1e3 * laid)
                draw_ms.append(1e3 * (drawn - started))
                png_ms.append(1e3 * (time.perf_counter() - drawn))
        pages_ms = [lay + draw for lay, draw in zip(sheets_ms[10:], draw_ms[10:], strict=True)]
        whole_ms = [page + png for page, png in zip(pages_ms, png_ms[10:], strict=True)]
        return {
            "pages": len(pages_ms),
            "pages_per_s": 1e3 * len(pages_ms) / sum(pages_ms),
            "pages_and_png_per_s": 1e3 * len(whole_ms) / sum(whole_ms),
            "page_ms_p50": statistics.median(pages_ms),
            "page_ms_p95": statistics.quantiles(pages_ms, n=20)[-1],
            "samples": {"page_ms": pages_ms, "png_ms": png_ms[10:]},
        }


def _documents(source: Source) -> Iterator[Document]:
    """Yield the source's documents that are rendered to pages, over and over.

    Raises:
        ValueError: It has none.
    """
    documents = [item for item in source.read() if isinstance(item, Document) and not item.images]
    if not documents:
        raise ValueError("data has no documents to draw. Set data=clinical_forms.")
    while True:
        yield from documents
