"""What a training step takes of the device's memory, from the shapes: what is kept, and what comes on top of it.

The peak lies at the turn from the forward to the backward pass: everything kept is there, and either the logits of a
chunk or the largest layer's gradients beside it. Gradients of adapters come later, as layers are given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medvl.hardware import GIB
from medvl.loss import LOGITS


@dataclass(kw_only=True, slots=True)
class StepMemory:
    """Bytes of one training step, by what they hold."""

    weights: float
    adapters: float
    """Trainable parameters with the state of their optimizer, and the copies that enter the products."""
    kept: float
    """Activations that wait for the backward pass."""
    passing: float
    """The most that lies on top of them for a moment."""

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
    """Estimate a step over a row of `tokens` tokens, but for a vision tower that trains.

    Args:
        text: Configuration of the language model.
        weights: Bytes of the base as it lies.
        optimizer_bytes: State that the optimizer keeps for a parameter.
        bytes_each: Size of an activation.
        recomputed: Language layers whose activations are made again in the backward pass.
        rank: Of the adapters.
        fused: medvl.kernels computes the layers; else transformers and peft, which keep more.
        shares_keys: Attention takes grouped keys and values as they are; else one of each for every query head.
    """
    hidden, inner, keys = text.hidden_size, text.intermediate_size, key_width(text)
    layers = text.num_hidden_layers
    # Rows before each norm, rotated queries and what attention makes of them, keys and values, gate and up.
    values = 4 * hidden + 2 * keys + 2 * inner + 7 * rank
    if not shares_keys:
        values += 2 * (hidden - keys)
    if not fused:  # normed rows, queries and keys before rotation, the norms in fp32, SiLU and its product
        values += 2 * hidden + hidden + keys + 4 * hidden + 2 * inner
    log_sums = 4 * text.num_attention_heads
    layer = tokens * (values * bytes_each + log_sums)
    kept = (layers - recomputed) * layer + recomputed * tokens * hidden * bytes_each
    # Gradients of gate and up, their product again, the gradient of the rows, a weight in full.
    backward = bytes_each * (tokens * (3 * inner + 4 * hidden) + 2 * inner * hidden)
    backward += layer if recomputed else 0
    copied = trainable * bytes_each * max(layers - recomputed, 1) / layers if fused else 0
    logits = min(LOGITS, tokens * text.vocab_size) * (4 + 2 * bytes_each) + 3 * tokens * hidden * bytes_each
    return StepMemory(
        weights=weights, adapters=trainable * (4 + optimizer_bytes) + copied, kept=kept, passing=max(backward, logits)
    )


def key_width(text: Any) -> int:
    """Return the values of a token's keys, all heads together."""
    return text.hidden_size // text.num_attention_heads * text.num_key_value_heads
