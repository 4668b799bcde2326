"""Estimates the device memory of a training step from the shapes: saved activations, and temporaries on top of them.

The peak is between the forward and the backward pass: all saved activations exist, plus either the logits of a chunk
or the temporaries of one layer's backward pass. Adapter gradients appear later, while activations are freed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medvl.hardware.plan import GIB
from medvl.model.parts import key_width
from medvl.training.loss import LOGITS


@dataclass(kw_only=True, slots=True)
class StepMemory:
    """Bytes of one training step, by use."""

    weights: float
    adapters: float
    """Trainable parameters, their optimizer state, and their copies in the compute type."""
    kept: float
    """Activations saved for the backward pass."""
    passing: float
    """The largest temporaries on top of them."""

    @property
    def peak(self) -> float:
        return self.weights + self.adapters + self.kept + self.passing

    def __str__(self) -> str:
        parts = (f"{getattr(self, name) / GIB:.1f} {name}" for name in ("weights", "adapters", "kept", "passing"))
        return f"{self.peak / GIB:.1f} GiB ({', '.join(parts)})"


def step_memory(
    text: Any,
    *,
    weights: float,
    trainable: int,
    optimizer_bytes: float,
    tokens: int,
    bytes_each: int,
    recomputed: int,
    rank: int = 0,
    fused: bool = True,
    shares_keys: bool = True,
) -> StepMemory:
    """Estimate a step over a row of `tokens` tokens; a vision tower that trains is not included.

    Args:
        text: Configuration of the language model.
        weights: Bytes of the base as it is stored.
        optimizer_bytes: Bytes of optimizer state per parameter.
        bytes_each: Bytes per activation.
        recomputed: Number of language layers that are recomputed in the backward pass.
        rank: Rank of the adapters.
        fused: Layers are fused (medvl.kernels); else those of transformers and peft, which save more.
        shares_keys: Attention takes grouped keys and values; else they are repeated for every query head.
    """
    hidden, inner, keys = text.hidden_size, text.intermediate_size, key_width(text)
    layers = text.num_hidden_layers
    # Inputs of both norms, rotated queries, output of attention, keys and values, gate and up.
    values = 4 * hidden + 2 * keys + 2 * inner + 7 * rank
    if not shares_keys:
        values += 2 * (hidden - keys)
    if not fused:  # outputs of norms, unrotated queries and keys, norms in fp32, SiLU and its product
        values += 2 * hidden + hidden + keys + 4 * hidden + 2 * inner
    log_sums = 4 * text.num_attention_heads
    layer = tokens * (values * bytes_each + log_sums)
    kept = (layers - recomputed) * layer + recomputed * tokens * hidden * bytes_each
    # Gradients of gate and up, their recomputed product, the gradient of the rows, one dequantised weight.
    backward = bytes_each * (tokens * (3 * inner + 4 * hidden) + 2 * inner * hidden)
    backward += layer if recomputed else 0
    copied = trainable * bytes_each * max(layers - recomputed, 1) / layers if fused else 0
    logits = min(LOGITS, tokens * text.vocab_size) * (4 + 2 * bytes_each) + 3 * tokens * hidden * bytes_each
    return StepMemory(
        weights=weights, adapters=trainable * (4 + optimizer_bytes) + copied, kept=kept, passing=max(backward, logits)
    )
