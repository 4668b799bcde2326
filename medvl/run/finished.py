"""Whether a run that resume= names has anything left to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from medvl.model.adapters import EXPORT, EXPORTED
from medvl.record.directory import load_run
from medvl.run import composition

SCORED = ("eval", "replay", "gate")


def is_done(run: str | Path) -> bool:
    """Whether a run directory is that of a training run that came to its end."""
    try:
        status = load_run(run)
    except ValueError:
        return False
    return status["state"] == "done" and bool(status.get("steps"))


def nothing_left(run: Path, *, before: DictConfig, now: DictConfig) -> str | None:
    """Return one line if a finished run has made all steps and is to be scored as it was; else None.

    Args:
        before: Its composition.
        now: The same, changed by the overrides typed now.
    """
    status, was, asked = load_run(run), composition.to_dict(before), composition.to_dict(now)
    if any(asked[name] != was[name] for name in SCORED) or asked["report"]:
        return None
    if asked["force"] and not (run / EXPORT / EXPORTED).is_file():
        return None
    made, steps = status.get("step") or 0, status.get("steps") or 0
    if made < steps or _is_longer(made, was["trainer"], asked["trainer"]):
        return None
    limit = "max_steps" if was["trainer"]["max_steps"] == steps else "epochs"
    return f"this run is done ({made} of {steps} steps); set trainer.{limit}=<more> to train on"


def _is_longer(made: int, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether more steps may be left to train; how many an epoch has is not known without its data."""
    most, epochs = now["max_steps"], now["epochs"]
    if most is not None and most <= made:
        return False
    ended_by_epochs = before["max_steps"] is None or made < before["max_steps"]
    if ended_by_epochs and epochs is not None and before["epochs"] is not None:
        return epochs > before["epochs"]
    return (most, epochs) != (before["max_steps"], before["epochs"])
