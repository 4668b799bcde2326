"""Plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NAMES = {"term": "term accuracy", "value": "value accuracy", "combined": "combined accuracy",
         "cer": "character error rate", "exact": "exact match"}  # fmt: skip


def table(columns: dict[str, dict[str, Any]]) -> str:
    """Lay summaries side by side, as text; with two of them, their difference too.

    Args:
        columns: Heading to `summarize`'s result.
    """
    headings = list(columns)
    two = len(headings) == 2
    rows = [["", *headings, "change"] if two else ["", *headings]]
    for key, name in NAMES.items():
        values = [columns[heading].get(key) for heading in headings]
        if all(value is None for value in values):
            continue
        cells = ["n/a" if value is None else f"{100 * value:.2f} %" for value in values]
        if two and None not in values:
            cells.append(f"{100 * (values[1] - values[0]):+.2f}")
        rows.append([name, *cells])
    return grid(rows)


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Align rows of cells: the first column left, the others right."""
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in
                 enumerate(zip(row, widths, strict=False))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
