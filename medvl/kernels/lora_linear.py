"""Frozen linear layers and their LoRA adapters, computed together with a hand-written backward pass.

With rows x (T, K), frozen W (N, K), A (r, K), B (N, r) and scale s: y = xA' (sB)' + xW'. The low-rank product is
written to y first and the matrix product with W accumulates onto it, so the adapter needs no extra pass over y. The
alternative, one product with W + sBA, would round the sum to bf16 at the magnitude of W: an adapter's first updates
are less than half a rounding step and would vanish.

4-bit weights are dequantised once in the forward and once in the backward pass and not kept; the allocator reuses the
block. Saved for the backward pass are the inputs of norms and of SiLU, not their outputs: the backward pass recomputes
these in memory passes that it makes anyway. The adapters of a layer are cast to the compute type in one launch per
step, because with few rows a step is limited by the host's kernel launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medvl.kernels.fused_ops import FusedOps


@dataclass(kw_only=True, slots=True)
class Projection:
    """A frozen linear layer, nn.Linear or bitsandbytes' Linear4bit, and its adapter if it has one."""

    base: Any
    a: Any = None
    b: Any = None
    scale: float = 1.0

    def weight(self, dtype: torch.dtype) -> Tensor:
        """Return W, (N, K)."""
        state = getattr(self.base.weight, "quant_state", None)
        if state is None:
            return self.base.weight.to(dtype)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.base.weight.data, state).to(dtype)

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        return None if self.base.bias is None else self.base.bias.to(dtype)


@dataclass(kw_only=True, slots=True)
class Shared:
    """Projections of the same rows, with their adapters cast and scaled for the products."""

    projections: Sequence[Projection]
    dtype: torch.dtype
    low: Any = None
    """The A matrices of all adapters, stacked, (R, K)."""
    raised: Sequence[Tensor] = ()
    """sB of each adapter, (N, r)."""

    @property
    def adapters(self) -> list[Tensor | None]:
        return [part for one in self.projections for part in (one.a, one.b)]

    @property
    def ranks(self) -> list[int]:
        return [one.a.shape[0] for one in self.projections if one.a is not None]

    def taking(self, low: Tensor | None, raised: Sequence[Tensor]) -> Shared:
        """Return the same projections with the given cast adapters."""
        return Shared(projections=self.projections, dtype=self.dtype, low=low, raised=raised)


def group_projections(groups: Sequence[Sequence[Projection]], dtype: torch.dtype) -> list[Shared]:
    """Return a `Shared` for each group of projections of the same rows; all adapters are cast in one launch."""
    adapted = [[one for one in group if one.a is not None] for group in groups]
    downs, ups = ([getattr(one, name) for group in adapted for one in group] for name in ("a", "b"))
    with torch.no_grad():
        flat, copies = _copied([*downs, *ups], dtype)
        raised = copies[len(downs) :]
        if raised:
            torch._foreach_mul_(raised, [one.scale for group in adapted for one in group])
    found, start, at = [], 0, 0
    for group, having in zip(groups, adapted, strict=True):
        stop = start + sum(one.a.numel() for one in having)
        low = flat[start:stop].view(-1, having[0].a.shape[1]) if having else None
        found.append(Shared(projections=group, dtype=dtype, low=low, raised=raised[at : at + len(having)]))
        start, at = stop, at + len(having)
    return found


def _copied(parts: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Copy tensors into one contiguous block by one launch; return the block and a view of each copy."""
    if not parts:
        return torch.empty(0), []
    sizes = [part.numel() for part in parts]
    flat = torch.empty(sum(sizes), dtype=dtype, device=parts[0].device)
    copies = [piece.view(part.shape) for piece, part in zip(flat.split(sizes), parts, strict=True)]
    torch._foreach_copy_(copies, parts)
    return flat, copies


@dataclass(kw_only=True, slots=True)
class Norm:
    """A frozen RMS norm in front of projections."""

    weight: Tensor
    eps: float


def project(x: Tensor, shared: Shared, fused_ops: FusedOps, norm: Norm | None = None) -> tuple[Tensor, ...]:
    """Return the projections, (T, N) each, of the rows x (T, K), after the norm if one is given."""
    return _Projections.apply(x, shared, norm, fused_ops, *shared.adapters)


def gated_mlp(x: Tensor, inner: Shared, outer: Shared, fused_ops: FusedOps, norm: Norm) -> Tensor:
    """Return down(silu(gate(n)) * up(n)), (T, H), where n are the normed rows of x.

    Args:
        inner: gate and up.
        outer: down.
    """
    return _GatedMLP.apply(x, inner, outer, norm, fused_ops, *inner.adapters, *outer.adapters)


def apply_rotary(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, fused_ops: FusedOps) -> tuple[Tensor, Tensor]:
    """Return queries and keys, (T, heads, D), with the rotary embedding applied."""
    return _Turn.apply(query, key, cos, sin, fused_ops)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, fused_ops: FusedOps
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.fused_ops = fused_ops
        with torch.autocast(query.device.type, enabled=False):  # as in the backward pass, to compile once for both
            return fused_ops.rotate(query, key, cos, sin)

    @staticmethod
    def backward(ctx: Any, of_query: Tensor, of_key: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return *ctx.fused_ops.rotate(of_query, of_key, cos, -sin), None, None, None


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shared: Shared, norm: Norm | None, fused_ops: FusedOps, *adapters: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):
            outs, thin = _forward(_normed(x, norm, shared.dtype, fused_ops), shared)
        # The cast adapters are saved like activations, so that a recomputed layer keeps neither.
        ctx.save_for_backward(x, thin, shared.low, *shared.raised)
        ctx.shared, ctx.norm, ctx.fused_ops = shared.taking(None, ()), norm, fused_ops
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, thin, low, *raised = ctx.saved_tensors
        back = _Backward(grads, ctx.shared.taking(low, raised))
        rows, grad_x = _unnormed(back, x, ctx.norm, ctx.fused_ops, wanted=ctx.needs_input_grad[0])
        return grad_x, None, None, None, *back.adapters(rows, thin)


class _GatedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, inner: Shared, outer: Shared, norm: Norm, fused_ops: FusedOps, *adapters: Tensor | None
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            (gate, up), thin_in = _forward(_normed(x, norm, inner.dtype, fused_ops), inner)
            (out,), thin_out = _forward(fused_ops.silu_mul(gate, up), outer)
        ctx.save_for_backward(x, gate, up, thin_in, inner.low, *inner.raised, thin_out, outer.low, *outer.raised)
        ctx.inner, ctx.outer, ctx.norm, ctx.fused_ops = inner.taking(None, ()), outer.taking(None, ()), norm, fused_ops
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, thin_in, low_in, *rest = ctx.saved_tensors
        count = len(ctx.inner.ranks)
        raised_in, (thin_out, low_out, *raised_out) = rest[:count], rest[count:]
        of_down = _Backward([grad], ctx.outer.taking(low_out, raised_out))
        product, *grads = ctx.fused_ops.silu_mul_backward(of_down.rows(), gate, up)
        del gate, up
        last = of_down.adapters(product, thin_out)
        del product, of_down
        back = _Backward(grads, ctx.inner.taking(low_in, raised_in))
        rows, grad_x = _unnormed(back, x, ctx.norm, ctx.fused_ops, wanted=ctx.needs_input_grad[0])
        return grad_x, None, None, None, None, *back.adapters(rows, thin_in), *last


def _normed(x: Tensor, norm: Norm | None, dtype: torch.dtype, fused_ops: FusedOps) -> Tensor:
    return x.to(dtype) if norm is None else fused_ops.rms_norm(x, norm.weight, norm.eps, dtype)


def _unnormed(
    back: _Backward, x: Tensor, norm: Norm | None, fused_ops: FusedOps, *, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the projected rows, recomputed from x, and the gradient of x if it is wanted."""
    dtype = back.shared.dtype
    if not wanted:
        return _normed(x, norm, dtype, fused_ops), None
    if norm is None:
        return x.to(dtype), back.rows().to(x.dtype)
    return fused_ops.rms_norm_backward(back.rows(), x, norm.weight, norm.eps, dtype)


def _forward(rows: Tensor, shared: Shared) -> tuple[list[Tensor], Tensor | None]:
    """Return the projections, and the low-rank product xA' of those with an adapter, (T, R)."""
    thin = None if shared.low is None else rows @ shared.low.T
    pieces = iter([] if thin is None else zip(thin.split(shared.ranks, dim=1), shared.raised, strict=True))
    outs = []
    for one in shared.projections:
        weight, bias = one.weight(shared.dtype), one.bias(shared.dtype)
        if one.b is None:
            outs.append(nn.functional.linear(rows, weight, bias))
            continue
        piece, raised = next(pieces)
        out = piece @ raised.T if bias is None else torch.addmm(bias, piece, raised.T)
        outs.append(out.addmm_(rows, weight.T))
    return outs, thin


class _Backward:
    """The gradients of projections of the same rows, given the gradients of their outputs, (T, N) each."""

    def __init__(self, grads: Sequence[Tensor], shared: Shared) -> None:
        self.grads, self.shared = [grad.to(shared.dtype) for grad in grads], shared
        self.adapted = [at for at, one in enumerate(shared.projections) if one.a is not None]
        self.thin = None
        """Gradient of the low-rank product, (T, R)."""
        if self.adapted:
            self.thin = self.grads[0].new_empty(len(self.grads[0]), sum(shared.ranks))
            pieces = self.thin.split(shared.ranks, dim=1)
            for at, raised, piece in zip(self.adapted, shared.raised, pieces, strict=True):
                torch.mm(self.grads[at], raised, out=piece)

    def rows(self) -> Tensor:
        """Return the gradient of the rows, (T, K)."""
        total = None if self.thin is None else self.thin @ self.shared.low
        for grad, one in zip(self.grads, self.shared.projections, strict=True):
            weight = one.weight(self.shared.dtype)
            total = grad @ weight if total is None else total.addmm_(grad, weight)
        assert total is not None
        return total

    def adapters(self, rows: Tensor, thin: Tensor | None) -> list[Tensor | None]:
        """Return the gradients of A and B of every projection, in order.

        Args:
            thin: The low-rank product xA' of the forward pass.
        """
        projections, ranks = self.shared.projections, self.shared.ranks
        found: list[Tensor | None] = [None] * (2 * len(projections))
        if self.thin is not None and thin is not None:
            of_a = (self.thin.T @ rows).split(ranks)
            of_b = [self.grads[at].T @ low for at, low in zip(self.adapted, thin.split(ranks, dim=1), strict=True)]
            _, copies = _copied([*of_a, *of_b], projections[self.adapted[0]].a.dtype)
            torch._foreach_mul_(copies[len(of_a) :], [projections[at].scale for at in self.adapted])
            for at, one, other in zip(self.adapted, copies, copies[len(of_a) :], strict=False):
                found[2 * at : 2 * at + 2] = one, other
        return found
