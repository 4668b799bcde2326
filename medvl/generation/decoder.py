"""The language layers over slots: prompts are taken over, then all rows go on step by step, eager or as CUDA graphs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from medvl.generation.projections import Group, norm_of
from medvl.generation.slots import PAGE, Slots, attend, padded
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import ATTENTION, MLP, angles
from medvl.model.packed_forward import embedded
from medvl.model.parts import base_of
from medvl.types import Batch, Choice

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # row counts of the captured steps
WARM = 3  # eager steps before a capture: the compiler and cuBLAS allocate in them


class Layer:
    """The products of one decoder layer."""

    def __init__(self, layer: Any, norm: Callable[..., Any], group: Callable[..., Group]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm, self.second_norm = norm(layer.input_layernorm), norm(layer.post_attention_layernorm)
        q, k, v, o = (getattr(attention, name) for name in ATTENTION)
        gate, up, down = (getattr(mlp, name) for name in MLP)
        self.qkv, self.out, self.inner, self.outer = group((q, k, v)), group((o,)), group((gate, up)), group((down,))
        self.attention, self.scale, self.head_dim = attention, attention.scaling, attention.head_dim

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
        self.base = base = base_of(model)
        text = base.model.language_model
        group = functools.partial(Group, dtype=dtype, held=held, autocast=autocast)
        norm = functools.partial(norm_of, dtype=dtype, fused_ops=fused_ops)
        self.slots, self.fused_ops, self.dtype, self.forbidden = slots, fused_ops, dtype, list(forbidden)
        self.embed, self.layers = base.get_input_embeddings(), [Layer(one, norm, group) for one in text.layers]
        self.norm = norm_of(text.norm, dtype, fused_ops)
        self.head = Group([base.lm_head], dtype, held=False, autocast=autocast)
        self.cos, self.sin = _angles(text.rotary_emb, slots, base.dtype)
        self.one_pass = slots.keys.is_cuda and find_spec("triton") is not None and _is_power(slots.keys.shape[-1])
        self.graphs: dict[tuple[int, bool], torch.cuda.CUDAGraph] = {}
        """By the number of rows, and whether they follow grammars."""
        self.seen: Counter[tuple[int, bool]] = Counter()
        self.columns = base.lm_head.weight.shape[0]
        self.constrained = False
        """Whether the next choice follows what `allow` was told."""
        self.allowed: Tensor | None = None
        self.captures = _captures(self, slots.keys.device) if capture else Choice(False, "as configured")

    @property
    def choices(self) -> dict[str, Choice]:
        """Whether steps are captured, and what multiplies one row with 4-bit weights."""
        chosen = {"captured": self.captures}
        kinds = [group.one_row for layer in self.layers for group in layer.groups if group.plain and group.one_row]
        if kinds:  # the slowest, as it takes most of the time
            chosen["one row"] = min(kinds, key=lambda kind: kind.value == "own product")
        return chosen

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
        kind = rows, self.constrained
        if kind in self.graphs:
            self.graphs[kind].replay()
            return
        if self.seen[kind] < WARM:
            self.seen[kind] += 1
            self._step(rows, self.slots.width)
            return
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.graphs.values())).pool() if self.graphs else None
        with torch.cuda.graph(graph, pool=pool):
            self._step(rows, self.slots.width)
        self.graphs[kind] = graph
        graph.replay()

    @torch.no_grad()
    def prefill(self, batch: Batch, rows: Sequence[int]) -> None:
        """Take over prompts, one a slot of `rows`, and choose the first token of their answers.

        Args:
            batch: On the device, with vision features.
        """
        bounds = batch["bounds"]
        index = torch.tensor(rows, device=bounds.device)
        lengths = bounds.diff().long()
        row = index.repeat_interleave(lengths, output_size=batch["input_ids"].shape[1])
        at = torch.arange(len(row), device=row.device) - bounds[:-1].long().repeat_interleave(
            lengths, output_size=len(row)
        )
        hidden = embedded(self.base, batch["input_ids"], batch["features"])
        rotary = self.base.model.language_model.rotary_emb(hidden, batch["position_ids"][1:])
        cos, sin = angles(self.base.config.text_config, *rotary)

        def attended(layer: Layer, states: Sequence[Tensor], keys: Tensor, values: Tensor) -> Tensor:
            rotated = self.keep(states, cos, sin, row, at, keys, values)
            heads, _ = AttentionInterface()[layer.attention.config._attn_implementation](
                layer.attention,
                *(state[None].transpose(1, 2) for state in (*rotated, states[2])),
                None,
                scaling=layer.scale,
                cu_seq_lens_q=bounds,
                max_length_q=batch["longest"],
            )
            return heads.squeeze(0).flatten(1)

        states = self.states(hidden.squeeze(0), attended)
        self.choose(states[bounds[1:].long() - 1], index)

    def _step(self, rows: int, width: int) -> None:
        slots = self.slots
        at, row = slots.lengths[:rows], torch.arange(rows, device=slots.keys.device)
        lengths = (at + 1).int()
        counts = torch.arange(rows + 1, dtype=torch.int32, device=row.device)
        bounds = counts, counts * slots.width

        def attended(layer: Layer, states: Sequence[Tensor], keys: Tensor, values: Tensor) -> Tensor:
            query, _ = self.keep(states, cos, sin, row, at, keys, values)
            return attend(query.to(values.dtype), keys, values, lengths, bounds, layer.scale, width)

        cos, sin = (table[slots.positions[:rows]] for table in (self.cos, self.sin))
        self.choose(self.states(self.embed(slots.tokens[:rows]), attended), slice(0, rows))
        slots.lengths[:rows] += slots.active[:rows]
        slots.positions[:rows] += slots.active[:rows]

    def states(self, hidden: Tensor, attended: Callable[..., Tensor]) -> Tensor:
        """Return the states behind the last norm, (n, H), of embeddings (n, H).

        Args:
            attended: Keeps the keys and values of a layer, and returns the attention of its queries, (n, heads * D).
        """
        for layer, keys, values in zip(self.layers, self.slots.keys, self.slots.values, strict=True):
            states = [part.unflatten(-1, (-1, layer.head_dim)) for part in layer.qkv(layer.norm(hidden))]
            hidden = hidden + layer.out(attended(layer, states, keys, values))[0]
            hidden = hidden + layer.outer(self.fused_ops.silu_mul(*layer.inner(layer.second_norm(hidden))))[0]
        return self.norm(hidden)

    def keep(
        self, states: Sequence[Tensor], cos: Tensor, sin: Tensor, row: Tensor, at: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the rotated queries and keys of tokens, and keep keys and values at `at` of the slots `row`."""
        query, key, value = states
        if self.one_pass and all(state.dtype == keys.dtype for state in states):
            from medvl.kernels.rotate_and_keep import rotate_and_keep

            return rotate_and_keep(query, key, value, cos, sin, row, at, keys, values)
        query, key = self.fused_ops.rotate(query, key, cos, sin)
        keys[row, at], values[row, at] = key.to(keys.dtype), value.to(values.dtype)
        return query, key

    def choose(self, states: Tensor, rows: Any) -> None:
        """Write the most probable next token, and its log-probability among all tokens, in nats, to `rows`.

        Where rows follow grammars, it is the most probable token that those allow.

        Args:
            states: (n, H), behind the last norm.
        """
        (logits,) = self.head(states)
        for column in self.forbidden:  # one by one: a list of them would be copied to the device
            logits[:, column] = -torch.inf
        total = logits.float().logsumexp(-1)
        if self.constrained:
            logits = self._kept(logits, rows)
            self.slots.masses[rows] = (logits.float().logsumexp(-1) - total).exp()
        elif self.allowed is not None:  # other rows follow grammars
            self.slots.masses[rows] = 1
        best, token = logits.max(-1)
        self.slots.tokens[rows] = token
        self.slots.log_probabilities[rows] = best.float() - total

    def allow(self, words: Tensor, first: int) -> None:
        """Say which tokens the rows from `first` on may choose next, a bit each: (n, columns / 32), int32."""
        if self.allowed is None:
            shape = len(self.slots.tokens), words.shape[1]
            self.allowed = torch.full(shape, -1, dtype=torch.int32, device=self.slots.keys.device)
        self.allowed[first : first + len(words)] = words.to(self.allowed.device)

    def _kept(self, logits: Tensor, rows: Any) -> Tensor:
        """Return logits, (n, columns), without those of tokens that must not be chosen."""
        assert self.allowed is not None
        places = torch.arange(32, dtype=torch.int32, device=logits.device)
        bits = (self.allowed[rows][..., None] >> places) & 1
        return logits.masked_fill(bits.flatten(1)[:, : self.columns] == 0, -torch.inf)


def _is_power(value: int) -> bool:
    return value & (value - 1) == 0


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
