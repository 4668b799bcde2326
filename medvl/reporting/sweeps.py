"""The runs of a sweep: ranked, plotted over the swept keys, importance of each key, and failures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from medvl.reporting import figures
from medvl.reporting.collection import Sweep
from medvl.reporting.overview import labels, title_of
from medvl.reporting.runs import REPEATING, ReportedRun, number_of, settings, short
from medvl.reporting.tables import Cell, Folded, Number, Picture, ReportTable, ReportText, Section

FEWEST = 6  # finished runs needed to compute importances
CELLS = 6  # most rows or columns of a heat map; more values are grouped into ranges
MEMORY = "train/train_peak_mib"
MOST = 24  # most runs in a figure with one row per run


def of_sweep(sweep: Sweep, number: int) -> Section:
    """Show all sections of one sweep."""
    section = Section(anchor=f"sweep-{number}", title=f"Sweep {sweep.name}")
    keys = sweep.swept()
    section.blocks.append(ranking(sweep, keys))
    if not sweep.ranked:
        return section
    name, direction = sweep.objectives[0]
    varied = varied_keys(sweep)
    matters = importances(sweep, varied)
    if matters:
        section.blocks += _importance(sweep, matters)
    title, better = title_of(name), direction == "maximize"
    if len(varied) > 1:
        most = sorted(varied, key=lambda key: -matters.get(key, 0.0))[:2]
        section.blocks.append(_heat(sweep, most, [key for key in varied if key not in most], title, better))
    elif len(sweep.ranked) > 1:
        section.blocks.append(_dots(sweep, keys, name))
    section.blocks += _trade(sweep)
    section.blocks += _repeats(sweep)
    return section


def varied_keys(sweep: Sweep) -> list[str]:
    """Return the keys with several values among the finished runs, except those that only repeat, such as seed."""
    return [key for key in sweep.swept(sweep.ranked) if key not in REPEATING]


def ranking(sweep: Sweep, keys: dict[str, list[str]]) -> ReportTable:
    """Return the runs as a table, best first, those without a result last."""
    ranked = sweep.ranked
    rest = [run for run in [*sweep.runs, *sweep.missing] if run not in ranked]
    rows: list[list[Cell]] = []
    for run in [*ranked, *rest]:
        own = settings(run)
        values = [run.optimised(name) if run.finished else None for name, _ in sweep.objectives]
        gate = (run.status.get("gate") or {}).get("verdict")
        rows.append([run.path.name, *(own.get(key, "-") for key in keys), *values, gate, run.state])
    columns = ["run", *keys, *(title_of(name) for name, _ in sweep.objectives), "gate", "state"]
    one = sweep.objectives[0] if sweep.objectives else ("nothing", "minimize")
    caption = f"{len(rows)} runs, ranked by {title_of(one[0])}, the {'most' if one[1] == 'maximize' else 'least'} best."
    tie = len(sweep.leaders)
    caption += f" The first {tie} tie." if tie > 1 else ""
    return ReportTable(name="runs", caption=caption, columns=columns, rows=rows, marked=0 if tie == 1 else None)


def importances(sweep: Sweep, keys: Sequence[str]) -> dict[str, float]:
    """Return the importance of each key, by Optuna's PED-ANOVA.

    It compares a key's values in the best runs with those in all runs (Watanabe et al., arXiv:2304.10255). It needs no
    surrogate model of the objective, and works for grids as well as searches.

    Returns:
        Shares that sum to 1, the largest first; empty for one key or few runs.
    """
    if len(keys) < 2 or len(sweep.ranked) < FEWEST:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name, direction = sweep.objectives[0]
    study = optuna.create_study(direction=optuna.study.StudyDirection[direction.upper()])
    rows = [(settings(run), run.optimised(name)) for run in sweep.ranked]
    rows = [(own, number) for own, number in rows if all(key in own for key in keys)]
    ways = {key: _distribution([own[key] for own, _ in rows]) for key in keys}
    for own, number in rows:
        params = {
            key: own[key] if isinstance(way, optuna.distributions.CategoricalDistribution) else float(own[key])
            for key, way in ways.items()
        }
        study.add_trial(optuna.create_trial(params=params, distributions=ways, value=number.value if number else 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is marked experimental
        # "Best" means the better half; the default, the best tenth, would be a single one of few runs.
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
        try:
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
        except (RuntimeError, ValueError):  # all runs are equal: nothing to explain
            return {}


def _distribution(values: Sequence[str]) -> Any:
    """Return the search space of a key: a range where a search sampled from one, else categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    choices, numbers = list(dict.fromkeys(values)), [number_of(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(known) < len(values) or len(choices) <= len(values) / 2:
        return CategoricalDistribution(choices)
    low, high = min(known), max(known)
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _importance(sweep: Sweep, matters: dict[str, float]) -> list[Any]:
    title, count = title_of(sweep.objectives[0][0]), len(sweep.ranked)
    svg = figures.bars({short(key): [100 * share] for key, share in matters.items()}, "% of the importance")
    rows: list[list[Cell]] = [
        [
            key,
            Number(
                value=share,
                unit="%",
                run=sweep.name,
                file="status.json of each run",
                key=f"PED-ANOVA importance of {key}",
            ),
        ]
        for key, share in matters.items()
    ]
    few = "; of so few it only indicates" if count < 30 else ""
    caption = f"Importance of each key for {title}, PED-ANOVA over {count} runs{few}."
    table = ReportTable(name="importances", caption="Importance of each key.", columns=["key", "importance"], rows=rows)
    return [Picture(caption=caption, svg=svg), table]


def _heat(sweep: Sweep, keys: Sequence[str], rest: Sequence[str], title: str, better: bool) -> Picture:
    """Draw a heat map of the first objective over two keys, averaged over all others."""
    swept = sweep.swept(sweep.ranked)
    ways = [_ranges(swept[key]) for key in keys]
    cells: dict[tuple[str, ...], list[Number]] = {}
    for run in sweep.ranked:
        own, number = settings(run), run.optimised(sweep.objectives[0][0])
        if number is not None and all(key in own for key in keys):
            place = tuple(way[own[key]] for way, key in zip(ways, keys, strict=True))
            cells.setdefault(place, []).append(number)
    rows, columns = (list(dict.fromkeys(way.values())) for way in ways)
    values = [
        [mean(n.value for n in cells[row, column]) if (row, column) in cells else None for column in columns]
        for row in rows
    ]
    unit = next(iter(cells.values()))[0].unit
    scale = 100 if unit == "%" else 1
    svg = figures.heat(values, rows, columns, (keys[0], keys[1]), higher_is_better=better, scale=scale)
    averaged = [*rest, *(key for key in REPEATING if key in swept)]
    averaged += [key for key, way in zip(keys, ways, strict=True) if len(set(way.values())) < len(way)]
    note = f", averaged over {' and '.join(averaged)}" if averaged else ""
    known = [value for line in values for value in line if value is not None]
    ties = known.count(max(known) if better else min(known))
    framed = "the best is framed" if ties == 1 else f"{ties} that tie are framed"
    caption = f"{title}{f' in {unit}' if unit else ''}, by {keys[0]} and {keys[1]}{note}; {framed}."
    return Picture(caption=caption, svg=svg)


def _ranges(values: Sequence[str]) -> dict[str, str]:
    """Return the row or column label of each value: the value itself, or a range where there are many numbers.

    >>> _ranges([str(value) for value in range(8)])["5"]
    '4 to 5'
    """
    if len(values) <= CELLS or any(number_of(value) is None for value in values):
        return {value: value for value in values}
    parts = [values[len(values) * at // 4 : len(values) * (at + 1) // 4] for at in range(4)]
    return {value: " to ".join(f"{float(end):.3g}" for end in (part[0], part[-1])) for part in parts for value in part}


def _dots(sweep: Sweep, keys: dict[str, list[str]], name: str) -> Picture:
    """Plot the first objective of every run with its interval."""
    told = {
        run.name: ", ".join(f"{short(key)} {value}" for key, value in settings(run).items() if key in keys)
        for run in sweep.ranked
    }
    numbers = [(run, number) for run in sweep.ranked[:MOST] if (number := run.optimised(name))]
    points = [
        figures.Range(label=told[run.name] or run.path.name, value=number.value, interval=number.drawn)
        for run, number in numbers
    ]
    unit = numbers[0][1].unit
    note = ", with 95 % intervals" if any(number.interval for _, number in numbers) else ""
    which = f"the best {MOST} runs" if len(sweep.ranked) > MOST else "each run"
    svg = figures.ranges(points, unit or title_of(name), scale=100 if unit == "%" else 1)
    return Picture(caption=f"{title_of(name)} of {which}{note}.", svg=svg)


def _trade(sweep: Sweep) -> list[Picture]:
    """Plot the first objective, a share, against the second, or against memory if the weights differ."""
    name, direction = sweep.objectives[0]
    cost, lower = sweep.objectives[1] if len(sweep.objectives) > 1 else (MEMORY, "minimize")
    told, pairs = labels(sweep.ranked), [(run, run.optimised(name), run.optimised(cost)) for run in sweep.ranked]
    known = [(told[run.name], one, two) for run, one, two in pairs if one and two and two.drawable and one.unit == "%"]
    weights = {one and one.value for one in (run.number("metrics", "train.weights_mib") for run, *_ in pairs)}
    # With the same weights, peaks differ only by what else ran on the machine.
    if lower != "minimize" or len(known) < 2 or (cost == MEMORY and len(weights) < 2):
        return []
    points = [figures.Point(label=label, x=two.value, y=one.value, interval=one.drawn) for label, one, two in known]
    unit = f", {known[0][2].unit}" if known[0][2].unit else ""
    what, of = title_of(cost), title_of(name)
    better = direction == "maximize"
    svg = figures.plane(points, f"{what}{unit}", f"{of}, %", higher_is_better=better)
    names = "; ".join(point.label for point in figures.front(points, higher_is_better=better))
    return [Picture(caption=f"{of} against {what}; on the Pareto front (dots, dashed): {names}.", svg=svg)]


def _repeats(sweep: Sweep) -> list[ReportTable]:
    """Summarise groups of runs that differ only in their seed."""
    if not any(key in sweep.swept(sweep.ranked) for key in REPEATING):
        return []
    keys, name = varied_keys(sweep), sweep.objectives[0][0]
    groups: dict[tuple[str, ...], list[Number]] = {}
    for run in sweep.ranked:
        own, number = settings(run), run.optimised(name)
        if number is not None:
            groups.setdefault(tuple(own.get(key, "-") for key in keys) or ("all",), []).append(number)
    rows: list[list[Cell]] = []
    leader = next(iter(groups.values()), [])
    for values, numbers in groups.items():
        known, of = [number.value for number in numbers], ", ".join(number.run for number in numbers)
        sums = {"mean": mean(known), "least": min(known), "most": max(known)}
        cells = [
            Number(
                value=value,
                unit=numbers[0].unit,
                run=of,
                file=numbers[0].file,
                key=f"{what} of {numbers[0].key} over the runs",
                interval=_of_mean(known) if what == "mean" else None,
                interval_key="95 %, Student's t over the runs" if what == "mean" and len(known) > 1 else None,
            )
            for what, value in sums.items()
        ]
        rows.append([*values, str(len(known)), *cells, _beside(numbers, leader)])
    columns = [*(keys or ["runs"]), "seeds", "mean", "least", "most", "beside the best"]
    caption = (
        f"{title_of(name)} over seeds: the mean with its 95 % interval, by Student's t over the seeds. "
        "A setting ties if the interval of its difference to the best one holds 0 (Welch's t)."
    )
    return [ReportTable(name="seeds", caption=caption, columns=columns, rows=rows)]


def _of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean; None for a single value, or where it is no number."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def _beside(numbers: Sequence[Number], leader: Sequence[Number]) -> str:
    """Return whether a setting ties with the best one, or what would be needed to tell."""
    if numbers is leader:
        return "the best"
    a, b = [one.value for one in numbers], [one.value for one in leader]
    if min(len(a), len(b)) < 2 or not all(map(math.isfinite, [*a, *b])):
        return "cannot tell"
    if stdev(a) == stdev(b) == 0:
        return "tie" if mean(a) == mean(b) else "behind"
    from scipy import stats

    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return "tie" if low <= 0 <= high else "behind"


def failures(sweeps: Sequence[Sweep]) -> Section | None:
    """List the runs that ended without a result, with the error of each."""
    runs = [run for sweep in sweeps for run in [*sweep.runs, *sweep.missing] if not run.finished]
    if not runs:
        return None
    section = Section(anchor="failures", title="Runs without a result")
    rows: list[list[Cell]] = [[run.name, " ".join(run.overrides), run.state, _error(run)] for run in runs]
    table = ReportTable(
        name="failures", caption=f"{len(runs)} runs.", columns=["run", "overrides", "state", "error"], rows=rows
    )
    section.blocks.append(table)
    section.blocks += [
        Folded(title=f"Traceback of {run.name}", text=run.status["traceback"])
        for run in runs
        if run.status.get("traceback") and not run.private
    ][:8]
    section.blocks.append(ReportText(text="They count nowhere else in this report but under cost.", tone="note"))
    return section


def _error(run: ReportedRun) -> str:
    """Return a run's error; with strict privacy only its type, since a message may quote a record."""
    error = run.status.get("error") or ""
    return error.partition(":")[0] if run.private else error
