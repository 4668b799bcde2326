"""Compares runs of benchmark.py: cost and accuracy by storage format, with and without an adapter."""

from __future__ import annotations

from collections.abc import Sequence

from medvl.metrics import METRICS
from medvl.reporting import figures
from medvl.reporting.collection import Collection
from medvl.reporting.overview import device_of, title_of
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import RESAMPLED, Cell, Number, Picture, ReportTable, ReportText, Section

MEASURED = {
    "disk_mib": ("on disk", "MiB"),
    "weights_mib": ("weights", "MiB"),
    "peak_mib": ("peak memory", "MiB"),
    "load_s": ("load", "s"),
    "first_token_ms": ("first token", "ms"),
    "each_token_ms": ("each token", "ms"),
    "latency_p50_ms": ("latency p50", "ms"),
    "latency_p95_ms": ("latency p95", "ms"),
    "output_tokens_per_s": ("tokens/s", ""),
    "train_tokens_per_s": ("training tokens/s", ""),
    "train_peak_mib": ("training peak", "MiB"),
}
RELATIVE = {"peak_mib": "peak memory", "latency_p50_ms": "latency p50"}  # also shown as relative change
UNQUANTISED = ("FP16", "BF16", "FP32")
ORDER = [*UNQUANTISED, "INT8", "FP4", "NF4"]
OF_A_BASE = ("base", "adapter", "merged", "requantised")  # artefacts that are named after the precision of their base


def label_of(run: ReportedRun) -> str:
    """Name a configuration as papers do: FP16, NF4, NF4+LoRA, NF4 requantised; an export by its format: W4A16."""
    storage = str(run.config.get("precision.storage", "?")).upper()
    artefact = run.config.get("artefact", "adapter")
    trained = run.config.get("run") is not None or run.config.get("adapter") is not None
    if not trained or artefact == "base":
        return storage
    if artefact not in OF_A_BASE:
        return str(artefact).upper()
    return f"{storage}+LoRA" if artefact == "adapter" else f"{storage} {artefact}"


def benches(collection: Collection) -> dict[str, ReportedRun]:
    """Return the model benchmarks by label; labels that several runs share get the run's name appended.

    They are in the order of the baseline project's comparison: unquantised base, quantised base, quantised base with
    adapter. The adapter on the unquantised base, which the baseline did not measure, comes last.
    """
    runs = [run for run in collection.finished if {"weights_mib", "disk_mib"} & run.bench.keys()]
    runs.sort(key=lambda run: _rank(label_of(run)))
    alike = [label_of(run) for run in runs]
    return {
        label if alike.count(label) == 1 else f"{label} ({run.name})": run
        for label, run in zip(alike, runs, strict=True)
    }


def _rank(label: str) -> tuple[bool, int, bool, str]:
    storage = _storage(label)
    last = storage in UNQUANTISED and label != storage
    other = label not in (storage, f"{storage}+LoRA")
    return (last, ORDER.index(storage) if storage in ORDER else len(ORDER), other, label)


def _storage(label: str) -> str:
    return label.partition("+")[0].partition(" ")[0]


def accuracy_name(runs: Sequence[ReportedRun]) -> str:
    """Return the metric to compare with costs: combined accuracy if all runs have it, else their objective.

    The forms of a trained model are compared by the objective that its run is judged by.
    """
    judged = [str(run.bench.get("objective")) for run in runs] if any(_is_deployed(run) for run in runs) else []
    names = (*judged, "combined", *(str(run.config.get("eval.objective")) for run in runs), *METRICS)
    return next((name for name in names if runs and all(name in run.scored for run in runs)), "")


def deployment(collection: Collection) -> Section | None:
    """Compare storage formats with and without an adapter, and plot accuracy against cost."""
    runs = benches(collection)
    if not runs:
        return None
    section = Section(anchor="deployment", title="Memory, latency and accuracy")
    accuracy = accuracy_name([run for run in runs.values() if run.scored])
    section.blocks.append(_table(runs, accuracy))
    if len(runs) > 1:
        section.blocks += _relative(runs, accuracy)
    section.blocks.append(ReportText(text=_basis(list(runs.values())), tone="note"))
    scored = {label: run for label, run in runs.items() if accuracy and _drawable(run.score(accuracy))}
    for key, (title, unit) in {key: MEASURED[key] for key in ("peak_mib", "latency_p50_ms")}.items():
        known = {label: run for label, run in scored.items() if _drawable(run.number("benchmark", key))}
        if len(known) > 1:
            section.blocks.append(_plane(known, accuracy, key, f"{title}, {unit}"))
    return section


def _drawable(number: Number | None) -> bool:
    return number is not None and number.drawable


def _table(runs: dict[str, ReportedRun], accuracy: str) -> ReportTable:
    known = {key for run in runs.values() for key in MEASURED if run.number("benchmark", key)}
    present = {key: what for key, what in MEASURED.items() if key in known}
    heads = [title for title, _ in present.values()] + ([title_of(accuracy)] if accuracy else [])
    told = any("answered_by" in run.bench and _is_deployed(run) for run in runs.values())
    rows: list[list[Cell]] = []
    for label, run in runs.items():
        cells: list[Cell] = [run.number("benchmark", key, unit) for key, (_, unit) in present.items()]
        shown = [_equal(run), run.bench.get("answered_by")] if told else []
        rows.append([label, *cells, *([run.score(accuracy)] if accuracy else []), *shown])
    documents = {found for run in runs.values() if (found := run.scored.get("documents")) is not None}
    caption = "Configurations side by side." + (
        f" Accuracy over {', '.join(map(str, sorted(documents)))} documents, with 95 % intervals." if documents else ""
    )
    for label in runs:
        if _storage(label) in UNQUANTISED and "+LoRA" in label:
            caption += f" {label}: the adapter on the base in {_storage(label)}, not quantised."
    columns = ["configuration", *heads, *(["answers equal to the run's", "engine"] if told else [])]
    return ReportTable(name="configurations", caption=caption, columns=columns, rows=rows)


def _is_deployed(run: ReportedRun) -> bool:
    """Whether a run measured a trained model in another form than beside its base."""
    return run.config.get("artefact", "adapter") not in ("base", "adapter")


def _equal(run: ReportedRun) -> str | None:
    equal = run.bench.get("equal_answers")
    return None if equal is None else f"{equal} of {run.bench.get('answers')}"


def _relative(runs: dict[str, ReportedRun], accuracy: str) -> list[ReportTable]:
    """Compare memory, latency and, if both kept their answers, accuracy with the first unquantised configuration.

    Where a trained model was measured in several forms and its unquantised base was not, with the adapter on its base.
    """
    base = next((label for label in runs if label in UNQUANTISED), None)
    if base is None and any(_is_deployed(run) for run in runs.values()):  # what the run trained
        base = next((label for label in runs if label.endswith("+LoRA")), None)
    if base is None:
        return []
    rows: list[list[Cell]] = []
    for label, run in runs.items():
        cells: list[Cell] = [_ratio(run, runs[base], key) for key in RELATIVE]
        rows.append([label, *cells, *(_paired(run, runs[base], accuracy) if label != base else (None, None))])
    columns = ["configuration", *(f"{name}, %" for name in RELATIVE.values())]
    columns += [f"{title_of(accuracy)}, points", "paired verdict"]
    paired = "; accuracy paired by example, with 95 % intervals" if any(row[-1] for row in rows) else ""
    return [ReportTable(name="relative", caption=f"Change against {base}{paired}.", columns=columns, rows=rows)]


def _ratio(run: ReportedRun, base: ReportedRun, key: str) -> Number | None:
    own, other = run.number("benchmark", key), base.number("benchmark", key)
    if own is None or other is None or not other.value:
        return None
    what = f"{key} over that of {base.name}, less 1"
    return Number(value=own.value / other.value - 1, unit="points", run=run.name, file="benchmark.json", key=what)


def _paired(run: ReportedRun, base: ReportedRun, measure: str) -> tuple[Number | None, str | None]:
    """Return the difference of a metric on the examples that both answered, and better, worse or cannot tell."""
    from medvl.metrics.confidence import paired

    try:
        one = paired(base.rows(), run.rows()).get(measure)
    except ValueError:  # no answers were kept, or those of other examples
        one = None
    if one is None:
        return None, None
    interval = None if one.low is None or one.high is None else (one.low, one.high)
    what = f"paired difference of {measure} to {base.name}"
    number = Number(
        value=one.difference,
        unit="points",
        run=run.name,
        file="predictions.jsonl",
        key=what,
        interval=interval,
        interval_key=RESAMPLED if interval else None,
    )
    return number, one.verdict


def _basis(runs: Sequence[ReportedRun]) -> str:
    """Describe what was measured, and on what hardware."""
    config = runs[0].config
    peaks = " or ".join(sorted({str(run.bench["peak_is"]) for run in runs if "peak_is" in run.bench}))
    peak = f"Peak memory is what was {peaks} while generating. " if peaks else ""
    batch, tokens, repeats = (config.get(f"bench.{name}") for name in ("batch", "new_tokens", "repeats"))
    pages = "1 page" if batch == 1 else f"{batch} pages"
    devices = " and ".join(sorted({device_of(run) for run in runs}))
    exports = [run for run in runs if run.config.get("artefact", "adapter") not in OF_A_BASE]
    held = "medvl dequantises an export while it loads it, so its memory is that of bf16; vLLM holds it quantised. "
    peak += held if exports else ""
    return f"{peak}Latency is that of {pages} at once and {tokens} new tokens, over {repeats} repeats, on {devices}."


def _plane(runs: dict[str, ReportedRun], accuracy: str, key: str, xlabel: str) -> Picture:
    points = [
        figures.Point(label=label, x=cost.value, y=number.value, interval=number.drawn)
        for label, run in runs.items()
        if (number := run.score(accuracy)) and (cost := run.number("benchmark", key))
    ]
    better = METRICS[accuracy].higher_is_better
    svg = figures.plane(points, xlabel, f"{title_of(accuracy)}, %", higher_is_better=better)
    names = ", ".join(point.label for point in figures.front(points, higher_is_better=better))
    return Picture(
        caption=f"{title_of(accuracy)} against {xlabel.partition(',')[0]}, with 95 % intervals; on the "
        f"Pareto front (dots, dashed): {names}.",
        svg=svg,
    )
