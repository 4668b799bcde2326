"""The final table of a sweep: its runs, best first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medvl.record.files import write_text
from medvl.record.reading import Status, status_or_fault
from medvl.record.text_table import grid
from medvl.sweeping.plan import State, SweepPlan, state_in
from medvl.sweeping.progress import distinct, shared


def sweep_table(folder: Path) -> str:
    """Return the runs of a sweep as a table, sorted by their objective, and write it to sweep.txt.

    Overrides shared by all runs are printed above it. Runs without a number come last, failed ones with their error. If
    several share the first place, a line says so.
    """
    plan = SweepPlan.read(folder)
    rows = [_row(run, words) for run, words in zip(plan.runs(), distinct(plan.jobs), strict=True)]
    rows.sort(key=lambda row: row["rank"])
    columns = list(dict.fromkeys(name for row in rows for name in row["cells"]))
    lines = [["overrides", *columns, "state", "run"]]
    lines += [
        [row["words"], *(row["cells"].get(name, "") for name in columns), row["state"], row["run"]] for row in rows
    ]
    errors = [f"{row['run']}: {row['error']}" for row in rows if row["error"]]
    first = [row for row in rows if row["rank"] == rows[0]["rank"] and not row["rank"][0]]
    tie = [f"tie: the first {len(first)} have the same {first[0]['objective']}"] if len(first) > 1 else []
    text = "\n".join(
        [*(["all: " + " ".join(sorted(common))] if (common := shared(plan.jobs)) else []), grid(lines), *tie, *errors]
    )
    write_text(folder / "sweep.txt", text + "\n")
    return text


def _row(run: Path, words: str) -> dict[str, Any]:
    found, fault = status_or_fault(run)
    state = state_in(found, run)
    status: Status | dict[str, Any] = found or {}
    objective = status.get("objective") or {}
    value: Any = objective.get("value")
    known = isinstance(value, int | float) and not math.isnan(value)
    sign = -1 if objective.get("higher_is_better") else 1
    return {
        "rank": (not known, sign * value if known else 0),
        "objective": objective.get("name"),
        "words": words,
        "cells": {name: _cell(number) for name, number in (status.get("headline") or {}).items()},
        "state": state.value,
        "run": run.name,
        "error": status.get("error") if state is State.failed else fault,
    }


def _cell(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, float) else "n/a" if number is None else str(number)
