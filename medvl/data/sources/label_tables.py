"""Tables of labels: rows of a CSV or JSON file of which one column names a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvl.data.json_text import json_in
from medvl.data.sources.csv_rows import columns_text
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.page_files import PageFiles
from medvl.data.sources.tables import rows_of
from medvl.data.sources.tabular import LOOKED_AT

_KEY = "file"  # of the rows of an object whose keys are the names of files
_WHOLE_BYTES = 2**26  # maximum of such an object


@dataclass(slots=True)
class LabelTables:
    """The labels that tables hold, by page."""

    files: PageFiles
    column: str | None
    """The column that names the file; None: it is found."""
    labels: dict[Path, dict[str, Any]] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    _names: dict[str, list[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for page in self.files.pages:
            for name in {self.files.name(page), page.name, page.stem}:
                self._names.setdefault(name, []).append(page)

    def read(self) -> None:
        """Read all tables.

        Raises:
            ValueError: The only table has no such column, or several; or one is damaged as a whole.
        """
        others: dict[Path, str] = {}
        for table in self.files.tables:
            rows = list(_rows(table))
            column, fault = self._file_column(table, rows)
            if column is None:
                others[table] = fault
            else:
                self._take(table, column, rows)
        if others and not self.labels and (self.column is not None or not self.files.beside):
            raise ValueError(next(iter(others.values())))
        self.files.unused += others

    def _file_column(self, table: Path, rows: list[Any]) -> tuple[str | None, str]:
        """Return the column that names files, or else what is wrong.

        Raises:
            ValueError: Several columns do.
        """
        shown = [row for row in rows if isinstance(row, dict)][:LOOKED_AT]
        columns = dict.fromkeys(key for row in shown for key in row)
        has = f"{self.files.name(table)} has {columns_text(columns)}"
        if self.column is not None:
            return (self.column, "") if self.column in columns else (None, f"{has}. Set data.file=<one of them>.")
        naming = []
        for column in columns:
            values = [row.get(column) for row in shown if row.get(column)]
            hits = sum(self._page(table, value) is not None for value in values)
            naming += [column] if values and 2 * hits >= len(values) else []
        if len(naming) == 1:
            return naming[0], ""
        if naming:
            raise ValueError(
                f"the columns {', '.join(naming)} of {self.files.name(table)} name files. Set data.file=<one>."
            )
        return None, (
            f"no column of {self.files.name(table)} names the files of {self.files.root}: {has}. "
            "Set data.file=<the column that does>, or remove the table."
        )

    def _page(self, table: Path, value: Any) -> Path | None:
        """Return the page that a value names: by its path from the folder or the table, its name or its stem."""
        if not isinstance(value, str) or not value.strip():
            return None
        name = value.strip().replace("\\", "/").removeprefix("./")
        beside = self.files.name(table.parent / name) if not name.startswith("/") else name
        for known in (name, beside, name.rpartition("/")[2]):
            if len(found := self._names.get(known, [])) == 1:
                return found[0]
        return None

    def _take(self, table: Path, column: str, rows: list[Any]) -> None:
        for number, row in enumerate(rows, 1):
            place = f"{self.files.name(table)}, row {number}"
            if isinstance(row, Dropped):
                self.dropped.append(Dropped(f"{self.files.name(table)}, {row.record}", row.reason))
                continue
            page = self._page(table, row.get(column))
            if page is None:
                self.dropped.append(Dropped(place, "a row whose file is not there, or not the only one of its name"))
            elif page in self.labels:
                self.dropped.append(Dropped(place, "a further row about the same file", records=0))
            else:
                self.labels[page] = {key: _parsed(value) for key, value in row.items() if key and key != column}


def _rows(table: Path) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the rows of a table; an object of objects is one whose keys are the names of files."""
    if table.suffix.lower() == ".json" and table.stat().st_size <= _WHOLE_BYTES:
        try:
            whole = json.loads(table.read_bytes(), parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            whole = None  # read row by row, for what can be saved
        if isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
            yield from ({_KEY: name, **labels} for name, labels in whole.items())
            return
    yield from rows_of(table, table.name, ())


def _parsed(value: Any) -> Any:
    """Return a cell; one that holds JSON as what it says."""
    said = json_in(value) if isinstance(value, str) and value.lstrip().startswith(("{", "[")) else None
    return value if said is None else said
