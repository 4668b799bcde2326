"""Estimates the device memory of a training step from the shapes: saved activations, and temporaries on top of them.

The peak is between the forward and the backward pass: all saved activations exist, plus either the logits of a chunk
or the temporaries of one layer's backward pass. Adapter gradients appear later, while activations are freed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvl.hardware.plan import GIB
from medvl.model.loading import Model, WeightInit, weight_bytes
from medvl.model.lora import Adapter, Lora
from medvl.model.names import parameter_shapes
from medvl.model.parts import key_width
from medvl.training.loss import LOGITS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from medvl.model.precision import Precision

ROWS = (32768, 16384, 8192, 4096)  # tokens


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


def longest_row(shape: str, precision: Precision, lora: Adapter, memory_bytes: float) -> int:
    """Estimate the longest rows with which a shape trains in some memory if every layer is recomputed.

    Args:
        shape: An architecture that ships with the package.
        precision: With its compute type settled.

    Returns:
        One of ROWS; 0: not even the shortest fit.
    """
    config = Model(shape=shape, init=WeightInit.random).config()
    weights, trained = weight_bytes(config, precision), adapter_parameters(config, lora)
    text, bytes_each = config.text_config, precision.compute.torch.itemsize
    for tokens in ROWS:
        needed = step_memory(
            text,
            weights=weights,
            trainable=trained,
            optimizer_bytes=8,
            tokens=tokens,
            bytes_each=bytes_each,
            recomputed=text.num_hidden_layers,
            rank=lora.r if isinstance(lora, Lora) else 0,
        )
        if needed.peak <= memory_bytes:
            return tokens
    return 0


def adapter_parameters(config: PretrainedConfig, lora: Adapter) -> int:
    """Count what an adapter option trains of an architecture; all parameters without adapters."""
    sizes = parameter_shapes(config)
    if not isinstance(lora, Lora):
        return sum(math.prod(size) for size in sizes.values())
    adapted = re.compile(lora.pattern())
    matched = (size for name, size in sizes.items() if adapted.fullmatch(name.removesuffix(".weight")))
    return sum(lora.r * sum(size) for size in matched if len(size) == 2)


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
