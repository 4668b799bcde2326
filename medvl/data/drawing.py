"""One document to its examples: pages drawn, questions asked, tokens counted. Runs on the workers of a preparation."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medvl import record
from medvl.data.encoding import Encoder, UnreadableImage, open_image
from medvl.data.source import Dropped
from medvl.documents.render import Render, Sheet
from medvl.documents.tasks import EXTRACT, Asked, ask
from medvl.measures.text import terms_in, values_in
from medvl.types import Asking, Document, Example, Field

VERSION = 3  # of drawing and asking; raised when the same input would give other examples


@dataclass(slots=True)
class Made:
    """What became of one document."""

    examples: list[Example] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    pages: int = 0
    split_pages: int = 0
    """Pages that were broken in two because an example was longer than the budget."""
    cut: int = 0
    """Examples whose response lost its end to the budget."""
    lost: int = 0
    """Examples dropped as longer than the budget."""


@dataclass(slots=True)
class Drawer:
    """Makes examples; pages go to a folder under the hash of their content, and are drawn once."""

    render: Render
    encoder: Encoder
    budget: int
    pages: Path

    def __call__(self, document: Document) -> Made:
        made = Made()
        asking = document.asking
        assert asking is not None, "documents come from Source.read"
        if document.images:
            self._questions(document, asking, made)
        else:
            for sheet in self.render.sheets(document):
                self._page(document, asking, sheet, made)
        short = [example for example in made.examples if len(example.response) < asking.min_chars]
        made.examples = [example for example in made.examples if len(example.response) >= asking.min_chars]
        reason = f"response shorter than {asking.min_chars} characters"
        made.dropped += [Dropped(example.id, reason, document.source) for example in short]
        return made

    def _page(self, document: Document, asking: Asking, sheet: Sheet, made: Made) -> None:
        number = made.pages + 1
        fields = _fields_on(sheet, document)
        examples = [
            self._example(document, f"{number}/{one.task}", one, asking, sheet)
            for one in ask(asking, sheet.text, fields, f"{document.id}/{number}")
        ]
        for example in examples:
            self.encoder.measure(example, [self.render.size_px])
        if asking.overlong == "split" and any(example.tokens > self.budget for example in examples):
            halves = sheet.halves()
            if len(halves) > 1:
                made.split_pages += 1
                for half in halves:
                    self._page(document, asking, half, made)
                return
        made.pages += 1
        name = self._drawn(sheet)
        for example in examples:
            example.images = [name]
            self._admit(example, asking, made)

    def _example(self, document: Document, name: str, one: Asked, asking: Asking, sheet: Sheet) -> Example:
        limits = {"min_pixels": self.encoder.min_pixels, "max_pixels": self.encoder.max_pixels}
        scored = one.task in ("transcribe", "extract", "json")
        names = [entry.value for entry in one.fields if entry.type == "name"]
        expected = document.values if document.values is not None else values_in(one.response)
        flat = " ".join(sheet.text.split())
        return Example(
            id=f"{document.id}/{name}",
            document=document.id,
            split=str(document.split),
            images=[],
            prompt=one.prompt,
            response=one.response,
            source=document.source,
            kind=document.kind,
            layout=document.layout,
            task=one.task,
            page_text=sheet.text,
            fields=one.fields,
            terms=terms_in(flat, document.terms or list(dict.fromkeys(names))) if scored else [],
            values=[value for value in expected if value in flat] if scored else [],
            x_height_px=self.render.x_height_px(sheet.font) * self.render.resized(**limits),
        )

    def _admit(self, example: Example, asking: Asking, made: Made) -> None:
        if example.tokens > self.budget and asking.overlong == "cut":
            made.cut += self.encoder.cut(example, self.budget)
        if example.tokens > self.budget:
            made.lost += 1
            made.dropped.append(Dropped(example.id, f"longer than {self.budget} tokens", example.source))
        else:
            made.examples.append(example)

    def _questions(self, document: Document, asking: Asking, made: Made) -> None:
        try:
            names, sizes_px = zip(*map(self._kept, document.images), strict=True)
        except UnreadableImage as error:
            # Without its file's name or size, so that like reasons count together.
            reason = re.sub(r"^.*?( is not an image| cannot be read)", r"an image\1", str(error))
            made.dropped.append(Dropped(document.id, reason, document.source))
            return
        made.pages += len(names)
        for number, (question, answer) in enumerate(document.questions, 1):
            example = Example(
                id=f"{document.id}/{number}", document=document.id, split=str(document.split), images=list(names),
                prompt=question, response=answer, source=document.source, kind=document.kind,
                layout=document.layout, task=_task(document, asking, question, answer), page_text=document.text,
            )  # fmt: skip
            try:
                self.encoder.measure(example, list(sizes_px))
            except ValueError as error:  # an image of impossible proportions
                made.dropped.append(Dropped(example.id, str(error), document.source))
                continue
            self._admit(example, asking, made)

    def spilled(self, image: bytes | str) -> bytes | str:
        """Store the bytes of an image as they came, so that they need not stay in memory; return its path.

        What is no image keeps its bytes, and is dropped with a reason later.
        """
        from PIL import Image

        if isinstance(image, str):
            return image
        try:
            with Image.open(io.BytesIO(image)) as encoded:
                suffix = str(encoded.format).lower()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return image
        path = self.pages / f"{hashlib.sha256(image).hexdigest()[:24]}.{suffix}"
        if not path.exists():
            record.write_bytes(path, image)
        return str(path)

    def _kept(self, image: bytes | str) -> tuple[str, tuple[int, int]]:
        """Store an image if it is not stored yet; return its name and (height, width)."""
        decoded = open_image(image)
        path = Path(image) if isinstance(image, str) else None
        if path is None or path.parent != self.pages:
            path = Path(str(self.spilled(path.read_bytes() if path else image)))
        return path.name, (decoded.height, decoded.width)

    def _drawn(self, sheet: Sheet) -> str:
        """Draw a page once, its boxes beside it; a kill never leaves half a file under its name."""
        key = digest(f"{VERSION}{asdict(self.render)}{sheet.font}{sheet.rows}")
        path = self.pages / f"{key}.png"
        if not path.exists():
            page, encoded = self.render.draw(sheet, key), io.BytesIO()
            page.image.save(encoded, format="PNG", compress_level=1)
            boxes = json.dumps({"lines": page.lines, "fields": page.fields}, ensure_ascii=False)
            record.write_bytes(path.with_suffix(".json"), boxes.encode())
            record.write_bytes(path, encoded.getvalue())
        return path.name


def _task(document: Document, asking: Asking, question: str, answer: str) -> str:
    """Name what is asked about a ready image; where its text is known, it is a page."""
    if not document.text:
        return "caption" if question == asking.prompt else "vqa"
    if answer != document.text:
        return "question"
    return "extract" if question in EXTRACT else "transcribe"


def _fields_on(sheet: Sheet, document: Document) -> list[Field]:
    """Return the facts that stand on a sheet, in the document's order.

    An entry of a list whose name stands on another sheet says nothing on this one.
    """
    words: dict[int, str] = {}
    for index, part in dict.fromkeys((index, part) for row in sheet.rows for index, part, _ in row.fields):
        words[index] = words.get(index, "") + "".join(part.split())
    # A value that a page break cuts is stated by neither page.
    there = {index for index, said in words.items() if said == "".join(document.fields[index].value.split())}
    firsts: dict[str, int] = {}
    for index, fact in enumerate(document.fields):
        firsts.setdefault(fact.entry, index)
    return [
        document.fields[index]
        for index in sorted(there)
        if not (entry := document.fields[index].entry) or firsts[entry] in there
    ]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


_drawer: Drawer


def _adopt(drawer: Drawer) -> None:
    """Start a worker; it ends with its parent, even where that was killed and could not say so."""
    import multiprocessing
    import threading
    from multiprocessing import connection

    global _drawer
    _drawer = drawer
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw(document: Document) -> Made:
    return _drawer(document)


def draw_all(drawer: Drawer, documents: list[Document], workers: int) -> Iterator[Made]:
    """Yield what became of each document, in order; many documents are drawn by worker processes."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if workers < 2 or len(documents) < 256:  # starting processes costs seconds
        yield from map(drawer, documents)
        return
    # Not forked: the parent already runs torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_adopt, initargs=(drawer,)) as pool:
        yield from pool.map(_draw, documents, chunksize=8)
