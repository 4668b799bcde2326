"""The subjects of a report: runs named individually, and sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medvl.record.directory import load_run
from medvl.reporting.runs import BOOKKEEPING, ReportedRun, natural, settings, value_text
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
        return [run for run, value in sorted(valued, key=lambda pair: sign * pair[1]) if value == value]  # not nan

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
    """Read runs and sweeps.

    Raises:
        ValueError: A folder is missing, is neither a run nor a sweep, or has no results.
    """
    runs: list[ReportedRun] = []
    sweeps: list[Sweep] = []
    for path, typed in {Path(path).resolve(): path for path in paths}.items():
        if not path.is_dir():
            raise ValueError(f"there is no folder {typed}. Name a run or a sweep below outputs/.")
        if (path / "config.yaml").is_file():
            runs.append(_single(path))
        else:
            sweeps.append(_sweep(path))
    collection = Collection(runs=runs, sweeps=sweeps)
    if len(sweeps) == 1 and not runs:  # the title names the sweep
        for run in [*sweeps[0].runs, *sweeps[0].missing]:
            run.name = run.path.name
    names = [run.name for run in collection.every]
    for run in collection.every:  # two folders may contain runs with the same name
        if names.count(run.name) > 1:
            run.name = f"{run.path.parents[run.name.count('/') + 1].name}/{run.name}"
    return collection


def _single(path: Path) -> ReportedRun:
    state = load_run(path).get("state", "unknown")
    run = ReportedRun(path=path, name=path.name)
    run.overrides = run.environment.get("overrides") or []
    if not (run.metrics or run.bench):
        raise ValueError(f"{path.name} holds no results; its state is {state}. Name a run that is done, or its sweep.")
    return run


def _sweep(path: Path) -> Sweep:
    plan = SweepPlan.read(path) if (path / FILE).is_file() else None
    children = sorted((one for one in path.iterdir() if (one / "status.json").is_file()), key=lambda p: natural(p.name))
    jobs = [(job.run, job.overrides) for job in plan.jobs] if plan else [(one.name, None) for one in children]
    if not jobs:
        raise ValueError(f"{path.name} is neither a run (config.yaml) nor a sweep ({FILE}, or runs below it).")
    title = plan.name if plan else path.name
    runs: list[ReportedRun] = []
    missing: list[ReportedRun] = []
    for name, overrides in jobs:
        run = ReportedRun(path=path / name, name=f"{title}/{name}")
        run.overrides = overrides if overrides is not None else run.environment.get("overrides") or []
        (runs if run.status else missing).append(run)
    if not any(run.finished for run in runs):
        raise ValueError(f"no run of {path.name} holds results yet. Report on it when one is done.")
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
