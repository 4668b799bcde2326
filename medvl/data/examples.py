"""From a document to its examples: draws pages, builds prompts, counts tokens. Runs in the preparation's workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medvl.data.encoding import Encoder
from medvl.data.made import DocumentResult as DocumentResult
from medvl.data.pages import PageFolder
from medvl.data.ready import ReadyPages
from medvl.data.sources.source import Dropped
from medvl.data.wanted import wanted
from medvl.documents.render import Sheet
from medvl.documents.tasks import Asked, ask
from medvl.record.signals import leave_to_parent
from medvl.types import Document, Example, Field, TaskSpec


@dataclass(slots=True)
class ExampleBuilder:
    """Makes the examples of a document and draws their pages."""

    pages: PageFolder
    encoder: Encoder
    budget: int
    """Maximum tokens per example."""

    def __call__(self, document: Document) -> DocumentResult:
        made = DocumentResult()
        asking = document.asking
        assert asking is not None, "documents come from Source.read"
        further: list[Dropped] = []
        if document.images:
            further = ReadyPages(self.pages, self.encoder, self.budget).add(document, asking, made)
        else:
            for sheet in self.pages.render.sheets(document):
                self._page(document, asking, sheet, made)
        least = 0 if document.open else asking.min_chars
        short = [example for example in made.examples if len(example.response) < least]
        made.examples = [example for example in made.examples if len(example.response) >= least]
        reason = f"response shorter than {asking.min_chars} characters"
        made.dropped += [Dropped(example.id, reason, document.source) for example in short]
        made.dropped += further  # last: the first one says why a document without examples has none
        return made

    def _page(self, document: Document, asking: TaskSpec, sheet: Sheet, made: DocumentResult) -> None:
        number, image = made.pages + 1, self.pages.name(sheet)
        fields = _fields_on(sheet, document)
        examples = [
            self._example(document, asking, f"{number}/{one.task}", one, sheet, image)
            for one in ask(asking, sheet.text, fields, f"{document.id}/{number}")
        ]
        if asking.overlong == "split" and any(example.tokens > self.budget for example in examples):
            halves = sheet.halves()
            if len(halves) > 1:
                made.split_pages += 1
                for half in halves:
                    self._page(document, asking, half, made)
                return
        made.pages += 1
        self.pages.draw(sheet, image)
        for example in examples:
            made.admit(example, self.encoder, self.budget, asking)

    def _example(
        self, document: Document, asking: TaskSpec, name: str, one: Asked, sheet: Sheet, image: str
    ) -> Example:
        limits = {"min_pixels": self.encoder.min_pixels, "max_pixels": self.encoder.max_pixels}
        return wanted(name, one, sheet.text, document.terms, document.values).example(
            document,
            asking,
            [image],
            self.encoder.counts(one.prompt, one.response, [self.pages.render.size_px]),
            x_height_px=self.pages.render.x_height_px(sheet.font) * self.pages.render.resized(**limits),
        )


def _fields_on(sheet: Sheet, document: Document) -> list[Field]:
    """Return the facts that are on a sheet, in the document's order.

    Facts of a list entry are left out if the entry's name is on another sheet.
    """
    words: dict[int, str] = {}
    for index, part in dict.fromkeys((index, part) for row in sheet.rows for index, part, _ in row.fields):
        words[index] = words.get(index, "") + "".join(part.split())
    # A value that a page break splits counts for neither page.
    there = {index for index, said in words.items() if said == "".join(document.fields[index].value.split())}
    firsts: dict[str, int] = {}
    for index, fact in enumerate(document.fields):
        firsts.setdefault(fact.entry, index)
    return [
        document.fields[index]
        for index in sorted(there)
        if not (entry := document.fields[index].entry) or firsts[entry] in there
    ]


_builder: ExampleBuilder


def _adopt(builder: ExampleBuilder) -> None:
    global _builder
    _builder = builder
    leave_to_parent()


def _build(document: Document) -> DocumentResult:
    return _builder(document)


def build_all(builder: ExampleBuilder, documents: list[Document], workers: int) -> Iterator[DocumentResult]:
    """Yield the result of each document, in order; many documents are drawn by worker processes."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if workers < 2 or len(documents) < 256:  # starting processes costs seconds
        yield from map(builder, documents)
        return
    # Not forked: the parent already runs torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_adopt, initargs=(builder,)) as pool:
        yield from pool.map(_build, documents, chunksize=8)
