"""MTSamples: 2,377 medical transcription reports, credit www.mtsamples.com.

The same documents come in three forms: JSON lines, the Kaggle CSV, and a data set on the hub. With neither path nor
hub id, the source reads the 60 documents that ship with the package (medvl/data/embedded).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from medvl.data.sources.csv_rows import columns_text, csv_rows, text_lines
from medvl.data.sources.source import Dropped, Source
from medvl.data.sources.tables import split_named
from medvl.model.prompt import normalized
from medvl.types import Document

EMBEDDED = resources.files("medvl.data") / "embedded" / "mtsamples.jsonl"
_CLOSING, _QUOTES = "\u201d\u2019\u00bb)]}", "\"',\u201c\u2018\u00ab"
_NEAR = 99  # characters beside a comma that can tell what it is
_HEADING = re.compile(r"[A-Z][A-Z0-9 /&()'#.-]{2,60}:")
# A comma after a heading or a sentence, where prose has none
_JOINED = re.compile(r":\s*,|[.?!)],(?=[A-Z*])|[A-Z]{4},(?=[A-Z][a-z])")


@dataclass(kw_only=True)
class MTSamples(Source):
    """Medical transcription reports as text; a record's keywords are its terms.

    The site lists a report under up to five specialties: it is read once, its repetitions are counted as dropped.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None and Path(self.path).suffix not in (".jsonl", ".csv"):
            raise ValueError(f"data.path of MTSamples must be a .jsonl or .csv file, got {self.path}.")

    def documents(self) -> Iterator[Document | Dropped]:
        for number, record in enumerate(itertools.islice(self._records(), self.records), 1):
            if isinstance(record, Dropped):
                yield record
                continue
            text = record.get("transcription")
            name = str(record.get("sample_name") or f"record {number}").strip()
            if text is not None and not isinstance(text, str):
                yield Dropped(name, "text is not a string")
                continue
            text = normalized(text or "").strip()
            if not text:
                yield Dropped(name, "no text")
                continue
            yield Document(
                id=document_id(text),
                kind="transcribed report",
                text=text,
                terms=_terms(record.get("keywords")),
                split=split_named(record.get("split")),
            )

    def content(self) -> str:
        """Return the hash of the reports that ship with the package, if those are read."""
        return hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() if (self.path or self.hub) is None else ""

    def _records(self) -> Iterator[dict[str, Any] | Dropped]:
        if self.path is not None:
            read = _csv_records if self.path.endswith(".csv") else _json_records
            yield from read(Path(self.path))
        elif self.hub is not None:
            for row in self.rows("text", "transcription"):
                if isinstance(row, Dropped):
                    yield row
                    continue
                text = row.get("text") or row.get("transcription")
                yield {**row, "transcription": restore(text) if isinstance(text, str) else text}
        else:
            with resources.as_file(EMBEDDED) as path:
                yield from _json_records(path)


def document_id(text: str) -> str:
    """Return the id of a report: a hash of its letters and digits only, so that all three forms agree."""
    letters = re.sub(r"[^a-z0-9]", "", text.lower())
    return "mts-" + hashlib.sha256(letters.encode()).hexdigest()[:16]


def restore(text: str) -> str:
    """Restore the line breaks of the comma-joined Kaggle form; other texts are returned as they are.

    That form joins the text nodes of a report's HTML by commas, so a comma can be a real one, the end of a bold
    heading, or a line break, with nothing to tell them apart. The rule below agrees with the site's HTML on 98,398
    of the 98,755 commas of the 2,376 distinct reports, 99.6 % (measured by tests/data/test_mtsamples.py):

        followed by a blank, after a colon      end of a heading: dropped
        followed by a blank, otherwise          a real comma
        between digits, before a quote, comma
        or closing bracket                      a real comma
        after a colon and a blank, before text
        that is not a heading itself            end of a heading: dropped
        otherwise                               a line break
    """
    if "\n" in text or "\r" in text or not _JOINED.search(text):
        return text
    restored = re.sub(",", lambda comma: _meaning(text, comma.start()), text)
    return re.sub(r"[ \t]+\n", "\n", restored).strip()


def _meaning(text: str, at: int) -> str:
    """Return what the comma at a position stands for: itself, a line break, or nothing."""
    before, after = text[max(0, at - _NEAR) : at], text[at + 1 : at + 1 + _NEAR]
    left, right = before.rstrip()[-1:], after[:1]
    if not left or not right:
        return ""
    if right.isspace():
        return "" if left == ":" else ","
    if (before[-1:].isdigit() and right.isdigit()) or right in _CLOSING or (left.isalnum() and right in _QUOTES):
        return ","
    if right == ":" or (left == ":" and before[-1:].isspace() and right.isalpha() and not _HEADING.match(after)):
        return ""
    return "\n"


def _terms(keywords: Any) -> list[str]:
    """Return the distinct keywords of a record; those of one or two characters are left out."""
    if not isinstance(keywords, str):
        return []
    words = (word.strip() for word in keywords.split(","))
    return list(dict.fromkeys(word for word in words if len(word) > 2))


def _json_records(path: Path) -> Iterator[dict[str, Any] | Dropped]:
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            yield Dropped(f"line {number}", "not JSON")
            continue
        yield record if isinstance(record, dict) else Dropped(f"line {number}", "not a JSON object")


def _csv_records(path: Path) -> Iterator[dict[str, Any] | Dropped]:
    for row in csv_rows(path, ("transcription",)):
        if isinstance(row, Dropped):
            yield row
            continue
        if "transcription" not in row:
            raise ValueError(
                f"{path} has no column 'transcription'; it has {columns_text(row)}. Name the column of the reports so."
            )
        yield {**row, "transcription": restore(row["transcription"] or "")}
