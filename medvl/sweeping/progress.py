"""The progress of a sweep: a table for its own terminal and for `medvl status` in another."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medvl.record.reading import Status, status_or_fault
from medvl.record.text_table import grid
from medvl.record.timetable import span
from medvl.sweeping.plan import Planned, State, SweepPlan, state_in

REFRESH_S = 1.0
WIDEST = 60  # characters of overrides per row


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job in its current state."""

    run: str
    words: str
    """The job's overrides without those that all jobs share."""
    state: State
    step: int | None
    steps: int | None
    seconds: float
    objective: dict[str, Any]
    error: str | None

    @property
    def value(self) -> float | None:
        value = self.objective.get("value")
        return None if value is None or value != value else value  # NaN is no number

    def cells(self) -> list[str]:
        at = "" if self.step is None else f"{self.step}/{self.steps}" if self.steps else str(self.step)
        value = "" if self.value is None else f"{self.value:.4g}"
        seconds = span(self.seconds) if self.state is not State.pending else ""
        return [self.words, self.state.value, at, value, seconds, self.run]


def rows_of(plan: SweepPlan) -> list[Row]:
    """Return every job of a sweep, in the order of the plan."""
    return [_row(plan.folder / job.run, words) for job, words in zip(plan.jobs, distinct(plan.jobs), strict=True)]


def distinct(jobs: Sequence[Planned]) -> list[str]:
    """Return what distinguishes each job: its overrides without the shared ones."""
    common = shared(jobs)
    return [" ".join(word for word in job.overrides if word not in common) or "-" for job in jobs]


def shared(jobs: Sequence[Planned]) -> set[str]:
    """Return the overrides that several jobs have in common."""
    return set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()


def _row(run: Path, words: str) -> Row:
    status, fault = status_or_fault(run)
    state = state_in(status, run)
    words = words if len(words) <= WIDEST else words[: WIDEST - 3] + "..."
    return Row(
        run=run.name,
        words=words,
        state=state,
        step=status.get("step") if status else None,
        steps=status.get("steps") if status else None,
        seconds=_seconds(status, state) if status else 0.0,
        objective={**(status.get("objective") or {})} if status else {},
        error=status.get("error") if status else fault,
    )


def _seconds(status: Status, state: State) -> float:
    """Return how long a job has run, without pauses."""
    known = state is State.running and "updated" in status
    since = time.time() - datetime.fromisoformat(status["updated"]).timestamp() if known else 0.0
    return status.get("worked_s", 0.0) + max(0.0, since)


def best_of(rows: Sequence[Row]) -> Row | None:
    """Return the finished job with the best number; None if several have the same one."""
    first = leaders(rows)
    return first[0] if len(first) == 1 else None


def leaders(rows: Sequence[Row]) -> list[Row]:
    """Return the finished jobs that have the best number."""
    scored = [(row, row.value) for row in rows if row.state is State.done and row.value is not None]
    if not scored:
        return []
    best = (max if scored[0][0].objective.get("higher_is_better") else min)(value for _, value in scored)
    return [row for row, value in scored if value == best]


def summary(rows: Sequence[Row], at_once: int = 1, more: int = 0) -> str:
    """Return counts, the best job, if there is one, and the remaining time in one line.

    Args:
        at_once: Jobs that run at a time.
        more: Number of jobs that are not proposed yet.
    """
    counts = Counter(row.state for row in rows) + Counter({State.pending: more})
    parts = [
        f"{len(rows) + more} jobs: " + ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    ]
    best = best_of(rows)
    if best is not None:
        parts.append(f"best {best.objective['name']} {best.value:.4g} ({best.words})")
    elif first := leaders(rows):
        parts.append(f"tie of {len(first)} at {first[0].objective['name']} {first[0].value:.4g}")
    left = left_s(rows, at_once, more)
    if left is not None:
        parts.append(f"about {span(left)} left")
    return "; ".join(parts)


def left_s(rows: Sequence[Row], at_once: int, more: int) -> float | None:
    """Estimate the remaining time from finished jobs; None if no job is finished or none is left."""
    done = [row.seconds for row in rows if row.state is State.done]
    ahead = more + sum(not row.state.settled for row in rows)
    if not done or not ahead:
        return None
    each = sum(done) / len(done)
    spent = sum(min(row.seconds, each) for row in rows if row.state is State.running)
    return max(0.0, ahead * each - spent) / at_once


def status_text(plan: SweepPlan, at_once: int | None = None) -> str:
    """Return the table of a sweep in its current state."""
    rows = rows_of(plan)
    name = next((row.objective["name"] for row in rows if row.objective), "value")
    lines = grid([["job", "state", "step", name, "time", "run"], *(row.cells() for row in rows)])
    errors = [f"{row.run}: {row.error}" for row in rows if row.error and row.state in (State.failed, State.pending)]
    running = sum(row.state is State.running for row in rows)
    # The summary comes first, since a table longer than the terminal is cut off at its end.
    return "\n".join([summary(rows, at_once or running or 1, plan.unasked), lines, *errors])


class Progress:
    """Shows a sweep while it runs: a live table on a terminal, else one line per event."""

    def __init__(self, plan: SweepPlan, at_once: int) -> None:
        self.plan, self.at_once, self.seen = plan, at_once, 0.0
        self.live: Any = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.live import Live

            self.live = Live(refresh_per_second=2)
            self.live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self.live is not None:
            self.refresh(now=True)
            self.live.stop()

    def settled(self, job: Planned) -> None:
        self._say(job, "{} already")

    def started(self, job: Planned) -> None:
        self._say(job, "started")

    def ended(self, job: Planned, seconds: float) -> None:
        self._say(job, f"{{}} after {span(seconds)}", ahead=True)

    def refresh(self, *, now: bool = False) -> None:
        if self.live is not None and (now or time.monotonic() - self.seen > REFRESH_S):
            from rich.text import Text

            self.live.update(Text(status_text(self.plan, self.at_once)))
            self.seen = time.monotonic()

    def _say(self, job: Planned, what: str, *, ahead: bool = False) -> None:
        """Print one line about a job; `ahead` adds the progress of the whole sweep."""
        if self.live is not None:
            self.refresh(now=True)
            return
        at = next(number for number, planned in enumerate(self.plan.jobs) if planned.run == job.run)
        row = _row(self.plan.folder / job.run, distinct(self.plan.jobs)[at])
        done = row.state is State.done and row.value is not None
        value = f", {row.objective['name']} {row.value:.4g}" if done else ""
        where = f"({self.plan.folder}/{row.run})"
        place = f"[{at + 1}/{len(self.plan.jobs) + self.plan.unasked}]"
        print(f"{place} {row.words}: {what.format(row.state.value)}{value} {where}")
        if row.error and row.state is State.failed:
            print(f"    {row.error}")
        if ahead:
            print(f"    {summary(rows_of(self.plan), self.at_once, self.plan.unasked)}", flush=True)
