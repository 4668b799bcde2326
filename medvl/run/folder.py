"""The directory of a run, taken before Hydra would create it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from medvl.record.directory import claim, link_in
from medvl.record.files import PRIVATE, folder_fault, private


class RunFolder(Callback):
    """Takes a new directory that no other process has, or the one that was named, and refuses an unusable one."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder, job = Path(str(config.hydra.run.dir)), config.hydra.job.name
        named = any(word.startswith("hydra.run.dir=") for word in config.hydra.overrides.hydra)
        if not config.hydra.run.dir:  # an unset variable in a shell script; it would be the working directory
            _refuse("hydra.run.dir= names no folder. Set hydra.run.dir=<a folder>, or leave it out.")
        try:
            if named:
                folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            elif config.resume is None or job != "train":
                folder = claim(folder)
            elif not folder.is_dir():
                _refuse(f"there is no folder {folder}. Set resume=<an existing one>.")
            elif (link := link_in(folder)) is not None:
                _refuse(f"{link} is a link, which would be written through. Put a file or folder of its own there.")
            open(folder / f"{job}.log", "a", opener=private).close()  # the first file that Hydra would open
        except OSError as error:
            _refuse(folder_fault(error) or f"{folder}: {error}. Set hydra.run.dir=<another folder>.")
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)


def _refuse(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
