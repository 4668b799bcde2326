"""The forward pass of Qwen2.5-VL's frozen vision tower over the patches of a row, fused and without autograd.

Training, validation and prefill use it, where the bounds of the windows are given.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from transformers import AttentionInterface
from transformers.modeling_outputs import BaseModelOutputWithPooling

from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.lora_linear import Projection

ALIGNED = 8  # 16-bit values in 16 bytes: matrix widths must be a multiple of it for the fast kernels


def obstacle(visual: Any) -> str:
    """Return why a tower cannot be fused, or an empty string."""
    if any(parameter.requires_grad for parameter in visual.parameters()):
        return "it trains"
    for block in visual.blocks:
        for module in (block.attn.qkv, block.attn.proj, block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj):
            if isinstance(module, LoraLayer) and module.lora_A:
                return "it has adapters"
            if type(_base(module)).__name__ not in ("Linear", "Linear4bit"):
                return f"weights in a {type(_base(module)).__name__}"
    return ""


def fuse(visual: Any, fused_ops: FusedOps) -> str:
    """Fuse a tower; return why it cannot be, or an empty string."""
    why = obstacle(visual)
    if not why:
        visual.forward = functools.partial(forward, visual, visual.forward, fused_ops)
    return why


@contextlib.contextmanager
def fused(visual: Any, fused_ops: FusedOps) -> Iterator[None]:
    """Fuse a tower for the duration of the block, unless it is."""
    before = vars(visual).get("forward")
    if getattr(before, "func", None) is forward or fuse(visual, fused_ops):
        yield
        return
    try:
        yield
    finally:
        del visual.forward
        if before is not None:
            visual.forward = before


def forward(
    visual: Any, unfused: Callable[..., Any], fused_ops: FusedOps, patches: Tensor, grid_thw: Tensor, **bounds: Any
) -> Any:
    """Stand in for the tower's own forward pass where the bounds of its windows are given."""
    if "window_index" not in bounds:  # generation
        return unfused(patches, grid_thw=grid_thw, **bounds)
    return BaseModelOutputWithPooling(pooler_output=features(visual, patches, fused_ops, **bounds))


def features(
    visual: Any,
    patches: Tensor,
    fused_ops: FusedOps,
    *,
    position_ids: Tensor,
    window_index: Tensor,
    cu_seqlens: Tensor,
    cu_window_seqlens: Tensor,
    max_seqlen: int,
    max_window_seqlen: int,
) -> Tensor:
    """Return the merged features of all images, (visual tokens, hidden), as `visual` itself would.

    Args:
        patches: (P, C).
        position_ids, window_index, cu_seqlens, cu_window_seqlens, max_seqlen, max_window_seqlen: From
            medvl.data.packing.tower_bounds.
    """
    kind, merged = patches.device.type, visual.spatial_merge_unit
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else patches.dtype

    def in_windows(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, merged))[window_index].flatten(0, 1)

    with torch.autocast(kind, enabled=False):
        kernel = visual.patch_embed.proj.weight.to(dtype).flatten(1)  # stride = kernel size: a matrix product
        hidden = in_windows(linear(patches.to(dtype), kernel))
        angles = [in_windows(part) for part in visual.rotary_pos_emb(hidden, position_ids)]
        for number, block in enumerate(visual.blocks):
            whole = number in visual.fullatt_block_indexes
            bounds = (cu_seqlens, max_seqlen) if whole else (cu_window_seqlens, max_window_seqlen)
            hidden = hidden + _attended(block, hidden, angles, *bounds, fused_ops)
            hidden = hidden + _gated(block, hidden, fused_ops)
    return visual.merger(hidden)[window_index.argsort()]


def _attended(
    block: Any, hidden: Tensor, angles: list[Tensor], bounds: Tensor, longest: int, fused_ops: FusedOps
) -> Tensor:
    attention, dtype = block.attn, hidden.dtype
    rows = fused_ops.rms_norm(hidden, block.norm1.weight, block.norm1.variance_epsilon, dtype)
    states = _linear(attention.qkv, rows).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = states.unbind(1)  # (P, heads, D) each
    query, key = fused_ops.rotate(query, key, *angles)
    heads, _ = AttentionInterface()[attention.config._attn_implementation](
        attention,
        *(state.transpose(0, 1)[None] for state in (query, key, value)),
        None,
        scaling=attention.scaling,
        is_causal=False,
        cu_seq_lens_q=bounds,
        max_length_q=longest,
    )
    return _linear(attention.proj, heads[0].flatten(1))


def _gated(block: Any, hidden: Tensor, fused_ops: FusedOps) -> Tensor:
    dtype = hidden.dtype
    rows = fused_ops.rms_norm(hidden, block.norm2.weight, block.norm2.variance_epsilon, dtype)
    gate, up, down = (Projection(base=_base(getattr(block.mlp, f"{name}_proj"))) for name in ("gate", "up", "down"))
    more = -gate.base.out_features % ALIGNED  # Qwen2.5-VL's MLP is 3,420 wide; padding with zeros adds nothing

    def wider(values: Any, *sides: int) -> Any:
        return pad(values, sides) if more else values

    inner = fused_ops.silu_mul(
        *(linear(rows, wider(one.weight(dtype), 0, 0, 0, more), wider(one.bias(dtype), 0, more)) for one in (gate, up))
    )
    return linear(inner, wider(down.weight(dtype), 0, more), down.bias(dtype))


def _linear(module: nn.Module, rows: Tensor) -> Tensor:
    projection = Projection(base=_base(module))
    return linear(rows, projection.weight(rows.dtype), projection.bias(rows.dtype))


def _base(module: Any) -> Any:
    """Return the base layer of a module, with or without an adapter."""
    return module.get_base_layer() if isinstance(module, LoraLayer) else module
