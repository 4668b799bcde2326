"""The outputs of a training run: adapters for the tracker, and the export unless it is worse than its base."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.evaluation.gate import BeforeAfter, Verdict
from medvl.model.adapters import EXPORT, FILES, export, holds_adapter
from medvl.record.checkpoints import damage
from medvl.record.files import read_json
from medvl.run.tracked import before_and_after
from medvl.tracking.sendable import sendable
from medvl.training.callbacks import BEST, FACTS

if TYPE_CHECKING:
    from medvl.run.context import RunContext


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The results of training."""

    facts: dict[str, Any]
    """Weights, trainable parameters, and the cost."""
    steps: int
    curve: list[float]
    """Training loss of every step, nats per token."""
    validations: list[float]
    """Validation losses, nats per token."""

    @property
    def val_nats_per_token(self) -> float | None:
        return self.validations[-1] if self.validations else None

    def loss_line(self) -> str:
        """Describe the loss in words."""
        curve, value = self.curve, self.val_nats_per_token
        seen = f"loss {curve[0]:.3f} -> {curve[-1]:.3f} nats a token over {len(curve)} steps" if curve else "no steps"
        return seen + (f", {value:.3f} on documents held out" if value is not None else "")

    def to_json(self) -> dict[str, Any]:
        return {**self.facts, "steps": self.steps, "val_nats_per_token": self.val_nats_per_token}


def track_adapters(
    context: RunContext, trained: Trained, last: Path | None, base: str, scores: dict[str, float]
) -> None:
    """Send the last adapter to the tracker, and the best one if validation found it.

    Args:
        scores: Of the last one.
    """
    if last is None or not holds_adapter(last):
        return
    value = trained.val_nats_per_token
    facts = {
        "step": trained.steps,
        "val/nats_per_token": value,
        "base": base,
        "data": context.accounts["prepared"]["fingerprint"],
    }
    scored = {f"after/{key}": one for key, one in scores.items()}
    best = context.record.checkpoints / BEST
    noted = read_json(best / FACTS)
    if noted is not None and noted.get("step") != trained.steps and damage(best) is None:
        _send(context, best, ["best"], {**facts, **noted})
        _send(context, last, ["last"], {**facts, **scored})
    else:
        both = value is not None and math.isfinite(value)
        _send(context, last, ["last", "best"] if both else ["last"], {**facts, **scored})


def hand_over(context: RunContext, verdict: Verdict, sets: dict[str, BeforeAfter], checkpoint: Path | None) -> str:
    """Export the adapter unless it is worse than its base; return the outcome."""
    record = context.record
    exported = record.path / EXPORT
    shutil.rmtree(exported, ignore_errors=True)  # written before the run was resumed
    if verdict.worse and not context.config.force:
        again = f"python train.py resume={record.display_path()} force=true"
        return f"{verdict}\nNot exported; {again} exports it all the same."
    if checkpoint is None or not holds_adapter(checkpoint):
        return str(verdict)
    scores = {name: one.to_json() for name, one in sets.items()}
    export(checkpoint, exported, {"checkpoint": checkpoint.name, "gate": verdict.to_json(), **scores})
    told = {name: value for name, value in before_and_after(sets).items() if not name.endswith(("_low", "_high"))}
    with sendable(sorted(exported.iterdir()), context.config.privacy) as files:
        context.tracker.export(files, {"gate": verdict.verdict, **told})
    return f"{verdict}\nexported to {record.display_path()}/{EXPORT}"


def _send(context: RunContext, folder: Path, aliases: Sequence[str], facts: dict[str, Any]) -> None:
    with sendable([folder / name for name in FILES], context.config.privacy) as files:
        context.tracker.adapter(files, aliases, facts)
