"""The end of a sweep: one table of its runs, the best first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medvl.record import read_json, write_text
from medvl.sweeping.plan import Plan, state_of
from medvl.sweeping.progress import distinct, shared
from medvl.table import grid


def sweep_table(folder: Path) -> str:
    """Return the runs of a sweep as a table, sorted by the number they optimise, and keep it in sweep.txt.

    Overrides that all runs share stand above it; runs without a number stand last, failed ones with their error.
    """
    plan = Plan.read(folder)
    rows = [_row(run, words) for run, words in zip(plan.runs(), distinct(plan.jobs), strict=True)]
    rows.sort(key=lambda row: row["rank"])
    columns = list(dict.fromkeys(name for row in rows for name in row["cells"]))
    lines = [["overrides", *columns, "state", "run"]]
    lines += [
        [row["words"], *(row["cells"].get(name, "") for name in columns), row["state"], row["run"]] for row in rows
    ]
    errors = [f"{row['run']}: {row['error']}" for row in rows if row["state"] == "failed"]
    text = "\n".join(
        [*(["all: " + " ".join(sorted(common))] if (common := shared(plan.jobs)) else []), grid(lines), *errors]
    )
    write_text(folder / "sweep.txt", text + "\n")
    return text


def _row(run: Path, words: str) -> dict[str, Any]:
    status = read_json(run / "status.json") or {}
    objective = status.get("objective") or {}
    value = objective.get("value")
    known = value is not None and not math.isnan(value)
    sign = -1 if objective.get("higher_is_better") else 1
    return {
        "rank": (not known, sign * value if known else 0),
        "words": words,
        "cells": {name: _cell(number) for name, number in (status.get("headline") or {}).items()},
        "state": state_of(run).value,
        "run": run.name,
        "error": status.get("error"),
    }


def _cell(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else "n/a" if number is None else str(number)
