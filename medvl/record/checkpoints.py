"""Checkpoints on disk: their order, and whether one can be read."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path

from medvl.record.errors import first_line
from medvl.record.files import warn_once

TRAINER_STATE = "trainer.pt"  # present in every complete checkpoint
STATE = (  # its keys: Lightning's, and that of our own learner
    *("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "optimizer_states", "lr_schedulers"),
    "rng",
)
METADATA, CHECKSUMS = "medvl.json", "crc32"  # beside all trained weights: their base, and the checksum of each file
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
WEIGHTS = "model.safetensors"
CONFIGS = {ADAPTER: CONFIG, WEIGHTS: "config.json"}


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])


def checkpoints_in(folder: Path) -> list[Path]:
    """Return a run's checkpoints in the order of their steps."""
    return sorted((path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)), key=step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in a run's checkpoints folder, None if there is no checkpoint.

    A warning names the newer ones that are damaged.

    Raises:
        ValueError: All of them are damaged.
    """
    skipped: list[str] = []
    for checkpoint in reversed(checkpoints_in(folder)):
        found = "trainer.pt is missing" if not (checkpoint / TRAINER_STATE).exists() else damage(checkpoint)
        if found is None:
            if skipped:
                warn_once(f"{folder}: {'; '.join(skipped)}; {checkpoint.name} before it is whole and is taken")
            return checkpoint
        skipped.append(f"{checkpoint.name} is damaged ({found})")
    if skipped:
        raise ValueError(
            f"no checkpoint in {folder} can be read: {'; '.join(skipped)}. Put a whole one there, or start a new run."
        )
    return None


def damage(folder: Path) -> str | None:
    """Say what is wrong with trained weights and the trainer's state beside them; None if they are whole.

    All files are read once, and nothing in them is run.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return "no safetensors file"
    file = folder
    try:
        for file in sorted(folder.iterdir()):
            if not file.is_file() and not file.is_dir():  # such as a pipe, which would never end
                raise ValueError("it is no regular file")
        for file in sorted(folder.glob("*.json")):
            json.loads(file.read_bytes())
        sums = _checksums(folder / METADATA)
        for file in weights:
            config = CONFIGS.get(file.name)
            if config is not None and not (folder / config).is_file():
                return f"{config} is missing"
            _check_weights(file, sums.get(file.name))
        file = folder / TRAINER_STATE
        if file.exists():
            _check_state(file)
    except Exception as error:  # each format has its own errors
        return f"{file.name}: {first_line(error)[:120]}"
    return None


def checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as data:
        while part := data.read(2**20):
            value = zlib.crc32(part, value)
    return value


def _checksums(metadata: Path) -> dict[str, int]:
    """Return the checksum of every file of weights; empty for adapters of other programs and earlier versions."""
    return json.loads(metadata.read_bytes()).get(CHECKSUMS, {}) if metadata.is_file() else {}


def _check_weights(file: Path, known: int | None) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="np") as tensors:  # checks the header and the length
        tensors.keys()
    if known is not None and checksum(file) != known:
        raise ValueError("its content has changed since it was written")


def _check_state(file: Path) -> None:
    import torch

    with zipfile.ZipFile(file) as parts:
        spoilt = parts.testzip()
    if spoilt is not None:
        raise ValueError(f"{spoilt} in it does not match its checksum")
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, dict):
        raise ValueError("it is not the state of a trainer")
    if missing := [key for key in STATE if key not in state]:
        raise ValueError(f"it is not the state of a trainer: it has no {missing[0]}")
