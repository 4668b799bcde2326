"""Plain-text tables."""

from __future__ import annotations

from collections.abc import Container, Sequence


def grid(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """Align rows of cells: the columns at these places to the left, the others to the right."""
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
