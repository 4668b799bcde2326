"""`medvl clean`: deletes what runs left behind and nothing needs, never of a run at work or what is not medvl's."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvl.inventory.entry import Entry, size_of
from medvl.inventory.find import LOGS, find
from medvl.inventory.listing import OUTPUTS, mib, parsed
from medvl.record.checkpoints import damage
from medvl.record.directory import FORMAT
from medvl.record.lock import FILE as LOCK
from medvl.record.lock import is_locked, locked
from medvl.record.shape import tidy
from medvl.record.text_table import grid
from medvl.reporting.tables import counted
from medvl.sweeping.plan import State

USAGE = "medvl clean [<folder>...] [--yes]"
YOUNG_S = 600.0  # a process that has just started may not have its lock yet
# What is half-written while a process works: files of write_bytes, folders of replace_folder, damaged checkpoints
DRAFT = re.compile(r"\.draft-[0-9a-f]{12}|\.[\w-]+\.draft|step-\d+\.damaged")
DRAFTED = ("", "checkpoints", "export")  # folders of a run in which drafts are made
# What a run may hold that came to nothing. One with trained weights, a report or a file of the user's stays.
OWN = re.compile(
    r"config\.yaml|(environment|status|audit|trainable|metrics|benchmark|calibration|doctor|download|prepared\w*)\.json"
    r"|(metrics|predictions\w*)\.jsonl|metrics\.jsonl\.bad|(audit|differences)\.png|output\.log|wandb|checkpoints"
)
KEPT_PROGRAMS = ("serve",)  # their logs are what they are run for


@dataclass(frozen=True, kw_only=True)
class Rubbish:
    """A file or folder to delete."""

    path: Path
    run: Path
    """The run that it is of, which is locked meanwhile."""
    why: str
    newer: Path | None = None
    """A checkpoint that must be whole, as it is used instead."""

    @property
    def bytes(self) -> int:
        return size_of(self.path) if self.path.is_dir() else self.path.lstat().st_size


def clean(words: Sequence[str]) -> str:
    """Return what would be deleted below folders, or has been with `--yes`.

    Raises:
        ValueError: A word is not what the verb takes, or a folder does not exist.
    """
    folders, _ = parsed(words, {}, USAGE, flags=("--yes",))
    tops = [Path(folder) for folder in folders] or ([OUTPUTS] if OUTPUTS.is_dir() else [])
    found, notes = list[Rubbish](), list[str]()
    for entry in find(tops).every:
        if _is_below(entry.path, tops):
            found += _of_run(entry, notes)
    if not found:
        return "\n".join([*notes, "nothing to clean"])
    done = "--yes" in words
    sizes = {one: one.bytes for one in found}
    deleted = [one for one in found if not done or _delete(one, notes)]
    rows = [[mib(sizes[one]), tidy(str(one.path)), one.why] for one in deleted]
    total = f"{counted(len(deleted), 'item')}, {mib(sum(sizes[one] for one in deleted))}"
    last = f"deleted: {total}" if done else f"{total}. Nothing is deleted yet: medvl clean --yes deletes it"
    return "\n".join([*([grid(rows, left=(1, 2))] if rows else []), *notes, last])


def _is_below(path: Path, tops: Sequence[Path]) -> bool:
    """Whether a folder lies in one of the named ones when links are followed."""
    real = path.resolve()
    return any(real.is_relative_to(top.resolve()) for top in tops)


def _of_run(entry: Entry, notes: list[str]) -> Iterator[Rubbish]:
    if not os.path.isdir(entry.path) or is_locked(entry.path) or not _is_ours(entry):
        return
    worthless = _worthless(entry)
    if worthless is not None:
        foreign = _foreign(entry.path)
        if foreign is None:
            yield Rubbish(path=entry.path, run=entry.path, why=worthless)
            return
        notes.append(f"left: {tidy(str(entry.path))} holds {tidy(foreign)}, which may be wanted")
    for folder in DRAFTED:
        for path in _listed(entry.path / folder):
            if DRAFT.fullmatch(path.name) and not path.is_symlink() and _is_old(path):
                yield Rubbish(path=path, run=entry.path, why="damaged" if "damaged" in path.name else "half-written")
    if entry.state == State.done.value:
        *older, newest = [None, *(entry.path / "checkpoints" / name for name in entry.checkpoints)]
        for checkpoint in older:
            if checkpoint is not None and newest is not None and not checkpoint.is_symlink():
                why = f"an older checkpoint of a finished run; {newest.name} and the best stay"
                yield Rubbish(path=checkpoint, run=entry.path, why=why, newer=newest)


def _is_ours(entry: Entry) -> bool:
    """Whether medvl has made a directory: by its record, or by the name of one whose record had not begun."""
    ours = (entry.run.environment.get("versions") or {}).get("medvl") or entry.run.status.get("format") == FORMAT
    names = {path.name for path in _listed(entry.path)}
    return bool(ours) or (names <= {*LOGS, LOCK, "config.yaml"} and bool(names & LOGS.keys()))


def _worthless(entry: Entry) -> str | None:
    """Say why a whole run is worth nothing; None if it may be worth something."""
    if not _is_old(entry.path):
        return None
    if not entry.run.status and "status.json" not in entry.run.faults:
        return "ended before its record began"
    if entry.sweep is not None or entry.program in KEPT_PROGRAMS:  # the same command goes on with a sweep
        return None
    if entry.state not in (State.killed.value, State.interrupted.value) or entry.checkpoints:
        return None
    return f"{entry.state} without a checkpoint to resume"


def _foreign(run: Path) -> str | None:
    """Return the name of something in a run that is more than its record."""
    for path in _listed(run):
        named = OWN.fullmatch(path.name) or DRAFT.fullmatch(path.name) or path.name in {*LOGS, LOCK}
        if not named or path.is_symlink() or ((path.name == "wandb") != path.is_dir() and path.name != "checkpoints"):
            return path.name
    held = (path for path in _listed(run / "checkpoints") if not DRAFT.fullmatch(path.name))
    return next((f"checkpoints/{path.name}" for path in held), None)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_old(path: Path) -> bool:
    """Whether nothing was written to a file or folder for a while."""
    try:
        return time.time() - max(one.lstat().st_mtime for one in (path, *_listed(path))) > YOUNG_S
    except OSError:
        return False


def _delete(one: Rubbish, notes: list[str]) -> bool:
    """Delete a file or folder under the lock of its run; say why, if it stays."""
    try:
        with locked(one.run):
            if one.newer is not None and (found := damage(one.newer)) is not None:
                notes.append(f"left: {tidy(str(one.path))}, as {one.newer.name} is damaged ({found})")
                return False
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        notes.append(f"left: {tidy(str(one.path))} ({why})")
        return False
    return True
