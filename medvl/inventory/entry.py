"""One run or sweep of a list, read from its directory without believing its last word: its lock tells if it runs."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from medvl.metrics import METRICS
from medvl.record.checkpoints import TRAINER_STATE, checkpoints_in
from medvl.record.lock import is_locked
from medvl.reporting.differences import differing
from medvl.reporting.runs import ReportedRun
from medvl.reporting.tables import Number
from medvl.sweeping.plan import State, SweepPlan
from medvl.sweeping.progress import Row, left_s, rows_of, shared

DAMAGED = "damaged"
SETTLED = (State.done.value, State.failed.value, State.pruned.value)


@dataclass(kw_only=True)
class Entry:
    """One run."""

    path: Path
    sweep: Path | None = None
    """The folder of the sweep that it is a job of."""
    script: str = ""
    """What its sweep's plan or the name of its log says that it is a run of."""
    overrides: Sequence[str] | None = None
    """What its sweep's plan overrides for it."""

    @cached_property
    def run(self) -> ReportedRun:
        return ReportedRun(path=self.path, name=str(self.path))

    @cached_property
    def state(self) -> str:
        if self.run.status:
            return self.run.state
        if "status.json" in self.run.faults:
            return DAMAGED
        if is_locked(self.path):
            return State.running.value
        # A process makes the directory and its log before the record.
        return State.killed.value if os.path.isdir(self.path) else State.pending.value

    @cached_property
    def program(self) -> str:
        """train, evaluate, benchmark or a verb of medvl."""
        command = self.run.environment.get("command") or [""]
        return Path(command[0]).stem.removeprefix("medvl ") or self.script

    @cached_property
    def resumable(self) -> bool:
        """Whether `resume=` goes on from a checkpoint."""
        if self.program != "train" or self.state not in ("killed", "interrupted", "failed"):
            return False
        return bool(self.checkpoints) and self.run.config.get("trainer.strategy") != "fsdp"

    @cached_property
    def checkpoints(self) -> list[str]:
        """The names of the complete checkpoints, oldest first."""
        with contextlib.suppress(OSError):
            found = checkpoints_in(self.path / "checkpoints")
            return [path.name for path in found if (path / TRAINER_STATE).is_file()]
        return []

    @cached_property
    def left_s(self) -> float | None:
        """Seconds that a running run still takes, as far as it is known."""
        return seconds_left(self.run.status) if self.state == State.running.value else None

    @cached_property
    def score(self) -> Number | None:
        """The objective with its interval; None if there is none yet."""
        number = self.run.optimised() if self.run.objective else None
        share = number is not None and not number.unit and self.run.objective in METRICS
        return replace(number, unit="%") if number is not None and share else number

    @cached_property
    def differs(self) -> list[str] | None:
        """The overrides by which it differs from the default composition; None if they are not known."""
        typed = self.run.environment.get("overrides")
        typed = self.overrides if typed is None else typed
        return None if typed is None else differing(typed, self.program)

    @cached_property
    def bytes(self) -> int:
        return size_of(self.path)

    @property
    def started(self) -> str:
        """When it started, or its directory was last changed."""
        return self.run.status.get("started") or _changed(self.path)

    @property
    def error(self) -> str | None:
        """Why it failed, or what is wrong with its files."""
        if self.state in (State.failed.value, State.interrupted.value):
            return self.run.status.get("error")
        return "; ".join(f"{name}: {why}" for name, why in self.run.faults.items()) or None

    def to_json(self) -> dict[str, Any]:
        status, goal = self.run.status, self.run.status.get("objective") or {}
        number = self.score
        finite = number is not None and math.isfinite(number.value)
        return {
            "run": str(self.path),
            "sweep": str(self.sweep) if self.sweep else None,
            "program": self.program,
            "state": self.state,
            "resumable": self.resumable,
            "step": status.get("step"),
            "steps": status.get("steps"),
            "left_s": self.left_s,
            "worked_s": status.get("worked_s"),
            "started": self.started,
            "objective": goal.get("name"),
            "higher_is_better": goal.get("higher_is_better"),
            "value": number.value if number is not None and finite else None,
            "interval": number.interval if number is not None and number.drawn else None,
            "differs": self.differs,
            "bytes": self.bytes,
            "error": self.error,
        }


@dataclass(kw_only=True)
class SweepEntry:
    """One sweep with its jobs."""

    path: Path
    plan: SweepPlan | None
    """None: it is damaged, and only its jobs are listed."""
    fault: str | None = None
    jobs: list[Entry] = field(default_factory=list)

    @cached_property
    def rows(self) -> list[Row]:
        return rows_of(self.plan) if self.plan is not None else []

    @cached_property
    def state(self) -> str:
        """running if a job or its own process is; killed or interrupted if jobs are left that will not run again."""
        if self.plan is None:
            return DAMAGED
        states = {job.state for job in self.jobs}
        if State.running.value in states or any(is_locked(self.path, lock.name) for lock in self.path.glob(".lock-*")):
            return State.running.value
        if states <= set(SETTLED) and not self.plan.unasked:
            return State.failed.value if states == {State.failed.value} else State.done.value
        return State.interrupted.value

    @property
    def settled(self) -> int:
        return sum(job.state in SETTLED for job in self.jobs)

    @property
    def left_s(self) -> float | None:
        if self.plan is None or self.state != State.running.value:
            return None
        return left_s(self.rows, max(1, sum(job.state == State.running.value for job in self.jobs)), self.plan.unasked)

    @property
    def differs(self) -> list[str]:
        return differing(sorted(shared(self.plan.jobs)), self.plan.script) if self.plan is not None else []

    @cached_property
    def bytes(self) -> int:
        return size_of(self.path)

    def to_json(self) -> dict[str, Any]:
        return {
            "sweep": str(self.path),
            "program": self.plan.script if self.plan is not None else None,
            "state": self.state,
            "jobs": len(self.jobs) + (self.plan.unasked if self.plan is not None else 0),
            "settled": self.settled,
            "left_s": self.left_s,
            "differs": self.differs,
            "bytes": self.bytes,
            "error": self.fault,
        }


def seconds_left(status: Mapping[str, Any]) -> float | None:
    """Return the seconds that a running run still takes by its status, at this moment; None if it is not known."""
    said, updated = status.get("left_s"), status.get("updated")
    if said is None:
        step, steps, spent = status.get("step"), status.get("steps"), (status.get("training") or {}).get("train_s")
        if not (step and steps and spent):
            return None
        said = (steps - step) * spent / step
    since = time.time() - datetime.fromisoformat(updated).timestamp() if updated else 0.0
    return max(0.0, said - max(0.0, since))


def size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder; links are not followed, what cannot be read counts as nothing."""
    total, pending = 0, [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        mode = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(mode.st_mode):
                            pending.append(entry.path)
                        elif stat.S_ISREG(mode.st_mode):
                            total += mode.st_size
        except OSError:
            continue
    return total


def _changed(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(path.stat().st_mtime))
    except OSError:
        return ""
