"""The kinds of figures that a report draws."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from medvl.reporting.canvas import COLOURS, GOOD, INK, PALE, start, style, svg

SERIES = 8  # most lines with a colour of their own
NAMED = 10  # most points of a scatter plot that are all labelled


@dataclass(kw_only=True, slots=True)
class Point:
    """A run in a scatter plot."""

    label: str
    x: float
    y: float
    interval: tuple[float, float] | None = None


@dataclass(kw_only=True, slots=True)
class Range:
    """A row in a figure of intervals."""

    label: str
    value: float
    interval: tuple[float, float] | None
    series: int = 0


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], ylabel: str, *, dotted: Sequence[str] = (), best: str = ""
) -> str:
    """Plot values over optimizer steps.

    Args:
        lines: (step, value) pairs by label.
        dotted: Labels of lines with few points, which get markers.
        best: The line that is coloured when there are too many for one colour each.
    """
    with style():
        many = len(lines) > SERIES
        figure, spot = start(3.0)
        for at, (label, points) in enumerate(lines.items()):
            mark: dict[str, Any] = {"marker": "o", "markersize": 5} if label in dotted or len(points) < 3 else {}
            mark |= {"color": COLOURS[at] if not many else GOOD if label == best else PALE}
            mark |= {"zorder": 3} if label == best else {"alpha": 0.5} if many else {}
            mark |= {"label": _cut(label, 40) if not many else f"best: {label}" if label == best else None}
            x, y = zip(*points, strict=True)
            spot.plot(x, y, linewidth=1.6, **mark)
        spot.set_xlabel("optimizer step")
        spot.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        spot.set_ylabel(ylabel)
        spot.set_ylim(bottom=0)
        if ylabel == "learning rate":
            spot.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if len(lines) > 1 and (not many or best in lines):
            figure.legend(loc="outside upper left", ncols=1 if many or len(max(lines, key=len)) > 18 else 2)
        return svg(figure)


def ranges(rows: Sequence[Range], xlabel: str, series: Sequence[str] = (), scale: float = 100) -> str:
    """Plot dots with their intervals, one row per label, the first on top."""
    labels = list(dict.fromkeys(row.label for row in rows))
    shift = 0.3 if len(series) > 1 else 0.0
    with style():
        figure, spot = start(0.9 + (0.42 if shift else 0.3) * len(labels) + 0.25 * (len(series) > 1))
        for at in range(max(1, len(series))):
            for row in (row for row in rows if row.series == at):
                y = len(labels) - labels.index(row.label) + shift * (0.5 - at)
                if row.interval:
                    spot.plot([scale * bound for bound in row.interval], [y, y], color=COLOURS[at], linewidth=2)
                spot.plot(scale * row.value, y, "o", color=COLOURS[at], markersize=6)
            if len(series) > 1:
                spot.plot([], [], "-o", color=COLOURS[at], label=series[at])
        spot.set_yticks(range(len(labels), 0, -1), [_wrapped(label) for label in labels])
        spot.set_ylim(0.4, len(labels) + 0.6)
        spot.grid(axis="y", visible=False)
        spot.set_xlabel(xlabel)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=2)
        return svg(figure)


def plane(points: Sequence[Point], xlabel: str, ylabel: str, *, higher_is_better: bool) -> str:
    """Plot shares against a cost, with the Pareto front as a line."""
    best = front(points, higher_is_better=higher_is_better)
    with style():
        figure, spot = start(3.4)
        edge = sorted(best, key=lambda point: point.x)
        spot.plot([p.x for p in edge], [100 * p.y for p in edge], color=GOOD, linewidth=1.2, linestyle="--", zorder=2)
        for point in points:
            colour = GOOD if point in best else PALE
            if point.interval:
                low, high = (100 * bound for bound in point.interval)
                spot.plot([point.x] * 2, [low, high], color=colour, linewidth=1.2, alpha=0.6, zorder=1)
            spot.plot(point.x, 100 * point.y, "o" if point in best else "x", color=colour, markersize=8, zorder=3)
        spot.margins(x=0.22, y=0.15)
        if min(p.x for p in points) - 0.22 * (max(p.x for p in points) - min(p.x for p in points)) < 0:
            spot.set_xlim(left=0)
        figure.draw_without_rendering()
        _annotate(spot, points, best if len(points) > NAMED else points)
        spot.set_xlabel(xlabel)
        spot.set_ylabel(ylabel)
        return svg(figure)


def front(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """Return the Pareto front: points that no other beats on one axis without being worse on the other.

    >>> a, b, c = (Point(label=n, x=x, y=y) for n, x, y in (("a", 1, 0.5), ("b", 2, 0.9), ("c", 3, 0.8)))
    >>> [point.label for point in front([a, b, c], higher_is_better=True)]
    ['a', 'b']
    """
    sign = 1 if higher_is_better else -1

    def beaten(one: Point) -> bool:
        return any(p.x <= one.x and sign * p.y >= sign * one.y and (p.x < one.x or p.y != one.y) for p in points)

    return [point for point in points if not beaten(point)]


def heat(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str],
    *,
    higher_is_better: bool,
    scale: float = 100,
) -> str:
    """Draw a heat map over two swept keys; empty cells were not run, the best is framed.

    Args:
        values: (rows, columns)
        scale: 100 to show shares in percent.
        labels: Names of the row key and of the column key.
    """
    known = [value for line in values for value in line if value is not None]
    low, spread = min(known), (max(known) - min(known)) or 1
    best = max(known) if higher_is_better else min(known)
    with style():
        figure, spot = start(0.95 + 0.42 * len(rows))
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                if value is None:
                    continue
                share = (value - low) / spread if higher_is_better else 1 - (value - low) / spread
                edge = {"edgecolor": INK, "linewidth": 1.8, "zorder": 3} if value == best else {"linewidth": 0}
                spot.bar(x, 0.94, 0.94, y - 0.47, color=COLOURS[0], alpha=0.12 + 0.55 * share, zorder=2)
                spot.bar(x, 0.94, 0.94, y - 0.47, fill=False, **edge)
                spot.text(x, y, f"{scale * value:.1f}", ha="center", va="center", zorder=4)
        spot.set_xticks(range(len(columns)), [_cut(name, 12) for name in columns])
        spot.set_yticks(range(len(rows)), [_cut(name, 16) for name in rows])
        spot.set_xlim(-0.55, len(columns) - 0.45)
        spot.set_ylim(len(rows) - 0.45, -0.55)
        spot.grid(visible=False)
        spot.spines[["left", "bottom"]].set_visible(False)
        spot.set_ylabel(_wrapped(labels[0]))
        spot.set_xlabel(_cut(labels[1], 40))
        return svg(figure)


def bars(values: dict[str, Sequence[float]], xlabel: str, series: Sequence[str] = ()) -> str:
    """Draw horizontal bars, the first on top, with one bar per series for each label."""
    many = max(1, len(series))
    with style():
        figure, spot = start(0.9 + (0.2 + 0.16 * many) * len(values) + 0.25 * (many > 1))
        for at in range(many):
            places = [len(values) - row - (at - (many - 1) / 2) * 0.38 for row in range(len(values))]
            label = series[at] if series else None
            spot.barh(places, [line[at] for line in values.values()], 0.7 / many, color=COLOURS[at], label=label)
        spot.set_yticks(range(len(values), 0, -1), [_wrapped(name) for name in values])
        spot.set_ylim(0.4, len(values) + 0.6)
        spot.set_xlim(left=0)
        spot.grid(axis="y", visible=False)
        spot.set_xlabel(xlabel)
        if many > 1:
            figure.legend(loc="outside upper left", ncols=2)
        return svg(figure)


def _annotate(spot: Axes, points: Sequence[Point], named: Sequence[Point]) -> None:
    """Write labels beside their points, each at the first position where it overlaps no other label or point."""
    scale = spot.figure.dpi / 72
    taken = [
        (x - 6, y - 6, x + 6, y + 6) for x, y in (spot.transData.transform((p.x, 100 * p.y)) / scale for p in points)
    ]
    frame = spot.get_window_extent().width / scale, spot.get_window_extent().x0 / scale
    for point in named:
        x, y = spot.transData.transform((point.x, 100 * point.y)) / scale
        text = _cut(point.label, 22)
        wide = 7.2 * len(text)
        places = [
            (9, 6),
            (-9 - wide, 6),
            (9, -16),
            (-9 - wide, -16),
            (-wide / 2, 14),
            (-wide / 2, -26),
            (9, 18),
            (9, -28),
        ]
        boxes = [(x + dx, y + dy, x + dx + wide, y + dy + 11) for dx, dy in places]
        inside = [box for box in boxes if box[0] >= frame[1] and box[2] <= frame[1] + frame[0]] or boxes
        box = next((box for box in inside if not any(_meet(box, other) for other in taken)), inside[0])
        taken.append(box)
        spot.annotate(
            text, (point.x, 100 * point.y), (box[0] - x, box[1] - y + 1), textcoords="offset points", zorder=5
        )


def _wrapped(text: str) -> str:
    """Break a label into two lines."""
    return "\n".join(textwrap.wrap(text, 21, max_lines=2, placeholder="..."))


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
