"""Frozen linear layers and their LoRA adapters as products with a backward pass written by hand.

With rows x (T, K), frozen W (N, K), A (r, K), B (N, r) and scale s: y = xA' (sB)' + xW'. The thin product is written
first and the wide one adds to it where it accumulates, so that no pass over y is spent on the adapter. The
alternative, one product with W + sBA, rounds the sum to W's bf16 grid: an adapter's first updates are below half a
step of it and would vanish.

4-bit values are dequantised once in each direction and not kept; the allocator hands the same block out again. Kept
are the rows before a norm, not those after, and the gated values before SiLU, not the product after: the backward
pass makes both again, in passes over memory that it takes anyway.
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

    @property
    def adapter(self) -> tuple[Tensor | None, Tensor | None]:
        return self.a, self.b

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
class Norm:
    """A frozen RMS norm before projections."""

    weight: Tensor
    eps: float


def project(
    x: Tensor, projections: Sequence[Projection], dtype: torch.dtype, pointwise: Pointwise, norm: Norm | None = None
) -> tuple[Tensor, ...]:
    """Return the projections, (T, N) each, of the same rows (T, K), normed first where there is a norm."""
    adapters = [part for one in projections for part in one.adapter]
    return _Projections.apply(x, tuple(projections), norm, dtype, pointwise, *adapters)


def gated_mlp(
    x: Tensor, gate: Projection, up: Projection, down: Projection, dtype: torch.dtype, pointwise: Pointwise, norm: Norm
) -> Tensor:
    """Return down(silu(gate(n)) * up(n)) of the normed rows n of x, (T, H)."""
    return _GatedMLP.apply(x, (gate, up, down), norm, dtype, pointwise, *gate.adapter, *up.adapter, *down.adapter)


def turn(x: Tensor, cos: Tensor, sin: Tensor, pointwise: Pointwise) -> Tensor:
    """Return heads (T, heads, D) turned by their rotary embedding."""
    return _Turn.apply(x, cos, sin, pointwise)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, pointwise: Pointwise) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.pointwise = pointwise
        with torch.autocast(x.device.type, enabled=False):  # as in the backward pass: compiled once for both
            return pointwise.rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return ctx.pointwise.rotate(grad, cos, -sin), None, None, None


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, projections: tuple[Projection, ...], norm: Norm | None, dtype: torch.dtype,
        pointwise: Pointwise, *adapters: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        with torch.autocast(x.device.type, enabled=False):
            rows = _normed(x, norm, dtype, pointwise)
            outs, thin = _forward(rows, projections, dtype)
        ctx.save_for_backward(x, *thin)
        ctx.projections, ctx.norm, ctx.dtype, ctx.pointwise = projections, norm, dtype, pointwise
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *thin = ctx.saved_tensors
        back = _Backward(grads, ctx.projections, ctx.dtype)
        adapters = back.adapters(_normed(x, ctx.norm, ctx.dtype, ctx.pointwise), thin)
        grad_x = _unnormed(back.rows(), x, ctx.norm, ctx.pointwise) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, None, None, *adapters


class _GatedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, projections: tuple[Projection, ...], norm: Norm, dtype: torch.dtype,
        pointwise: Pointwise, *adapters: Tensor | None,
    ) -> Tensor:  # fmt: skip
        with torch.autocast(x.device.type, enabled=False):
            rows = _normed(x, norm, dtype, pointwise)
            (gate, up), thin_in = _forward(rows, projections[:2], dtype)
            (out,), thin_out = _forward(pointwise.silu_mul(gate, up), projections[2:], dtype)
        ctx.save_for_backward(x, gate, up, *thin_in, *thin_out)
        ctx.projections, ctx.norm, ctx.dtype, ctx.pointwise = projections, norm, dtype, pointwise
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, *thin = ctx.saved_tensors
        adapted = sum(one.a is not None for one in ctx.projections[:2])
        of_down = _Backward([grad], ctx.projections[2:], ctx.dtype)
        inner, *grads = ctx.pointwise.silu_mul_backward(of_down.rows(), gate, up)
        del gate, up
        last = of_down.adapters(inner, thin[adapted:])
        del inner, of_down
        back = _Backward(grads, ctx.projections[:2], ctx.dtype)
        adapters = back.adapters(_normed(x, ctx.norm, ctx.dtype, ctx.pointwise), thin[:adapted])
        grad_x = _unnormed(back.rows(), x, ctx.norm, ctx.pointwise) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, None, None, *adapters, *last


def _normed(x: Tensor, norm: Norm | None, dtype: torch.dtype, pointwise: Pointwise) -> Tensor:
    return x.to(dtype) if norm is None else pointwise.rms_norm(x, norm.weight, norm.eps, dtype)


def _unnormed(grad: Tensor, x: Tensor, norm: Norm | None, pointwise: Pointwise) -> Tensor:
    return grad.to(x.dtype) if norm is None else pointwise.rms_norm_backward(grad, x, norm.weight, norm.eps)


def _forward(rows: Tensor, projections: Sequence[Projection], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return the projections, and the thin products xA' of those that have an adapter."""
    down = [one.a.to(dtype) for one in projections if one.a is not None]
    sizes = [part.shape[0] for part in down]
    thin = list((rows @ torch.cat(down).T).split(sizes, dim=1)) if down else []
    outs, at = [], iter(thin)
    for one in projections:
        weight, bias = one.weight(dtype), one.bias(dtype)
        if one.b is None:
            outs.append(nn.functional.linear(rows, weight, bias))
            continue
        raised = (one.scale * one.b.to(dtype)).T
        out = next(at) @ raised if bias is None else torch.addmm(bias, next(at), raised)
        outs.append(out.addmm_(rows, weight.T))
    return outs, thin


class _Backward:
    """The gradients of projections that share their rows, from those of their outputs (T, N) each."""

    def __init__(self, grads: Sequence[Tensor], projections: Sequence[Projection], dtype: torch.dtype) -> None:
        self.grads, self.projections, self.dtype = [grad.to(dtype) for grad in grads], projections, dtype
        self.adapted = [at for at, one in enumerate(projections) if one.a is not None]
        raised = (projections[at].scale * projections[at].b.to(dtype) for at in self.adapted)
        self.thin = [self.grads[at] @ part for at, part in zip(self.adapted, raised, strict=True)]  # (T, r)

    def rows(self) -> Tensor:
        """Return the gradient of the rows, (T, K)."""
        total = None
        if self.thin:
            lowered = torch.cat([self.projections[at].a.to(self.dtype) for at in self.adapted])
            total = torch.cat(self.thin, dim=1) @ lowered
        for grad, one in zip(self.grads, self.projections, strict=True):
            weight = one.weight(self.dtype)
            total = grad @ weight if total is None else total.addmm_(grad, weight)
        assert total is not None
        return total

    def adapters(self, rows: Tensor, thin: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the gradients of A and B of every projection in turn.

        Args:
            thin: The products xA' of the forward pass.
        """
        found: list[Tensor | None] = [None] * (2 * len(self.projections))
        if self.thin:
            of_a = (torch.cat(self.thin, dim=1).T @ rows).split([part.shape[1] for part in self.thin])
            for at, low, part in zip(self.adapted, thin, of_a, strict=True):
                one = self.projections[at]
                found[2 * at] = part.to(one.a.dtype)
                found[2 * at + 1] = (self.grads[at].T @ low).mul_(one.scale).to(one.b.dtype)
        return found
