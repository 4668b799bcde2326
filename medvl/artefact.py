"""The forms in which a trained model can be used, and so should be scored: beside its base, merged, requantised."""

from __future__ import annotations

import gc
import tempfile
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.model import Init, Loaded, Model

if TYPE_CHECKING:
    from torch import nn

    from medvl.hardware import Hardware, Plan
    from medvl.precision import Precision


class Artefact(Enum):
    """What becomes of an adapter that was trained beside a base."""

    base = "base"  # is left out: the base alone
    adapter = "adapter"  # stays beside the base as it is stored, as in training
    merged = "merged"  # added into the base in bf16
    requantised = "requantised"  # that, stored again in the run's precision

    def check(self, folder: Path) -> None:
        """Refuse trained weights that cannot be merged, before anything is loaded.

        Raises:
            ValueError: They are no adapter.
        """
        from medvl.learner.adapters import holds_adapter

        if self is not Artefact.adapter and not holds_adapter(folder):
            raise ValueError(
                f"{folder} holds no adapter but whole weights; there is nothing to merge. Set artefact=adapter, "
                "and precision= for another storage."
            )

    def load(
        self, model: Model, folder: Path, precision: Precision, hardware: Hardware, plan: Plan, *, scratch: Path
    ) -> Loaded:
        """Load a base with the trained weights of a folder, in this form; only the storage differs between them.

        Args:
            scratch: Where a merged model may lie for a moment, 2 bytes a parameter.
        """
        import torch

        from medvl.learner.adapters import attach

        stored = precision if self is Artefact.adapter else precision.in_bf16()
        loaded = model.load(stored, hardware, plan)
        loaded.model = attach(loaded.model, folder)
        if self is Artefact.adapter:
            return loaded
        loaded.model = merged(loaded.model)
        if self is Artefact.merged:
            return loaded
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="merged-") as place:
            loaded.model.bfloat16().save_pretrained(place)
            loaded.processor.save_pretrained(place)
            del loaded.model  # two of them may not fit, and what torch keeps for later counts as taken
            gc.collect()
            torch.cuda.empty_cache()
            again = replace(model, path=place, revision=None, init=Init.pretrained).load(precision, hardware, plan)
        again.base = model.name
        return again


def merged(model: nn.Module) -> nn.Module:
    """Add an adapter into its bf16 base; sums keep what bf16 holds of them, whatever type they are held in."""
    import torch

    model = model.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(parameter.dtype)
    return model.eval()
