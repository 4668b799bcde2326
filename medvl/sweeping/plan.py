"""What a sweep is made of: a folder, a plan of jobs, and a run directory a job, named by what it computes.

sweep.json                the jobs with their overrides, in order
sweep.txt                 the table of the last time it ended
search.db                 the trials of a search (hydra/sweeper=optuna)
<10 hex>/                 the run directory of one job; output.log beside what every run directory holds
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from medvl import record
from medvl.claim import FILE as LOCK
from medvl.claim import is_claimed

FORMAT = 1  # of sweep.json
FILE = "sweep.json"
SWEEP = "MEDVL_SWEEP"  # environment of a job in a process of its own: the folder of its sweep
# Values that change where and how a job is watched, not what it computes: they have no part in its name.
ASIDE = ("cache", "logger", "privacy", "repeat", "report", "resume")


class State(Enum):
    """How far a job of a sweep has come."""

    done = "done"
    failed = "failed"
    pruned = "pruned"  # stopped by a search: no better than others had been at this step
    running = "running"
    interrupted = "interrupted"
    left = "left"  # not started

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done any more, unless it is asked for."""
        return self in (State.done, State.failed, State.pruned)


class Repeat(Enum):
    """Which settled jobs are done again."""

    never = "never"
    failed = "failed"  # from their last checkpoint
    all = "all"  # from the start


@dataclass(frozen=True, slots=True)
class Planned:
    """One job: the name of its run directory, and what was composed for it."""

    run: str
    overrides: list[str]


@dataclass(kw_only=True)
class Plan:
    """The jobs of a sweep."""

    folder: Path
    script: str
    jobs: list[Planned] = field(default_factory=list)
    search: dict[str, Any] | None = None
    """Storage, study and objectives of a search."""
    command: list[str] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def read(cls, folder: str | Path) -> Plan:
        """Read the plan of a sweep's folder.

        Raises:
            ValueError: There is none, or another version of medvl wrote it.
        """
        folder = Path(folder)
        found = record.read_json(folder / FILE)
        if found is None:
            raise ValueError(f"{folder} is not a sweep: {FILE} is missing. Name a folder that -m has made.")
        if found.get("format") != FORMAT:
            raise ValueError(f"{folder}/{FILE} is of format {found.get('format')}, this medvl reads format {FORMAT}.")
        jobs = [Planned(**one) for one in found.pop("jobs")]
        found.pop("name")
        return cls(folder=folder, jobs=jobs, **found)

    @property
    def name(self) -> str:
        return self.folder.name.removeprefix("sweep-")

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        record.write_json(self.folder / FILE, {"format": FORMAT, "name": self.name, **values})

    def add(self, jobs: Iterable[Planned]) -> None:
        """Append jobs that are not planned yet."""
        known = {job.run for job in self.jobs}
        for job in jobs:
            if job.run not in known:
                known.add(job.run)
                self.jobs.append(job)

    @property
    def unasked(self) -> int:
        """Jobs that a search has not proposed yet."""
        return max(0, (self.search or {}).get("trials", 0) - len(self.jobs))

    def runs(self) -> list[Path]:
        return [self.folder / job.run for job in self.jobs]


def state_of(run: Path) -> State:
    """Return how far a run directory has come; one whose process is gone was interrupted."""
    return state_in(record.read_json(run / "status.json"), run)


def state_in(status: dict[str, Any] | None, run: Path) -> State:
    """Return the state that a run's status tells."""
    if status is None:
        return State.left
    state = State(status["state"])
    if state is State.running and not is_claimed(run):
        return State.interrupted
    return state


def is_settled(state: State, repeat: Repeat) -> bool:
    """Return whether a job is not to be run."""
    again = repeat is Repeat.all or (repeat is Repeat.failed and state is State.failed)
    return state.settled and not again


def clear(run: Path) -> None:
    """Empty a run directory, so that its job starts over; what its process prints stays."""
    for path in run.iterdir():
        if path.suffix == ".log" or path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def value_of(run: Path) -> float | None:
    """Return the number that a run was optimised for, None where it has none."""
    objective = (record.read_json(run / "status.json") or {}).get("objective") or {}
    return objective.get("value")


def digest(value: Any, letters: int) -> str:
    """Return a short name for plain values that another machine would give them too."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:letters]


def folder_name(choice: str | None, overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the name of a sweep's folder: the same for the same command.

    Args:
        choice: The named sweep, if one is.
        overrides: All that decides which jobs there are.
        keys: What is swept.
    """
    words = choice or "+".join(keys) or "one"
    return f"sweep-{words[:48].rstrip('.+').replace('/', '.')}-{digest(sorted(overrides), 6)}"


def numbers_of(run: Path) -> dict[str, float]:
    """Return every number of a finished run by its place in its results: after/cer, train/weights_mib.

    What it was optimised for stands under its bare name too: cer.
    """
    numbers = {}
    for name in ("metrics", "benchmark"):
        found = record.leaves(record.read_json(run / f"{name}.json") or {}, "/")
        numbers |= {key: float(value) for key, value in found if type(value) in (int, float)}
    objective = (record.read_json(run / "status.json") or {}).get("objective") or {}
    return numbers if objective.get("value") is None else {**numbers, objective["name"]: objective["value"]}
