"""The interface of every data set: it yields documents one at a time, and the records it had to drop."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from medvl.data.sources import hub_rows, tables
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.paths import files_inside, stamps
from medvl.documents.tasks import TRANSCRIBE, Task
from medvl.types import DateOrder, Document, TaskSpec

READING = 4  # part of every key; increase it when the same files would give other records


class Overlong(Enum):
    """What happens to a page whose example exceeds the token budget."""

    split = "split"  # its text is spread over more pages
    drop = "drop"
    cut = "cut"  # the end of its response is never learned, as in the baseline project


class NearDuplicates(Enum):
    """What happens to near-duplicate documents."""

    together = "together"  # they go to the same split
    report = "report"  # they are only counted where they are in different splits


@dataclass(kw_only=True)
class Source:
    """A data set: the `data` config group. To add one, see CONTRIBUTING.md."""

    PLACES: ClassVar[tuple[str, ...]] = ("path",)
    """Options that name files: what those hold counts, not where they lie."""

    path: str | None = None
    """A local file or folder."""
    hub: str | None = None
    """A data set id on the hub; `path` wins over it."""
    prompt: str = TRANSCRIBE
    """Prompt for transcribing a drawn page."""
    tasks: list[Task] = field(default_factory=lambda: [Task.transcribe])
    """What is asked about a drawn page; all but transcribe need its fields."""
    per_page: int | None = None
    """Number of these tasks to draw at random per page; None: all that the page supports."""
    records: int | None = None
    """Number of records to read, from the first on; a streamed set is not read further. None: all."""
    streaming: bool = False
    """Read a hub data set over the network as it goes, instead of downloading it first."""
    limit: int | None = None
    """Number of documents, in the proportions of the splits; a document keeps the split it has in the full set."""
    min_chars: int = 1
    """Examples whose response is shorter are dropped and counted."""
    overlong: Overlong = Overlong.split
    """What happens to a page that is too long for the token budget."""
    near_duplicates: NearDuplicates = NearDuplicates.together
    """What happens to documents that are nearly the same."""
    dates: DateOrder = DateOrder.mdy
    """How its documents write dates; says which dates of an answer are right."""
    seed: int = 42
    """Seed of the split by document: 80 % train, 10 % val, 10 % test."""

    def __post_init__(self) -> None:
        if self.path is not None and not Path(self.path).exists():
            raise ValueError(f"there is no file or folder {self.path}. Set data.path=<an existing one>.")
        if not self.tasks:
            raise ValueError("data.tasks is empty. Set data.tasks=[transcribe].")
        for name in ("limit", "records", "min_chars", "per_page"):
            value = getattr(self, name)
            if value is not None and value < 1:
                mended = 1 if name == "min_chars" else "null"
                raise ValueError(f"data.{name} must be positive, got {value}. Set data.{name}={mended}.")
        if self.seed < 0:
            raise ValueError(f"data.seed must not be negative, got {self.seed}. Set data.seed=42.")

    @property
    def name(self) -> str:
        """Name of this data set in prepared.json."""
        return type(self).__name__

    @property
    def most(self) -> int | None:
        """The most documents that it yields; None: known only after reading."""
        return None

    def read(self) -> Iterator[Document | Dropped]:
        """Yield the items of `documents` without repeats, each with its source's name and its tasks."""
        asking = TaskSpec(
            prompt=self.prompt,
            tasks=tuple(task.name for task in self.tasks),
            per_page=self.per_page,
            min_chars=self.min_chars,
            overlong=self.overlong.name,
            dates=self.dates.name,
        )
        seen: set[str] = set()
        for item in self.documents():
            if isinstance(item, Document) and item.id in seen:
                item = Dropped(item.id, "repeats an earlier record", item.source, item.records)
            item.source = item.source or self.name
            if isinstance(item, Document):
                seen.add(item.id)
                item.asking = item.asking or asking
            yield item

    def documents(self) -> Iterator[Document | Dropped]:
        """Yield the records in the order of the source, dropped and repeated ones included.

        Raises:
            ValueError: The source as a whole cannot be read.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a string that changes with the records and the options, but not with the location of local files."""
        options = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in self.PLACES}
        place = self._local()
        listed = [] if place is None else stamps(place, files_inside(place))
        return f"{type(self).__name__}:{READING}:{options}:{listed}:{self.content()}{self._code()}"

    def _code(self) -> str:
        """Return a hash of the module of a class that is not of this package; other classes have READING."""
        if type(self).__module__.startswith("medvl."):
            return ""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""

    def content(self) -> str:
        """Return a hash of what else the records depend on: files that ship with the package, generator code."""
        return ""

    def _refuse(self, *names: str, because: str, instead: str) -> None:
        """Refuse options that would have no effect here.

        Raises:
            ValueError: One of them is set.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None:
                raise ValueError(f"{because}, got data.{name}={value}. Leave out data.{name}, or set {instead}.")

    def rows(self, *named: str) -> Iterator[dict[str, Any] | Dropped]:
        """Yield the rows of the hub data set, or of a local file or folder, each with its `_split`.

        Texts and numbers are as they are written. Images stay encoded, so that a broken one loses its own record
        only, not the whole data set.

        Args:
            named: Columns that are read.

        Raises:
            ValueError: The data set is missing, unreachable or unreadable; the message quotes no row.
        """
        place = self._local()
        if place is not None:
            read = tables.rows(place, named)
        else:
            read = hub_rows.rows(str(self.hub), named, streaming=self.streaming)
        yield from itertools.islice(read, self.records)

    def _local(self) -> Path | None:
        """Return the file or folder that is read; a hub id may also name a folder."""
        place = self.path if self.path is not None else self.hub
        return Path(place) if place is not None and Path(place).exists() else None
