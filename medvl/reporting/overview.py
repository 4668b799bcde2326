"""What was run and what it cost: headline, composition, learning curves, cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from medvl.metrics import METRICS
from medvl.record.privacy import Privacy
from medvl.reporting import differences, figures
from medvl.reporting.collection import Collection, differing
from medvl.reporting.runs import BOOKKEEPING, ReportedRun, settings, short
from medvl.reporting.tables import Cell, Folded, Number, Picture, ReportTable, ReportText, Section, drawable

PER_TOKEN = "nats a token"


def title_of(name: str) -> str:
    """Return the name of a number: a metric's title, or its key in words."""
    measure = name.rpartition("/")[2]
    if measure in METRICS:
        return METRICS[measure].title
    if measure == "train_peak_mib":
        return "peak memory of training"
    return re.sub(r"_(mib|ms|j|(?<!per_)s)$", "", measure).replace("_", " ")


def own_overrides(run: ReportedRun) -> str | None:
    """Return the overrides by which a run differs from the default composition; None if they are not known.

    Of a private run, paths and texts are left out.
    """
    typed = run.environment.get("overrides")
    if typed is None:
        return None
    words = differences.differing(list(map(str, typed)), run.script)
    if run.private:
        words = list(Privacy.strict.columns({word.partition("=")[0]: word for word in words}).values())
    return ", ".join(words) or "nothing"


def labels(runs: Sequence[ReportedRun]) -> dict[str, str]:
    """Map run names to the fewest settings that tell the runs apart."""
    changed = differing(runs)
    words = {
        run.name: ", ".join(f"{short(key)} {values[at]}" for key, values in changed.items())
        for at, run in enumerate(runs)
    }
    alike = len(set(words.values())) < len(words) or any(len(text) > 44 for text in words.values())
    return {name: name if alike or not text else text for name, text in words.items()}


def headline(collection: Collection) -> Section:
    """Describe what was run, where and when, and the gate's verdict."""
    section = Section(anchor="headline", title="What was run")
    for sweep in collection.sweeps:
        states = [run.state for run in sweep.runs] + ["not started"] * len(sweep.missing)
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        section.blocks.append(ReportText(text=f"Sweep {sweep.name}, {len(states)} runs: {counts}."))
        if sweep.ranked and sweep.objectives:
            own = settings(sweep.ranked[0])
            words = ", ".join(f"{key} = {own[key]}" for key in sweep.swept() if key in own) or "no override"
            text = f"Best by {title_of(sweep.objectives[0][0])}: {words} ({sweep.ranked[0].path.name})."
            if len(sweep.leaders) > 1:
                names = ", ".join(run.path.name for run in sweep.leaders)
                text = f"Tie of {len(sweep.leaders)} runs by {title_of(sweep.objectives[0][0])}: {names}."
            section.blocks.append(ReportText(text=text))
    columns = ["run", "differs by", "script", "result", "gate", "device", "started", "commit", "seed"]
    rows = [_headline_row(run) for run in collection.focus]
    section.blocks.append(ReportTable(name="runs", caption="The runs shown in detail.", columns=columns, rows=rows))
    for run in collection.focus:
        gate = run.status.get("gate")
        if gate:
            tone = {"worse": "bad", "not worse": "good"}.get(gate["verdict"], "note")
            text = f"Gate of {run.name}: {gate['verdict']}. {' '.join(gate['why'])}"
            section.blocks.append(ReportText(text=text, tone=tone))
    return section


def _headline_row(run: ReportedRun) -> list[Cell]:
    number, gate = run.optimised(), run.status.get("gate") or {}
    result = f"{title_of(run.objective)} {number}" if number else None
    return [
        run.name,
        own_overrides(run),
        run.script,
        result,
        gate.get("verdict"),
        device_of(run),
        _day(run.status.get("started")),
        commit_of(run),
        str(run.config.get("seed", "")),
    ]


def device_of(run: ReportedRun) -> str:
    device = run.device
    if device.get("type") == "cuda":
        return f"{run.devices} x {device.get('name')}"
    return f"CPU, {run.environment.get('cores', '?')} cores"


def commit_of(run: ReportedRun) -> str:
    commit = (run.environment.get("commit") or "unknown")[:10]
    return f"{commit}, changed" if run.environment.get("dirty") else commit


def _day(stamp: str | None) -> str | None:
    return stamp[:16].replace("T", " ") if stamp else None


def composition(collection: Collection) -> Section | None:
    """Show the settings that differ between the runs; those they share are folded away."""
    runs = [run for run in collection.every if run.config]
    if not runs:
        return None
    section = Section(anchor="composition", title="Composition")
    changed = differing(runs)
    if changed:
        shown = runs[:40]
        rows = [[run.name, *(values[at] for values in changed.values())] for at, run in enumerate(shown)]
        caption = f"{len(changed)} keys differ between {len(runs)} runs" + (
            f"; the first {len(shown)} runs." if len(shown) < len(runs) else "."
        )
        section.blocks.append(ReportTable(name="differences", caption=caption, columns=["run", *changed], rows=rows))
    elif len(runs) > 1:
        section.blocks.append(ReportText(text=f"The {len(runs)} compositions are the same."))
    groups = {group: option for group, option in runs[0].groups.items() if group not in changed}
    if groups:
        rows = [[group, option] for group, option in groups.items()]
        caption = "Options of the config groups" + (" that all runs share." if len(runs) > 1 else ".")
        section.blocks.append(ReportTable(name="groups", caption=caption, columns=["group", "option"], rows=rows))
    kept = [
        f"{key}: {value}"
        for key, value in runs[0].config.items()
        if not key.startswith(BOOKKEEPING)
        and not any(key == c or key.startswith(f"{c}.") for c in changed)
        and key not in ("run", "adapter")
    ]
    section.blocks.append(
        Folded(
            title=f"All {len(kept)} values {'shared' if len(runs) > 1 else 'of the composition'}", text="\n".join(kept)
        )
    )
    return section


def learning(collection: Collection) -> Section | None:
    """Plot loss and learning rate over the steps."""
    runs = [run for run in collection.every if _points(run, "train/nats_per_token")]
    if not runs:
        return None
    section = Section(anchor="learning", title="Learning curves")
    names = labels(runs)
    tied = {run.name for sweep in collection.sweeps if len(sweep.leaders) > 1 for run in sweep.leaders}
    best = next((names[run.name] for run in collection.focus if run in runs and run.name not in tied), "")
    if len(runs) == 1:
        lines = {
            "training": _points(runs[0], "train/nats_per_token"),
            "held out": _points(runs[0], "val/nats_per_token"),
        }
        pictures = {
            "Loss of the answer tokens, each step's and on documents held out.": figures.curves(
                {k: v for k, v in lines.items() if v}, PER_TOKEN, dotted=["held out"]
            )
        }
    else:
        caption = "Loss of the answer tokens of each step."
        lines = {names[run.name]: _points(run, "train/nats_per_token") for run in runs}
        pictures = {caption: figures.curves(lines, PER_TOKEN, best=best)}
        held = {names[run.name]: points for run in runs if (points := _points(run, "val/nats_per_token"))}
        if any(len(points) > 1 for points in held.values()):
            caption = "Loss on documents held out."
            pictures[caption] = figures.curves(held, PER_TOKEN, dotted=list(held), best=best)
    rates = {names[run.name]: points for run in runs if (points := _points(run, "train/lr"))}
    if rates:
        alike = len({tuple(points) for points in rates.values()}) == 1
        rates = dict(list(rates.items())[:1]) if alike else rates
        pictures["Learning rate."] = figures.curves(rates, "learning rate", best=best)
    section.blocks += [Picture(caption=caption, svg=svg) for caption, svg in pictures.items()]
    rows = [[names[run.name], *_ends(run)] for run in runs]
    columns = ["run", "steps", "first loss", "last loss", "held-out loss"]
    section.blocks.append(ReportTable(name="loss", caption="Loss in nats a token.", columns=columns, rows=rows))
    return section


def _points(run: ReportedRun, key: str) -> list[tuple[float, float]]:
    pairs = ((row["step"], row[key]) for row in run.curve if row.get(key) is not None)
    return [pair for pair in pairs if all(map(drawable, pair))]


def _ends(run: ReportedRun) -> list[Cell]:
    """Return steps, first and last training loss, last validation loss."""
    steps = [row for row in run.curve if row.get("train/nats_per_token") is not None]
    held = [row for row in run.curve if row.get("val/nats_per_token") is not None]
    cells: list[Cell] = [
        Number(value=row[key], unit="", run=run.name, file="metrics.jsonl", key=f"{key} of step {row['step']}")
        for row, key in [(steps[0], "step"), (steps[0], "train/nats_per_token"), (steps[-1], "train/nats_per_token")]
    ]
    last = steps[-1]["step"]
    cells[0] = Number(value=last, unit="", run=run.name, file="metrics.jsonl", key="last step")
    value = held[-1] if held else None
    return [
        *cells,
        Number(
            value=value["val/nats_per_token"],
            unit="",
            run=run.name,
            file="metrics.jsonl",
            key=f"val/nats_per_token of step {value['step']}",
        )
        if value
        else None,
    ]


def costs(collection: Collection) -> Section | None:
    """Report the runs' duration and hardware, and their energy if it was measured."""
    runs = [run for run in collection.every if seconds(run)]
    if not runs:
        return None
    hours: dict[str, list[float]] = {}
    rows: list[list[Cell]] = []
    for run in runs:
        number, kind = device_hours(run)
        hours.setdefault(kind, []).append(number.value)
        energy = run.number("metrics", "train.energy_j", "J")
        rows.append(
            [
                run.name,
                run.state,
                device_of(run),
                number if kind == "GPU" else None,
                number if kind == "core" else None,
                energy,
            ]
        )
    columns = ["run", "state", "device", "GPU hours", "core hours", "energy"]
    total = ", ".join(f"{sum(values):.2f} {kind} hours" for kind, values in hours.items())
    text = f"{total} in all: the time each run worked times its devices, loading and scoring included, pauses not."
    if old := sum("worked_s" not in run.status for run in runs):
        text += f" Of {old} of the {len(runs)} runs only start and last update are known: a pause counts as work."
    table = ReportTable(name="cost", caption="Cost of each run.", columns=columns, rows=rows)
    blocks: list[Any] = [ReportText(text=text), Folded(title=f"Each of {len(runs)} runs", blocks=[table])]
    return Section(anchor="cost", title="Cost", blocks=blocks if len(runs) > 6 else [ReportText(text=text), table])


def seconds(run: ReportedRun) -> float | None:
    """Return the seconds a run worked; if not recorded, the time from its start to its last update."""
    if "worked_s" in run.status:
        return run.status["worked_s"]
    try:
        ends = [datetime.strptime(run.status[key], "%Y-%m-%dT%H:%M:%S%z") for key in ("started", "updated")]
    except (KeyError, ValueError):
        return None
    return (ends[1] - ends[0]).total_seconds()


def device_hours(run: ReportedRun) -> tuple[Number, str]:
    """Return a run's device hours, and whether the devices are GPUs or cores."""
    gpu = run.device.get("type") == "cuda"
    cores = run.environment.get("cores", 1)
    count, what = (run.devices, "trainer.devices") if gpu else (cores, "environment.json cores")
    value = (seconds(run) or 0) * count / 3600
    key = f"{'worked_s' if 'worked_s' in run.status else '(updated - started)'} times {what}, in hours"
    return Number(value=value, unit="h", run=run.name, file="status.json", key=key), "GPU" if gpu else "core"
