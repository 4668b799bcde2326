"""The elementwise operations between matrix products, forward and backward: compiled where that works, else eager.

They are plain functions without autograd, as the layers that use them have hand-written backward passes. The compiler
thus sees small self-contained functions in which only the number of rows varies. All compute in fp32 and round once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from medvl.record.errors import first_line
from medvl.types import Choice

VARIANTS = 32  # compilations allowed per function; two models with different widths and types need 9


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Return x / rms(x) * weight, (T, H) in `dtype`; x / rms(x) is first rounded to x's type, as in Qwen2.5-VL."""
    wide = x.float()
    unit = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (weight * unit.to(x.dtype)).to(dtype)


def rms_norm_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the recomputed output of `rms_norm`, (T, H) in `dtype`, and the gradient of x, (T, H)."""
    wide = x.float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    unit, scaled = wide * inverse, grad.float() * weight.float()
    of_x = inverse * (scaled - unit * (scaled * unit).mean(-1, keepdim=True))
    return (weight * unit.to(x.dtype)).to(dtype), of_x.to(x.dtype)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up, (T, F)."""
    return (torch.nn.functional.silu(gate.float()) * up.float()).to(gate.dtype)


def silu_mul_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the recomputed silu(gate) * up, and the gradients of gate and up, (T, F) each."""
    wide, g, u = grad.float(), gate.float(), up.float()
    sigmoid = torch.sigmoid(g)
    silu = g * sigmoid
    of_gate = wide * u * (sigmoid + silu * (1 - sigmoid))
    return (silu * u).to(gate.dtype), of_gate.to(gate.dtype), (wide * silu).to(gate.dtype)


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the rotary embedding to queries and keys, (T, heads, D); with -sin this is also the backward pass.

    Args:
        cos, sin: (T, D), with two equal halves.
    """
    return _turned(query, cos, sin), _turned(key, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x.float() * cos[:, None].float() + turned * sin[:, None].float()).to(x.dtype)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy in nats, (), and its gradient with respect to the logits, (A, vocabulary)."""
    wide = logits.float()  # a sum in bf16 would lose the vocabulary's tail
    log_sum = wide.logsumexp(-1, keepdim=True)
    nats = (log_sum - wide.gather(1, targets[:, None])).sum()
    answer = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return nats, ((wide - log_sum).exp() - answer.float()).to(logits.dtype)


class FusedOps:
    """The functions above, eager or compiled.

    Args:
        compiled: Use torch.compile. A function is compiled once per width and type, for any number of rows. Beyond
            `VARIANTS` compilations in a process, fullgraph raises an error instead of falling back to eager.
    """

    def __init__(self, *, compiled: bool) -> None:
        make = _compiled if compiled else _eager
        self.cross_entropy = make(cross_entropy)
        self.rms_norm, self.rms_norm_backward = make(rms_norm), make(rms_norm_backward)
        self.silu_mul, self.silu_mul_backward = make(silu_mul), make(silu_mul_backward)
        self.rotate = make(rotate)


def _eager(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def call(*args: Any) -> Any:
        with torch.no_grad():
            return compiled(*(_any_rows(one) if isinstance(one, Tensor) else one for one in args))

    return call


def _any_rows(values: Tensor) -> Tensor:
    values = values.detach()  # else the compiler reads .grad of its inputs, and warns
    if values.ndim > 1 or not values.is_floating_point():  # all inputs except norm weights
        torch._dynamo.maybe_mark_dynamic(values, 0)
    return values


def choose(requested: bool | None, device: torch.device) -> Choice:
    """Choose `hardware.compile`: true on GPUs where Triton and a C compiler work.

    Raises:
        ValueError: It was requested but does not work here.
    """
    if requested is False:
        return Choice(False, "as configured")
    if requested is None and device.type == "cpu":
        return Choice(False, "a short run on a CPU does not win back the time to compile")
    with ThreadPoolExecutor(1) as apart:  # torch keeps the stack of its first compilation, and all that it refers to
        obstacle = apart.submit(_obstacle, device).result()
    if obstacle and requested:
        raise ValueError(f"hardware.compile=true: {obstacle}. Set hardware.compile=null.")
    if obstacle:
        return Choice(False, obstacle)
    return Choice(True, "as configured" if requested else "norms, rotary embedding and SwiGLU are one pass each")


def _obstacle(device: torch.device) -> str:
    """Compile one function and check its values; return the problem, or an empty string."""
    x = torch.randn(64, 256, device=device)
    try:
        silu = _compiled(silu_mul)(x, x)
    except Exception as error:  # torch.compile passes on any error of its backends
        return f"torch.compile fails here: {first_line(error)[:120]}"
    return "" if torch.allclose(silu, silu_mul(x, x), atol=1e-5) else "torch.compile computes wrong values here"
