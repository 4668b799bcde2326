"""Records that are rows: which column keeps them together, and which one says their split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from medvl.data.sources.csv_rows import columns_text
from medvl.data.sources.page_files import PAGES
from medvl.data.sources.paths import files_inside
from medvl.data.sources.source import Source
from medvl.data.sources.tables import by_split, is_table, split_named

CONVERSED = {"conversations", "conversation", "messages"}  # columns of a form that data=json reads
LOOKED_AT = 100  # rows by which a column that is missing, or that is not named, is told


@dataclass(kw_only=True)
class Tabular(Source):
    """A data set of rows."""

    group: str | None = None
    """Column whose equal values are never in two splits: a patient, a visit."""
    split_column: str | None = None
    """Column that says train, val or test; None: the names of files and folders do, or medvl draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None and self.hub is None:
            raise ValueError("no data set is named. Set data.path=<a file or folder>, or data.hub=<an id>.")

    @property
    def name(self) -> str:
        return self.place.rstrip("/").rpartition("/")[2]

    @property
    def place(self) -> str:
        """The data set as messages name it."""
        return str(self.path if self.path is not None else self.hub)

    def keys_of(self, row: dict[str, Any]) -> list[str]:
        """Return the key that a row shares with the rows of its group; none without a value."""
        value = None if self.group is None else row.get(self.group)
        return [] if value is None or not str(value).strip() else [f"{self.group}: {str(value).strip()}"]

    def split_of(self, row: dict[str, Any]) -> str | None:
        """Return the split that is given to a row; None if there is none.

        Raises:
            KeyError: Its column holds something else; the text is the reason for dropping the row.
        """
        if self.split_column is None:
            return split_named(row.get("_split"))
        split = split_named(row.get(self.split_column))
        if split is None:
            raise KeyError("its split is none of train, val and test")
        return split

    def check_table(self, *, also: str = "") -> None:
        """Check that a local folder holds a table.

        Args:
            also: What else would do, in words.

        Raises:
            ValueError: It does not; the message says which data set reads what it does hold.
        """
        place = self._local()
        if place is None or place.is_file() or by_split(place, is_table):
            return
        images = any(file.suffix.lower() in PAGES for file in files_inside(place))
        mend = f"data=folder data.path={place}" if images else "data.path=<a folder or file that does>"
        raise ValueError(
            f"{place} holds no table (.csv, .tsv, .json, .jsonl, .parquet){also}"
            f"{', but images or PDFs' if images else ''}. Set {mend}."
        )

    def check_columns(self, columns: Collection[str], *named: str) -> None:
        """Check that columns are there.

        Args:
            columns: Those of the data set.
            named: Options that name a column, besides `group` and `split_column`.

        Raises:
            ValueError: One is missing.
        """
        for name in (*named, "group", "split_column"):
            column = getattr(self, name)
            if column is not None and column not in columns:
                found = columns_text(key for key in columns if not key.startswith("_"))
                raise ValueError(
                    f"data set {self.place} has no column {column!r}; it has {found}. Set data.{name}=<one of them>."
                )
