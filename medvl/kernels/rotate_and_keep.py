"""The rotary embedding of queries and keys, and keys and values written to their slots, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _turned(ptr, base, cos_ptr, sin_ptr, heads, dims, ok, D: tl.constexpr):
    """Return both halves of heads, rotated, in fp32."""
    at = base + heads[:, None] * D + dims[None, :]
    first = tl.load(ptr + at, mask=ok, other=0.0).to(tl.float32)
    second = tl.load(ptr + at + D // 2, mask=ok, other=0.0).to(tl.float32)
    cos = tl.load(cos_ptr + dims)[None, :].to(tl.float32)
    sin = tl.load(sin_ptr + dims)[None, :].to(tl.float32)
    return first * cos - second * sin, second * cos + first * sin


@triton.jit
def _kernel(
    q_ptr, k_ptr, v_ptr, cos_ptr, sin_ptr, row_ptr, at_ptr, keys_ptr, values_ptr, q_out_ptr, k_out_ptr,
    q_stride, k_stride, v_stride, angle_stride, slot_stride,
    QH: tl.constexpr, KH: tl.constexpr, D: tl.constexpr, PADDED_QH: tl.constexpr, PADDED_KH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    dims = tl.arange(0, D // 2)
    cos_ptr += token * angle_stride
    sin_ptr += token * angle_stride
    if tl.program_id(1) == 0:
        q_heads = tl.arange(0, PADDED_QH)
        q_ok = (q_heads < QH)[:, None]
        q_first, q_second = _turned(q_ptr, token * q_stride, cos_ptr, sin_ptr, q_heads, dims, q_ok, D)
        q_place = q_out_ptr + token * QH * D + q_heads[:, None] * D + dims[None, :]
        tl.store(q_place, q_first.to(q_out_ptr.dtype.element_ty), mask=q_ok)
        tl.store(q_place + D // 2, q_second.to(q_out_ptr.dtype.element_ty), mask=q_ok)
    else:
        heads = tl.arange(0, PADDED_KH)
        ok = (heads < KH)[:, None]
        inner = heads[:, None] * D + dims[None, :]
        first, second = _turned(k_ptr, token * k_stride, cos_ptr, sin_ptr, heads, dims, ok, D)
        kept = tl.load(row_ptr + token) * slot_stride + tl.load(at_ptr + token) * KH * D + inner
        out = token * KH * D + inner
        tl.store(k_out_ptr + out, first.to(k_out_ptr.dtype.element_ty), mask=ok)
        tl.store(k_out_ptr + out + D // 2, second.to(k_out_ptr.dtype.element_ty), mask=ok)
        tl.store(keys_ptr + kept, first.to(keys_ptr.dtype.element_ty), mask=ok)
        tl.store(keys_ptr + kept + D // 2, second.to(keys_ptr.dtype.element_ty), mask=ok)
        value = v_ptr + token * v_stride + inner
        tl.store(values_ptr + kept, tl.load(value, mask=ok), mask=ok)
        tl.store(values_ptr + kept + D // 2, tl.load(value + D // 2, mask=ok), mask=ok)


def rotate_and_keep(
    query: Tensor, key: Tensor, value: Tensor, cos: Tensor, sin: Tensor, row: Tensor, at: Tensor,
    keys: Tensor, values: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the rotated queries and keys; write the keys and values of token t to keys[row[t], at[t]].

    Args:
        query, key, value: (n, heads, D), in the type of `keys`, D a power of two, heads of a token in one piece.
        cos, sin: (n, D), with two equal halves.
        row, at: (n,) int64.
        keys, values: (rows, slot width, key heads, D), contiguous.
    """
    (count, heads, head_dim), key_heads = query.shape, key.shape[1]
    turned = (torch.empty(count, n, head_dim, dtype=keys.dtype, device=keys.device) for n in (heads, key_heads))
    query_out, key_out = turned
    _kernel[(count, 2)](
        query, key, value, cos, sin, row, at, keys, values, query_out, key_out,
        query.stride(0), key.stride(0), value.stride(0), cos.stride(0), keys.stride(0),
        heads, key_heads, head_dim, triton.next_power_of_2(heads), triton.next_power_of_2(key_heads),
    )  # fmt: skip
    return query_out, key_out
