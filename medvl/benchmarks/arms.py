"""The training recipes ("arms") that bench=train compares, from the baseline project's to ours."""

from __future__ import annotations

from dataclasses import dataclass

from medvl.model.lora import Lora

# The baseline also trained the vision tower's MLPs, unintended: its module suffixes match them (conf/lora/seed.yaml).
SEED_LORA = Lora(r=64, alpha=128.0, dropout=0.05, vision=["gate_proj", "up_proj", "down_proj"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One recipe."""

    title: str
    padded: bool = False
    """Batches are padded to their longest sample and logits computed at every position, as in transformers' Trainer."""
    checkpointing: int | None = 0
    """Every n-th language layer is recomputed; None: as the composition chooses."""
    lora: Lora | None = None
    """The arm's own adapters; None: those of the composition."""
    fused: bool = True
    cached: bool = False
    """The tower's features are computed beforehand, as in training from the second epoch on."""


ARMS = {
    "seed": Arm(title="baseline recipe, tower trained", padded=True, checkpointing=1, lora=SEED_LORA, fused=False),
    "frozen": Arm(title="the same, tower frozen, no dropout", padded=True, checkpointing=1, fused=False),
    "padded": Arm(title="the same, no checkpointing", padded=True, fused=False),
    "packed": Arm(title="packed, peft's layers", fused=False),
    "ours": Arm(title="ours, pages seen live", checkpointing=None),
    "cached": Arm(title="ours, features kept", checkpointing=None, cached=True),
}
