"""Notes that are files: plain text, C-CDA documents, and the documents among FHIR resources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.data.sources.archives import json_values
from medvl.data.sources.clinical_values import clean
from medvl.data.sources.csv_rows import open_text, text_lines
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.entries import SUFFIXES as JSON
from medvl.data.sources.entries import Entry, entries
from medvl.data.sources.fhir import concept, items, part
from medvl.data.sources.fhir_texts import attached_text
from medvl.data.sources.narrative import Narrative, NoNarrative, clinical_document, xhtml
from medvl.data.sources.paths import files_inside
from medvl.data.sources.tables import is_hidden, split_named
from medvl.data.sources.unpacking import Unpacked, suffix_of
from medvl.types import Heading, Text

PLAIN, XML = (".txt", ".text"), (".xml", ".cda", ".ccd")
LARGEST = 2**24  # bytes of a document
_VOID = ("entered-in-error", "superseded", "cancelled")


@dataclass(slots=True)
class Note:
    """The words of one record."""

    name: str
    narrative: Narrative
    lost: list[str]
    """Why parts of it are not among its words."""


def is_note(path: Path) -> bool:
    """Whether a file is a note, or holds FHIR resources, and not a table."""
    suffix = suffix_of(path.name)
    if suffix not in JSON:
        return suffix in PLAIN + XML
    try:
        with open_text(path) as text:
            first = next((value for value in itertools.islice(json_values(text), 3) if isinstance(value, dict)), None)
    except ValueError:  # reported when it is read as a table
        return False
    return first is not None and "resourceType" in first


def note_files(place: Path) -> tuple[list[tuple[str | None, Path]], list[Path]]:
    """Return the notes below a folder, or the one file, each with the split that a folder around it is named after.

    The name of a note says nothing: it may be about a stress test. If some notes are in such folders, the others
    are left out.

    Returns:
        The notes to read, and those left out.
    """
    if place.is_file():
        return ([(None, place)] if is_note(place) else []), []
    files = sorted(file for file in files_inside(place) if not is_hidden(file.relative_to(place)) and is_note(file))
    found = [(_split_of(file.parent.relative_to(place)), file) for file in files]
    if not any(split for split, _ in found):
        return found, []
    return [one for one in found if one[0]], [file for split, file in found if not split]


def _split_of(folder: Path) -> str | None:
    return next((split for part in reversed(folder.parts) if (split := split_named(part))), None)


def notes_of(path: Path, name: str) -> Iterator[Note | Dropped]:
    """Yield the notes of a file.

    Args:
        name: Of the file in messages.
    """
    if suffix_of(path.name) in JSON:
        for entry in entries(path):
            yield _of_resource(entry, f"{name}{entry.name.removeprefix(path.name)}")
        return
    try:
        if suffix_of(path.name) in XML:
            yield Note(name, clinical_document(_content(path)), [])
        else:
            yield Note(name, Narrative([Text(line) for line in _plain(path).splitlines()]), [])
    except NoNarrative as error:
        yield Dropped(name, str(error))
    except (ValueError, OSError):
        yield Dropped(name, "a file that is empty, not UTF-8 or cannot be read")


def _plain(path: Path) -> str:
    cut: list[str] = []
    text = "".join(text_lines(path, cut))
    if cut:
        raise ValueError(cut[0])
    return text


def _content(path: Path) -> bytes:
    """Return the content of a file that may be compressed.

    Raises:
        NoNarrative: It is too large, or cut off.
    """
    with Unpacked(path) as file:
        content = bytearray()
        while chunk := file.read(2**20):
            content += chunk
            if len(content) > LARGEST:
                raise NoNarrative(f"more than {LARGEST:,} bytes")
        if file.cut:
            raise NoNarrative("not XML, or cut off")
    return bytes(content)


def _of_resource(entry: Entry, name: str) -> Note | Dropped:
    """Return a document among FHIR resources: a Composition, or the plain text of a DocumentReference."""
    if entry.reason or entry.type not in ("Composition", "DocumentReference"):
        return Dropped(name, entry.reason or "a FHIR resource that is no document")
    if {entry.content.get("status"), entry.content.get("docStatus")} & set(_VOID):
        return Dropped(name, "a document that is superseded or an error")
    subject = part(entry.content, "subject").get("reference")
    found = Narrative(patients=[f"patient: {clean(subject)}"] if clean(subject) else [])
    lost: list[str] = []
    if entry.type == "Composition":
        title = clean(entry.content.get("title")) or clean(concept(part(entry.content, "type")))
        _sections(entry.content, found, lost)
    else:
        title = ""
        for content in items(entry.content, "content"):
            text = attached_text(part(content, "attachment"))
            found.blocks += [Text(line) for line in (text or "").splitlines()]
            lost += [] if text else ["an attachment that is not plain text in the resource itself"]
    if not found.text.strip():
        return Dropped(name, lost[0] if lost else "a document without narrative")
    if title:
        found.blocks.insert(0, Heading(title, level=1))
    return Note(name, found, lost)


def _sections(holder: dict[str, Any], found: Narrative, lost: list[str], depth: int = 0) -> None:
    """Add the sections of a Composition, and those in them."""
    for section in items(holder, "section"):
        div = part(section, "text").get("div")
        title = clean(section.get("title")) or clean(concept(part(section, "code")))
        begun = len(found.blocks)
        try:
            if isinstance(div, str):
                found.blocks += xhtml(div)
        except NoNarrative as error:
            lost.append(f"a section with {error}")
        if depth < 9:
            _sections(section, found, lost, depth + 1)
        if len(found.blocks) == begun:
            lost.append("a section without narrative")
        elif title:
            found.blocks.insert(begun, Heading(title))
