"""How a composition trains fast on its machine; every choice comes with its reason."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medvl import attention
from medvl.bench import MIB, weights_mib
from medvl.hardware import GIB, Hardware, Plan, free_bytes, total_bytes
from medvl.kernels import pointwise as passes
from medvl.kernels.layers import any_fused, fuse
from medvl.lora import trainable
from medvl.loss import base_of
from medvl.memory import StepMemory, step_memory
from medvl.model import weight_bytes
from medvl.precision import Compute, Precision
from medvl.types import Choice

if TYPE_CHECKING:
    from torch import nn


MARGIN = 0.9  # of the memory that an estimated step may take
EVERY = (0, 3, 2, 1)  # layers that are recomputed: none, every third, every other, all


@dataclass(kw_only=True, slots=True)
class Tuning:
    """What was settled on, and why."""

    pointwise: passes.Pointwise
    memory: Callable[[int, int], StepMemory]
    """Of a step, from the tokens of its row and the number of layers recomputed."""
    choices: dict[str, Choice]

    @property
    def every(self) -> int:
        """Every n-th language layer is recomputed."""
        return self.choices["checkpointing"].value


def settle(run: Any) -> tuple[Plan, Precision, dict[str, Choice]]:
    """Make the automatic choices of a composition that stand before its model is loaded.

    Raises:
        ValueError: What it asks for is not there.
    """
    plan = run.hardware.plan(
        attention=attention.choose, compute=run.precision.compute.name, storage=run.precision.storage.name,
        devices=run.trainer.devices,
    )  # fmt: skip
    precision = run.precision.settled(Compute[plan.compute.value])
    held = functools.partial(weight_bytes, run.model.config())
    precision, resident = precision.housed(plan.device.value, held)
    return plan, precision, {**plan.choices(), "resident": resident}


def tune(
    model: nn.Module, hardware: Hardware, *, device: str, precision: Precision, tokens: int,
    optimizer: Callable[..., Any],
) -> Tuning:  # fmt: skip
    """Switch on what makes a model train fast.

    Args:
        tokens: Of the longest row.
        optimizer: Its constructor tells how much state it keeps.

    Raises:
        ValueError: Something was asked for that does not work here.
    """
    compiled = Choice(False, "nothing is fused")
    if hardware.fused:
        compiled = passes.choose(hardware.compile, torch.device(device))
    pointwise = passes.Pointwise(compiled=compiled.value)
    choices = fuse(model, pointwise) if hardware.fused else {"fused": Choice("no layers", "as configured")}
    base = base_of(model)
    text, count = base.config.text_config, sum(trainable(model).values())

    def memory(row_tokens: int, layers: int) -> StepMemory:
        return step_memory(
            text,
            weights=weights_mib(base) * MIB - 4 * count,  # adapters lie inside of it
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
    return Tuning(pointwise=pointwise, memory=memory, choices=choices)


def _checkpointing(hardware: Hardware, memory: Callable[[int], StepMemory], device: str, layers: int) -> Choice:
    """Settle activation checkpointing: as little as fits.

    Args:
        memory: Of a step with so many layers recomputed, the weights included.
    """
    # What others hold is not to be had; what the weights hold already stands in the estimate.
    free = free_bytes(device, unified=hardware.unified_memory) + memory(layers).weights
    total = min(free, total_bytes(device, unified=hardware.unified_memory) * hardware.memory_fraction)
    fitting = (every for every in EVERY if memory(recomputed(layers, every)).peak <= MARGIN * total)
    every = next(fitting, 1) if hardware.checkpointing is None else hardware.checkpointing
    sizes = f"a step takes about {memory(recomputed(layers, every))} of {total / GIB:.1f}"
    return Choice(every, sizes if hardware.checkpointing is None else f"as configured; {sizes}")


def recomputed(layers: int, every: int) -> int:
    """Return how many layers every n-th of them is.

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
