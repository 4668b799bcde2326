"""Fused decoder layers of Qwen2.5-VL for packed rows: four groups of projections and the operations between them.

Layers use this path in training, validation and prefill, where segment bounds are passed; else, and if they are not
supported, they use the code of transformers and peft.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from medvl.kernels import tower
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.lora_linear import Norm, Projection, apply_rotary, gated_mlp, group_projections, project
from medvl.model.parts import base_of
from medvl.types import Choice

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def fuse(model: nn.Module, fused_ops: FusedOps) -> dict[str, Choice]:
    """Fuse the language layers and the tower of a Qwen2.5-VL, with or without peft.

    Returns:
        How many layers are fused, whether the tower is, and why others are not.
    """
    unfuse(model)
    layers, visual = _language_layers(model), base_of(model).model.visual
    obstacles: Counter[str] = Counter()
    for layer in layers:
        if obstacle := _obstacle(layer):
            obstacles[obstacle] += 1
        else:
            layer.forward = functools.partial(_forward, layer, layer.forward, fused_ops)
    why = ", ".join(f"{count} with {reason} stay as they are" for reason, count in obstacles.items())
    obstacle = tower.fuse(visual, fused_ops)
    return {
        "fused": Choice(f"{len(layers) - obstacles.total()} of {len(layers)} layers", why or "nothing forbids it"),
        "fused_tower": Choice(not obstacle, obstacle or "it is frozen"),
    }


def unfuse(model: nn.Module) -> None:
    """Undo `fuse`."""
    for module in (*_language_layers(model), base_of(model).model.visual):
        if _is_fused(module):
            del module.forward


def any_fused(model: nn.Module) -> bool:
    """Return whether any language layer is fused."""
    return any(map(_is_fused, _language_layers(model)))


def _is_fused(module: nn.Module) -> bool:
    return getattr(module.__dict__.get("forward"), "func", None) in (_forward, tower.forward)


def _language_layers(model: nn.Module) -> nn.ModuleList:
    return base_of(model).model.language_model.layers


def _linears(layer: Any) -> Iterator[nn.Module]:
    for owner, names in ((layer.self_attn, ATTENTION), (layer.mlp, MLP)):
        yield from (getattr(owner, name) for name in names)


def _obstacle(layer: Any) -> str:
    """Return why a layer cannot be fused, or an empty string."""
    for module in _linears(layer):
        if obstacle := _adapter_obstacle(module) if isinstance(module, LoraLayer) else _base_obstacle(module):
            return obstacle
    if layer.input_layernorm.weight.requires_grad or layer.post_attention_layernorm.weight.requires_grad:
        return "norms that train"
    return ""


def _adapter_obstacle(module: LoraLayer) -> str:
    if len(module.active_adapters) != 1:
        return "several adapters"
    (name,) = module.active_adapters
    if name in module.lora_variant:
        return "DoRA or another variant of LoRA"
    if not isinstance(module.lora_dropout[name], nn.Identity):
        return "dropout in the adapter"
    if module.lora_bias[name]:
        return "a bias in the adapter"
    return _base_obstacle(module.get_base_layer())


def _base_obstacle(base: nn.Module) -> str:
    kind = type(base).__name__
    if kind not in ("Linear", "Linear4bit"):
        return f"weights in a {kind}"
    if any(parameter.requires_grad for parameter in base.parameters()):
        return "weights that train"
    return "weights that lie elsewhere" if base.weight.is_meta else ""


def _forward(
    layer: Any, unfused: Callable[..., Tensor], fused_ops: FusedOps, hidden_states: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    if args or kwargs.get("cu_seq_lens_q") is None or not _plain(layer):
        return unfused(hidden_states, *args, **kwargs)
    run: Callable[[Tensor], Tensor] = functools.partial(_packed, layer, fused_ops, **kwargs)
    if layer.gradient_checkpointing and layer.training:
        # Fused layers have no dropout, so there is no random state to preserve.
        return checkpoint(run, hidden_states, use_reentrant=False, preserve_rng_state=False)
    return run(hidden_states)


def _plain(layer: Any) -> bool:
    """Return whether all adapters are enabled and not merged."""
    return not any(isinstance(part, LoraLayer) and (part.merged or part.disable_adapters) for part in _linears(layer))


def _packed(
    layer: Any,
    fused_ops: FusedOps,
    hidden_1TH: Tensor,
    *,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    **bounds: Any,
) -> Tensor:
    hidden = hidden_1TH.squeeze(0)  # the backward pass of [0] would make a copy
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    attention, mlp = layer.self_attn, layer.mlp
    q, k, v, o = (projection_of(getattr(attention, name)) for name in ATTENTION)
    gate, up, down = (projection_of(getattr(mlp, name)) for name in MLP)
    qkv, out, inner, outer = group_projections(((q, k, v), (o,), (gate, up), (down,)), dtype)
    states = project(hidden, qkv, fused_ops, _norm(layer.input_layernorm))
    query, key, value = (state.unflatten(-1, (-1, attention.head_dim)) for state in states)  # (T, heads, D)
    cos, sin = angles(attention.config, *position_embeddings)
    query, key = apply_rotary(query, key, cos, sin, fused_ops)
    attend = AttentionInterface()[attention.config._attn_implementation]
    heads, _ = attend(
        attention,
        *(state[None].transpose(1, 2) for state in (query, key, value)),
        attention_mask,
        scaling=attention.scaling,
        **bounds,
    )
    hidden = hidden + project(heads.squeeze(0).flatten(1), out, fused_ops)[0]
    return (hidden + gated_mlp(hidden, inner, outer, fused_ops, _norm(layer.post_attention_layernorm)))[None]


def projection_of(module: Any) -> Projection:
    """Return a linear layer with its adapter, if it has one; `_obstacle` says which layers this can represent."""
    if not isinstance(module, LoraLayer):
        return Projection(base=module)
    weights: Any = module
    (name,) = module.active_adapters
    return Projection(
        base=module.get_base_layer(),
        a=weights.lora_A[name].weight,
        b=weights.lora_B[name].weight,
        scale=module.scaling[name],
    )


def _norm(module: Any) -> Norm:
    return Norm(weight=module.weight, eps=module.variance_epsilon)


def angles(config: Any, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of a row, (T, D), with sections for time, height and width (mRoPE, arXiv:2409.12191 sec. 2.1).

    transformers up to 5.17 passes those of all three axes, (3, 1, T, D); later versions have already combined them.
    """
    if cos.ndim == 4:
        sections = list(config.rope_parameters["mrope_section"]) * 2
        cos, sin = (
            torch.cat([part[at % 3] for at, part in enumerate(one.split(sections, dim=-1))], dim=-1)
            for one in (cos, sin)
        )
    return cos[0], sin[0]
