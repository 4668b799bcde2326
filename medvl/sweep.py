"""The end of a multirun: one table of its runs, the best first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medvl.record import read_json, write_text
from medvl.table import grid


def sweep_table(folder: Path) -> str:
    """Return the runs below a sweep's folder as a table, sorted by the number they optimise.

    Overrides that all runs share stand above it; failed runs stand last, with their error.
    """
    runs = [(path, read_json(path / "status.json"), read_json(path / "environment.json"))
            for path in sorted(folder.iterdir(), key=_number) if (path / "status.json").is_file()]  # fmt: skip
    rows = [_row(path, status or {}, environment or {}) for path, status, environment in runs]
    rows.sort(key=lambda row: row["rank"])
    shared = set.intersection(*(set(row["overrides"]) for row in rows)) if len(rows) > 1 else set()
    for row in rows:
        row["overrides"] = " ".join(word for word in row["overrides"] if word not in shared) or "-"
    columns = list(dict.fromkeys(name for row in rows for name in row["cells"]))
    lines = [["overrides", *columns, "state", "run"]]
    lines += [
        [row["overrides"], *(row["cells"].get(name, "") for name in columns), row["state"], row["run"]] for row in rows
    ]
    text = grid(lines)
    errors = [f"{row['run']}: {row['error']}" for row in rows if row["error"]]
    text = "\n".join([*(["all: " + " ".join(sorted(shared))] if shared else []), text, *errors])
    write_text(folder / "sweep.txt", text + "\n")
    return text


def _row(path: Path, status: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    objective = status.get("objective") or {}
    value = objective.get("value")
    known = value is not None and not math.isnan(value)
    sign = -1 if objective.get("higher_is_better") else 1
    cells = {name: _cell(number) for name, number in (status.get("headline") or {}).items()}
    return {
        "rank": (not known, sign * value if known else 0),
        "overrides": environment.get("overrides") or [],
        "cells": cells,
        "state": status.get("state", "unknown"),
        "run": path.name,
        "error": status.get("error"),
    }


def _cell(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else "n/a" if number is None else str(number)


def _number(path: Path) -> tuple[int, str]:
    return (int(path.name) if path.name.isdigit() else 10**9, path.name)
