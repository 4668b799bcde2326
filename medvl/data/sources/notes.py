"""Notes of one's own, drawn as pages: a column of a table, text files, C-CDA and FHIR documents."""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.data.sources.csv_rows import columns_text
from medvl.data.sources.given_splits import settled
from medvl.data.sources.note_files import is_note, note_files, notes_of
from medvl.data.sources.source import Dropped
from medvl.data.sources.tables import by_split, is_table
from medvl.data.sources.tabular import CONVERSED, LOOKED_AT, Tabular
from medvl.model.prompt import normalized
from medvl.types import Block, Document

log = logging.getLogger(__name__)

_NOTES = (
    "note", "notes", "clinical_note", "note_text", "text", "transcription", "report", "report_text", "body", "content",
    "narrative", "document", "findings", "full_text", "discharge_summary", "history",
)  # fmt: skip


@dataclass(kw_only=True)
class Notes(Tabular):
    """Texts, each a document; headings in capitals before a colon, and titles of sections, become bold.

    A folder with text files, C-CDA documents (.xml) or FHIR resources is read as such, tables beside them are not.
    """

    column: str | None = None
    """Column of the note; None: found by its name."""
    kind: str = "clinical note"
    """What the notes are."""

    def documents(self) -> Iterator[Document | Dropped]:
        read: list[Document] = []
        for item in self._drawn_notes():
            if isinstance(item, Dropped):
                yield item
            else:
                read.append(item)
        yield from settled(read, self.group or "patient or its text")

    def _drawn_notes(self) -> Iterator[Document | Dropped]:
        place = self._local()
        files, left_out = ([], []) if place is None else note_files(place)
        if place is None or not files:
            yield from self._of_rows()
            return
        for name in ("column", "group", "split_column"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"data.{name} names a column, and {place} holds notes as files, which have none; folders named "
                    f"train, val and test give the splits. Leave out data.{name}, or set data.path=<a table>."
                )
        yield from itertools.islice(self._of_files(place, files), self.records)
        for file in left_out if self.records is None else ():
            yield Dropped(file.relative_to(place).as_posix(), "a note outside of the folders train, val and test")

    def _of_files(self, place: Path, files: list[tuple[str | None, Path]]) -> Iterator[Document | Dropped]:
        for split, file in files:
            name = file.relative_to(place).as_posix() if file != place else file.name
            for note in notes_of(file, name):
                if isinstance(note, Dropped):
                    yield note
                    continue
                said, patients = note.narrative, note.narrative.patients
                yield self._drawn(note.name, said.text, split, patients, [] if said.is_plain else said.blocks)
                yield from (Dropped(note.name, reason, records=0) for reason in note.lost)
        for _, file in by_split(place, is_table) if place.is_dir() else ():
            if not is_note(file):
                yield Dropped(file.relative_to(place).as_posix(), "a table beside the notes")

    def _of_rows(self) -> Iterator[Document | Dropped]:
        column = self._column()
        for number, row in enumerate(self.rows(*filter(None, (column, self.group, self.split_column))), 1):
            if isinstance(row, Dropped):
                yield row
                continue
            text = row.get(column)
            if text is not None and not isinstance(text, str):
                yield Dropped(f"row {number}", "a note that is no text")
                continue
            try:
                yield self._drawn(f"row {number}", text or "", self.split_of(row), self.keys_of(row), [])
            except KeyError as error:
                yield Dropped(f"row {number}", error.args[0])

    def _drawn(
        self, name: str, text: str, split: str | None, keys: Iterable[str], blocks: list[Block]
    ) -> Document | Dropped:
        text = normalized(text).strip()
        if not text:
            return Dropped(name, "no text")
        identity = note_id(text)
        groups = list(dict.fromkeys((identity, *keys)))
        return Document(id=identity, kind=self.kind, text=text, blocks=blocks, groups=groups, split=split)

    def _column(self) -> str:
        """Return the column of the notes; empty if no row is whole.

        Raises:
            ValueError: It is unclear, or missing.
        """
        self.check_table(also=" and no notes (.txt, C-CDA as .xml, FHIR)")
        held: dict[str, Any] = {}
        for row in itertools.islice(self.rows(), LOOKED_AT):
            held |= {} if isinstance(row, Dropped) else {name: None for name in row if not name.startswith("_")}
        if not held:
            return ""
        self.check_columns(held, "column")
        if self.column is not None:
            return self.column
        names = {name.lower(): name for name in held}
        found = [names[name] for name in _NOTES if name in names]
        if not found and CONVERSED & held.keys():
            raise ValueError(f"data set {self.place} holds conversations. Set data=json data.path={self.place}.")
        if not found:
            raise ValueError(
                f"data set {self.place}: no column has a known name for the note: {columns_text(held)}. "
                "Set data.column=<one of them>."
            )
        if len(found) > 1:
            log.info("the notes are in column %r; data.column=%s takes another one", found[0], found[1])
        return found[0]


def note_id(text: str) -> str:
    """Return the id of a note: a hash of its letters and digits only, so that all forms of a data set agree."""
    letters = re.sub(r"[\W_]+", "", text.casefold())
    return "note-" + hashlib.sha256((letters or text).encode()).hexdigest()[:16]
