"""Files of runs and sweeps that anyone may have made or damaged: checked here, so that their readers need not."""

from __future__ import annotations

import contextlib
import json
import math
import re
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

from medvl.record.files import split_jsonl
from medvl.record.shape import DEEPEST, Rule, checked, tidy

LARGEST = 2**24, 2**30  # bytes of a JSON file, and of a JSON-lines file


class Damaged(ValueError):
    """A file is there, but is not what it should be."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{tidy(str(path))} is damaged: {why}. Restore the file, or leave this folder out.")
        self.path, self.why = path, why


def _is_stamp(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z"))
    return False


Stamp = Annotated[str, Rule(_is_stamp, "a time such as 2026-11-23T10:00:00+0000")]
Seconds = Annotated[float, Rule(lambda number: 0 <= number < math.inf, "a number of seconds")]
Count = Annotated[int, Rule(lambda number: number >= 0, "a count")]


def _are_numbers(cells: dict[str, Any]) -> bool:
    return all(type(value) in (int, float, NoneType) for value in cells.values())


class Step(TypedDict):
    """What a row of metrics.jsonl has at least."""

    step: Annotated[float, Rule(math.isfinite, "a step")]


StepRow = Annotated[Step, Rule(_are_numbers, "a row of numbers")]


class Cost(TypedDict, total=False):
    """What training cost so far."""

    train_s: Seconds
    energy_j: float
    train_peak_mib: float
    train_peak_reserved_mib: float


class Objective(TypedDict):
    """What a run is judged by."""

    name: str
    value: NotRequired[float | None]
    higher_is_better: NotRequired[bool]


class GateVerdict(TypedDict):
    """The verdict of the gate with its reasons."""

    verdict: str
    why: list[str]


class Status(TypedDict, total=False):
    """status.json"""

    state: Required[Literal["done", "failed", "pruned", "running", "interrupted"]]
    step: Count | None
    steps: Count | None
    started: Stamp
    updated: Stamp
    worked_s: Seconds
    phase: str
    left_s: Seconds
    error: str | None
    traceback: str | None
    checkpoint: str | None
    objective: Objective | None
    headline: dict[str, float | str | bool | None] | None
    gate: GateVerdict | None
    training: Cost
    wandb: Annotated[str, Rule(re.compile(r"[\w-]{1,128}").fullmatch, "the id of a run in W&B")]


def known_status(run: Path) -> Status | None:
    """Return the status of a run directory; None also if it is damaged, as then nothing is known of the run."""
    return status_or_fault(run)[0]


def status_or_fault(run: Path) -> tuple[Status | None, str | None]:
    """Return the status of a run directory, or what is wrong with it; neither if there is none."""
    try:
        return read_object(run / "status.json", Status), None
    except Damaged as damage:
        return None, f"status.json is damaged: {damage.why}"


def read_object(path: Path, shape: Any = dict[str, Any]) -> Any | None:
    """Return the value of a JSON file; None if it is missing.

    Raises:
        Damaged: It cannot be read, is not JSON, or has another shape.
    """
    data = read_bytes(path, LARGEST[0])
    if data is None:
        return None
    try:
        return checked(_parsed(data), shape)
    except ValueError as error:
        raise Damaged(path, str(error)) from None


def read_rows(path: Path, shape: Any, left_out: list[str] | None = None) -> list[Any]:
    """Return the rows of a JSON-lines file without a last one that a kill left incomplete; empty if it is missing.

    Args:
        left_out: A sentence is added to it if rows are damaged, and the others are returned.

    Raises:
        Damaged: The file cannot be read, or rows are damaged and `left_out` is None.
    """
    found, broken = split_jsonl(read_bytes(path, LARGEST[1]) or b"")
    rows, faults = [], ["it is no JSON object" for _ in broken]
    for row in found:
        try:
            rows.append(checked(row, shape))
        except ValueError as error:
            faults.append(str(error))
    if not faults:
        return rows
    damaged = Damaged(path, f"{len(faults)} of {len(found) + len(broken)} rows ({faults[-1]})")
    if left_out is None:
        raise damaged
    left_out.append(damaged.why)
    return rows


def read_bytes(path: Path, largest: int) -> bytes | None:
    """Return the content of a regular file; None if it is missing.

    Raises:
        Damaged: It cannot be read, or is larger.
    """
    try:
        if not path.exists():
            if path.is_symlink():
                raise Damaged(path, "it is a link to nothing")
            return None
        if not path.is_file():
            raise Damaged(path, "it is a folder" if path.is_dir() else "it is no regular file")
        if path.stat().st_size > largest:
            raise Damaged(path, f"it is larger than {largest // 2**20:,} MiB")
        return path.read_bytes()
    except OSError as error:
        raise Damaged(path, error.strerror or type(error).__name__) from None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError as error:
        raise ValueError("it is empty" if not data.strip() else f"it is not JSON ({error})") from None
