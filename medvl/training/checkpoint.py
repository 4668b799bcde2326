"""Checkpoints as folders, with the adapter in peft's layout and the trainer's state; written atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from medvl.record.checkpoints import TRAINER_STATE
from medvl.record.files import replace_folder


class SaveError(OSError):
    """A checkpoint could not be written; earlier ones are unchanged."""

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        told = str(cause).lower()  # safetensors and torch tell it in words
        full = any(words in told for words in ("no space", "file too large", "unexpected pos", "failed writing"))
        self.errno = errno.ENOSPC if full else getattr(cause, "errno", None)


class FolderCheckpoints(CheckpointIO):
    """Writes a checkpoint as a folder that appears atomically.

    Args:
        save_weights: Called with the folder and the trained weights.
        read_weights: Called with the folder; returns the trained weights.
    """

    def __init__(
        self,
        save_weights: Callable[[Path, dict[str, Any]], None],
        read_weights: Callable[[Path], dict[str, Any]],
    ) -> None:
        self.save_weights, self.read_weights = save_weights, read_weights

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        folder = Path(path)
        try:
            with replace_folder(folder) as draft:
                rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
                self.save_weights(draft, checkpoint["state_dict"])
                torch.save(rest, draft / TRAINER_STATE)
                for file in draft.iterdir():
                    _flush(file)
        except Exception as error:  # torch and safetensors report a full disk as errors of their own
            free = "unknown"
            with contextlib.suppress(OSError):
                free = f"{shutil.disk_usage(folder.parent).free / 2**20:.0f} MiB"
            raise SaveError(f"cannot save {folder.name}: {error}; {free} free on {folder.parent}", error) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        folder = Path(path)
        checkpoint = torch.load(folder / TRAINER_STATE, map_location="cpu", weights_only=True)
        checkpoint["state_dict"] = self.read_weights(folder)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path, ignore_errors=True)


def lengthen(loops: dict[str, Any]) -> None:
    """Mark the epoch in a checkpoint's loop state as unfinished, so that a finished run can train for more steps.

    Lightning counts our stream of rows as one epoch and would not enter a finished one again.
    """
    epoch, rows = (loops["fit_loop"][name] for name in ("epoch_progress", "epoch_loop.batch_progress"))
    rows["is_last_batch"] = False
    for span in ("total", "current"):
        epoch[span] |= {"processed": 0, "completed": 0}
        rows[span]["completed"] = rows[span]["ready"] - 1  # as in a checkpoint between two steps


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
