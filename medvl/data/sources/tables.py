"""Rows of local tables: CSV, JSON and Parquet files, alone or in a folder in the hub's format.

Values are as they are written. The `datasets` library, which would turn texts into numbers, dates and missing values
and would keep a copy of every table, reads only what is on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medvl.data.sources.archives import json_values
from medvl.data.sources.csv_rows import csv_rows, open_text
from medvl.data.sources.dropped import Dropped
from medvl.data.sources.paths import files_inside
from medvl.data.sources.unpacking import is_bomb, suffix_of

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_CSV, _JSON, _PARQUET = (".csv", ".tsv"), (".json", ".jsonl", ".ndjson"), (".parquet",)
_NO_ROWS = ("config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
_BATCH = 16  # rows of a Parquet file in memory


def split_named(name: Any) -> str | None:
    """Map a source's name for a split to train, val or test; None for an unknown name.

    >>> split_named("Validation"), split_named("holdout"), split_named(7)
    ('val', None, None)
    """
    return SPLITS.get(name.strip().lower()) if isinstance(name, str) else None


def rows(place: Path, named: tuple[str, ...] = ()) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the rows of a file, or of all tables of a folder, each with its `_split`.

    The names of files and folders tell the split, as on the hub; if some do, the other files are not read.

    Args:
        named: Columns that are read.

    Raises:
        ValueError: There is no table, or one cannot be read.
    """
    found = [(None, place)] if place.is_file() else by_split(place, is_table)
    if not found:
        raise ValueError(
            f"data set {place} cannot be read: it holds no .csv, .tsv, .json, .jsonl or .parquet file (links out of "
            "the folder are not followed, archives are not unpacked). Set data.path=<a folder that does>."
        )
    for split, file in found:
        for row in rows_of(file, file.name, named):
            if isinstance(row, Dropped):
                yield Dropped(f"{file.name}, {row.record}" if len(found) > 1 else row.record, row.reason)
                continue
            beside = file.parent.relative_to(place) if place.is_dir() else Path()
            yield {**_with_image(row, file, beside), "_split": split}


def by_split(place: Path, is_wanted: Callable[[Path], bool]) -> list[tuple[str | None, Path]]:
    """Return the files of a folder, or the one file, with the splits that the names of files and folders tell.

    If some tell one, the others are left out. Files and folders whose names begin with a dot or `__` are no data.
    """
    if place.is_file():
        return [(None, place)] if is_wanted(place) else []
    files = [file for file in files_inside(place) if not is_hidden(file.relative_to(place)) and is_wanted(file)]
    found = [(split_of(file.relative_to(place)), file) for file in files]
    found = [one for one in found if one[0] is not None] or found
    order = (*dict.fromkeys(SPLITS.values()), None)
    return sorted(found, key=lambda one: (order.index(one[0]), one[1]))


def _with_image(row: dict[str, Any], file: Path, beside: Path) -> dict[str, Any]:
    """Return a row with its image, which the hub's format for a folder of images names in another column.

    Args:
        beside: Folder of the table, from that of the data on.
    """
    if not (_is_metadata(file) and isinstance(row.get("file_name"), str)):
        return row
    return {"image": (beside / row["file_name"]).as_posix(), **row}


def _is_metadata(file: Path) -> bool:
    return _stem(file.name).lower() == "metadata"


def rows_of(file: Path, name: str, named: tuple[str, ...]) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the rows of one table.

    Args:
        name: Its name, if the file is stored under another one.
        named: Columns that are read.

    Raises:
        ValueError: It is no table, or is damaged as a whole; the message quotes no row.
    """
    suffix = suffix_of(name)
    try:
        if suffix in _CSV:
            yield from csv_rows(file, named)
        elif suffix in _JSON:
            yield from _json_rows(file)
        elif suffix in _PARQUET:
            yield from _parquet_rows(file)
        else:
            raise ValueError(f"{file} is no table. Set data.path=<a .csv, .tsv, .json, .jsonl or .parquet file>.")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}. Set data.path=<one that can>.") from error


def images_named(file: Path, column: str) -> Iterator[str]:
    """Yield the paths of image files that a column of a table holds; encoded images are not read.

    Raises:
        ValueError: As for `rows_of`.
    """
    columns = (column, "file_name") if _is_metadata(file) else (column,)
    parquet = suffix_of(file.name) in _PARQUET
    for row in _parquet_rows(file, columns) if parquet else rows_of(file, file.name, ()):
        image = _with_image(row, file, Path()).get(column) if isinstance(row, dict) else None
        if isinstance(image, dict):
            image = image.get("path")
        if isinstance(image, str):
            yield image


def _json_rows(file: Path) -> Iterator[dict[str, Any] | Dropped]:
    with open_text(file) as text:
        number = 0
        for number, value in enumerate(json_values(text, as_written=True), 1):
            yield value if isinstance(value, dict | Dropped) else Dropped(f"record {number}", "not a JSON object")
        if text.buffer.raw.cut:  # type: ignore[attr-defined]
            yield Dropped(f"after record {number}", "the compressed file is cut off or damaged there")


def _parquet_rows(file: Path, paths_of: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows, or only what these columns hold as paths of images."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as table:
            groups = [table.metadata.row_group(at) for at in range(table.metadata.num_row_groups)]
            if is_bomb(file.stat().st_size, sum(group.total_byte_size for group in groups)):
                raise ValueError(f"{file.name} unpacks to far more than its size. Set data.path=<another file>.")
            only = _path_columns(table.schema_arrow, paths_of) if paths_of else None
            for batch in table.iter_batches(batch_size=_BATCH, columns=only, use_threads=False):
                columns = {name: _as_written(batch.column(name)) for name in batch.schema.names}
                for at in range(batch.num_rows):
                    yield {name: column[at].as_py() for name, column in columns.items()}
    except (pyarrow.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file.name} is no whole Parquet file ({type(error).__name__}). Set data.path=<a whole one>."
        ) from error


def _as_written(column: Any) -> Any:
    """Return a column of decimals, dates or times as texts, and one of short floats without digits it does not have."""
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_float16(kind) or types.is_float32(kind):
        return column.cast(pyarrow.string()).cast(pyarrow.float64())
    if types.is_decimal(kind) or types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        text = column.cast(pyarrow.string())
        # The unit of a time is no part of its value.
        return text if types.is_decimal(kind) else compute.replace_substring_regex(text, r"\.0+(Z?)$", r"\1")
    return column


def _path_columns(schema: Any, columns: tuple[str, ...]) -> list[str]:
    """Return those of these columns of a Parquet file that hold the paths of images."""
    from pyarrow import types

    kinds = {name: schema.field(name).type for name in columns if name in schema.names}
    held = {name: f"{name}.path" if types.is_struct(kind) else name for name, kind in kinds.items()}
    texts = (types.is_struct, types.is_string, types.is_large_string)
    return [held[name] for name, kind in kinds.items() if any(is_kind(kind) for is_kind in texts)]


def is_table(path: Path) -> bool:
    """Whether a file is one whose rows are read."""
    return path.name not in _NO_ROWS and suffix_of(path.name) in (*_CSV, *_JSON, *_PARQUET)


def is_hidden(path: Path) -> bool:
    """Whether the name of a file, or of a folder that it is in, says that it is no data."""
    return any(part.startswith((".", "__")) for part in path.parts)


def _stem(name: str) -> str:
    return name.partition(".")[0]


def split_of(path: Path) -> str | None:
    """Return the split that the name of a file tells, or else that of the nearest folder."""
    for part in reversed(path.parts):
        words = [word for word in re.split(r"[^a-z]+", part.lower()) if word in SPLITS]
        if words:
            return SPLITS[words[0]]
    return None
