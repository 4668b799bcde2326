"""Finds runs and sweeps below folders. A folder that cannot be read, or is of something else, never ends the search."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvl.inventory.entry import Entry, SweepEntry
from medvl.record.lock import FILE as LOCK
from medvl.record.shape import tidy
from medvl.sweeping.plan import FILE as PLAN
from medvl.sweeping.plan import SweepPlan

DEEPEST = 6  # folders below one that is named; runs lie two or three deep
RECORD = {"config.yaml", "environment.json"}
PROGRAMS = ("train", "evaluate", "benchmark", "doctor", "download", "prepare", "audit", "calibrate", "export", "serve")
STAMP = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # what `run_dir` and `claim` name
LOGS = {f"{program}.log": program for program in PROGRAMS}


@dataclass(kw_only=True)
class Found:
    """What lies below some folders."""

    runs: list[Entry] = field(default_factory=list)
    """Runs that are of no sweep."""
    sweeps: list[SweepEntry] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Folders that could not be read, with the reason."""

    @property
    def every(self) -> list[Entry]:
        return [*self.runs, *(job for sweep in self.sweeps for job in sweep.jobs)]


def find(folders: Sequence[Path]) -> Found:
    """Find the runs and sweeps in and below folders.

    Raises:
        ValueError: A folder that is named does not exist.
    """
    found, seen = Found(), set[tuple[int, int]]()
    for folder in folders:
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {tidy(str(folder))[:200]}. Name one with runs, such as outputs.")
        _search(folder, found, seen)
    return found


def _search(top: Path, found: Found, seen: set[tuple[int, int]]) -> None:
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen:  # named twice, or a link that leads back
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as listed:
                entries = list(listed)
                below = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        except OSError as error:
            found.left_out.append((tidy(str(folder)), error.strerror or type(error).__name__))
            continue
        names = {entry.name for entry in entries}
        if PLAN in names:
            found.sweeps.append(_sweep(folder, below, found))
        elif (script := run_in(folder, names)) is not None:
            found.runs.append(Entry(path=folder, script=script))
        elif depth < DEEPEST:
            pending += [(folder / name, depth + 1) for name in below]


def run_in(folder: Path, names: set[str]) -> str | None:
    """Return the script of a run's directory by the names in it, "" if they do not tell; None: it is no run."""
    script = next((LOGS[name] for name in sorted(names & LOGS.keys())), None)
    if ("status.json" in names and (script is not None or names & RECORD)) or names >= RECORD:
        return script or (folder.parent.name if folder.parent.name in PROGRAMS else "")
    # A directory that medvl has named, and whose process ended before its record began
    begun = script is not None and names <= {*LOGS, LOCK, "config.yaml"}
    return script if begun and folder.parent.name == script and STAMP.fullmatch(folder.name) else None


def _sweep(folder: Path, below: Sequence[str], found: Found) -> SweepEntry:
    """Return a sweep with the jobs of its plan, or the runs in its folder if the plan is damaged."""
    try:
        plan = SweepPlan.read(folder)
    except ValueError as error:
        why = tidy(str(error))
        found.left_out.append((tidy(str(folder / PLAN)), why))
        jobs = [Entry(path=folder / name, sweep=folder) for name in sorted(below) if _has_record(folder / name)]
        return SweepEntry(path=folder, plan=None, fault=why, jobs=jobs)
    jobs = [
        Entry(path=folder / job.run, sweep=folder, script=plan.script, overrides=job.overrides) for job in plan.jobs
    ]
    return SweepEntry(path=folder, plan=plan, jobs=jobs)


def _has_record(folder: Path) -> bool:
    try:
        return bool({entry.name for entry in os.scandir(folder)} & {"status.json", *RECORD})
    except OSError:
        return False
