"""One metric by part of a set: on which kinds and layouts of page is the model good?"""

from __future__ import annotations

import re
from typing import Any

from medvl.metrics.confidence import Rows, intervals
from medvl.metrics.registry import METRICS
from medvl.metrics.scoring import percent, summarize
from medvl.record.text_table import grid

Parts = dict[str, dict[str, dict[str, Any]]]  # kind and layout -> their names -> value, interval, counts


def breakdown(rows: Rows, measure: str) -> Parts:
    """Return a metric by kind and by layout, if the set has more than one of them.

    Args:
        rows: As for `summarize`, with `kind` and `layout`.

    Returns:
        For every name its `value`, `interval`, `examples` and `documents`, counting those that the metric applies to.
    """
    parts: Parts = {}
    for key in ("kind", "layout"):
        names = sorted({row[key] for row in rows}, key=_natural)
        if len(names) > 1:
            parts[key] = {name: _part([row for row in rows if row[key] == name], measure) for name in names}
    return parts


def breakdown_table(parts: Parts, measure: str) -> str:
    """Lay a breakdown out as text in percent.

    >>> cell = {"value": 0.02, "interval": (0.01, 0.04), "examples": 9, "documents": 8}
    >>> print(breakdown_table({"layout": {"28 px high": cell}}, "cer"))
    character error rate          by layout  examples  documents
    28 px high            2.00 % [1.0, 4.0]         9          8
    """
    rows = []
    for key, cells in parts.items():
        rows.append([METRICS[measure].title, f"by {key}", "examples", "documents"])
        for name, cell in cells.items():
            counts = (str(cell["examples"]), str(cell["documents"]))
            rows.append([name, percent(cell["value"], cell["interval"]), *counts])
    return grid(rows)


def _part(rows: Rows, measure: str) -> dict[str, Any]:
    alone = [{**row, "scores": {measure: row["scores"][measure]}} for row in rows if measure in row["scores"]]
    summary = summarize(alone)
    return {
        "value": summary.get(measure),
        "interval": intervals(alone).get(measure),
        "examples": summary["examples"],
        "documents": summary["documents"],
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 28 px before 224 px."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
