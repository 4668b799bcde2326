"""Attention within segments: each example of a packed row, each window of the vision tower, attends only to itself.

Each kernel is registered with transformers under two names. The language model takes `medvl_*`. The vision tower
takes `medvl_flash_*`: it passes cumulative lengths only to implementations with flash in their name, and loops over
its windows in Python for all others.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from medvl.types import Choice

KERNELS = ("sdpa", "varlen")


def choose(requested: str, device: torch.device, dtype: torch.dtype) -> Choice:
    """Resolve `hardware.attention`: torch's varlen kernel if it runs here, else exact SDPA by segment.

    Raises:
        ValueError: varlen was requested but does not run here.
    """
    obstacle = _varlen_obstacle(device, dtype)
    if requested == "varlen" and obstacle:
        raise ValueError(f"hardware.attention=varlen: {obstacle}. Set hardware.attention=auto.")
    if requested == "sdpa":
        return Choice("sdpa", "as configured")
    if obstacle:
        return Choice("sdpa", obstacle)
    keys = "takes grouped keys as they are" if shares_keys(device.type) else "wants a key for every query head"
    why = "as configured" if requested == "varlen" else "torch's kernel runs here"
    return Choice("varlen", f"{why}; it {keys}")


def _varlen_obstacle(device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cuda":
        return "the varlen kernel needs a CUDA device"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"the varlen kernel needs bf16 or fp16, the run computes in {dtype}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the varlen kernel needs compute capability 8.0"
    return ""


def use(model: nn.Module, kernel: str) -> None:
    """Make a Qwen2.5-VL, wrapped by peft or not, use the attention `kernel`.

    Called after construction: if the config already has a name with "flash" in it, transformers looks for a kernel
    on the hub.
    """
    for config in _configs(model):
        vision = "Vision" in type(config).__name__
        config._attn_implementation = f"medvl_flash_{kernel}" if vision else f"medvl_{kernel}"


def use_transformers(model: nn.Module) -> None:
    """Make a Qwen2.5-VL use the default attention of transformers: SDPA, window by window in the tower."""
    for config in _configs(model):
        config._attn_implementation = "sdpa"


def _configs(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            yield config


def _forward(kernel: str) -> Any:
    attend = _segments_varlen if kernel == "varlen" else _segments_sdpa

    def forward(
        module: nn.Module,
        query: Tensor,  # (1, heads, T, head_dim)
        key: Tensor,  # (1, key heads, T, head_dim)
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        is_causal: bool | None = None,
        cu_seq_lens_q: Tensor | None = None,
        max_length_q: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        causal: Any = module.is_causal if is_causal is None else is_causal
        if cu_seq_lens_q is None:  # generation: a padded batch with a mask
            return sdpa_attention_forward(
                module,
                query,
                key,
                value,
                attention_mask,
                dropout=dropout,
                scaling=scaling,
                is_causal=is_causal,
                **kwargs,
            )
        assert max_length_q is not None
        return attend(query, key, value, cu_seq_lens_q, max_length_q, causal, scaling), None

    return forward


def _segments_sdpa(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, causal: bool, scale: float | None
) -> Tensor:
    """Attend segment by segment; runs of equally long segments go through one call as a batch."""
    lengths = bounds.diff().tolist()
    runs = [(length, len(list(equal))) for length, equal in itertools.groupby(lengths)]
    # split, not slices: the gradient of a slice is as large as the whole tensor.
    sizes = [length * count for length, count in runs]
    parts = zip(*(states.squeeze(0).split(sizes, dim=1) for states in (query, key, value)), strict=True)
    outputs = []
    for (length, _), part in zip(runs, parts, strict=True):
        # (count, heads, length, head_dim) each
        q, k, v = (states.unflatten(1, (-1, length)).transpose(0, 1) for states in part)
        out = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None]


def _segments_varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, causal: bool, scale: float | None
) -> Tensor:
    from torch.nn.attention import varlen

    varlen_attn: Any = varlen.varlen_attn

    head_dim, groups = query.shape[-1], query.shape[1] // key.shape[1]
    # Under autocast the rotary embedding of fp32 states leaves queries and keys in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    # (T, heads, head_dim) each; squeeze, because the gradient of states[0] would be a copy of the whole tensor.
    rows = [states.squeeze(0).transpose(0, 1) for states in (query, key, value)]
    options: dict[str, Any] = {"scale": scale, "window_size": (-1, 0) if causal else (-1, -1)}
    if groups > 1 and shares_keys(query.device.type):
        options |= _gqa(varlen_attn)
    elif groups > 1:
        rows[1:] = [states.repeat_interleave(groups, 1) for states in rows[1:]]
    bounds = bounds.int()
    if head_dim % 8:  # an empty pad and a full slice would still copy, forward and backward
        rows = [pad(states, (0, -head_dim % 8)) for states in rows]
    rows = [states.contiguous() for states in rows]
    out = varlen_attn(*rows, bounds, bounds, int(longest), int(longest), **options)
    return (out[..., :head_dim] if head_dim % 8 else out)[None]


@functools.cache
def _gqa(attend: Any) -> dict[str, bool]:
    return {"enable_gqa": True} if "enable_gqa" in inspect.signature(attend).parameters else {}


@functools.cache
def shares_keys(device: str) -> bool:
    """Return whether the varlen kernel accepts fewer key than query heads; tested, as torch 2.11 does not document it.

    Must run before the model does: a gradient checkpoint counts saved tensors, and would count those of this test.
    """
    from torch.nn.attention import varlen

    varlen_attn: Any = varlen.varlen_attn

    with torch.enable_grad(), torch.autocast(device, enabled=False):
        states = [torch.randn(16, heads, 64, device=device, dtype=torch.bfloat16) for heads in (4, 2, 2)]
        bounds = torch.tensor([0, 9, 16], device=device, dtype=torch.int32)
        found = []
        for repeat, options in ((1, _gqa(varlen_attn)), (2, {})):
            leaves = [state.clone().requires_grad_() for state in states]
            spread = [leaves[0], *(leaf.repeat_interleave(repeat, 1) for leaf in leaves[1:])]
            try:
                out = varlen_attn(*spread, bounds, bounds, 9, 9, window_size=(-1, 0), **options)
                out.float().square().sum().backward()
            except (RuntimeError, ValueError):
                return False
            found.append([out, *(leaf.grad for leaf in leaves)])
    return all(torch.allclose(one, other, rtol=0.03, atol=0.03) for one, other in zip(*found, strict=True))


def off(kernel: str, device: torch.device, dtype: torch.dtype) -> float:
    """Return the relative error of a kernel on a few packed segments, against attention of each alone in fp32."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 256, 64, generator=generator).to(device, dtype) for heads in (8, 2, 2))
    bounds = torch.tensor([0, 96, 160, 256], device=device, dtype=torch.int32)
    attend = _segments_varlen if kernel == "varlen" else _segments_sdpa
    found = attend(q, k, v, bounds, 96, True, None)[0].float()
    parts = zip(*(one.float().split([96, 64, 96], dim=2) for one in (q, k, v)), strict=True)
    exact = [scaled_dot_product_attention(a, b, c, is_causal=True, enable_gqa=True) for a, b, c in parts]
    wanted = torch.cat([one[0].transpose(0, 1) for one in exact])
    return float((found - wanted).norm() / wanted.norm())


for _kernel in KERNELS:
    for _name in (f"medvl_{_kernel}", f"medvl_flash_{_kernel}"):
        AttentionInterface.register(_name, _forward(_kernel))
        AttentionMaskInterface.register(_name, sdpa_mask)
