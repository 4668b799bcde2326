"""One step of decoding for all rows: eager, or replayed as a CUDA graph."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medvl.generation.projections import Group, norm_of
from medvl.generation.slots import PAGE, Slots, attend, padded
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import ATTENTION, MLP
from medvl.model.parts import base_of
from medvl.types import Choice

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # row counts of the captured steps
WARM = 3  # eager steps before a capture: the compiler and cuBLAS allocate in them


class _Layer:
    def __init__(self, layer: Any, norm: Callable[..., Any], group: Callable[..., Group]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm, self.second_norm = norm(layer.input_layernorm), norm(layer.post_attention_layernorm)
        q, k, v, o = (getattr(attention, name) for name in ATTENTION)
        gate, up, down = (getattr(mlp, name) for name in MLP)
        self.qkv, self.out, self.inner, self.outer = group((q, k, v)), group((o,)), group((gate, up)), group((down,))
        self.scale, self.head_dim = attention.scaling, attention.head_dim

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.qkv, self.out, self.inner, self.outer


class Decoder:
    """The decode step of a Qwen2.5-VL over its slots, with the weights as they are now.

    Args:
        held: Keep stacked copies of the weights, see `Group`.
        forbidden: Tokens that are never chosen.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: Slots,
        fused_ops: FusedOps,
        *,
        dtype: torch.dtype,
        autocast: Callable[[], torch.autocast],
        held: bool,
        capture: bool,
        forbidden: Sequence[int] = (),
    ) -> None:
        base = base_of(model)
        text = base.model.language_model
        group = functools.partial(Group, dtype=dtype, held=held, autocast=autocast)
        norm = functools.partial(norm_of, dtype=dtype, fused_ops=fused_ops)
        self.slots, self.fused_ops, self.dtype, self.forbidden = slots, fused_ops, dtype, list(forbidden)
        self.embed, self.layers = base.get_input_embeddings(), [_Layer(one, norm, group) for one in text.layers]
        self.norm = norm_of(text.norm, dtype, fused_ops)
        self.head = Group([base.lm_head], dtype, held=False, autocast=autocast)
        self.cos, self.sin = _angles(text.rotary_emb, slots, base.dtype)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.seen: Counter[int] = Counter()
        self.captures = _captures(self, slots.keys.device) if capture else Choice(False, "as configured")

    @torch.no_grad()
    def step(self, rows: int, longest: int) -> None:
        """Choose the next token of the first `rows` rows.

        Args:
            longest: Tokens of the longest of them, the new one included.
        """
        if not self.captures.value:
            self._step(rows, min(padded(longest), self.slots.width))
            return
        rows = min(next(count for count in ROWS if count >= rows), len(self.slots.tokens))
        if rows in self.graphs:
            self.graphs[rows].replay()
            return
        if self.seen[rows] < WARM:
            self.seen[rows] += 1
            self._step(rows, self.slots.width)
            return
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.graphs.values())).pool() if self.graphs else None
        with torch.cuda.graph(graph, pool=pool):
            self._step(rows, self.slots.width)
        self.graphs[rows] = graph
        graph.replay()

    def _step(self, rows: int, width: int) -> None:
        slots = self.slots
        at, row = slots.lengths[:rows], torch.arange(rows, device=slots.keys.device)
        hidden = self.embed(slots.tokens[:rows])
        cos, sin = (table[slots.positions[:rows]] for table in (self.cos, self.sin))
        lengths = (at + 1).int()
        for layer, keys, values in zip(self.layers, slots.keys, slots.values, strict=True):
            query, key, value = (part.unflatten(-1, (-1, layer.head_dim)) for part in layer.qkv(layer.norm(hidden)))
            query, key = self.fused_ops.rotate(query, key, cos, sin)
            keys[row, at], values[row, at] = key, value
            heads = attend(query.to(value.dtype), keys, values, lengths, layer.scale, width)
            hidden = hidden + layer.out(heads)[0]
            hidden = hidden + layer.outer(self.fused_ops.silu_mul(*layer.inner(layer.second_norm(hidden))))[0]
        self.choose(self.norm(hidden), slice(0, rows))
        slots.lengths[:rows] += slots.active[:rows]
        slots.positions[:rows] += slots.active[:rows]

    def choose(self, states: Tensor, rows: Any) -> None:
        """Write the most probable next token and its log-probability, in nats, to `rows`.

        Args:
            states: (n, H), behind the last norm.
        """
        (logits,) = self.head(states)
        for column in self.forbidden:  # one by one: a list of them would be copied to the device
            logits[:, column] = -torch.inf
        best, token = logits.max(-1)
        self.slots.tokens[rows] = token
        self.slots.log_probabilities[rows] = best.float() - logits.float().logsumexp(-1)


def _angles(rotary: Any, slots: Slots, dtype: torch.dtype) -> list[Tensor]:
    """Return cos and sin by position, (positions, D): behind a prompt all three axes of M-RoPE advance together."""
    # No position is above the number of tokens, as an image of h x w tokens advances it by max(h, w).
    steps = torch.arange(slots.width + PAGE, device=slots.keys.device).float()
    angles = torch.cat([steps[:, None] * rotary.inv_freq.to(steps.device).float()] * 2, dim=-1)
    return [(turn(angles) * rotary.attention_scaling).to(dtype) for turn in (torch.cos, torch.sin)]


def _captures(decoder: Decoder, device: torch.device) -> Choice:
    """Choose whether steps are replayed as CUDA graphs."""
    if device.type != "cuda":
        return Choice(False, "CUDA graphs need a CUDA device")
    groups = [*(group for layer in decoder.layers for group in layer.groups), decoder.head]
    others = sorted({type(module).__name__ for group in groups if not group.plain for module in group.modules})
    if others:
        return Choice(False, f"a layer of the kind {others[0]} computes by its own code")
    return Choice(True, "one launch a step")
