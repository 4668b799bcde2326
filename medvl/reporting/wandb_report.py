"""The report as a W&B report: panels over the runs in W&B, and the tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvl.record.errors import first_line
from medvl.record.files import write_text
from medvl.reporting.collection import Collection, collect
from medvl.reporting.overview import commit_of
from medvl.reporting.report import sections, title_of
from medvl.reporting.runs import ReportedRun
from medvl.reporting.sweeps import varied_keys
from medvl.reporting.tables import Section
from medvl.tracking.names import USUAL
from medvl.tracking.tracker import STEP

SPECIFICATION = "wandb_report.json"
CURVES = ("train/nats_per_token", "val/nats_per_token", "train/lr")  # the names in metrics.jsonl


def publish(paths: Sequence[Path], out: Path) -> str:
    """Save the report in W&B, or its specification to a file if W&B cannot be reached; return its location.

    Raises:
        ValueError: wandb-workspaces is not installed, or a path has no results.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # we print one line with the report's location
    try:
        import wandb
        import wandb_workspaces.reports.v2 as wr
    except ImportError as error:
        raise ValueError("--wandb needs wandb-workspaces. Run: pip install 'wandb-workspaces>=0.4'") from error
    collection = collect(paths)
    parts = sections(collection)
    why = _offline(wandb)
    if not why:
        try:
            entity = _setting(collection, "logger.entity") or wandb.Api().default_entity
            return _report(wr, collection, parts, entity=entity).save().url
        except Exception as error:  # any network or server error: keep the specification
            why = f"W&B cannot be reached ({first_line(error)})"
    model = _report(wr, collection, parts, entity="")._to_model()  # an entity would be looked up online
    write_text(out / SPECIFICATION, model.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n")
    return f"{why}; the specification of the report is in {out / SPECIFICATION}"


def _offline(wandb: Any) -> str:
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return "W&B is offline"
    return "" if wandb.login(prompt=False, verify=False) else "no W&B account is known here (wandb login)"


def _setting(collection: Collection, key: str) -> str:
    return next((str(run.config[key]) for run in collection.every if run.config.get(key)), "")


def _report(wr: Any, collection: Collection, parts: Sequence[Section], *, entity: str | None) -> Any:
    """Return the report, not yet saved.

    Args:
        entity: The account that the runs and the report belong to; empty offline.
    """
    project = _setting(collection, "logger.project") or "medvl"
    sets = [
        wr.Runset(entity=entity, project=project, name=name, filters=f"ID in {ids}") for name, ids in _ids(collection)
    ]
    blocks: list[Any] = [wr.TableOfContents()]
    if sets:
        blocks += [wr.H1("Runs"), wr.PanelGrid(runsets=sets, panels=_panels(wr, collection))]
    for part in parts:
        text = "\n\n".join(part.markdown()) if part.tables or part.anchor == "limits" else ""
        blocks += [wr.H1(part.title), wr.MarkdownBlock(text)] if text else []
    commits = ", ".join(dict.fromkeys(commit_of(run) for run in collection.finished))
    return wr.Report(
        entity=entity,
        project=project,
        title=title_of(collection)[:128],
        blocks=blocks,
        description=f"Commit {commits}. Not for clinical use.",
    )


def _ids(collection: Collection) -> list[tuple[str, list[str]]]:
    """Return the sets of runs that were tracked in W&B: (name, their W&B ids)."""
    groups: dict[str, list[ReportedRun]] = {sweep.name: sweep.runs for sweep in collection.sweeps}
    found = {
        name: [run.status["wandb"] for run in runs if "wandb" in run.status]
        for name, runs in {**groups, "Runs": collection.runs}.items()
    }
    return [(name, ids) for name, ids in found.items() if ids]


def _panels(wr: Any, collection: Collection) -> list[Any]:
    """Return panels: curves, the objective as bars, and for a sweep the objective over its keys."""
    known = {key for run in collection.every for row in run.curve[:1] + run.curve[-1:] for key in row}
    # Earlier versions sent the names of metrics.jsonl.
    panels = [wr.LinePlot(title=USUAL[name], x=STEP, y=[USUAL[name], name]) for name in CURVES if name in known]
    names = dict.fromkeys(_summary(run) for run in collection.finished if run.objective)
    panels += [wr.BarPlot(title=name.removesuffix(".last"), metrics=[name]) for name in names]
    for sweep in collection.sweeps:
        keys = varied_keys(sweep)
        if not keys or not sweep.ranked:
            continue
        goal = _summary(sweep.ranked[0])
        groups = sweep.ranked[0].groups
        axes = [_axis(wr, f"group.{key}" if key in groups else key) for key in keys]
        axes.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(goal)))
        panels += [
            wr.ParallelCoordinatesPlot(title=sweep.name, columns=axes),
            wr.ParameterImportancePlot(with_respect_to=goal),
        ]
    return [*panels, wr.RunComparer(diff_only="split")]


def _axis(wr: Any, key: str) -> Any:
    """Return the chart axis of a setting.

    A run's settings are flat: W&B stores {"lora.r": {"value": 8}}, with the path lora.r.value. wr.Config reads dots as
    nesting and would ask for lora.value.r (wandb_workspaces.expr.groupby_str_to_key distinguishes the two).
    """

    class Flat(wr.ParallelCoordinatesPlotColumn):
        def _to_model(self) -> Any:
            model = super()._to_model()
            model.accessor = f"config:{key}.value"
            return model

    return Flat(metric=wr.Config(key), display_name=key)


def _summary(run: ReportedRun) -> str:
    """Return W&B's name of a run's objective; for metrics with a direction W&B keeps the best and the last value."""
    return f"{ {'train': 'after', 'evaluate': 'eval'}.get(run.script, 'bench') }/{run.objective}.last"
