"""The files of a folder of pages: which are pages, and which files belong to a page by their name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvl.data.dicom import DICOM_SUFFIXES, is_dicom
from medvl.data.entities import is_form, text_of_form
from medvl.data.json_text import json_in
from medvl.data.schema import LabelFault
from medvl.data.sources.paths import files_inside
from medvl.data.sources.tables import is_hidden, split_of

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2")
PAGES = (*IMAGES, ".pdf", *DICOM_SUFFIXES)
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_BESIDE = (".json", ".txt")
_LABEL_BYTES = 2**24  # maximum of one file of labels
_BOX = re.compile(r"(?:-?\d+(?:\.\d+)?,){8}(.*)")  # a line of SROIE's text files: four corners, then the text


@dataclass(slots=True)
class Known:
    """What is known of a page file."""

    labels: dict[str, Any] | None = None
    text: str = ""
    """Its transcription; pages are parted by form feeds."""
    page_text: str = ""
    """All words on it, in an order that need not be that of reading."""
    split: str | None = None


@dataclass(slots=True)
class PageFiles:
    """The files below a folder, or those that belong to one file."""

    root: Path
    pages: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    unused: list[Path] = field(default_factory=list)
    beside: dict[Path, list[Path]] = field(default_factory=dict)
    """Files of labels and transcriptions, by their page."""

    @classmethod
    def of(cls, place: Path) -> PageFiles:
        """List a folder, at any depth; or a page file, with what lies beside it; or a table of labels."""
        root = place if place.is_dir() else place.parent
        if place.is_dir() or place.suffix.lower() in TABLES:
            files = [file for file in files_inside(root) if not _hidden(file.relative_to(root))]
        else:
            files = sorted(file for file in root.iterdir() if file.is_file() and file.stem == place.stem)
        pages = {file for file in files if is_page(file)}
        found = cls(root, [file for file in files if file in pages])
        if place in pages:
            found.pages = [place]
        found._assign([file for file in files if file not in pages])
        if place.is_file():
            found.tables = [place] if place.suffix.lower() in TABLES else []
            found.unused = []
        return found

    def _assign(self, others: list[Path]) -> None:
        """Sort files that are no pages: those named like a page, tables, and files that are not used."""
        named: dict[str, list[Path]] = {}
        for page in self.pages:
            for name in {page.stem, page.name}:
                named.setdefault(name, []).append(page)
        for file in others:
            suffix = file.suffix.lower()
            owners = self._nearest(file, named.get(file.stem, [])) if suffix in _BESIDE else []
            for page in owners:
                self.beside.setdefault(page, []).append(file)
            if not owners:
                (self.tables if suffix in TABLES and file.stem not in named else self.unused).append(file)

    def _nearest(self, file: Path, pages: list[Path]) -> list[Path]:
        """Return the pages of a file's name that are nearest in the tree of folders, of its own split."""
        mine = [page for page in pages if self.split(page) == self.split(file)]
        near = {page: _shared(page, file) for page in mine}
        return [page for page, depth in near.items() if depth == max(near.values())]

    def all(self) -> list[Path]:
        return [*self.pages, *self.tables, *self.unused, *(file for files in self.beside.values() for file in files)]

    def split(self, file: Path) -> str | None:
        """Return the split that the names of a file's folders tell."""
        return split_of(file.relative_to(self.root).parent)

    def name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def known(self, page: Path) -> Known:
        """Read what lies beside a page.

        Raises:
            LabelFault: A file cannot be read, or two files say the same of it.
        """
        found = Known(split=self.split(page))
        for file in self.beside.get(page, ()):
            text = _text_of(file)
            labels = _object_in(text)
            if labels is None and file.suffix.lower() == ".json":
                raise LabelFault("its file of labels is not a JSON object")
            if labels is not None and found.labels is not None:
                raise LabelFault("two files of labels have its name")
            if labels is None and found.text:
                raise LabelFault("two transcriptions have its name")
            if labels is None:
                found.text = _transcription(text)
            else:
                found.labels = labels
                found.page_text = text_of_form(labels) if is_form(labels) else ""
        return found


def is_page(file: Path) -> bool:
    """Whether a file is a page by its suffix, or is DICOM without one."""
    return file.suffix.lower() in PAGES or is_dicom(file)


def _hidden(path: Path) -> bool:
    return is_hidden(path) or path.name in ("Thumbs.db", "desktop.ini")


def _shared(one: Path, other: Path) -> int:
    """Return how many folders two files share, from the top."""
    parts = zip(one.parent.parts, other.parent.parts, strict=False)
    return next((at for at, (mine, its) in enumerate(parts) if mine != its), min(len(one.parts), len(other.parts)))


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as content:
            raw = content.read(_LABEL_BYTES + 1)
    except OSError as error:
        raise LabelFault("its file of labels cannot be read") from error
    if len(raw) > _LABEL_BYTES:
        raise LabelFault("its file of labels is too large")
    try:
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelFault("its file of labels is not UTF-8") from error


def _object_in(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a file holds, its numbers as they are written; a list is the object's `entries`."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    said = json_in(text)
    return {"entries": said} if isinstance(said, list) else said


def _transcription(text: str) -> str:
    """Return a transcription in lines without blanks at their ends; of SROIE's text files the text alone."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    boxed = [_BOX.fullmatch(line) for line in lines if line]
    if boxed and all(boxed):
        lines = [found[1] for found in boxed if found]
    return "\n".join(lines).strip("\n ")
