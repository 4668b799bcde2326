"""Two runs side by side: what differs by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from medvl.metrics import METRICS
from medvl.metrics.scoring import percent
from medvl.record.directory import load_run
from medvl.record.reading import read_rows
from medvl.record.shape import Rule
from medvl.record.text_table import grid

if TYPE_CHECKING:
    from medvl.metrics.confidence import Difference


def _is_share(pair: list[float]) -> bool:
    return all(math.isfinite(number) and abs(number) < MOST for number in pair) and pair[1] > 0


MOST = 1e12  # sums of scores beyond are no characters, words or facts
Share = Annotated[tuple[float, float], Rule(_is_share, "a numerator over a denominator above 0")]


class ScoredRow(TypedDict, total=False):
    """A row of predictions.jsonl as far as it is compared; another version of medvl may have written other keys."""

    id: str
    document: str
    reference: str
    scores: dict[str, Share]
    scoring: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Run b against run a, on the examples that both scored."""

    a: str
    b: str
    objective: str
    differences: dict[str, Difference]
    examples: int
    documents: int
    left_out: int
    """Examples that only one of the two runs scored."""
    table: str
    sentence: str

    def __str__(self) -> str:
        base = f"a = {self.a}\nb = {self.b}\n{self.examples} examples of {self.documents} documents"
        if self.left_out:
            base += f"; {self.left_out} that only one of them scored are left out"
        return f"{base}\n\n{self.table}\n\n{self.sentence}"


def compare(a: Path, b: Path) -> Comparison:
    """Compare the predictions of two run directories, of train.py or evaluate.py.

    The sentence is about the objective of b, else that of a, else the layout-free character error rate.

    Raises:
        ValueError: A run is missing or unfinished, or the two did not score the same data.
    """
    from medvl.metrics.confidence import matched, paired, sentence

    (status_a, rows_a), (status_b, rows_b) = _read(a), _read(b)
    rules = {run: {row.get("scoring", 1) for row in rows} for run, rows in ((a, rows_a), (b, rows_b))}
    if rules[a] != rules[b]:
        older = min(rules, key=lambda run: min(rules[run]))
        raise ValueError(
            f"{older} was scored by an earlier version of medvl, by other rules. Run python evaluate.py run={older} "
            "and compare the directory that it prints."
        )
    try:
        common, _ = matched(rows_a, rows_b)
        differences = paired(rows_a, rows_b)
    except ValueError as fault:
        raise ValueError(
            f"{a} and {b} cannot be compared: {fault}. Score both on the same data: "
            f"python evaluate.py run={a}, then python evaluate.py run={b}, both with the same eval.* and data.*."
        ) from fault
    named = ((status.get("objective") or {}).get("name") for status in (status_b, status_a))
    objective = next((name for name in (*named, "cer_text", "cer") if name in differences), next(iter(differences), ""))
    if not objective:
        raise ValueError(f"{a} and {b} have no measure in common: they scored different tasks. Set data.* alike.")
    return Comparison(
        a=str(a),
        b=str(b),
        objective=objective,
        differences=differences,
        examples=len(common),
        documents=len({row["document"] for row in common}),
        left_out=len(rows_a) + len(rows_b) - 2 * len(common),
        table=_table(differences),
        sentence=sentence(objective, differences[objective]),
    )


def _read(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a run's status and its scored predictions."""
    status, path = load_run(run), Path(run) / "predictions.jsonl"
    rows: list[dict[str, Any]] = read_rows(path, ScoredRow)
    again = f"Run python evaluate.py run={run} and compare the directory that it prints."
    if not rows:
        state = status.get("state", "unknown")
        raise ValueError(f"{run} holds no predictions.jsonl (its state is {state}). {again}")
    if any(not {"id", "document", "scores"} <= row.keys() or row["scores"].keys() - METRICS.keys() for row in rows):
        raise ValueError(f"{path} was scored by another version of medvl. {again}")
    return status, rows


def _table(differences: dict[str, Difference]) -> str:
    """Lay out one row per metric, with differences in percentage points."""
    rows = [["", "a", "b", "b - a", "95 % interval", "b is"]]
    for name, one in differences.items():
        interval = "n/a" if one.low is None or one.high is None else f"[{100 * one.low:+.2f}, {100 * one.high:+.2f}]"
        change = f"{100 * one.difference:+.2f}"
        rows.append([METRICS[name].title, percent(one.a), percent(one.b), change, interval, one.verdict])
    return grid(rows)
