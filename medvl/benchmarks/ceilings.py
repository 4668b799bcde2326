"""What a device can do at most, measured beside the arms, and what generation asks of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medvl.benchmarks.training import gemm_tflops
from medvl.geometry import MERGE
from medvl.model.parts import base_of, linear_parameters, stored_bytes, synchronize

if TYPE_CHECKING:
    from medvl.generation.engine import Engine
    from medvl.types import Example


@dataclass(slots=True)
class Ceilings:
    """The least times that the device's rates allow."""

    bandwidth_tb_s: float
    """Of a large copy, read and written."""
    gemm_tflops: float
    """Of a large product in the compute type."""
    floor_ms: float
    """Of reading the decoder's weights, head and adapters once, as they are stored."""
    prefill_ms: float
    """Of the base weights' products with all prompt tokens and patches; attention and adapters are not counted."""
    weights_ratio: float | None
    """GPU memory of all weights while one answer goes on, over that of the stored ones; None on a CPU."""


def measured(engine: Engine, asked: Sequence[Example]) -> Ceilings:
    """Measure the device, and count what the prompts ask of it."""
    base = base_of(engine.model)
    bandwidth, tflops = _copy_bandwidth(engine), gemm_tflops(engine)
    read = stored_bytes(base.model.language_model.layers) + stored_bytes(base.lm_head)
    visual = sum(
        module.in_features * module.out_features
        for module in base.model.visual.blocks.modules()
        if hasattr(module, "in_features") and not hasattr(module, "base_layer")
    )
    tokens = sum(example.tokens - example.answer_tokens for example in asked)
    patches = MERGE**2 * sum(sum(example.visual_tokens) for example in asked)
    work = 2 * (tokens * linear_parameters(base.config.text_config) + patches * visual)
    return Ceilings(
        bandwidth_tb_s=bandwidth / 1e12,
        gemm_tflops=tflops,
        floor_ms=1e3 * read / (bandwidth / 2),  # a copy also writes
        prefill_ms=1e3 * work / (1e12 * tflops),
        weights_ratio=_weights_ratio(engine),
    )


def _weights_ratio(engine: Engine) -> float | None:
    if engine.device.type != "cuda":
        return None
    import torch

    before = torch.cuda.memory_allocated(engine.device)
    with engine.session(rows=1, width=64) as session:
        added = torch.cuda.memory_allocated(engine.device) - before
        slots = session.slots.keys.nbytes + session.slots.values.nbytes
    return 1 + (added - slots) / stored_bytes(engine.model)


def _copy_bandwidth(engine: Engine) -> float:
    """Return the bytes a second that a large copy reads and writes."""
    import torch

    source: torch.Tensor = torch.empty(2**30 if engine.device.type == "cuda" else 2**26, device=engine.device).byte()
    target = torch.empty_like(source)
    best = math.inf
    for _ in range(5):
        synchronize(engine.device)
        started = time.perf_counter()
        for _ in range(4):
            target.copy_(source)
        synchronize(engine.device)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * source.numel() / best
