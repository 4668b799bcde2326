"""What a report is about: runs named one by one, and sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medvl.record import load_run
from medvl.reporting.runs import BOOKKEEPING, Run, natural, settings, value_text
from medvl.sweeping.plan import FILE, Plan


@dataclass(kw_only=True)
class Sweep:
    """Runs that were started together."""

    path: Path
    name: str
    runs: list[Run]
    missing: list[Run]
    """Jobs without a directory: not started."""
    objectives: list[tuple[str, str]]
    """(name, minimize or maximize); what the runs say where the sweep searched for nothing."""

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.finished]

    @property
    def ranked(self) -> list[Run]:
        """The finished runs that have the first objective, the best first."""
        if not self.objectives:
            return []
        name, direction = self.objectives[0]
        sign = -1 if direction == "maximize" else 1
        valued = [(run, number.value) for run in self.finished if (number := run.optimised(name)) is not None]
        return [run for run, value in sorted(valued, key=lambda pair: sign * pair[1]) if value == value]  # not nan

    def swept(self, runs: Sequence[Run] = ()) -> dict[str, list[str]]:
        """Return the overridden keys that take several values, with those values in order."""
        found: dict[str, list[str]] = {}
        for run in runs or [*self.runs, *self.missing]:
            for key, value in settings(run).items():
                values = found.setdefault(key, [])
                values += [value] if value not in values else []
        return {key: sorted(values, key=natural) for key, values in found.items() if len(values) > 1}


@dataclass(kw_only=True)
class Collection:
    """What a report is about."""

    runs: list[Run]
    """Named one by one."""
    sweeps: list[Sweep]

    @property
    def every(self) -> list[Run]:
        return [*self.runs, *(run for sweep in self.sweeps for run in sweep.runs)]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.every if run.finished]

    @property
    def focus(self) -> list[Run]:
        """Runs that are shown in detail: those named, and the best of each sweep."""
        return [*self.runs, *(sweep.ranked[0] for sweep in self.sweeps if sweep.ranked)]


def collect(paths: Sequence[Path]) -> Collection:
    """Read runs and sweeps.

    Raises:
        ValueError: A folder is missing, is neither, or holds no result.
    """
    runs: list[Run] = []
    sweeps: list[Sweep] = []
    for path, typed in {Path(path).resolve(): path for path in paths}.items():
        if not path.is_dir():
            raise ValueError(f"there is no folder {typed}. Name a run or a sweep below outputs/.")
        if (path / "config.yaml").is_file():
            runs.append(_single(path))
        else:
            sweeps.append(_sweep(path))
    collection = Collection(runs=runs, sweeps=sweeps)
    if len(sweeps) == 1 and not runs:  # the title names it
        for run in [*sweeps[0].runs, *sweeps[0].missing]:
            run.name = run.path.name
    names = [run.name for run in collection.every]
    for run in collection.every:  # two folders may hold runs of one name
        if names.count(run.name) > 1:
            run.name = f"{run.path.parents[run.name.count('/') + 1].name}/{run.name}"
    return collection


def _single(path: Path) -> Run:
    state = load_run(path).get("state", "unknown")
    run = Run(path=path, name=path.name)
    run.overrides = run.environment.get("overrides") or []
    if not (run.metrics or run.bench):
        raise ValueError(f"{path.name} holds no results; its state is {state}. Name a run that is done, or its sweep.")
    return run


def _sweep(path: Path) -> Sweep:
    plan = Plan.read(path) if (path / FILE).is_file() else None
    children = sorted((one for one in path.iterdir() if (one / "status.json").is_file()), key=lambda p: natural(p.name))
    jobs = [(job.run, job.overrides) for job in plan.jobs] if plan else [(one.name, None) for one in children]
    if not jobs:
        raise ValueError(f"{path.name} is neither a run (config.yaml) nor a sweep ({FILE}, or runs below it).")
    title = plan.name if plan else path.name
    runs, missing = [], []
    for name, overrides in jobs:
        run = Run(path=path / name, name=f"{title}/{name}")
        run.overrides = overrides if overrides is not None else run.environment.get("overrides") or []
        (runs if run.status else missing).append(run)
    if not any(run.finished for run in runs):
        raise ValueError(f"no run of {path.name} holds results yet. Report on it when one is done.")
    wary = any(run.private for run in runs)
    for run in [*runs, *missing]:
        run.wary = wary
    return Sweep(path=path, name=title, runs=runs, missing=missing, objectives=_objectives(plan, runs))


def _objectives(plan: Plan | None, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return names and directions."""
    if plan is not None and plan.search is not None:
        return [(one["name"], one["direction"]) for one in plan.search["objectives"]]
    ways = ((run.objective, "maximize" if run.higher_is_better else "minimize") for run in runs if run.finished)
    return list(dict.fromkeys(way for way in ways if way[0]))[:1]


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the keys of the compositions whose values differ, with the value of each run.

    A group whose option differs stands for the values that the option brings.
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
