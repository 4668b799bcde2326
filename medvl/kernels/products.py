"""Frozen linear layers and their LoRA adapters as products with a backward pass written by hand.

With rows x (T, K), frozen W (N, K), A (r, K), B (N, r) and scale s: y = xA' (sB)' + xW'. The thin product is written
first and the wide one adds to it where it accumulates, so that no pass over y is spent on the adapter. The
alternative, one product with W + sBA, rounds the sum to W's bf16 grid: an adapter's first updates are below half a
step of it and would vanish.

4-bit values are dequantised once in each direction and not kept; the allocator hands the same block out again. Kept
are the rows before a norm, not those after, and the gated values before SiLU, not the product after: the backward
pass makes both again, in passes over memory that it takes anyway. Adapters are copied to the arithmetic's type once a
step, all of a layer at once: where rows are few, the host's launches are what a step waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medvl.kernels.pointwise import Pointwise


@dataclass(kw_only=True, slots=True)
class Projection:
    """A frozen linear layer, nn.Linear or bitsandbytes' Linear4bit, and its adapter if it has one."""

    base: nn.Module
    a: nn.Parameter | None = None
    b: nn.Parameter | None = None
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
    """Projections of the same rows, their adapters as they enter the products."""

    projections: Sequence[Projection]
    dtype: torch.dtype
    low: Tensor | None = None
    """A of all that have an adapter, one below the other, (R, K)."""
    raised: Sequence[Tensor] = ()
    """sB of each, (N, r)."""

    @property
    def adapters(self) -> list[Tensor | None]:
        return [part for one in self.projections for part in (one.a, one.b)]

    @property
    def ranks(self) -> list[int]:
        return [one.a.shape[0] for one in self.projections if one.a is not None]

    def taking(self, low: Tensor | None, raised: Sequence[Tensor]) -> Shared:
        """Return these with adapters that were saved."""
        return Shared(projections=self.projections, dtype=self.dtype, low=low, raised=raised)


def share(groups: Sequence[Sequence[Projection]], dtype: torch.dtype) -> list[Shared]:
    """Return each group's projections, which share their rows, with the adapters of all groups copied at once."""
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


def _copied(parts: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Return copies one behind the other in one block, made by one launch, and where each lies in it."""
    if not parts:
        return torch.empty(0), []
    sizes = [part.numel() for part in parts]
    flat = torch.empty(sum(sizes), dtype=dtype, device=parts[0].device)
    copies = [piece.view(part.shape) for piece, part in zip(flat.split(sizes), parts, strict=True)]
    torch._foreach_copy_(copies, parts)
    return flat, copies


@dataclass(kw_only=True, slots=True)
class Norm:
    """A frozen RMS norm before projections."""

    weight: Tensor
    eps: float


def project(x: Tensor, shared: Shared, pointwise: Pointwise, norm: Norm | None = None) -> tuple[Tensor, ...]:
    """Return the projections, (T, N) each, of the same rows (T, K), normed first where there is a norm."""
    return _Projections.apply(x, shared, norm, pointwise, *shared.adapters)


def gated_mlp(x: Tensor, inner: Shared, outer: Shared, pointwise: Pointwise, norm: Norm) -> Tensor:
    """Return down(silu(gate(n)) * up(n)) of the normed rows n of x, (T, H).

    Args:
        inner: gate and up.
        outer: down.
    """
    return _GatedMLP.apply(x, inner, outer, norm, pointwise, *inner.adapters, *outer.adapters)


def turn(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, pointwise: Pointwise) -> tuple[Tensor, Tensor]:
    """Return queries and keys (T, heads, D) turned by their rotary embedding."""
    return _Turn.apply(query, key, cos, sin, pointwise)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, pointwise: Pointwise
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.pointwise = pointwise
        with torch.autocast(query.device.type, enabled=False):  # as in the backward pass: compiled once for both
            return pointwise.rotate(query, key, cos, sin)

    @staticmethod
    def backward(ctx: Any, of_query: Tensor, of_key: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return *ctx.pointwise.rotate(of_query, of_key, cos, -sin), None, None, None


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shared: Shared, norm: Norm | None, pointwise: Pointwise, *adapters: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):
            outs, thin = _forward(_normed(x, norm, shared.dtype, pointwise), shared)
        # Copies of adapters are saved as rows are: a layer that is recomputed keeps neither.
        ctx.save_for_backward(x, thin, shared.low, *shared.raised)
        ctx.shared, ctx.norm, ctx.pointwise = shared.taking(None, ()), norm, pointwise
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, thin, low, *raised = ctx.saved_tensors
        back = _Backward(grads, ctx.shared.taking(low, raised))
        rows, grad_x = _unnormed(back, x, ctx.norm, ctx.pointwise, wanted=ctx.needs_input_grad[0])
        return grad_x, None, None, None, *back.adapters(rows, thin)


class _GatedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, inner: Shared, outer: Shared, norm: Norm, pointwise: Pointwise, *adapters: Tensor | None
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            (gate, up), thin_in = _forward(_normed(x, norm, inner.dtype, pointwise), inner)
            (out,), thin_out = _forward(pointwise.silu_mul(gate, up), outer)
        ctx.save_for_backward(x, gate, up, thin_in, inner.low, *inner.raised, thin_out, outer.low, *outer.raised)
        ctx.inner, ctx.outer, ctx.norm, ctx.pointwise = inner.taking(None, ()), outer.taking(None, ()), norm, pointwise
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, thin_in, low_in, *rest = ctx.saved_tensors
        count = len(ctx.inner.ranks)
        raised_in, (thin_out, low_out, *raised_out) = rest[:count], rest[count:]
        of_down = _Backward([grad], ctx.outer.taking(low_out, raised_out))
        product, *grads = ctx.pointwise.silu_mul_backward(of_down.rows(), gate, up)
        del gate, up
        last = of_down.adapters(product, thin_out)
        del product, of_down
        back = _Backward(grads, ctx.inner.taking(low_in, raised_in))
        rows, grad_x = _unnormed(back, x, ctx.norm, ctx.pointwise, wanted=ctx.needs_input_grad[0])
        return grad_x, None, None, None, None, *back.adapters(rows, thin_in), *last


def _normed(x: Tensor, norm: Norm | None, dtype: torch.dtype, pointwise: Pointwise) -> Tensor:
    return x.to(dtype) if norm is None else pointwise.rms_norm(x, norm.weight, norm.eps, dtype)


def _unnormed(
    back: _Backward, x: Tensor, norm: Norm | None, pointwise: Pointwise, *, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the rows that were projected, made again from x, and the gradient of x if it is wanted."""
    dtype = back.shared.dtype
    if not wanted:
        return _normed(x, norm, dtype, pointwise), None
    if norm is None:
        return x.to(dtype), back.rows().to(x.dtype)
    return pointwise.rms_norm_backward(back.rows(), x, norm.weight, norm.eps, dtype)


def _forward(rows: Tensor, shared: Shared) -> tuple[list[Tensor], Tensor | None]:
    """Return the projections, and the thin product xA' of those that have an adapter, (T, R)."""
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
    """The gradients of projections that share their rows, from those of their outputs (T, N) each."""

    def __init__(self, grads: Sequence[Tensor], shared: Shared) -> None:
        self.grads, self.shared = [grad.to(shared.dtype) for grad in grads], shared
        self.adapted = [at for at, one in enumerate(shared.projections) if one.a is not None]
        self.thin = None
        """Gradient of the thin product, (T, R)."""
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
        """Return the gradients of A and B of every projection in turn.

        Args:
            thin: The product xA' of the forward pass.
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
