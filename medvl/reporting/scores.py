"""How well the models read: before and after training, and in separate evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medvl.metrics import METRICS
from medvl.reporting import figures
from medvl.reporting.collection import Collection
from medvl.reporting.overview import labels, title_of
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import RESAMPLED, Cell, Folded, Number, Picture, ReportTable, ReportText, Section, counted

SETS = {"": "target", "replay": "replay"}  # part of metrics.json: name of the set
FILES = {"": ("predictions_before", "predictions"), "replay": ("predictions_replay_before", "predictions_replay")}


def training(collection: Collection) -> Section | None:
    """Show what training changed on the target and the replay set, with the verdict of the paired comparison."""
    runs = [run for run in collection.focus if "after" in run.metrics]
    if not runs:
        return None
    section = Section(anchor="scores", title="Before and after training")
    for run in runs:
        sets = [_contrast(run, part) for part in SETS if not part or run.metrics.get(part)]
        section.blocks += [picture for picture, *_ in sets]
        section.blocks += [block for _, *blocks in sets for block in blocks]
    return section


def _contrast(run: ReportedRun, part: str) -> list[Any]:
    """Return the figure, table and verdict of one set."""
    tree: Any = run.metrics.get(part) if part else run.metrics
    examples, documents = (counted(tree["after"][f"{noun}s"], noun) for noun in ("example", "document"))
    title = f"{run.name}, {SETS[part]} set: {examples} of {documents}"
    names = [name for name in METRICS if run.score(name, "after", part)]
    sides = [side for side in ("before", "after") if side in tree]
    rows = [
        figures.Range(label=METRICS[name].title, value=number.value, interval=number.drawn, series=at)
        for name in names
        for at, side in enumerate(sides)
        if (number := run.score(name, side, part)) and number.drawable
    ]
    svg = figures.ranges(rows, "%, with 95 % intervals", sides if len(sides) > 1 else ())
    blocks: list[Any] = [Picture(caption=f"{title}.", svg=svg), _contrast_table(run, part, names, sides, title)]
    if len(sides) == 1:
        blocks.append(
            ReportText(
                text="The base was not scored (eval.before=false): what training changed is unknown.", tone="note"
            )
        )
    elif tree.get("verdict"):
        verdict = tree["verdict"]
        tone = "good" if " is better " in verdict else "bad" if " is worse " in verdict else "note"
        blocks.append(ReportText(text=f"{verdict[0].upper()}{verdict[1:]}", tone=tone))
    return blocks


def _contrast_table(run: ReportedRun, part: str, names: Sequence[str], sides: Sequence[str], title: str) -> ReportTable:
    changes = _paired(run, part) if len(sides) > 1 else {}
    columns = ["measure", *sides, *(["change in points", "paired verdict"] if changes else [])]
    rows: list[list[Cell]] = []
    for name in names:
        row: list[Cell] = [METRICS[name].title, *(run.score(name, side, part) for side in sides)]
        if changes:
            one = changes.get(name)
            row += [None, None] if one is None else [_change(run, part, name, one), one.verdict]
        rows.append(row)
    caption = f"{title}. Intervals hold 95 %, over documents."
    return ReportTable(name=f"{SETS[part]} set of {run.name}", caption=caption, columns=columns, rows=rows)


def _paired(run: ReportedRun, part: str) -> dict[str, Any]:
    """Return the paired differences after minus before; empty if the predictions are gone or do not match."""
    from medvl.metrics.confidence import paired

    before, after = (run.rows(name) for name in FILES[part])
    try:
        return paired(before, after) if before and after else {}
    except ValueError:  # other examples or other references
        return {}


def _change(run: ReportedRun, part: str, name: str, one: Any) -> Number:
    interval = None if one.low is None else (one.low, one.high)
    return Number(
        value=one.difference,
        unit="points",
        run=run.name,
        interval=interval,
        file=" and ".join(f"{file}.jsonl" for file in FILES[part]),
        key=f"paired difference of {name}, after - before",
        interval_key=RESAMPLED if interval else None,
    )


def evaluations(collection: Collection) -> Section | None:
    """Compare runs of evaluate.py, and show each by kind and layout of the page."""
    runs = [run for run in collection.finished if run.metrics.get("scores")]
    if not runs:
        return None
    section = Section(anchor="evaluation", title="Evaluation")
    told = labels(runs)
    columns = {(run.name, column): run for run in runs for column in run.metrics["scores"]}
    heads = {
        pair: told[run.name] if len(run.metrics["scores"]) == 1 else f"{told[run.name]}: {pair[1]}"
        for pair, run in columns.items()
    }
    names = [name for name in METRICS if any(run.score(name, column) for (_, column), run in columns.items())]
    if not names:
        return None
    objective = next((run.objective for run in runs if run.objective in names), names[0])
    points = [
        figures.Range(label=heads[pair], value=number.value, interval=number.drawn)
        for pair, run in columns.items()
        if (number := run.score(objective, pair[1])) and number.drawable
    ]
    section.blocks.append(
        Picture(caption=f"{title_of(objective)}, with 95 % intervals.", svg=figures.ranges(points, "%"))
    )
    rows = [
        [heads[pair], *(run.score(name, pair[1]) for name in names), *_counts(run, pair[1]), _cost(run, pair[1])]
        for pair, run in columns.items()
    ]
    heading = ["run", *(METRICS[name].title for name in names), "examples", "documents", "s an answer"]
    section.blocks.append(
        ReportTable(name="scores", caption="Scores with 95 % intervals over documents.", columns=heading, rows=rows)
    )
    for run in runs:
        section.blocks += [
            ReportText(text=f"{told[run.name]}: {verdict}", tone="note")
            for verdict in run.metrics.get("verdicts") or []
        ]
        tables = [_part(run, key, told[run.name]) for key in run.metrics.get("breakdown") or {}]
        if tables:
            section.blocks.append(Folded(title=f"By kind and layout: {told[run.name]}", blocks=tables))
    return section


def _counts(run: ReportedRun, column: str) -> list[Cell]:
    return [run.number("metrics", f"scores.{column}.{name}") for name in ("examples", "documents")]


def _cost(run: ReportedRun, column: str) -> Number | None:
    """Return the time that an answer of the main set took."""
    return run.number("metrics", "answer_s", "s") if column == run.column else None


def _part(run: ReportedRun, key: str, label: str) -> ReportTable:
    rows: list[list[Cell]] = []
    for name, cell in run.metrics["breakdown"][key].items():
        place = f"breakdown.{key}.{name}"
        value = (
            None
            if cell["value"] is None
            else Number(
                value=cell["value"],
                unit="%",
                run=run.name,
                file="metrics.json",
                key=f"{place}.value",
                interval=tuple(cell["interval"]) if cell["interval"] else None,
                interval_key=f"{place}.interval",
            )
        )
        counts = [
            Number(value=cell[what], unit="", run=run.name, file="metrics.json", key=f"{place}.{what}")
            for what in ("examples", "documents")
        ]
        rows.append([name, value, *counts])
    columns = [key, title_of(run.objective), "examples", "documents"]
    return ReportTable(name=f"{key} of {run.name}", caption=f"{columns[1]} by {key}.", columns=columns, rows=rows)
