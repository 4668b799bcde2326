"""`medvl runs` and `medvl status`: what is on disk, as a table or as JSON."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medvl.inventory.entry import DAMAGED, Entry, SweepEntry, size_of
from medvl.inventory.find import PROGRAMS, Found, find
from medvl.record.directory import load_run
from medvl.record.shape import tidy
from medvl.record.text_table import grid
from medvl.record.timetable import span
from medvl.reporting.tables import counted
from medvl.sweeping.plan import FILE as PLAN
from medvl.sweeping.plan import State, SweepPlan
from medvl.sweeping.progress import status_text

OUTPUTS = Path("outputs")
STATES = (*(state.value for state in State), DAMAGED)
ALIASES = {"finished": "done", "pending": State.pending.value}
SORTS: dict[str, Callable[[Entry], Any]] = {
    "started": lambda entry: entry.started,
    "score": lambda entry: (entry.run.objective, *_merit(entry)),
    "size": lambda entry: entry.bytes,
    "left": lambda entry: -math.inf if entry.left_s is None else -entry.left_s,
    "time": lambda entry: entry.run.status.get("worked_s") or 0.0,
    "name": lambda entry: str(entry.path),
}
USAGE = "medvl runs [<folder>...] [state=killed,failed] [program=train] [sort=score] [--json]"
LEFT_OUT = 3  # folders named in the table's last lines


def runs(words: Sequence[str]) -> str:
    """Return the runs and sweeps below folders.

    Args:
        words: Folders, `state=`, `program=`, `sort=` and `--json`.

    Raises:
        ValueError: A word is not one of these, or a folder does not exist.
    """
    folders, wanted = parsed(words, {"state": STATES, "program": PROGRAMS, "sort": tuple(SORTS)}, USAGE)
    named = [Path(folder) for folder in folders]
    found = find(named or [OUTPUTS]) if named or OUTPUTS.is_dir() else Found()
    states, programs = wanted.get("state"), wanted.get("program")

    def fits(entry: Entry) -> bool:
        return (states is None or entry.state in states) and (programs is None or entry.program in programs)

    order = wanted.get("sort", ["started"])[0]
    kept = [entry for entry in found.every if fits(entry)]
    kept.sort(key=SORTS[order], reverse=order != "name")
    sweeps = found.sweeps if states is None and programs is None else []
    if "--json" in words:
        told = {
            "runs": [entry.to_json() for entry in kept],
            "sweeps": [sweep.to_json() for sweep in sweeps],
            "left_out": [{"path": path, "why": why} for path, why in found.left_out],
        }
        return json.dumps(told, indent=2, ensure_ascii=False)
    if not kept and not sweeps:
        where = ", ".join(map(str, named or [OUTPUTS]))
        return "\n".join([f"no run below {where}" + (" fits" if wanted else ""), *_left_out(found)])
    rows: list[Entry | SweepEntry] = _grouped(kept, sweeps) if order == "started" else [*sweeps, *kept]
    return "\n".join([_table(rows), "", _totals(kept, sweeps), *_left_out(found)])


def status(words: Sequence[str]) -> str:
    """Return the progress of one run or sweep, by default of the newest sweep below outputs/.

    Raises:
        ValueError: The folder is neither, or there is none.
    """
    usage = "medvl status [<run or sweep>] [--json]"
    folders, _ = parsed(words, {}, usage)
    if len(folders) > 1:
        raise ValueError(f"{len(folders)} folders were named; usage: {usage}")
    if not folders:
        plans = [path for path in OUTPUTS.glob(f"*/*/{PLAN}") if path.is_file()]
        if not plans:
            raise ValueError("there is no sweep below outputs/. Name a run or sweep: medvl status <folder>")
    folder = Path(folders[0]) if folders else max(plans, key=lambda path: path.stat().st_mtime).parent
    if (folder / "config.yaml").is_file() and not (folder / PLAN).exists():
        load_run(folder)  # refuses what it cannot read
        entry = Entry(path=folder)
        return json.dumps(entry.to_json(), indent=2, ensure_ascii=False) if "--json" in words else _told(entry)
    plan = SweepPlan.read(folder)
    if "--json" in words:
        sweep = next(one for one in find([folder]).sweeps if one.path == folder)
        told = {**sweep.to_json(), "runs": [job.to_json() for job in sweep.jobs]}
        return json.dumps(told, indent=2, ensure_ascii=False)
    return f"{folder}\n{status_text(plan)}"


def parsed(
    words: Sequence[str], keys: dict[str, Sequence[str]], usage: str, flags: Sequence[str] = ("--json",)
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the folders and the `key=value,value` filters among a verb's words.

    Raises:
        ValueError: A word is not what the verb takes.
    """
    folders, wanted = [], dict[str, list[str]]()
    for word in words:
        key, equals, value = word.partition("=")
        if word in flags:
            continue
        if word.startswith("-"):
            raise ValueError(f"there is no option {word}; usage: {usage}")
        if not word:
            raise ValueError(f"a folder has no name; usage: {usage}")
        if not equals or key not in keys:
            folders.append(word)
            continue
        wanted[key] = [ALIASES.get(one, one) for one in value.split(",")]
        unknown = [one for one in wanted[key] if one not in keys[key]]
        if unknown:
            raise ValueError(f"{key}={unknown[0]} is none of {', '.join(keys[key])}; usage: {usage}")
    return folders, wanted


def _merit(entry: Entry) -> tuple[bool, float]:
    number = entry.score
    if number is None or math.isnan(number.value):
        return False, 0.0
    return True, number.value if entry.run.higher_is_better else -number.value


def _grouped(kept: Sequence[Entry], sweeps: Sequence[SweepEntry]) -> list[Entry | SweepEntry]:
    """Put every sweep above the first of its jobs, and the others of them below it."""
    heads, rows, placed = {sweep.path: sweep for sweep in sweeps}, list[Entry | SweepEntry](), set[Path]()
    for entry in kept:
        if entry.sweep is None or entry.sweep not in heads:
            rows.append(entry)
        elif entry.sweep not in placed:
            placed.add(entry.sweep)
            rows += [heads[entry.sweep], *(one for one in kept if one.sweep == entry.sweep)]
    return [*rows, *(sweep for sweep in sweeps if sweep.path not in placed)]


def _table(rows: Sequence[Entry | SweepEntry]) -> str:
    cells = [["run", "state", "step", "left", "score", "size", "differs from the default"]]
    cells += [_run_cells(row) if isinstance(row, Entry) else _sweep_cells(row) for row in rows]
    text = grid(cells, left=(0, 1, 6))
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= width else f"{line[: width - 3]}..." for line in text.split("\n"))


def _run_cells(entry: Entry) -> list[str]:
    status = entry.run.status
    step, steps = status.get("step"), status.get("steps")
    at = "" if step is None else f"{step}/{steps}" if steps else str(step)
    differs = "?" if entry.differs is None else tidy(" ".join(entry.differs)) or "-"
    if entry.program not in ("", "train"):
        differs = f"{entry.program}: {differs}"
    place = f"{entry.path}" if entry.sweep is None else f"  {entry.path}"
    return [tidy(place), _state(entry), at, _left(entry.left_s), _score(entry), mib(entry.bytes), differs]


def _sweep_cells(sweep: SweepEntry) -> list[str]:
    jobs = len(sweep.jobs) + (sweep.plan.unasked if sweep.plan is not None else 0)
    differs = tidy(" ".join(sweep.differs)) or "-"
    at = f"{sweep.settled}/{jobs} jobs"
    return [tidy(str(sweep.path)), sweep.state, at, _left(sweep.left_s), "", mib(sweep.bytes), differs]


def _state(entry: Entry) -> str:
    return f"{entry.state}, resumable" if entry.resumable else entry.state


def _score(entry: Entry) -> str:
    number = entry.score
    return f"{entry.run.objective} {number}" if number is not None and math.isfinite(number.value) else ""


def _left(seconds: float | None) -> str:
    return "" if seconds is None else span(seconds)


def mib(count: int) -> str:
    """Return bytes in MiB or GiB."""
    return f"{count / 2**20:,.1f} MiB" if count < 10 * 2**30 else f"{count / 2**30:,.1f} GiB"


def _totals(kept: Sequence[Entry], sweeps: Sequence[SweepEntry]) -> str:
    counts = {state: sum(entry.state == state for entry in kept) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    size = sum(entry.bytes for entry in kept)
    also = f", {counted(len(sweeps), 'sweep')}" if sweeps else ""
    return f"{counted(len(kept), 'run')}{also}: {told or 'none'}; {mib(size)}"


def _left_out(found: Found) -> list[str]:
    lines = [f"left out: {path} ({why})" for path, why in found.left_out[:LEFT_OUT]]
    more = len(found.left_out) - LEFT_OUT
    return [*lines, f"left out: {more} more; --json names them"] if more > 0 else lines


def _told(entry: Entry) -> str:
    """Return what is known of one run, a line each."""
    status = entry.run.status
    at = f", step {status['step']} of {status['steps']}" if status.get("step") is not None else ""
    lines = [f"{tidy(str(entry.path))}", f"{entry.program or 'run'}: {_state(entry)}{at}"]
    if entry.state == State.running.value:
        left, phase = entry.left_s, status.get("phase")
        lines.append(f"{phase or 'at work'}" + (f"; about {span(left)} left" if left is not None else ""))
    if _score(entry):
        lines.append(_score(entry))
    if gate := (status.get("gate") or {}).get("verdict"):
        lines.append(f"gate: {gate}")
    if entry.error:
        lines.append(f"error: {entry.error}")
    if entry.resumable:
        lines.append(f"python train.py resume={entry.path} goes on from {entry.checkpoints[-1]}")
    elif entry.state in (State.killed.value, State.interrupted.value):
        lines.append("there is no checkpoint to resume; the same command starts over")
    lines.append(f"differs from the default: {' '.join(entry.differs or []) or '-'}")
    worked = f", {span(status['worked_s'])} of work" if "worked_s" in status else ""
    lines.append(f"started {entry.started}{worked}; {mib(size_of(entry.path))}")
    return "\n".join(lines)
