"""Products of a decode step: few rows, so that reading the weights takes all the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.nn.functional import linear

from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import projection_of
from medvl.kernels.lora_linear import Projection, group_projections
from medvl.types import Choice


class Group:
    """Projections of the same rows, with their adapters.

    Args:
        held: Keep the weights stacked, in the compute type: few products instead of many, and 4-bit weights are not
            decoded at every step. In fp32 the adapters are added to the weights, which changes the sum by less than
            the order of its terms does; in 16 bits an adapter would drown in the rounding, so that its matrices A are
            more rows of the weights, and its matrices B one block-diagonal product.
        autocast: The context in which layers of other kinds compute.
    """

    def __init__(
        self, modules: Sequence[Any], dtype: torch.dtype, *, held: bool, autocast: Callable[[], torch.autocast]
    ) -> None:
        self.modules, self.dtype, self.autocast = modules, dtype, autocast
        self.plain = all(map(_plain, modules))
        if not self.plain:
            return
        self.projections = projections = [projection_of(module) for module in modules]
        self.sizes = [one.base.out_features for one in projections]
        self.biases = [one.bias(dtype) for one in projections]
        (shared,) = group_projections([projections], dtype)
        # Copied out of a block that holds sB too, which would stay as long as a part of it is used.
        self.low, self.ranks = None if shared.low is None else shared.low.clone(), shared.ranks
        self.adapted = [at for at, one in enumerate(projections) if one.a is not None]
        self.raised = self._raise(shared.raised)
        """sB of every projection, (all N, largest r), with zeros where there is no adapter."""
        self.stacked = self._stack() if held else None
        self.block = torch.block_diag(*self._pieces(bare=True)) if self.stacked and self.low is not None else None
        self.one_row: Choice | None = None
        """What multiplies one row with 4-bit weights on a GPU; None if there are none, or no GPU."""
        self.row, self.quantized = self._row()
        self.lengths = {at: found for at, one in enumerate(modules) if (found := _lengths(one)) is not None}
        """DoRA gives each row of the weights with their adapter another length: factor and shift, by projection."""

    def _raise(self, raised: Sequence[Tensor]) -> Tensor:
        weight = self.projections[0].base.weight
        whole = torch.zeros(sum(self.sizes), max(self.ranks, default=0), dtype=self.dtype, device=weight.device)
        for at, part in zip(self.adapted, raised, strict=True):
            start = sum(self.sizes[:at])
            whole[start : start + len(part), : part.shape[1]] = part
        return whole

    def _row(self) -> tuple[Any, list[Any] | None]:
        """Return how a GPU multiplies one row with 4-bit weights: by our own product, or by what bitsandbytes needs."""
        if any(getattr(one.base.weight, "quant_state", None) is None for one in self.projections):
            return None, None
        if self.projections[0].base.weight.device.type != "cuda":
            return None, None
        why = "Triton is not installed"
        if find_spec("triton") is not None:
            from medvl.kernels.four_bit_row import FourBitRow, obstacle

            why = obstacle(self.projections, self.dtype)
            if not why:
                self.one_row = Choice("own product", "it looks codes up in registers, and the adapters are part of it")
                return FourBitRow(self.projections, self.biases, self.low, self.raised), None
        self.one_row = Choice("bitsandbytes", why)
        return None, [_flat(one) for one in self.projections]

    def _pieces(self, *, bare: bool = False) -> list[Tensor]:
        """Return sB transposed, (r, N), of the projections with an adapter; with r = 0 of the bare ones too."""
        ranks = dict(zip(self.adapted, self.ranks, strict=True))
        parts = self.raised.split(self.sizes)
        return [part[:, : ranks.get(at, 0)].T for at, part in enumerate(parts) if bare or at in ranks]

    def _stack(self) -> tuple[Tensor, Tensor | None]:
        weights = [one.weight(self.dtype) for one in self.projections]
        if self.dtype == torch.float32 and self.low is not None:
            for at, low, raised in zip(self.adapted, self.low.split(self.ranks), self._pieces(), strict=True):
                weights[at] = weights[at] + raised.T @ low
            self.low = None
        biases = list(self.biases)
        if self.low is not None:
            weights, biases = [*weights, self.low], [*biases, None]
        bias = None
        if any(one is not None for one in biases):
            bias = torch.cat(
                [
                    weight.new_zeros(len(weight)) if one is None else one
                    for one, weight in zip(biases, weights, strict=True)
                ]
            )
        stacked = torch.cat(weights) if len(weights) > 1 else weights[0]
        if self.low is not None:
            self.low = stacked[-len(self.low) :]
        return stacked, bias

    def __call__(self, rows: Tensor) -> list[Tensor]:
        """Return the projections, (n, N) each, of the rows, (n, K)."""
        if not self.plain:
            with self.autocast():
                return [module(rows) for module in self.modules]
        outs = self._products(rows.to(self.dtype))
        for at, (factor, shift) in self.lengths.items():
            outs[at] = torch.addcmul(shift, outs[at].float(), factor).to(self.dtype)
        return outs

    def _products(self, rows: Tensor) -> list[Tensor]:
        if self.row is not None and len(rows) == 1:
            return list(self.row(rows).split(self.sizes, dim=1))
        if self.stacked is not None and not (self.quantized and len(rows) == 1):
            return self._held(rows)
        outs = self._bases(rows)
        if self.low is not None:
            pieces = (rows @ self.low.T).split(self.ranks, dim=1)
            for at, piece, raised in zip(self.adapted, pieces, self._pieces(), strict=True):
                outs[at] = outs[at].addmm_(piece, raised)
        return outs

    def _held(self, rows: Tensor) -> list[Tensor]:
        assert self.stacked is not None
        out = linear(rows, *self.stacked)
        if self.block is not None:
            out, low = out.split([sum(self.sizes), sum(self.ranks)], dim=1)
            out.addmm_(low, self.block)
        return list(out.split(self.sizes, dim=1))

    def _bases(self, rows: Tensor) -> list[Tensor]:
        if self.quantized and len(rows) == 1:
            products = [_one_row(rows, packed) for packed in self.quantized]
            return [out if bias is None else out + bias for out, bias in zip(products, self.biases, strict=True)]
        return [
            linear(rows, one.weight(self.dtype), bias) for one, bias in zip(self.projections, self.biases, strict=True)
        ]


def _plain(module: Any) -> bool:
    """Return whether a product is a linear layer's, at most with one adapter of LoRA or DoRA beside it."""
    base = module
    if isinstance(module, LoraLayer):
        base = module.get_base_layer()
        active = module.active_adapters
        if len(active) != 1 or module.merged or module.disable_adapters or active[0] not in module.lora_A:
            return False
        variant = module.lora_variant.get(active[0])
        if type(variant) not in (type(None), DoraLinearVariant) or module.lora_bias[active[0]]:
            return False
    return type(base).__name__ in ("Linear", "Linear4bit")


def _lengths(module: Any) -> tuple[Tensor, Tensor] | None:
    """Return DoRA's factor f and (1 - f) times the bias, (N,) fp32 each: an output y with its bias becomes f y + that.

    The factor is the trained length of a row of weights over its length with the adapter (arXiv:2402.09353, eq. 5).
    """
    if not isinstance(module, LoraLayer) or not module.lora_variant:
        return None
    (name,) = module.active_adapters
    one = projection_of(module)
    weight = one.weight(torch.float32)
    weight = torch.addmm(weight, one.b.float(), one.a.float(), alpha=one.scale)
    vectors: Any = module.lora_magnitude_vector
    factor = vectors[name].weight.detach().float() / torch.linalg.vector_norm(weight, dim=1)
    bias = one.bias(torch.float32)
    return factor, torch.zeros_like(factor) if bias is None else bias * (1 - factor)


def _flat(one: Projection) -> tuple[Tensor, Any]:
    """Return the packed 4-bit values and their quantisation state, with scales that are not quantised themselves."""
    state = one.base.weight.quant_state
    from bitsandbytes.functional import QuantState, dequantize_blockwise

    absmax = state.absmax
    if state.nested:  # else every product would decode its scales first
        absmax = (dequantize_blockwise(absmax, state.state2) + state.offset).float()
    flat = QuantState(
        absmax=absmax,
        shape=state.shape,
        code=state.code,
        blocksize=state.blocksize,
        quant_type=state.quant_type,
        dtype=state.dtype,
    )
    return one.base.weight.data, flat


def _one_row(rows: Tensor, quantized: Any) -> Tensor:
    from bitsandbytes.functional import gemv_4bit

    values, state = quantized
    return gemv_4bit(rows, values, state=state)


def norm_of(module: nn.Module, dtype: torch.dtype, fused_ops: FusedOps) -> Callable[[Tensor], Tensor]:
    """Return an RMS norm as a function of (n, H); one that is wrapped or replaced is called as it is."""
    found: Any = module
    if not hasattr(found, "variance_epsilon"):
        return lambda rows: module(rows).to(dtype)
    return lambda rows: fused_ops.rms_norm(rows, found.weight, found.variance_epsilon, dtype)
