"""Pages of one's own: a folder of images, PDFs and DICOM files, alone or with labels or transcriptions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from medvl.data import dicom, pdf
from medvl.data.decoding import UnreadableImage, count_pages
from medvl.data.entities import loose_answers
from medvl.data.facts import fields_of, unnamed
from medvl.data.schema import LabelFault, Schema
from medvl.data.sources.given_splits import settled
from medvl.data.sources.label_tables import LabelTables
from medvl.data.sources.page_files import PAGES, TABLES, Known, PageFiles, is_page
from medvl.data.sources.paths import IMAGE_BYTES, stamps
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.tables import split_named
from medvl.documents.tasks import Task
from medvl.metrics.extraction import nested
from medvl.types import DateOrder, Document, PageOf

_UNKNOWN = "neither labels nor a transcription"


@dataclass(kw_only=True)
class Folder(Source):
    """Images, PDFs and the pixels of DICOM files with what is known of them.

    Labels are one JSON file a page with the same name (SROIE, FUNSD), or a table of which one column names the file.
    A .txt file of the same name is a transcription, as is the text layer of a PDF. If nothing is known of any page,
    the pages are only asked about, for the model's answers.
    """

    PLACES: ClassVar[tuple[str, ...]] = ("path", "schema")

    tasks: list[Task] = field(default_factory=lambda: [Task.transcribe, Task.json])
    schema: str | None = None
    """A JSON Schema file: which labels are asked for, in which order and of which types. None: all that there are."""
    file: str | None = None
    """Column of a table that names the file; None: the one that does is found."""
    text: str | None = None
    """Label, or column of a table, that holds the transcription."""
    group: str | None = None
    """Label, or column of a table, whose equal values are never in two splits: a patient, a visit; it is not asked
    for."""
    split_column: str | None = None
    """Label, or column of a table, that says train, val or test; None: the names of folders do, or medvl draws."""
    text_layer: bool = True
    """Whether the text layer of a PDF is taken for what its pages say."""
    dpi: int = 150
    """At which the pages of PDFs are drawn."""
    pages: int = 16
    """Most pages of one file; further ones are counted as lost."""
    kind: str = "scanned page"
    """What the pages are: receipt, referral letter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None:
            raise ValueError("data=folder names no folder. Set data.path=<a folder of images or PDFs>.")
        self._refuse("hub", because="data=folder reads local files", instead="data=image_questions")
        for name, most in (("dpi", 1200), ("pages", 1000)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValueError(f"data.{name} must lie in 1 to {most}, got {value}. Set data.{name}={min(most, 150)}.")
        place = Path(self.path)
        if place.is_file() and place.suffix.lower() not in TABLES and not is_page(place):
            raise ValueError(f"{self.path} is neither a page nor a table of labels. Set data.path=<a folder>.")
        order = None if self.schema is None else Schema.read(self.schema).dates
        if order is not None and self.dates not in (DateOrder.mdy, order):
            raise ValueError(
                f"data.dates={self.dates.name}, but data.schema says {order.name}. "
                "Leave out data.dates, or mend x-dates."
            )
        self.dates = order or self.dates

    @property
    def name(self) -> str:
        return Path(str(self.path)).resolve().name

    def documents(self) -> Iterator[Document | Dropped]:
        files = PageFiles.of(Path(str(self.path)))
        if not files.pages:
            raise ValueError(f"{self.path} holds no page ({', '.join(PAGES)}). Set data.path=<a folder that does>.")
        if any(page.suffix.lower() == ".pdf" for page in files.pages):
            pdf.check_pdf()
        if any(dicom.is_dicom(page) for page in files.pages):
            dicom.check_dicom()
        tables = LabelTables(files, self.file)
        tables.read()
        yield from tables.dropped
        schema = None if self.schema is None else Schema.read(self.schema)
        read: list[tuple[str, Document]] = []
        for page in self._chosen(files, tables):
            lost: list[Dropped] = []
            try:
                read.append((files.name(page), self._document(page, files, tables, schema, lost)))
            except (LabelFault, UnreadableImage) as error:
                lost = [Dropped(files.name(page), getattr(error, "reason", str(error)))]
            yield from lost
        yield from (Dropped(files.name(file), _unused(file)) for file in files.unused)
        yield from self._usable(read, schema)

    def _chosen(self, files: PageFiles, tables: LabelTables) -> list[Path]:
        """Return the pages to read: those of a table if it is what data.path names."""
        place = Path(str(self.path))
        named = place.is_file() and place.suffix.lower() in TABLES
        pages = [page for page in files.pages if page in tables.labels] if named else files.pages
        return pages[: self.records]

    def _usable(self, read: list[tuple[str, Document]], schema: Schema | None) -> Iterator[Document | Dropped]:
        known = [document for _, document in read if _is_known(document)]
        if not known:
            known = [document for _, document in read]
            self._ask_openly(known, schema)
        else:
            yield from (Dropped(name, _UNKNOWN) for name, document in read if not _is_known(document))
        yield from settled(known, f"{self.group} or page" if self.group else "page")

    def _ask_openly(self, documents: list[Document], schema: Schema | None) -> None:
        """Prepare pages of which nothing is known.

        Raises:
            ValueError: None of the tasks can be asked without labels.
        """
        if Task.transcribe not in self.tasks and (schema is None or Task.json not in self.tasks):
            raise ValueError(
                f"{self.path} holds no labels, and without them only a transcription, or JSON after a schema, can be "
                "asked for. Set data.tasks=[transcribe], or data.tasks=[json] data.schema=<a JSON Schema file>."
            )
        for document in documents:
            document.open = True
            if schema is not None:
                document.shape, document.schema = schema.root.shape(), schema.root.json_schema()

    def _document(
        self, page: Path, files: PageFiles, tables: LabelTables, schema: Schema | None, lost: list[Dropped]
    ) -> Document:
        """Return one file as a document.

        Args:
            lost: Takes its parts that are not used.

        Raises:
            LabelFault: Its labels cannot be used.
            UnreadableImage: It cannot be read.
        """
        name, content = files.name(page), _content_hash(page)
        known = files.known(page)
        known.labels = _joined(known.labels, tables.labels.get(page))
        groups = self._take_out(known)
        images, texts, total = self._images(page, content)
        lost += [
            Dropped(f"{name}, page {number}", "beyond data.pages", records=0)
            for number in range(len(images) + 1, total + 1)
        ]
        if known.text:
            parts = [part.strip("\n ") for part in known.text.split("\f")] if len(images) > 1 else [known.text]
            if len(parts) != len(images):
                lost.append(Dropped(name, "a transcription without a form feed between its pages", records=0))
            else:
                texts = parts
        whole = "\n".join(texts) if texts and all(texts) else known.page_text
        document = Document(
            id=f"page-{content}",
            kind=self.kind,
            layout="image",
            images=images,
            text=whole,
            split=known.split,
            file=name,
            groups=groups,
        )
        document.texts = texts if any(texts) else []
        if known.labels is not None:
            self._label(document, known.labels, schema)
            left_out = [] if schema is None else unnamed(known.labels, schema)
            lost += [
                Dropped(f"{name}, {place}", "a label that data.schema does not name", records=0) for place in left_out
            ]
            alone = loose_answers(known.labels)
            lost += [Dropped(f"{name}, {text}", "an answer that no question is linked to", records=0) for text in alone]
        return document

    def _take_out(self, known: Known) -> list[str]:
        """Move what is no fact of the page out of its labels; return the keys that it shares with others.

        Raises:
            LabelFault: Its split is none.
        """
        labels = known.labels or {}
        if self.text is not None and isinstance(labels.get(self.text), str):
            known.text = known.text or labels.pop(self.text).strip()
        if self.split_column is not None:
            known.split = split_named(labels.pop(self.split_column, None))
            if known.split is None:
                raise LabelFault("its split is none of train, val and test")
        shared = str(labels.pop(self.group, None) or "").strip() if self.group is not None else ""
        known.labels = labels or None
        return [f"{self.group}: {shared}"] if shared else []

    def _label(self, document: Document, labels: dict[str, Any], schema: Schema | None) -> None:
        document.fields = fields_of(labels, schema)
        if schema is not None:
            document.shape, document.schema = schema.root.shape(), schema.root.json_schema()
            document.answer = schema.root.filled(nested(document.fields))

    def _images(self, page: Path, content: str) -> tuple[list[bytes | str | PageOf], list[str], int]:
        """Return the pages of a file that are used, what they say if that is known, and how many it has."""
        suffix, path = page.suffix.lower(), str(page)
        if suffix == ".pdf":
            texts, total = pdf.texts_of(page, self.pages)
            texts = texts if self.text_layer else []
            return [PageOf(path, content, at, self.dpi) for at in range(min(total, self.pages))], texts, total
        if dicom.is_dicom(page):
            total = dicom.count_frames(page)
            return [PageOf(path, content, at) for at in range(min(total, self.pages))], [], total
        if suffix in (".tif", ".tiff") and (total := count_pages(page)) > 1:
            return [PageOf(path, content, at) for at in range(min(total, self.pages))], [], total
        return [path], [], 1

    def content(self) -> str:
        """Return a hash of the schema, of the files of a single one, and of what DICOM files are decoded with.

        `fingerprint` covers the files of a folder.
        """
        place = Path(str(self.path))
        schema = b"" if self.schema is None else Path(self.schema).read_bytes()
        found = PageFiles.of(place)
        files = found.all() if place.is_file() else []
        decoders = dicom.decoders() if any(dicom.is_dicom(page) for page in found.pages) else ""
        return hashlib.sha256(schema + (repr(stamps(place.parent, files)) + decoders).encode()).hexdigest()


def _is_known(document: Document) -> bool:
    return bool(document.texts or document.fields or document.shape)


def _joined(labels: dict[str, Any] | None, row: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the labels of a page's file and of its row together; the file wins."""
    return labels if row is None else row | (labels or {})


def _content_hash(page: Path) -> str:
    """Return a hash of a file, the same in every folder.

    Raises:
        UnreadableImage: It cannot be read, or is too large.
    """
    most = pdf.PDF_BYTES if page.suffix.lower() == ".pdf" else IMAGE_BYTES
    most = dicom.DICOM_BYTES if dicom.is_dicom(page) else most
    try:
        if page.stat().st_size > most:
            raise UnreadableImage(f"{page} is too large", "its image is too large")
        with page.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UnreadableImage(f"{page} cannot be read", "cannot be read") from error


def _unused(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix in (*TABLES, ".txt"):
        return "labels or text of no page"
    return f"a {suffix} file is no page" if suffix else "a file that is no page"
