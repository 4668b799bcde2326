"""Static keys and values of the answers in progress, one slot an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

PAGE = 64  # a slot's width is a multiple of it


class Slots:
    """Keys and values of `rows` answers of at most `width` tokens, and where each of them stands.

    Args:
        text: The language model's configuration.
    """

    def __init__(self, text: Any, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.keys, self.values = (torch.zeros(_shape(text, rows, width), dtype=dtype, device=device) for _ in range(2))
        self.tokens, self.lengths, self.positions, self.active = (
            torch.zeros(rows, dtype=torch.long, device=device) for _ in range(4)
        )
        """The token each row continues with; tokens whose keys are kept; M-RoPE position; 1 if the row is in use."""
        self.log_probabilities, self.masses = (torch.zeros(rows, device=device) for _ in range(2))

    @property
    def width(self) -> int:
        return self.keys.shape[2]

    def open(self, rows: list[int], lengths: list[int], positions: list[int]) -> None:
        """Take slots for prompts of `lengths` tokens, whose answers begin at M-RoPE `positions`."""
        for row, length in zip(rows, lengths, strict=True):
            # What an earlier answer left is never attended to, but zero times NaN would be NaN.
            self.keys[:, row, length:] = 0
            self.values[:, row, length:] = 0
        index = torch.tensor(rows, device=self.keys.device)
        self.lengths[index] = torch.tensor(lengths, device=self.keys.device)
        self.positions[index] = torch.tensor(positions, device=self.keys.device)
        self.active[index] = 1

    def move(self, source: int, target: int) -> None:
        """Move an answer to another slot, so that those in use stay the first ones."""
        if source == target:
            return
        for buffer in (self.keys, self.values):
            buffer[:, target] = buffer[:, source]
        for state in (self.tokens, self.lengths, self.positions, self.active, self.log_probabilities):
            state[target] = state[source]

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the keys and values of the first tokens of a slot."""
        for buffer in (self.keys, self.values):
            buffer[:, target, :tokens] = buffer[:, source, :tokens]

    def close(self, row: int) -> None:
        """Free a slot; a captured step still computes its row, which then stands still."""
        for state in (self.lengths, self.positions, self.active):
            state[row] = 0


def padded(width: int) -> int:
    """Return the width of a slot for this many tokens."""
    return -(-width // PAGE) * PAGE


def slot_bytes(text: Any, width: int, dtype: torch.dtype) -> int:
    """Return the memory of one slot."""
    return 2 * math.prod(_shape(text, 1, width)) * dtype.itemsize


def _shape(text: Any, rows: int, width: int) -> tuple[int, ...]:
    head_dim = text.hidden_size // text.num_attention_heads
    return text.num_hidden_layers, rows, padded(width), text.num_key_value_heads, head_dim


def attend(
    query: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, bounds: Sequence[Tensor], scale: float, width: int
) -> Tensor:
    """Return the attention of one new token a row, (n, heads * D).

    Args:
        query: (n, heads, D).
        keys, values: (rows, slot width, key heads, D), of which the first n rows are read.
        lengths: (n,) int32; later keys are not read.
        bounds: Where queries and slots begin, int32: 0 ... n, and the same times the slot width.
        width: At least the largest length.
    """
    count, heads, head_dim = query.shape
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        whole = keys.shape[1]
        return torch.ops.aten._flash_attention_forward(
            query,
            keys.flatten(0, 1),
            values.flatten(0, 1),
            *bounds,
            1,
            whole,
            0.0,
            False,
            False,
            scale=scale,
            seqused_k=lengths,
        )[0].flatten(1)
    groups = keys.shape[2]
    mask = torch.arange(width, device=query.device) < lengths[:, None]
    out = torch.nn.functional.scaled_dot_product_attention(
        query.view(count, groups, heads // groups, head_dim),  # grouped queries as rows: no copies of keys
        keys[:count, :width].transpose(1, 2),
        values[:count, :width].transpose(1, 2),
        attn_mask=mask[:, None, None].expand(count, groups, heads // groups, width),
        scale=scale,
    )
    return out.reshape(count, heads * head_dim)
