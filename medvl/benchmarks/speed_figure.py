"""How fast each arm of bench=train and bench=generate is, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPEED, MEMORY = "#3b6ea5", "#d9822b"


def speed_figure(rows: dict[str, dict[str, Any]], gemm_tflops: float, path: Path) -> None:
    """Draw how fast each arm of bench=train trains, and how much memory it takes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.2 + 0.6 * len(rows)), layout="constrained")
    axes: Any = figure.subplots(1, 2, sharey=True)
    shown = list(rows.values())[::-1]
    titles = [row["title"] for row in shown]
    for spot, name, label, colour in (
        (axes[0], "tokens_per_s", "real tokens a second", SPEED),
        (axes[1], "peak_mib", "peak memory, MiB", MEMORY),
    ):
        values = [row[name] for row in shown]
        spot.barh(titles, values, 0.6, color=colour)
        for at, row in enumerate(shown):
            text = f" {row[name]:,.0f}" + (f"  ({row['gemm_percent']:.0f} % of GEMM)" if name == "tokens_per_s" else "")
            spot.text(row[name], at, text, va="center", fontsize=9)
        spot.set_xlim(0, 1.6 * max(values))  # space for the labels
        spot.set_xlabel(label)
    figure.suptitle(f"Training on the same samples; a large product runs at {gemm_tflops:,.1f} TFLOP/s", fontsize=11)
    figure.savefig(path, dpi=110)


def rate_figure(rows: dict[str, dict[str, Any]], titles: dict[str, str], path: Path) -> None:
    """Draw tokens a second against answers generated together, one line for each arm of bench=generate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes: Any = figure.subplots()
    for name in dict.fromkeys(row["arm"] for row in rows.values()):
        points = [(row["batch"], row["tokens_per_s"]) for row in rows.values() if row["arm"] == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=titles[name])
        axes.annotate(f"{points[-1][1]:,.0f}", points[-1], textcoords="offset points", xytext=(4, 4), fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.margins(x=0.1)  # room for the labels
    axes.set_xticks(sorted({row["batch"] for row in rows.values()}))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("answers generated together")
    axes.set_ylabel("tokens a second")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
