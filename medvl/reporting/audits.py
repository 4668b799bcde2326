"""What the audit of training against evaluation found."""

from __future__ import annotations

import base64

from medvl.reporting import figures
from medvl.reporting.collection import Collection
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import Cell, Folded, Listing, Number, Picture, ReportTable, ReportText, Section, drawable


def audits(collection: Collection) -> Section | None:
    """Report whether the training data match the evaluation data."""
    runs = [run for run in collection.focus if run.audit]
    if not runs:
        return None
    section = Section(anchor="audit", title="Does the training match the test?")
    for run in runs:
        audit = run.audit
        tone = "good" if audit["verdict"] == "matched" else "bad"
        section.blocks.append(ReportText(text=f"{run.name}: {audit['verdict']}.", tone=tone))
        if audit.get("faults"):
            section.blocks.append(Listing(items=audit["faults"]))
        section.blocks.append(_sides(run))
        kinds = {
            name: [100 * share if drawable(share) else 0 for share in shares]
            for name in dict.fromkeys([*audit["train"]["kinds"], *audit["evaluated"]["kinds"]])
            if (shares := [audit[side]["kinds"].get(name, 0) for side in ("train", "evaluated")])
        }
        svg = figures.bars(dict(list(kinds.items())[:14]), "% of the examples", ["training", "evaluation"])
        section.blocks.append(Picture(caption="Kinds of document.", svg=svg))
        picture = run.image("audit.png")
        if picture is not None:
            uri = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            drawn = Picture(caption="All distributions.", uri=uri)
            section.blocks.append(Folded(title="The picture of the audit", blocks=[drawn]))
    return section


def _sides(run: ReportedRun) -> ReportTable:
    """Compare training and evaluation data; of a distribution (least, 5 %, median, 95 %, most) the median."""
    rows: list[list[Cell]] = []
    names = {
        "documents": "",
        "examples": "",
        "x_height_px": "px",
        "visual_tokens": "",
        "tokens": "",
        "words_with_digits": "%",
    }
    for name, unit in names.items():
        cells: list[Cell] = []
        for side in ("train", "evaluated"):
            value, key = run.audit[side].get(name), f"{side}.{name}"
            if isinstance(value, list):
                value, key = (value[2], f"{key}.2") if len(value) == 5 else (None, key)
            cells.append(
                None if value is None else Number(value=value, unit=unit, run=run.name, file="audit.json", key=key)
            )
        plural = {
            "x_height_px": "height of an x in px, median",
            "visual_tokens": "visual tokens, median",
            "tokens": "tokens, median",
            "words_with_digits": "words with digits",
        }.get(name, name)
        rows.append([plural, *cells])
    caption = f"Both sides of {run.name}."
    return ReportTable(name=f"audit of {run.name}", caption=caption, columns=["", "training", "evaluation"], rows=rows)
