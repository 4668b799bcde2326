"""Rows of a data set on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medvl.data.sources import tables
from medvl.data.sources.dropped import Dropped


def rows(name: str, named: tuple[str, ...], *, streaming: bool) -> Iterator[dict[str, Any] | Dropped]:
    """Yield the rows of a data set, each with its `_split`; images stay encoded.

    CSV and JSON files are downloaded and read as local ones are: the library would turn texts into numbers, dates
    and missing values.

    Raises:
        ValueError: It cannot be reached or read; the message quotes no row.
    """
    import datasets
    from datasets.packaged_modules.csv.csv import Csv
    from datasets.packaged_modules.json.json import Json

    try:
        builder = datasets.load_dataset_builder(name)
        texts = builder.config.data_files if isinstance(builder, Csv | Json) else None
        if texts is None:
            loaded = datasets.load_dataset(name, streaming=streaming)
        else:
            fetch = datasets.DownloadManager(dataset_name=name).download
            files = [(part, str(url), Path(fetch(str(url)))) for part, urls in texts.items() for url in urls]
    except Exception as error:  # datasets raises many types; the user needs one sentence
        raise unreadable(name, error) from error
    if texts is None:
        yield from _undecoded(name, loaded)
        return
    for part, url, file in files:
        for row in tables.rows_of(file, Path(url).name, named):
            yield row if isinstance(row, Dropped) else {**row, "_split": str(part)}


def _undecoded(name: str, loaded: Any) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        for part, lines in loaded.items():
            for column, feature in (lines.features or {}).items():
                if isinstance(feature, datasets.Image):
                    lines = lines.cast_column(column, datasets.Image(decode=False))
            for row in lines:
                yield {**row, "_split": str(part)}
    except Exception as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> ValueError:
    """Return the refusal of a data set, with what the libraries of the hub raised."""
    # Errors of files and connections name those; others may quote values.
    why = f": {error}" if isinstance(error, OSError) else ""
    return ValueError(
        f"data set {name} cannot be read: {type(error).__name__}{why}. Set data.path=<a folder with its files>."
    )
