"""Products of one row with 4-bit weights and their adapters, for decoding: two launches a group of projections.

bitsandbytes' own product for one row looks codes up in shared memory, one by one. Here the 16 codes lie in registers,
as bytes, and a byte permutation looks up four of them at once. Scales that are quantised themselves are decoded on the
way. Sums are fp32. Codes are rounded to bf16, as they are in bitsandbytes' product for one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from medvl.kernels.lora_linear import Projection

BLOCK, NESTED_BLOCK = 64, 256  # values that share a scale, and scales that share one
ROWS, WORDS, WARPS = 8, 512, 4  # of a program: outputs, 8 values each, and warps; the best of 18 on an H100
# Two permutations pick among the codes 0 to 7 and 8 to 15 by the lower 3 bits of each of 4 indices, a third picks one
# of the two by the fourth bit; once for the upper bytes of the bf16 values, once for the lower ones.
_HALF = """prmt.b32 h0, $5, $6, a;
prmt.b32 h1, $7, $8, a;
prmt.b32 l0, $9, $10, a;
prmt.b32 l1, $11, $12, a;
prmt.b32 h, h0, h1, b;
prmt.b32 l, l0, l1, b;
prmt.b32 {first}, l, h, 0x5140;
prmt.b32 {second}, l, h, 0x7362;"""
_DECODE = f"""{{
.reg .b32 a, b, h0, h1, l0, l1, h, l;
and.b32 a, $4, 0x77777777;
shr.u32 b, $4, 1;
and.b32 b, b, 0x44444444;
or.b32 b, b, 0x32103210;
{_HALF.format(first="$0", second="$1")}
shr.u32 a, a, 16;
shr.u32 b, b, 16;
{_HALF.format(first="$2", second="$3")}
}}"""
DECODE = tl.constexpr(_DECODE)
CONSTRAINTS = tl.constexpr("=r,=r,=r,=r,r,r,r,r,r,r,r,r,r")


@triton.jit
def _upper(pair):
    return (pair & -65536).to(tl.float32, bitcast=True)


@triton.jit
def _lower(pair):
    return (pair << 16).to(tl.float32, bitcast=True)


@triton.jit
def _pair(weights, x_ptr, cols, ok):
    """Return the products of two neighbouring weights with their values of x; the first weight is the upper one."""
    x = tl.load(x_ptr + cols * 4, mask=ok, other=0)[None, :]
    return _upper(weights) * _lower(x) + _lower(weights) * _upper(x)


@triton.jit
def _low(x_ptr, low_ptr, out_ptr, K: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros([BK], tl.float32)
    for start in range(0, K, BK):
        at = start + tl.arange(0, BK)
        x = tl.load(x_ptr + at, mask=at < K, other=0.0).to(tl.float32)
        total += x * tl.load(low_ptr + row * K + at, mask=at < K, other=0.0).to(tl.float32)
    tl.store(out_ptr + row, tl.sum(total, 0))


@triton.jit
def _product(
    x_ptr, address_ptr, start_ptr, segment_ptr, offset_ptr, bias_ptr, low_ptr, first_ptr, raised_ptr, out_ptr,
    h0, h1, h2, h3, l0, l1, l2, l3,
    K: tl.constexpr, NESTED: tl.constexpr, RANK: tl.constexpr, PADDED: tl.constexpr, BIAS: tl.constexpr,
    BN: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    rows = block * BN + tl.arange(0, BN)
    segment = tl.load(segment_ptr + block)
    tables = address_ptr + segment * 4
    words = tl.multiple_of(tl.load(tables).to(tl.pointer_type(tl.int32)), 16)
    inside = rows - tl.load(start_ptr + segment)
    KW: tl.constexpr = K // 8
    KB: tl.constexpr = K // 64
    sums = tl.zeros([BN, BW // 8], tl.float32)
    for start in range(0, KW, BW):
        cols = start + tl.arange(0, BW)
        ok = cols < KW
        word = tl.load(words + inside[:, None] * KW + cols[None, :], mask=ok[None, :], other=0)
        w0, w1, w2, w3 = tl.inline_asm_elementwise(
            DECODE, CONSTRAINTS, [word, h0, h1, h2, h3, l0, l1, l2, l3],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32), is_pure=True, pack=1,
        )  # fmt: skip
        part = _pair(w0, x_ptr, cols, ok) + _pair(w1, x_ptr + 1, cols, ok)
        part += _pair(w2, x_ptr + 2, cols, ok) + _pair(w3, x_ptr + 3, cols, ok)
        blocks = start // 8 + tl.arange(0, BW // 8)
        within = (blocks < KB)[None, :]
        at = inside[:, None] * KB + blocks[None, :]
        if NESTED:
            absmax = tl.load(tl.load(tables + 1).to(tl.pointer_type(tl.uint8)) + at, mask=within, other=0)
            coarse = tl.load(tl.load(tables + 2).to(tl.pointer_type(tl.float32)) + at // 256, mask=within, other=0.0)
            fine = tl.load(tl.load(tables + 3).to(tl.pointer_type(tl.float32)) + absmax.to(tl.int32))
            scale = fine * coarse + tl.load(offset_ptr + segment)
        else:
            scale = tl.load(tl.load(tables + 1).to(tl.pointer_type(tl.float32)) + at, mask=within, other=0.0)
        sums += tl.sum(tl.reshape(part, [BN, BW // 8, 8]), 2) * scale
    total = tl.sum(sums, 1)
    if BIAS:
        total += tl.load(bias_ptr + rows).to(tl.float32)
    if RANK > 0:
        rank = tl.arange(0, PADDED)
        low = tl.load(low_ptr + tl.load(first_ptr + segment) + rank, mask=rank < RANK, other=0.0)
        at = rows[:, None] * RANK + rank[None, :]
        raised = tl.load(raised_ptr + at, mask=rank[None, :] < RANK, other=0.0).to(tl.float32)
        total += tl.sum(raised * low[None, :], 1)
    tl.store(out_ptr + rows, total.to(out_ptr.dtype.element_ty))


class FourBitRow:
    """One row times the 4-bit weights of projections that share it, with their biases and adapters.

    Args:
        projections: Of which `obstacle` says nothing.
        biases: (N,) each, or None.
        low: The A matrices of all adapters, stacked, (R, K), or None.
        raised: sB of every projection, (all N, r), with zeros where there is no adapter.
    """

    def __init__(
        self, projections: Sequence[Projection], biases: Sequence[Tensor | None], low: Tensor | None, raised: Tensor
    ) -> None:
        states = [one.base.weight.quant_state for one in projections]
        device, sizes = projections[0].base.weight.device, [one.base.out_features for one in projections]
        self.projections = projections  # whose memory the addresses name
        self.width, self.outputs, self.nested = projections[0].base.in_features, sum(sizes), states[0].nested
        self.code = _bytes_of(states[0].code)
        self.addresses = torch.tensor(
            [_addresses(one.base.weight, state) for one, state in zip(projections, states, strict=True)], device=device
        )
        self.offsets = torch.tensor([float(state.offset or 0) for state in states], device=device)
        ranks = [0 if one.a is None else len(one.a) for one in projections]
        self.starts, self.firsts = (
            torch.tensor([sum(parts[:at]) for at in range(len(parts))], dtype=torch.int32, device=device)
            for parts in (sizes, ranks)
        )
        counts = torch.tensor(sizes, device=device) // ROWS
        self.segments = torch.arange(len(sizes), dtype=torch.int32, device=device).repeat_interleave(counts)
        self.bias = None
        if any(bias is not None for bias in biases):
            parts = [raised.new_zeros(size) if bias is None else bias for bias, size in zip(biases, sizes, strict=True)]
            self.bias = torch.cat(parts)
        self.low, self.raised = low, raised

    def __call__(self, row: Tensor) -> Tensor:
        """Return the products of a row (1, K), (1, all N), both bf16."""
        out, rank = row.new_empty(1, self.outputs), 0
        thin = self.offsets  # not read without adapters
        if self.low is not None:
            thin, rank = torch.empty(len(self.low), device=row.device), self.raised.shape[1]
            long = self.width > 4096
            _low[(len(self.low),)](row, self.low, thin, self.width, 4096 if long else 1024, num_warps=8 if long else 4)
        _product[(self.outputs // ROWS,)](
            row.view(torch.int32), self.addresses, self.starts, self.segments, self.offsets,
            out if self.bias is None else self.bias, thin, self.firsts, self.raised, out, *self.code,
            self.width, self.nested, rank, triton.next_power_of_2(max(rank, 1)), self.bias is not None, ROWS, WORDS,
            num_warps=WARPS,
        )  # fmt: skip
        return out


def obstacle(projections: Sequence[Projection], dtype: torch.dtype) -> str:
    """Return why `FourBitRow` cannot stand for the products of a row in `dtype`, or an empty string."""
    for one in projections:
        state = getattr(one.base.weight, "quant_state", None)
        if state is None:
            return "the weights are not in 4 bits"
        if one.base.weight.device.type != "cuda" or torch.version.hip:
            return "it needs an NVIDIA GPU"
        if dtype != torch.bfloat16:
            return f"it computes in bf16, not in {str(dtype).removeprefix('torch.')}"
        if state.blocksize != BLOCK or (state.nested and state.state2.blocksize != NESTED_BLOCK):
            return f"blocks of {state.blocksize} values"
        if one.base.in_features % BLOCK or one.base.out_features % ROWS or one.base.weight.data_ptr() % 16:
            return f"{one.base.out_features} x {one.base.in_features} values do not divide into its blocks"
    return ""


def _addresses(weight: Any, state: Any) -> list[int]:
    """Return where a weight's codes, its scales, and the scales and codes of these lie."""
    if not state.nested:
        return [weight.data_ptr(), state.absmax.data_ptr(), 0, 0]
    return [
        weight.data_ptr(), state.absmax.data_ptr(), state.state2.absmax.data_ptr(), state.state2.code.data_ptr()
    ]  # fmt: skip


def _bytes_of(code: Tensor) -> list[int]:
    """Return the upper bytes of 16 bf16 values as four 32-bit integers, then the lower ones."""
    bits = code.bfloat16().view(torch.uint8).view(-1, 2).cpu()  # little-endian
    return [value for half in (1, 0) for value in bits[:, half].contiguous().view(torch.int32).tolist()]
