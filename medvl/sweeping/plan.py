"""A sweep on disk: a folder with a plan of jobs and one run directory per job, named by a hash of its composition.

sweep.json                the jobs with their overrides, in order
sweep.txt                 the table, as of the last time the sweep ended
search.db                 the trials of a search (hydra/sweeper=optuna)
<10 hex>/                 the run directory of one job, with the additional file output.log
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from medvl.record.files import PRIVATE, leaves, write_json
from medvl.record.lock import FILE as LOCK
from medvl.record.lock import is_locked
from medvl.record.masking import without_secrets
from medvl.record.reading import Damaged, known_status, read_object
from medvl.record.shape import Rule, checked

FORMAT = 1  # version of sweep.json
FILE = "sweep.json"
SWEEP = "MEDVL_SWEEP"  # environment variable of jobs in their own process: the folder of the sweep
# Settings that change where a job runs and how it is tracked, but not its results, are left out of its name.
ASIDE = ("cache", "logger", "privacy", "repeat", "report", "resume")


class State(Enum):
    """The state of a job of a sweep."""

    done = "done"
    failed = "failed"
    pruned = "pruned"  # stopped by a search: no better than others at the same step
    running = "running"
    interrupted = "interrupted"  # by a signal, which it has recorded
    killed = "killed"  # its status says running, but no process holds its lock
    pending = "left"  # not started

    @property
    def settled(self) -> bool:
        """Whether the job will not run again unless the user asks for it."""
        return self in (State.done, State.failed, State.pruned)


class Repeat(Enum):
    """Which finished jobs run again."""

    never = "never"
    failed = "failed"  # failed jobs, from their last checkpoint
    all = "all"  # all jobs, from the start


def _is_below(name: str) -> bool:
    """Return whether a name stays within the folder that it is joined to, on every file system."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") and "\0" not in part and len(part.encode()) <= 255 for part in parts)


class _Job(TypedDict):
    run: Annotated[str, Rule(_is_below, "the name of a folder in the sweep's")]
    overrides: list[str]


class _Goal(TypedDict):
    name: str
    direction: Literal["minimize", "maximize"]


class _Search(TypedDict):
    storage: NotRequired[str | None]
    study: NotRequired[str | None]
    objectives: list[_Goal]
    trials: NotRequired[int]


class _Plan(TypedDict):
    """sweep.json"""

    script: str
    jobs: list[_Job]
    search: NotRequired[_Search | None]
    command: NotRequired[list[str]]


@dataclass(frozen=True, slots=True)
class Planned:
    """One job: the name of its run directory, and its overrides."""

    run: str
    overrides: list[str]


@dataclass(kw_only=True)
class SweepPlan:
    """The jobs of a sweep."""

    folder: Path
    script: str
    jobs: list[Planned] = field(default_factory=list)
    search: dict[str, Any] | None = None
    """Storage, study and objectives of a search."""
    command: list[str] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def read(cls, folder: str | Path) -> SweepPlan:
        """Read the plan of a sweep's folder.

        Raises:
            ValueError: There is none, it is damaged, or another version of medvl wrote it.
        """
        folder = Path(folder)
        found = read_object(folder / FILE)
        if found is None:
            raise ValueError(f"{folder} is not a sweep: {FILE} is missing. Name a folder that -m has made.")
        if found.get("format") != FORMAT:
            other = str(found.get("format"))[:20]
            raise ValueError(
                f"{folder}/{FILE} is of format {other}, this medvl reads format {FORMAT}. Start the sweep anew."
            )
        try:
            plan = checked(found, _Plan)
        except ValueError as error:
            raise Damaged(folder / FILE, str(error)) from None
        jobs = [Planned(job["run"], job["overrides"]) for job in plan["jobs"]]
        given = {key: plan[key] for key in ("search", "command") if key in plan}
        return cls(folder=folder, script=plan["script"], jobs=jobs, **given)

    @property
    def name(self) -> str:
        return self.folder.name.removeprefix("sweep-")

    def write(self) -> None:
        self.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / FILE, without_secrets({"format": FORMAT, "name": self.name, **values}))

    def add(self, jobs: Iterable[Planned]) -> None:
        """Append jobs that are not in the plan yet."""
        known = {job.run for job in self.jobs}
        for job in jobs:
            if job.run not in known:
                known.add(job.run)
                self.jobs.append(job)

    @property
    def unasked(self) -> int:
        """Number of jobs that a search has not proposed yet."""
        return max(0, (self.search or {}).get("trials", 0) - len(self.jobs))

    def runs(self) -> list[Path]:
        return [self.folder / job.run for job in self.jobs]


def state_of(run: Path) -> State:
    """Return the state of a run directory; if it is running but its process is gone, it was killed."""
    return state_in(known_status(run), run)


def state_in(status: Mapping[str, Any] | None, run: Path) -> State:
    """Return the state in a run's status."""
    if status is None:
        return State.pending
    state = State(status["state"])
    if state is State.running and not is_locked(run):
        return State.killed
    return state


def is_settled(state: State, repeat: Repeat) -> bool:
    """Return whether a job need not run."""
    again = repeat is Repeat.all or (repeat is Repeat.failed and state is State.failed)
    return state.settled and not again


def clear(run: Path) -> None:
    """Empty a run directory so that its job starts over; the output of its process is kept."""
    for path in run.iterdir():
        if path.suffix == ".log" or path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def value_of(run: Path) -> float | None:
    """Return the value of a run's objective; None if it has none."""
    return number_in(known_status(run))


def number_in(status: Mapping[str, Any] | None) -> float | None:
    """Return the value of the objective in a run's status; None if it has none."""
    objective = status.get("objective") if status is not None else None
    return objective.get("value") if objective else None


def digest(value: Any, letters: int) -> str:
    """Return a short hash of plain values that is the same on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:letters]


def folder_name(choice: str | None, overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the name of a sweep's folder, which is the same for the same command.

    Args:
        choice: The option of the `sweep` group, if any.
        overrides: Everything that determines the set of jobs.
        keys: The swept keys.
    """
    words = choice or "+".join(keys) or "one"
    return f"sweep-{words[:48].rstrip('.+').replace('/', '.')}-{digest(sorted(overrides), 6)}"


def numbers_of(run: Path) -> dict[str, float]:
    """Return every number of a finished run by its path in the results: after/cer, train/weights_mib.

    Those of the target set after training, and the objective, are also there under their bare names: cer.
    """
    numbers: dict[str, Any] = {}
    for name in ("metrics", "benchmark"):
        with contextlib.suppress(Damaged):
            found = leaves(read_object(run / f"{name}.json") or {}, "/")
            numbers |= {key: float(value) for key, value in found if type(value) in (int, float)}
    numbers = {
        key.removeprefix("after/"): value for key, value in numbers.items() if key.startswith("after/")
    } | numbers
    status = known_status(run)
    objective, value = status and status.get("objective"), number_in(status)
    return numbers if not objective or value is None else {**numbers, objective["name"]: value}
