"""What every data set offers: documents, one at a time, and what it had to drop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medvl.types import Document


@dataclass(slots=True)
class Dropped:
    """A record that cannot be used, and why; counted and listed, never fatal."""

    record: str
    reason: str


@dataclass(kw_only=True)
class Source:
    """A data set: the `data` config group. To add one, see README."""

    path: str | None = None
    """A local file or folder."""
    hub: str | None = None
    """A data set id on the hub; `path` wins over it."""
    prompt: str = "Transcribe the text on this page."
    """Asked for every drawn page."""
    limit: int | None = None
    """Documents to take, in the proportions of the splits; a document keeps the split it has in the whole."""
    seed: int = 42
    """Of the split by document, 80 % train, 10 % val, 10 % test."""

    def __post_init__(self) -> None:
        if self.path is not None and not Path(self.path).exists():
            raise ValueError(f"there is no file or folder {self.path}. Set data.path=<an existing one>.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"data.limit must be positive, got {self.limit}. Set data.limit=null.")

    def documents(self) -> Iterator[Document | Dropped]:
        """Yield the records in the order of the source, dropped ones included.

        Raises:
            ValueError: The source as a whole cannot be read.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that changes when the records change."""
        if self.path is None:
            return f"{type(self).__name__}:{self.hub}"
        files = [Path(self.path)] if Path(self.path).is_file() else sorted(Path(self.path).rglob("*"))
        stats = ((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file())
        return f"{type(self).__name__}:{list(stats)}"


def hub_rows(name: str, *, split: str | None = None) -> Iterator[dict]:
    """Yield the rows of a data set on the hub, or of a local folder in the hub's format.

    Raises:
        ValueError: It is not there, cannot be reached or cannot be read.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # datasets raises many kinds; the user needs one sentence
        raise ValueError(f"data set {name} cannot be read: {type(error).__name__}: {error}") from error
    for part in loaded:
        if split in (None, part):
            rows = loaded[part]
            for column, feature in rows.features.items():
                if isinstance(feature, datasets.Image):
                    # Bytes as stored: a broken image must cost its own record, not the whole data set.
                    rows = rows.cast_column(column, datasets.Image(decode=False))
            for row in rows:
                yield {**row, "_split": str(part)}
