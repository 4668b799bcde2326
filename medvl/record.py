"""The run directory: a run's record, complete without any service.

config.yaml        the exact composition
environment.json   commit, versions, device, driver, automatic choices with their reasons
status.json        running | done | failed | interrupted, with step of steps, checkpoint, what training cost, error
metrics.jsonl      one object a step
predictions.jsonl  image, prompt, reference, prediction and score of every example
metrics.json       the final numbers
differences.png    three examples before and after training
checkpoints/       adapter and trainer state; best/ the adapter of the least validation loss
export/            the adapter alone with its measures, unless it is worse than its base
train.log          what was printed (evaluate.log, benchmark.log)
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

FORMAT = 2  # of the run directory; raised when an older reader would misread a newer one
PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "lightning", "accelerate", "datasets", "hydra-core",
    "pillow", "torchvision", "wandb", "medvl",
)  # fmt: skip


class Record:
    """Writes one run directory. Files are replaced as a whole or appended line by line, never torn."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.opened: float | None = None
        self.measured: Callable[[], dict[str, Any]] = dict
        """Further facts of every status, as they stand when it is written."""

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def near(self) -> str:
        """Return the directory as one would type it from here."""
        path, here = self.path.resolve(), Path.cwd().resolve()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def open(self, config: str, **facts: Any) -> None:
        """Write what was composed and where it runs, before anything heavy starts."""
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
        if self.opened is not None:  # over all sessions of the run, pauses left out
            stamp["worked_s"] = round(self.worked_s + time.time() - self.opened, 1)
        stamp |= self.measured()
        status = {**before, **stamp, "format": FORMAT, "state": state, "pid": os.getpid(), **facts}
        write_json(self.path / "status.json", status)

    def metrics(self, row: dict[str, Any]) -> None:
        append_json(self.path / "metrics.jsonl", [row])

    def rewind(self, step: int) -> None:
        """Drop metrics after `step`: a resumed run writes them again."""
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
    """Leave a status that says how the run ended, whatever ends it."""
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
    """End outside of the training loop, where nothing is there to save."""
    raise SystemExit(128 + number)


def environment() -> dict[str, Any]:
    """Return what a reader needs to repeat the run: command, commit, versions, device."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        # A copy without .git (a container, a rented machine) is told its commit.
        "commit": _git("rev-parse", "HEAD") or os.environ.get("MEDVL_COMMIT"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in PACKAGES},
        "device": _device(),
    }


def version(name: str) -> str | None:
    """Return the version of an installed package; None where it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """Ask git about the checkout that holds this package; None outside of one."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _device() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"type": "cpu", "name": platform.processor() or platform.machine()}
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = ""
    return {
        "type": "cuda",
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_mib": properties.total_memory // 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "driver": driver or None,
    }


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


def write_text(path: Path, text: str) -> None:
    """Replace a text file at once, as `write_bytes` does."""
    write_bytes(path, text.encode(), sync=True)


def write_bytes(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replace a file at once: a reader, a kill or a full disk never meets half of it.

    Args:
        sync: Wait for the disk, so that a power cut does not either.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_json(path: Path) -> Any | None:
    """Return a JSON file's value, None when it is missing or torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; a last line torn by a kill is dropped."""
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):  # splitlines would split at U+2028 too
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def leaves(node: Any, separator: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold, each with the keys that lead to it; a list is held whole.

    >>> list(leaves({"after": {"cer": 0.1}, "tags": ["a"]}, "/"))
    [('after/cer', 0.1), ('tags', ['a'])]
    """
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", value


@functools.cache
def run_dir(script: str, resume: str | None) -> str:
    """Name the directory of this process's run: a new one, or the one that goes on."""
    if resume and script == "train":
        return str(resume)
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base = Path("outputs", script, name)
    taken = (base.with_name(f"{base.name}-{number}") for number in range(2, 1000))
    return str(base if not base.exists() else next(path for path in taken if not path.exists()))
