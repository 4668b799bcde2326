"""Chooses kernels and checkpointing so that a composition trains fast on its machine, and gives the reasons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medvl.hardware.plan import GIB, MIB, Hardware, free_bytes, total_bytes
from medvl.kernels import fused_ops as passes
from medvl.kernels.layers import any_fused, fuse
from medvl.model import attention
from medvl.model.lora import trainable
from medvl.model.parts import base_of, weights_mib
from medvl.model.precision import Precision
from medvl.training.memory_estimate import StepMemory, step_memory
from medvl.types import Choice

if TYPE_CHECKING:
    from torch import nn


MARGIN = 0.9  # share of the memory that the estimate of a step may use
EVERY = (0, 3, 2, 1)  # recomputed layers: none, every third, every other, all


@dataclass(kw_only=True, slots=True)
class Tuning:
    """The choices made, and their reasons."""

    fused_ops: passes.FusedOps
    memory: Callable[[int, int], StepMemory]
    """The memory of a step, from the tokens of its row and the number of recomputed layers."""
    choices: dict[str, Choice]

    @property
    def every(self) -> int:
        """Every n-th language layer is recomputed."""
        return self.choices["checkpointing"].value


def tune(
    model: nn.Module,
    hardware: Hardware,
    *,
    device: str,
    precision: Precision,
    tokens: int,
    optimizer: Callable[..., Any],
) -> Tuning:
    """Choose and enable fused layers, compilation and checkpointing for a model.

    Args:
        tokens: Tokens of the longest row.
        optimizer: The optimizer's constructor; its name gives the size of its state.

    Raises:
        ValueError: A requested option does not work here.
    """
    compiled = Choice(False, "nothing is fused")
    if hardware.fused:
        compiled = passes.choose(hardware.compile, torch.device(device))
    fused_ops = passes.FusedOps(compiled=compiled.value)
    choices = fuse(model, fused_ops) if hardware.fused else {"fused": Choice("no layers", "as configured")}
    base = base_of(model)
    text, count = base.config.text_config, sum(trainable(model).values())

    def memory(row_tokens: int, layers: int) -> StepMemory:
        return step_memory(
            text,
            weights=weights_mib(base) * MIB - 4 * count,  # weights_mib includes the adapters
            trainable=count,
            optimizer_bytes=2 if "8bit" in getattr(optimizer, "func", optimizer).__name__ else 8,
            tokens=row_tokens,
            bytes_each=4 if precision.compute.name == "fp32" else 2,
            recomputed=layers,
            rank=_rank(model),
            fused=any_fused(model),
            shares_keys=device == "cpu" or attention.shares_keys(device),
        )

    checkpointing = _checkpointing(hardware, functools.partial(memory, tokens), device, text.num_hidden_layers)
    checkpoint(model, checkpointing.value)
    choices |= {"compiled": compiled, "checkpointing": checkpointing}
    return Tuning(fused_ops=fused_ops, memory=memory, choices=choices)


def _checkpointing(hardware: Hardware, memory: Callable[[int], StepMemory], device: str, layers: int) -> Choice:
    """Choose activation checkpointing: the fewest recomputed layers that fit the memory.

    Args:
        memory: Memory of a step, including weights, by the number of recomputed layers.
    """
    # free_bytes excludes what other processes and our loaded weights use; the estimate includes the weights again.
    free = free_bytes(device, unified=hardware.unified_memory) + memory(layers).weights
    total = min(free, total_bytes(device, unified=hardware.unified_memory) * hardware.memory_fraction)
    fitting = (every for every in EVERY if memory(recomputed(layers, every)).peak <= MARGIN * total)
    every = next(fitting, 1) if hardware.checkpointing is None else hardware.checkpointing
    sizes = f"a step takes about {memory(recomputed(layers, every))} of {total / GIB:.1f}"
    return Choice(every, sizes if hardware.checkpointing is None else f"as configured; {sizes}")


def recomputed(layers: int, every: int) -> int:
    """Return the number of layers recomputed if every n-th one is.

    >>> recomputed(28, 0), recomputed(28, 3), recomputed(28, 1)
    (0, 9, 28)
    """
    return layers // every if every else 0


def checkpoint(model: nn.Module, every: int) -> None:
    """Recompute every n-th language layer in the backward pass; 0: none."""
    base = base_of(model)
    if every:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        base.gradient_checkpointing_disable()
    layers = base.model.language_model.layers
    count = recomputed(len(layers), every)
    for at, layer in enumerate(layers):
        layer.gradient_checkpointing = bool(count) and (at + 1) * count // len(layers) > at * count // len(layers)


def _rank(model: nn.Module) -> int:
    ranks = [parameter.shape[0] for name, parameter in model.named_parameters() if ".lora_A." in name]
    return max(ranks, default=0)
