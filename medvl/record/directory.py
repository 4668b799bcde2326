"""The run directory: a run's record, complete without any tracking service.

config.yaml        the exact composition
environment.json   commit, versions, device, driver, automatic choices with their reasons
status.json        running | done | failed | interrupted, with step of steps, checkpoint, cost of training, error
metrics.jsonl      one object per step
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
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from medvl.record.environment import environment
from medvl.record.files import append_json, read_json, read_jsonl, write_json, write_text

TRAINER_STATE = "trainer.pt"  # present in every complete checkpoint
FORMAT = 2  # version of the run directory; raised when older readers would misread newer ones


class Record:
    """Writes one run directory. Files are replaced atomically or appended line by line, never left half-written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.opened: float | None = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def display_path(self) -> str:
        """Return the path as a user would type it in the working directory."""
        path, here = self.path.resolve(), Path.cwd().resolve()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def open(self, config: str, **facts: Any) -> None:
        """Write the composition and the environment, before anything slow starts."""
        write_text(self.path / "config.yaml", config)
        write_json(self.path / "environment.json", {**environment(), **facts})
        self.opened, status = time.time(), read_json(self.path / "status.json") or {}
        self.worked_s = status.get("worked_s", 0.0)
        self.status("running")

    def choices(self, made: dict[str, dict[str, str]]) -> None:
        """Add automatic choices, each a value with its reason, to environment.json."""
        path = self.path / "environment.json"
        environment = read_json(path) or {}
        write_json(path, {**environment, "choices": {**environment.get("choices", {}), **made}})

    def status(self, state: str, **facts: Any) -> None:
        """Replace status.json; the start time and earlier facts of the same run stay."""
        before = read_json(self.path / "status.json") or {}
        before = {key: value for key, value in before.items() if key not in ("error", "traceback")}
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        stamp = {"started": before.get("started", now), "updated": now}
        if self.opened is not None:  # over all sessions of the run, without pauses
            stamp["worked_s"] = round(self.worked_s + time.time() - self.opened, 1)
        status = {**before, **stamp, "format": FORMAT, "state": state, "pid": os.getpid(), **facts}
        write_json(self.path / "status.json", status)

    def note(self, **facts: Any) -> None:
        """Add facts to status.json without changing the state."""
        path = self.path / "status.json"
        write_json(path, {**(read_json(path) or {}), **facts})

    def metrics(self, row: dict[str, Any]) -> None:
        append_json(self.path / "metrics.jsonl", [row])

    def rewind(self, step: int) -> None:
        """Delete metrics after `step`, since a resumed run writes them again."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            rows = [row for row in read_jsonl(path) if row.get("step", 0) <= step]
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def predictions(self, rows: Iterable[dict[str, Any]], name: str = "predictions") -> Path:
        path = self.path / f"{name}.jsonl"
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    def result(self, values: dict[str, Any], name: str = "metrics") -> Path:
        path = self.path / f"{name}.json"
        write_json(path, values)
        return path


@contextlib.contextmanager
def outcome(record: Record) -> Iterator[None]:
    """Record how the run ended in its status, whatever ended it."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        record.status("interrupted", error="Ctrl-C")
        raise
    except SystemExit as stop:  # raised by the trainer after it saved on a signal
        if stop.code and (read_json(record.path / "status.json") or {}).get("state") == "running":
            record.status("interrupted", error=f"exit {stop.code}")
        raise
    except BaseException as error:
        record.status("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
    record.status("done")


def _end(number: int, frame: Any) -> None:
    """End outside of the training loop, where there is nothing to save."""
    raise SystemExit(128 + number)


def load_run(path: str | Path) -> dict[str, Any]:
    """Return the status of a run directory.

    Raises:
        ValueError: There is no run, it cannot be read, or another version of medvl wrote it.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise ValueError(f"{path} is not a run directory: config.yaml is missing. Name one below outputs/.")
    status = read_json(path / "status.json")
    if status is None:
        raise ValueError(f"{path}/status.json is missing or not JSON; the run did not get as far as its record.")
    if status.get("format") != FORMAT:
        raise ValueError(
            f"{path} was written in format {status.get('format')}, this medvl reads format {FORMAT}. "
            f"Use the commit named in {path}/environment.json."
        )
    return status


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a run's checkpoints folder."""
    steps = sorted(path for path in folder.glob("step-*") if (path / TRAINER_STATE).is_file())
    return steps[-1] if steps else None


@functools.cache
def run_dir(script: str, resume: str | None) -> str:
    """Name the directory of this process's run: a new one, or that of the run it resumes."""
    if resume and script == "train":
        return str(resume)
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base = Path("outputs", script, name)
    taken = (base.with_name(f"{base.name}-{number}") for number in range(2, 1000))
    return str(base if not base.exists() else next(path for path in taken if not path.exists()))
