"""Numbers with their source, and tables of them, from which page, Markdown and JSON are all made."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

DIGITS = {"%": 1, "points": 1, "MiB": 0, "ms": 0, "s": 1, "h": 3, "J": 0}  # decimals shown for a unit
RESAMPLED = "2000 bootstrap draws over documents, 2.5 to 97.5 %"  # source of an interval that is in no file


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number and the file and key that it was read or computed from."""

    value: float
    unit: str
    """% and points are shares, shown times 100; points are shown with a sign."""
    run: str
    file: str
    key: str
    interval: tuple[float, float] | None = None
    """The 95 % interval."""
    interval_key: str | None = None

    def __str__(self) -> str:
        return f"{self.alone} {self.range}".rstrip()

    @property
    def drawable(self) -> bool:
        """Whether a figure can show it."""
        return drawable(self.value)

    @property
    def drawn(self) -> tuple[float, float] | None:
        """The interval if a figure can show it."""
        return self.interval if self.interval is not None and all(map(drawable, self.interval)) else None

    @property
    def alone(self) -> str:
        return written(self.value, self.unit)

    @property
    def range(self) -> str:
        """The interval as text; empty if there is none."""
        if self.interval is None:
            return ""
        low, high = (written(bound, self.unit, bare=True) for bound in self.interval)
        return f"[{low}, {high}]"

    def to_json(self) -> dict[str, Any]:
        """Return the unrounded number with its source; null for values that JSON cannot represent."""
        place: dict[str, Any] = {"value": _finite(self.value), "run": self.run, "file": self.file, "key": self.key}
        if self.interval is not None:
            place |= {"interval": [_finite(bound) for bound in self.interval], "interval_key": self.interval_key}
        return place


def drawable(value: float) -> bool:
    """Return whether an axis can hold a number; near the limit of floats the arithmetic of its ticks fails."""
    return abs(value) < 1e15


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def written(value: float, unit: str = "", *, bare: bool = False) -> str:
    """Format a number with its significant digits, and its unit unless `bare`.

    >>> written(0.07346, "%"), written(-0.0342, "points"), written(1590.07, "MiB"), written(0.0004999)
    ('7.3 %', '-3.4', '1,590 MiB', '0.0005')
    """
    if not math.isfinite(value):
        return "n/a"
    if unit in ("%", "points"):
        text = f"{100 * value:{'+' if unit == 'points' else ''}.1f}"
        text = text.lstrip("+-") if float(text) == 0 else text
        return text if bare or unit == "points" else f"{text} %"
    if unit in DIGITS:
        digits = (
            DIGITS[unit] if abs(value) >= 10 or not value else max(DIGITS[unit], 1 - math.floor(math.log10(abs(value))))
        )
        text = f"{value:,.{min(digits, 6)}f}"
        return text if bare else f"{text} {unit}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "document"), counted(2400, "document")
    ('1 document', '2,400 documents')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


Cell = Number | str | None


@dataclass(kw_only=True)
class ReportTable:
    """Rows of cells under headings; columns that are empty in every row are dropped."""

    kind: ClassVar[str] = "table"

    name: str
    """Key of the table in FINAL_REPORT.json, unique in its section."""
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: int | None = None
    """The row to highlight."""

    def __post_init__(self) -> None:
        filled = [at for at in range(len(self.columns)) if any(row[at] not in (None, "") for row in self.rows)]
        self.columns = [self.columns[at] for at in filled]
        self.rows = [[row[at] for at in filled] for row in self.rows]

    def markdown(self) -> str:
        """Return the table in Markdown, with numbers right-aligned."""
        numeric = [any(isinstance(row[at], Number) for row in self.rows) for at in range(len(self.columns))]
        marks = " | ".join("---:" if right else "---" for right in numeric)
        head, *rows = (f"| {' | '.join(map(_cell, line))} |" for line in (self.columns, *self.rows))
        return "\n".join([paragraph(self.caption), "", head, f"| {marks} |", *rows])

    def to_json(self) -> dict[str, Any]:
        """Return every row as a mapping from heading to a number with its source, or to text."""
        rows = [
            {
                name: cell.to_json() if isinstance(cell, Number) else cell
                for name, cell in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]
        return {"caption": self.caption, "rows": rows}


def _cell(cell: Cell) -> str:
    return str(cell) if isinstance(cell, Number) else escaped(cell or "")


def escaped(text: str) -> str:
    r"""Return a text on one line that Markdown shows as it is: no markup, link, image or cell border.

    >>> print(escaped("a|b <i> ![x](javascript:y) `c` \\"))
    a\|b &lt;i> !\[x\](javascript:y) \`c\` \\
    """
    return re.sub(r"([\\|\[\]`])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def paragraph(text: str) -> str:
    r"""Return a text as a paragraph of Markdown, not a heading, list, quotation or rule.

    >>> print(paragraph("# a"))
    \# a
    """
    return re.sub(r"^([#>+*=~-])", r"\\\1", escaped(text))


@dataclass(kw_only=True)
class ReportText:
    """A paragraph; its tone is plain, good, bad or note."""

    kind: ClassVar[str] = "text"

    text: str
    tone: str = "plain"


@dataclass(kw_only=True)
class Listing:
    """A bulleted list of sentences."""

    kind: ClassVar[str] = "list"

    items: Sequence[str]


@dataclass(kw_only=True)
class Picture:
    """A figure: SVG, or the data URI of an image."""

    kind: ClassVar[str] = "picture"

    caption: str
    svg: str = ""
    uri: str = ""


@dataclass(kw_only=True)
class Folded:
    """Content that is folded until opened: blocks, or preformatted text."""

    kind: ClassVar[str] = "folded"

    title: str
    blocks: Sequence[Any] = ()
    text: str = ""


@dataclass(kw_only=True)
class Section:
    """One section of the report."""

    anchor: str
    title: str
    blocks: list[Any] = field(default_factory=list)

    @property
    def tables(self) -> list[ReportTable]:
        """The tables, including folded ones."""
        return [block for block in self._flat if isinstance(block, ReportTable)]

    @property
    def _flat(self) -> list[Any]:
        return [one for block in self.blocks for one in (block.blocks if isinstance(block, Folded) else [block])]

    def markdown(self) -> list[str]:
        """Return tables and sentences as Markdown paragraphs, in order."""
        lines = []
        for block in self._flat:
            if isinstance(block, ReportTable):
                lines.append(block.markdown())
            elif isinstance(block, Listing):
                lines.append("\n".join(f"- {paragraph(item)}" for item in block.items))
            elif isinstance(block, ReportText):
                lines.append(paragraph(block.text))
        return lines
