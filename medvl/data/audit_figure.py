"""The figure of the data audit, drawn without a display."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.data.audit import Report
from medvl.documents.render import READABLE_X_HEIGHT_PX

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN, EVALUATED = "#3b6ea5", "#d9822b"


SHARES = ("kinds", "layouts", "tasks")
SPREADS = {
    "x_height_px": "x-height after the processor's resize, px",
    "visual_tokens": "visual tokens of an example",
    "response_chars": "characters of a response",
    "lines": "lines of text of a ready page",
    "skew_deg": "skew of a ready page, degrees",
    "contrast": "contrast of a ready page's ink",
}


def audit_figure(report: Report, path: Path) -> None:
    """Draw training against evaluation; what is the same everywhere, or not known, is a sentence and no panel."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, str]] = []
    alike: list[str] = []
    for name in SHARES:
        values = list(dict.fromkeys([*getattr(report.train, name), *getattr(report.evaluated, name)]))
        if len(values) > 1:
            panels.append((name, name))
        else:
            alike.append(f"{name}: {''.join(values)}")
    for name, label in SPREADS.items():
        numbers = {round(value, 6) for side in (report.train, report.evaluated) for value in getattr(side, name)}
        if len(numbers) > 1:
            panels.append((name, label))
        elif numbers:
            alike.append(f"{label}: {numbers.pop():g}")
    rows = max(1, -(-len(panels) // 3))
    figure = Figure(figsize=(13, 1 + 3.5 * rows if panels else 1.5), layout="constrained")
    for at, (name, label) in enumerate(panels, 1):
        spot = figure.add_subplot(rows, min(3, len(panels)), at)
        if name in SHARES:
            _shares(spot, name, getattr(report.train, name), getattr(report.evaluated, name))
        else:
            _histogram(spot, label, report, name)
        if name == "x_height_px":
            spot.set_xlim(0, max(spot.get_xlim()[1], 1.3 * READABLE_X_HEIGHT_PX))
            spot.axvline(READABLE_X_HEIGHT_PX, color="black", linestyle="--", linewidth=1)
            spot.text(READABLE_X_HEIGHT_PX, 108, " least that can be read", fontsize=8, va="top")
    if panels:
        bars, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(bars, names, loc="outside lower center", ncols=2)
    same = "\n" + textwrap.fill(f"the same everywhere: {'; '.join(alike)}", 150) if alike else ""
    figure.suptitle(f"Audit of training against evaluation: {report.verdict}{same}", fontsize=11)
    figure.savefig(path, dpi=110)


def _shares(spot: Axes, name: str, train: dict[str, float], evaluated: dict[str, float]) -> None:
    names = list(dict.fromkeys([*train, *evaluated]))[:14][::-1]
    places = range(len(names))
    spot.barh([at + 0.2 for at in places], [100 * train.get(n, 0) for n in names], 0.38, color=TRAIN, label="training")
    spot.barh(
        [at - 0.2 for at in places],
        [100 * evaluated.get(n, 0) for n in names],
        0.38,
        color=EVALUATED,
        label="evaluation",
    )
    spot.set_yticks(list(places), [textwrap.shorten(name, 30) for name in names], fontsize=8)
    spot.set_xlabel("% of the examples")
    spot.set_xlim(0, 110)
    spot.set_ylim(-0.7, max(len(names), 5) - 0.3)  # keeps a single bar from filling the axes
    spot.set_title(name)


def _histogram(spot: Axes, label: str, report: Report, name: str) -> None:
    sides = [
        (getattr(report.train, name), TRAIN, "training"),
        (getattr(report.evaluated, name), EVALUATED, "evaluation"),
    ]
    values = [value for side, *_ in sides for value in side]
    low, high = min(values), max(values)
    edges = [low + (high - low) * at / 30 for at in range(31)]
    for side, colour, title in sides:
        if not side:  # drawn pages are not looked at
            continue
        weights = [100 / len(side)] * len(side)
        spot.hist(side, bins=edges, weights=weights, color=colour, alpha=0.6, label=title)
    spot.set_xlim(min(0, 1.08 * low), 1.08 * max(high, 0) or 1)
    spot.set_ylim(0, 110)
    spot.set_xlabel(label)
    spot.set_ylabel("% of the examples")
