"""How runs and numbers are named in tracking services: in the words that users of other trainers look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Keys of metrics.jsonl, which say the unit, by their usual names
USUAL = {
    "train/nats_per_token": "train/loss",
    "val/nats_per_token": "val/loss",
    "train/lr": "lr",
    "train/epoch": "epoch",
}
LONGEST = 120  # characters of a run's name; W&B takes 128


def usual(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a row of metrics.jsonl under the names that trackers show.

    >>> usual({"train/nats_per_token": 0.5, "train/grad_norm": 1.0})
    {'train/loss': 0.5, 'train/grad_norm': 1.0}
    """
    return {USUAL.get(name, name): value for name, value in values.items()}


def run_name(differs: Sequence[str], folder: str) -> str:
    """Return the name of a run: by what it differs from the default composition, and the name of its directory.

    Paths are named by their last part.

    Args:
        differs: Overrides.

    >>> run_name(["data=synthea", "data.path=/data/synthea", "lora.r=16"], "2026-11-22_21-00-00")
    'data=synthea data.path=synthea lora.r=16 2026-11-22_21-00-00'
    >>> run_name([], "2026-11-22_21-00-00")
    'default 2026-11-22_21-00-00'
    """
    parts = [
        f"{key}={value.rstrip('/').rpartition('/')[2]}" for key, _, value in (word.partition("=") for word in differs)
    ]
    told, most = " ".join(parts) or "default", LONGEST - len(folder) - 1
    shown = told if len(told) <= most else f"{told[: max(0, most - 3)].rstrip()}..."
    return f"{shown} {folder}"[-LONGEST:]
