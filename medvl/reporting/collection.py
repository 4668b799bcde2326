"""The subjects of a report: runs named individually, and sweeps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvl.record.directory import load_run
from medvl.record.files import shortened
from medvl.record.shape import tidy
from medvl.reporting.runs import BOOKKEEPING, ReportedRun, natural, settings, value_text
from medvl.reporting.tables import drawable
from medvl.sweeping.plan import FILE, SweepPlan


@dataclass(kw_only=True)
class Sweep:
    """Runs that were started together."""

    path: Path
    name: str
    runs: list[ReportedRun]
    missing: list[ReportedRun]
    """Jobs without a directory, as they were not started."""
    objectives: list[tuple[str, str]]
    """(name, minimize or maximize) each; the runs' own where the sweep is no search."""

    @property
    def finished(self) -> list[ReportedRun]:
        return [run for run in self.runs if run.finished]

    @property
    def ranked(self) -> list[ReportedRun]:
        """The finished runs with a value of the first objective, best first."""
        if not self.objectives:
            return []
        name, direction = self.objectives[0]
        sign = -1 if direction == "maximize" else 1
        valued = [(run, number.value) for run in self.finished if (number := run.optimised(name)) is not None]
        return [run for run, value in sorted(valued, key=lambda pair: sign * pair[1]) if drawable(value)]

    @property
    def leaders(self) -> list[ReportedRun]:
        """The runs that share the best value of the first objective: one, unless there is a tie."""
        values = {run.name: number.value for run in self.ranked if (number := run.optimised(self.objectives[0][0]))}
        return [run for run in self.ranked if values[run.name] == values[self.ranked[0].name]]

    def swept(self, runs: Sequence[ReportedRun] = ()) -> dict[str, list[str]]:
        """Return the overridden keys that take several values, with those values in order."""
        found: dict[str, list[str]] = {}
        for run in runs or [*self.runs, *self.missing]:
            for key, value in settings(run).items():
                values = found.setdefault(key, [])
                values += [value] if value not in values else []
        return {key: sorted(values, key=natural) for key, values in found.items() if len(values) > 1}


@dataclass(kw_only=True)
class Collection:
    """The subjects of a report."""

    runs: list[ReportedRun]
    """Runs that were named individually."""
    sweeps: list[Sweep]
    refused: list[str] = field(default_factory=list)
    """Why paths that were named beside others are not there."""

    @property
    def faults(self) -> list[str]:
        """What is left out, one sentence each; of files only those that were read by now."""
        every = [*self.every, *(run for sweep in self.sweeps for run in sweep.missing)]
        damaged = [f"{name} of {run.name} is damaged: {why}" for run in every for name, why in run.faults.items()]
        return [*self.refused, *(f"{sentence}." for sentence in damaged)]

    @property
    def every(self) -> list[ReportedRun]:
        return [*self.runs, *(run for sweep in self.sweeps for run in sweep.runs)]

    @property
    def finished(self) -> list[ReportedRun]:
        return [run for run in self.every if run.finished]

    @property
    def focus(self) -> list[ReportedRun]:
        """Runs that are shown in detail: those named, and the best of each sweep."""
        return [*self.runs, *(sweep.ranked[0] for sweep in self.sweeps if sweep.ranked)]


def collect(paths: Sequence[Path]) -> Collection:
    """Read runs and sweeps. One that cannot be read, or has no results yet, is refused alone if others can be read.

    Raises:
        ValueError: A folder is missing, or none is a run or sweep with results.
    """
    collection = Collection(runs=[], sweeps=[])
    for path, typed in {Path(os.path.realpath(path)): path for path in paths}.items():
        if not os.path.isdir(path):  # False also for names that are too long
            raise ValueError(f"there is no folder {shortened(str(typed))}. Name a run or a sweep below outputs/.")
        try:
            if (path / "config.yaml").is_file():
                collection.runs.append(_single(path))
            else:
                collection.sweeps.append(_sweep(path))
        except ValueError as error:
            collection.refused.append(str(error))
        except OSError as error:
            collection.refused.append(f"{path.name} cannot be read: {error.strerror}. Allow reading it.")
    if not collection.runs and not collection.sweeps:
        raise ValueError(" ".join(collection.refused))
    if len(collection.sweeps) == 1 and not collection.runs:  # the title names the sweep
        (sweep,) = collection.sweeps
        for run in [*sweep.runs, *sweep.missing]:
            run.name = tidy(run.path.name)
    _tell_apart(collection.every)
    return collection


def _tell_apart(runs: Sequence[ReportedRun]) -> None:
    """Name runs that have the same name by their paths' last parts, as many as differ."""
    for depth in range(2, 1 + max(len(run.path.parts) for run in runs)):
        alike = {name for name, count in Counter(run.name for run in runs).items() if count > 1}
        for run in runs:
            if run.name in alike:
                run.name = tidy("/".join(run.path.parts[-depth:]))


def _single(path: Path) -> ReportedRun:
    state = load_run(path).get("state", "unknown")
    run = ReportedRun(path=path, name=tidy(path.name))
    run.overrides = run.environment.get("overrides") or []
    if run.metrics or run.bench:
        return run
    if not run.faults:
        raise ValueError(f"{run.name} holds no results; its state is {state}. Name a run that is done, or its sweep.")
    told = ", ".join(f"{name} is damaged ({why})" for name, why in run.faults.items())
    raise ValueError(f"{run.name} holds no results that can be read: {told}. Restore the files, or name another run.")


def _sweep(path: Path) -> Sweep:
    plan = SweepPlan.read(path) if os.path.lexists(path / FILE) else None
    inside = (one for one in path.iterdir() if os.path.isfile(one / "status.json"))
    children = sorted(inside, key=lambda one: natural(one.name))
    jobs = {job.run: job.overrides for job in plan.jobs} if plan else dict.fromkeys(one.name for one in children)
    if not jobs:
        raise ValueError(f"{tidy(path.name)} is neither a run (config.yaml) nor a sweep ({FILE}, or runs below it).")
    title = tidy(plan.name if plan else path.name)
    runs: list[ReportedRun] = []
    missing: list[ReportedRun] = []
    for name, overrides in jobs.items():
        run = ReportedRun(path=path / name, name=tidy(f"{title}/{name}"))
        run.overrides = overrides if overrides is not None else run.environment.get("overrides") or []
        (missing if run.state == "not started" else runs).append(run)
    if not any(run.finished for run in runs):
        damaged = [f"{name} of {run.path.name} ({why})" for run in runs for name, why in run.faults.items()]
        told = f" Damaged: {', '.join(damaged[:3])}." if damaged else ""
        raise ValueError(f"no run of {title} holds results yet.{told} Report on it when one is done.")
    wary = any(run.private for run in runs)
    for run in [*runs, *missing]:
        run.wary = wary
    return Sweep(path=path, name=title, runs=runs, missing=missing, objectives=_objectives(plan, runs))


def _objectives(plan: SweepPlan | None, runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """Return the objectives as (name, direction)."""
    if plan is not None and plan.search is not None:
        return [(one["name"], one["direction"]) for one in plan.search["objectives"]]
    ways = ((run.objective, "maximize" if run.higher_is_better else "minimize") for run in runs if run.finished)
    return list(dict.fromkeys(way for way in ways if way[0]))[:1]


def differing(runs: Sequence[ReportedRun]) -> dict[str, list[str]]:
    """Return the composition keys whose values differ between runs, with the value of each run.

    Where the option of a config group differs, only the group is listed, not the values that the option sets.
    """
    if len(runs) < 2:
        return {}
    rows = {key: [run.groups.get(key, "-") for run in runs] for key in dict.fromkeys(k for r in runs for k in r.groups)}
    changed = {key: values for key, values in rows.items() if len(set(values)) > 1}
    for key in dict.fromkeys(key for run in runs for key in run.config):
        if key.startswith(BOOKKEEPING) or any(key == group or key.startswith(f"{group}.") for group in changed):
            continue
        values = [value_text(key, run.config.get(key, "-")) for run in runs]
        if len(set(values)) > 1:
            changed[key] = values
    return changed
