"""The run directory: a run's record, complete without any tracking service.

config.yaml        the exact composition
environment.json   commit, versions, device, driver, automatic choices with their reasons
status.json        running | done | failed | interrupted, with step of steps, checkpoint, cost of training, error;
                   of a run at work also its phase and left_s, the seconds that are left by then
metrics.jsonl      one object per step; metrics.jsonl.bad: lines of it that a power cut has damaged
predictions.jsonl  image, prompt, reference, prediction and score of every example
metrics.json       the final numbers
differences.png    three examples before and after training
checkpoints/       adapter and trainer state; best/ the adapter with the lowest validation loss
export/            the adapter alone with its metrics, unless it is worse than its base
train.log          what was printed (evaluate.log, benchmark.log)
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from medvl.record.environment import environment
from medvl.record.files import PRIVATE, append_json, read_json, split_jsonl, write_json, write_text
from medvl.record.masking import masked, without_secrets
from medvl.record.reading import Damaged, Status, StepRow, known_status, read_object, read_rows
from medvl.record.shape import checked, tidy
from medvl.record.signals import cause_of, signal_in, stoppable
from medvl.record.timetable import Timetable

log = logging.getLogger(__name__)

ENDING = ("error", "traceback", "phase", "left_s")  # facts of one state, which the next one does not have
FORMAT = 2  # version of the run directory; raised when older readers would misread newer ones
PAGES = "pages"  # of a run directory: those whose answers it has


class Record:
    """Writes one run directory. Files are replaced atomically or appended line by line, never left half-written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        self.opened: float | None = None
        self.timetable = Timetable()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def display_path(self) -> str:
        """Return the path as a user would type it in the working directory."""
        path, here = self.path.resolve(), Path.cwd().resolve()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def open(self, config: str, **facts: Any) -> None:
        """Write the composition and the environment, before anything slow starts."""
        write_text(self.path / "config.yaml", masked(config))
        write_json(self.path / "environment.json", without_secrets({**environment(), **facts}))
        self.opened, known = time.monotonic(), known_status(self.path)
        self.worked_s = known.get("worked_s", 0.0) if known is not None else 0.0
        self.status("running")

    def choices(self, made: dict[str, dict[str, str]]) -> None:
        """Add automatic choices, each a value with its reason, to environment.json."""
        path = self.path / "environment.json"
        environment = read_json(path) or {}
        write_json(path, {**environment, "choices": {**environment.get("choices", {}), **made}})

    def status(self, state: str, **facts: Any) -> None:
        """Replace status.json; the start time and earlier facts of the same run stay."""
        known = known_status(self.path)
        before = dict(known) if known is not None else {}  # the facts of a damaged one would damage this one
        before = {key: value for key, value in before.items() if key not in ENDING}
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        stamp = {"started": before.get("started", now), "updated": now}
        if self.opened is not None:  # over all sessions of the run, without pauses
            stamp["worked_s"] = round(self.worked_s + time.monotonic() - self.opened, 1)
        if state == "running":
            facts = self.timetable.facts() | facts
        status = {**before, **stamp, "format": FORMAT, "state": state, "pid": os.getpid(), **without_secrets(facts)}
        write_json(self.path / "status.json", status)

    def note(self, **facts: Any) -> None:
        """Add facts to status.json without changing the state."""
        path = self.path / "status.json"
        write_json(path, {**(read_json(path) or {}), **facts})

    def metrics(self, row: dict[str, Any]) -> None:
        append_json(self.path / "metrics.jsonl", [row])

    def steps(self) -> list[dict[str, Any]]:
        """Return the rows of metrics.jsonl; a warning counts the damaged ones, which are left out."""
        left_out: list[str] = []
        rows = read_rows(self.path / "metrics.jsonl", StepRow, left_out)
        for why in left_out:
            log.warning("metrics.jsonl: left out: %s", why)
        return rows

    def rewind(self, step: int) -> None:
        """Delete metrics after `step`, since a resumed run writes them again.

        Damaged lines are moved to a file beside them; of rows that were written twice, the later one stays.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        rows, bad = split_jsonl(path.read_bytes())
        kept: dict[tuple[float, str], dict[str, Any]] = {}
        for row in rows:
            try:
                checked(row, StepRow)
            except ValueError:
                bad.append(json.dumps(row).encode())
                continue
            if row["step"] <= step:
                kept[row["step"], next((name for name in row if name != "step"), "")] = row
        if bad:
            aside = path.with_name(f"{path.name}.bad")
            with aside.open("ab") as file:
                file.writelines(line + b"\n" for line in bad)
            log.warning("%s: %d damaged line(s) moved to %s", path, len(bad), aside.name)
        ordered = sorted(kept.values(), key=lambda row: row["step"])
        write_text(path, "".join(json.dumps(row) + "\n" for row in ordered))

    def predictions(self, rows: Iterable[dict[str, Any]], name: str = "predictions") -> Path:
        """Write scored answers, and keep their pages in the directory, so that it can be moved without its cache."""
        path = self.path / f"{name}.jsonl"
        kept = [row | {"images": list(map(self._page, row["images"]))} if "images" in row else row for row in rows]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        return path

    def _page(self, image: str) -> str:
        """Return the name of a page within the directory: a link to the cache's, which takes no room, or a copy."""
        page = Path(image)
        place = self.path / PAGES / page.name
        if not page.is_file():
            return image
        if not place.exists():
            place.parent.mkdir(mode=PRIVATE, exist_ok=True)
            try:
                os.link(page, place)
            except OSError:  # another file system
                shutil.copy2(page, place)
        return f"{PAGES}/{page.name}"

    def result(self, values: dict[str, Any], name: str = "metrics") -> Path:
        path = self.path / f"{name}.json"
        write_json(path, values)
        return path


@contextlib.contextmanager
def outcome(record: Record, again: str = "the same command starts over") -> Iterator[None]:
    """Record how the run ended in its status, whatever ended it.

    Args:
        again: What to do after an interruption, for the line that tells of it.
    """
    try:
        with stoppable():
            yield
    except (KeyboardInterrupt, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else 128 + signal.SIGINT
        status = read_json(record.path / "status.json") or {}
        if code and status.get("state") == "running":  # else the trainer has recorded it
            record.status("interrupted", error=cause_of(code) or f"exit {code}")
        if signal_in(code) is not None:
            at = f" at step {status['step']} of {status['steps']}" if {"step", "steps"} <= status.keys() else ""
            log.warning("interrupted%s; %s", at, again)
        raise SystemExit(code) from None
    except BaseException as error:
        record.status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise
    record.status("done")


def link_in(folder: Path) -> Path | None:
    """Return a link among what a run writes: someone else's run directory may lead out of itself."""
    written = (folder, *(folder / name for name in ("checkpoints", "export", "report")))
    return next((path for place in written if place.is_dir() for path in place.iterdir() if path.is_symlink()), None)


def load_run(path: str | Path) -> dict[str, Any]:
    """Return the status of a run directory.

    Raises:
        ValueError: There is no run, it cannot be read, or another version of medvl wrote it.
    """
    path = Path(path)
    if not os.path.isfile(path / "config.yaml"):  # False also for names that are too long
        raise ValueError(f"{path} is not a run directory: config.yaml is missing. Name one below outputs/.")
    try:
        status = read_object(path / "status.json")
    except Damaged as damage:
        raise ValueError(f"{path}/status.json is missing or not JSON: {damage.why}. Name another run.") from None
    if status is None:
        raise ValueError(f"{path}/status.json is missing or not JSON; the run did not get as far as its record.")
    if status.get("format") != FORMAT:
        raise ValueError(
            f"{path} was written in format {tidy(str(status.get('format'))[:20])}, this medvl reads format {FORMAT}. "
            f"Use the commit named in {path}/environment.json."
        )
    try:
        return checked(status, Status)
    except ValueError as error:
        raise Damaged(path / "status.json", str(error)) from None


@functools.cache
def run_dir(script: str, resume: str | None) -> str:
    """Name the directory of this process's run: a new one, for `claim` to take, or that of the run it resumes."""
    if resume and script == "train":
        return str(resume)
    return str(Path("outputs", script, datetime.now().strftime("%Y-%m-%d_%H-%M-%S")))


def claim(folder: Path) -> Path:
    """Create a folder that no other process uses: this one, or one with a number behind its name.

    Raises:
        OSError: It cannot be created.
    """
    for number in itertools.count(1):
        one = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            one.parent.mkdir(parents=True, exist_ok=True)
            one.mkdir(mode=PRIVATE)
        except FileExistsError:
            if not one.parent.is_dir():
                raise
        except FileNotFoundError:  # its parent was empty, and another process has just removed it
            continue
        else:
            return one
    raise AssertionError
