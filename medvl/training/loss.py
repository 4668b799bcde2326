"""Cross-entropy of the answers in a packed row.

Logits are computed for answer positions only, a chunk at a time, instead of a [T, vocabulary] tensor in fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvl.kernels.fused_ops import FusedOps
from medvl.model.packed_forward import final_states
from medvl.model.parts import base_of
from medvl.types import IGNORE, Batch

EAGER = FusedOps(compiled=False)
LOGITS = 1024 * 152064  # most logits held at a time: 0.6 GB in fp32


def answer_nats(model: nn.Module, batch: Batch, fused_ops: FusedOps = EAGER) -> Tensor:
    """Return the summed cross-entropy of all answer tokens of a row in nats, ().

    Args:
        fused_ops: Those of a frozen head's cross-entropy.
    """
    return summed_nats(model, *answer_states(model, batch), fused_ops)


def summed_nats(model: nn.Module, hidden: Tensor, targets: Tensor, fused_ops: FusedOps = EAGER) -> Tensor:
    """Return the summed cross-entropy of the result of `answer_states`, in nats, ()."""
    head = base_of(model).lm_head
    chunk = max(1, LOGITS // head.out_features)
    if not any(parameter.requires_grad for parameter in head.parameters()) and head.bias is None:
        return _FrozenHeadNats.apply(hidden, targets, head.weight, chunk, fused_ops)
    return sum(  # type: ignore[return-value]
        checkpoint(_nats, head, part, target, use_reentrant=False)
        for part, target in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    )


class _FrozenHeadNats(torch.autograd.Function):
    """Cross-entropy behind a frozen head, whose forward pass also computes the gradient of the hidden states.

    Logits are thus computed once; recomputing them in the backward pass would take a third product with the head.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, weight: Tensor, chunk: int, fused_ops: FusedOps) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wanted = ctx.needs_input_grad[0]
        grad = torch.empty_like(hidden) if wanted else None
        total = torch.zeros((), device=hidden.device)
        with torch.autocast(kind, enabled=False):
            weight = weight.to(dtype)
            for start in range(0, len(hidden), chunk):
                rows = slice(start, start + chunk)
                nats, share = fused_ops.cross_entropy(hidden[rows].to(dtype) @ weight.T, targets[rows])
                total += nats
                if grad is not None:
                    grad[rows] = share @ weight
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * grad_total.to(grad.dtype), None, None, None, None


def answer_states(model: nn.Module, batch: Batch, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the final hidden states that predict the answer tokens, (A, hidden), and the tokens' ids, (A,).

    Args:
        features: The result of `vision_features`, if already computed.
    """
    hidden_TH = final_states(model, batch, features)
    targets = batch["labels"][0, 1:]
    answered = targets != IGNORE
    return hidden_TH[:-1][answered], targets[answered]


def _nats(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    # fp32, since a bf16 log-sum-exp loses the tail of the vocabulary
    return nn.functional.cross_entropy(head(hidden).float(), targets, reduction="sum")
