"""How far an exported model differs from what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medvl.types import IGNORE, Example

if TYPE_CHECKING:
    from torch import Tensor, nn

    from medvl.data.encoding import Encoder
    from medvl.model.precision import Precision

PAGES = 4  # whose logits are compared
POSITIONS = 256  # of an answer: 156 MB of logits with Qwen's vocabulary


def answer_logits(model: nn.Module, encoder: Encoder, examples: Sequence[Example], precision: Precision) -> Tensor:
    """Return the logits that predict the reference answers of some pages, (A, vocabulary) float32 on the CPU."""
    import torch

    from medvl.data.packing import pack
    from medvl.model.packed_forward import final_states
    from medvl.model.parts import base_of, device_of, on_device

    device = device_of(model)
    parts = []
    with torch.no_grad(), precision.autocast(device):
        for example in examples[:PAGES]:
            batch = on_device(pack([encoder.encode(example)]), device)
            predicts = batch["labels"][0, 1:] != IGNORE
            hidden_AH = final_states(model, batch)[:-1][predicts][:POSITIONS]
            parts.append(base_of(model).lm_head(hidden_AH).float().cpu())
    return torch.cat(parts)


def logit_parity(before: Tensor, after: Tensor) -> dict[str, Any]:
    """Return how far logits differ, (A, vocabulary) each, and at how many positions the likeliest token is the same."""
    apart = (before - after).abs()
    same = before.argmax(-1) == after.argmax(-1)
    return {
        "positions": len(before),
        "max_logit_difference": float(apart.max()),
        "mean_logit_difference": float(apart.mean()),
        "same_likeliest": int(same.sum()),
    }
