"""How far values that a model extracts can be trusted, as `medvl calibrate` measured it."""

from __future__ import annotations

from collections.abc import Sequence

from medvl.evaluation.calibration import FILE
from medvl.evaluation.evidence import FILE as EVIDENCE
from medvl.reporting.canvas import COLOURS, LINE, canvas, style, svg
from medvl.reporting.collection import Collection
from medvl.reporting.runs import ReportedRun
from medvl.reporting.shapes import Measure
from medvl.reporting.tables import Cell, Number, Picture, ReportTable, ReportText, Section

MEASURES = {"wrong": ("wrong", "%"), "ece": ("ECE", ""), "brier": ("Brier", ""), "auroc": ("AUROC", "")}
POINTED = {
    "pointing": "right values whose place is pointed at",
    "chance": "the same by chance",
    "missed": "right values without evidence",
    "flagged": "invented values without evidence",
}


def trust(collection: Collection) -> Section | None:
    """Show calibration, risk by coverage, thresholds and evidence of every run that has them."""
    section = Section(anchor="trust", title="How far extracted values can be trusted")
    for run in collection.finished:
        if run.calibration:
            section.blocks += _calibration(run)
        if run.evidence:
            section.blocks.append(_evidence(run))
    return section if section.blocks else None


def _calibration(run: ReportedRun) -> list[Picture | ReportTable | ReportText]:
    known = run.calibration
    measured = known["measured"]
    caption = f"{run.name}: values of the test split, raw and after calibration on {known['fitted_on']}."
    columns = ["confidence", "values", *(title for title, _ in MEASURES.values())]

    def number(key: str, value: float, unit: str) -> Number:
        return Number(value=value, unit=unit, run=run.name, file=FILE, key=key)

    rows: list[list[Cell]] = []
    for name, one in measured.items():
        row: list[Cell] = [name, number(f"measured.{name}.values", one["values"], "")]
        for key, (_, unit) in MEASURES.items():
            value = one.get(key)
            row.append(None if value is None else number(f"measured.{name}.{key}", value, unit))
        rows.append(row)
    chosen: list[list[Cell]] = []
    for error, one in known["thresholds"].items():
        keys = ("confidence", "bound", "coverage")
        cells: list[Cell] = [
            None if one is None else number(f"thresholds.{error}.{key}", one[key], "%" if key != "confidence" else "")
            for key in keys
        ]
        chosen.append([f"{float(error):.0%}", *cells])
    blocks: list[Picture | ReportTable | ReportText] = []
    drawn = [(name, measured[name]) for name in ("raw", "calibrated") if measured.get(name, {}).get("curve")]
    if drawn:
        blocks.append(Picture(caption=caption, svg=_figure(drawn)))
    blocks.append(ReportTable(name=f"confidence of {run.name}", caption=caption, columns=columns, rows=rows))
    blocks.append(
        ReportTable(
            name=f"thresholds of {run.name}",
            caption=f"{run.name}: from which confidence on values are accepted at a wanted share of wrong ones.",
            columns=["wanted error", "accepted from", "bound at 95 %", "share accepted"],
            rows=chosen,
        )
    )
    if not any(known["thresholds"].values()):
        most = max(map(float, known["thresholds"]), default=0.0)
        text = f"{run.name}: no confidence keeps the errors among accepted values at {most:.0%} or less. "
        text += "Check every value."
        blocks.append(ReportText(text=text, tone="bad"))
    return blocks


def _evidence(run: ReportedRun) -> ReportTable:
    known = run.evidence["measured"]
    rows: list[list[Cell]] = [
        [title, Number(value=known[key], unit="%", run=run.name, file=EVIDENCE, key=f"measured.{key}")]
        for key, title in POINTED.items()
        if known.get(key) is not None
    ]
    caption = f"{run.name}: where values stand, by attention, against known boxes of the test split."
    return ReportTable(name=f"evidence of {run.name}", caption=caption, columns=["share of values", ""], rows=rows)


def _figure(drawn: Sequence[tuple[str, Measure]]) -> str:
    """Plot the share of right values against confidence, and the share of wrong ones against coverage."""
    with style():
        figure = canvas(5.6)
        above, below = figure.subplots(2, 1)
        above.plot([0, 1], [0, 1], color=LINE, linewidth=1.2)
        for at, (name, one) in enumerate(drawn):
            colour = COLOURS[at]
            if one.get("bins"):
                above.plot(*zip(*one["bins"], strict=True), "-o", color=colour, label=name)
            below.plot(*zip(*one["curve"], strict=True), "-o", color=colour, label=name)
        for axes, down, across in (
            (above, "right values", "confidence"),
            (below, "wrong of those accepted", "accepted, surest first"),
        ):
            axes.set_ylabel(down)
            axes.set_xlabel(across)
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_formatter("{x:.0%}")
            axes.yaxis.set_major_formatter("{x:.0%}")
        above.set_ylim(-0.02, 1.02)
        figure.legend(*below.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return svg(figure)
