"""The figure of the data audit, drawn without a display."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.audit import Report
from medvl.documents.render import READABLE_X_HEIGHT_PX

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN, EVALUATED = "#3b6ea5", "#d9822b"


def audit_figure(report: Report, path: Path) -> None:
    """Draw training against evaluation: kinds, layouts, tasks, x-heights, visual tokens and response lengths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    axes: Any = figure.subplots(2, 3)
    for spot, name in zip(axes[0], ("kinds", "layouts", "tasks"), strict=True):
        _shares(spot, name, getattr(report.train, name), getattr(report.evaluated, name))
    _histogram(axes[1][0], "x-height after the processor's resize, px", report, "x_height_px")
    axes[1][0].axvline(READABLE_X_HEIGHT_PX, color="black", linestyle="--", linewidth=1)
    axes[1][0].text(READABLE_X_HEIGHT_PX, 108, " least that can be read", fontsize=8, va="top")
    _histogram(axes[1][1], "visual tokens of an example", report, "visual_tokens")
    _histogram(axes[1][2], "characters of a response", report, "response_chars")
    bars, names = axes[0][0].get_legend_handles_labels()
    figure.legend(bars, names, loc="outside lower center", ncols=2)
    figure.suptitle(f"Audit of training against evaluation: {report.verdict}", fontsize=13, weight="bold")
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
    sides = [(getattr(report.train, name), TRAIN), (getattr(report.evaluated, name), EVALUATED)]
    values = [value for side, _ in sides for value in side]
    if values:
        low, high = min(values), max(values)
        edges = [low + (high - low or 1) * at / 30 for at in range(31)]
        for side, colour in sides:
            weights = [100 / len(side)] * len(side)
            spot.hist(side, bins=edges, weights=weights, color=colour, alpha=0.6)
        spot.set_xlim(0, 1.08 * high)
        spot.set_ylim(0, 110)
    else:
        spot.text(0.5, 0.5, "no drawn pages", ha="center", transform=spot.transAxes)
    spot.set_xlabel(label)
    spot.set_ylabel("% of the examples")
