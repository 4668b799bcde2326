"""How weights are stored and how matrix products compute: the `precision` config group.

Heavy imports are inside functions here and in every module that defines a config group, so that
`--help`, `--cfg job`, tab completion and configuration errors need not load torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from medvl.types import Choice

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig

SMALL = 2**30  # bytes of dequantised weights that a CPU keeps in memory by default


class Storage(Enum):
    """Format of the base weights."""

    nf4 = "nf4"  # 4-bit NormalFloat, QLoRA sec. 3, arXiv:2305.14314
    fp4 = "fp4"
    int8 = "int8"  # LLM.int8(), arXiv:2208.07339
    bf16 = "bfloat16"
    fp16 = "float16"
    fp32 = "float32"

    @property
    def bits(self) -> float:
        """Bits per weight, without the scales of its blocks."""
        return {"nf4": 4, "fp4": 4, "int8": 8, "fp32": 32}.get(self.name, 16)


class Compute(Enum):
    """Arithmetic type; the value is the name of a torch dtype."""

    auto = "auto"
    bf16 = "bfloat16"
    fp16 = "float16"
    fp32 = "float32"

    @property
    def torch(self) -> torch.dtype:
        import torch

        if self is Compute.auto:
            raise ValueError("precision.compute=auto is settled by the hardware group before it is used")
        return getattr(torch, self.value)

    @property
    def lightning(self) -> str:
        """Name of Lightning's precision plugin: autocast around the frozen base, adapters in fp32."""
        return {"bf16": "bf16-mixed", "fp16": "16-mixed"}.get(self.name, "32-true")


@dataclass(kw_only=True, slots=True)
class Precision:
    """Weight storage and arithmetic of one run."""

    storage: Storage = Storage.nf4
    """How the weights of the language layers are stored."""
    compute: Compute = Compute.auto
    """auto: on GPUs bf16 for quantised weights, else the weights' own type; on CPUs fp32."""
    double_quant: bool = False
    """Quantise the scales of the 4-bit blocks too: saves 0.37 bit per weight (QLoRA sec. 3)."""
    vision: bool = False
    """Quantise the vision tower and merger too, as the baseline project did; 4 bits there cost reading accuracy."""
    resident: bool | None = None
    """Keep 4-bit weights dequantised, in the compute type: the same outputs and no dequantising at every use, but as
    much memory as unquantised weights. None: only for small models on CPUs."""

    def __post_init__(self) -> None:
        if self.double_quant and self.storage not in (Storage.nf4, Storage.fp4):
            raise ValueError(
                f"double_quant quantises the scales of 4-bit blocks; precision.storage is {self.storage.name}. "
                "Set precision.double_quant=false."
            )
        if self.vision and not self.quantized:
            raise ValueError(
                f"precision.vision=true quantises the vision tower; precision.storage is {self.storage.name}. "
                "Set precision.vision=false, or precision=nf4."
            )

        if self.resident and self.storage not in (Storage.nf4, Storage.fp4):
            raise ValueError(
                f"precision.resident=true holds the values of 4-bit weights; precision.storage is {self.storage.name}. "
                "Set precision.resident=false, or precision=nf4."
            )

    @property
    def upcast(self) -> bool:
        """Whether 16-bit weights are converted to fp32 after loading, because the arithmetic is fp32."""
        return self.compute is Compute.fp32 and self.storage in (Storage.bf16, Storage.fp16)

    @property
    def quantized(self) -> bool:
        return self.storage in (Storage.nf4, Storage.fp4, Storage.int8)

    def with_compute(self, compute: Compute) -> Precision:
        """Return this precision with `compute` instead of auto."""
        return replace(self, compute=compute)

    def with_residency(self, device: str, weight_bytes: Callable[[Precision], float]) -> tuple[Precision, Choice]:
        """Return this precision with `resident` resolved, and the reason.

        Args:
            weight_bytes: Returns the memory of the weights in a given precision.
        """
        if self.resident is not None:
            return self, Choice(self.resident, "as configured")
        if self.storage not in (Storage.nf4, Storage.fp4):
            return replace(self, resident=False), Choice(False, "nothing is in 4 bits")
        held = replace(self, resident=True)
        size = weight_bytes(held)
        choice = Choice(device == "cpu" and size <= SMALL, f"held, the 4-bit values take {size / 2**20:,.0f} MiB")
        return replace(self, resident=choice.value), choice

    def as_stored(self) -> Precision:
        """Return this precision with weights kept in 4 bits unless `resident` was set to true."""
        return replace(self, resident=bool(self.resident))

    def in_bf16(self) -> Precision:
        """Return this arithmetic over weights that are stored in bf16."""
        return replace(self, storage=Storage.bf16, double_quant=False, vision=False, resident=False)

    def load_dtype(self) -> torch.dtype:
        """Type of every weight that stays unquantised."""
        import torch

        return self.compute.torch if self.quantized else getattr(torch, self.storage.value)

    def skipped(self) -> list[str]:
        """Modules that keep their type when the base is quantised."""
        return ["lm_head"] if self.vision else ["lm_head", "model.visual"]

    def quantization(self) -> BitsAndBytesConfig | None:
        """Return the bitsandbytes settings, or None when weights stay unquantised."""
        from transformers import BitsAndBytesConfig

        if not self.quantized:
            return None
        if self.storage is Storage.int8:
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=self.skipped())
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.storage.value,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=self.compute.torch,
            llm_int8_skip_modules=self.skipped(),
        )

    def check_placement(self, model: nn.Module, folder: str) -> None:
        """Check that exactly the intended modules are quantised, and are so indeed.

        Raises:
            ValueError: The folder claims to be quantised and is not.
        """
        for name, module in model.named_modules():
            kind = type(module).__name__
            if kind not in ("Linear", "Linear4bit", "Linear8bitLt"):
                continue
            kept = not self.quantized or any(name.startswith(skip) for skip in self.skipped())
            if (kind == "Linear") != kept:
                raise AssertionError(f"{name} is a {kind} under precision.storage={self.storage.name}")
            weight: Any = module.weight
            if not kept and getattr(weight, "quant_state", None) is None and getattr(weight, "SCB", None) is None:
                raise ValueError(
                    f"{folder} holds {name} without its scales. Set model.path=<a whole folder>, or take "
                    "quantization_config out of its config.json if its weights are unquantised."
                )

    def keep_layout(self, model: nn.Module) -> None:
        """Keep 4-bit weights in their stored layout on every processor.

        On one with AVX512-BF16, bitsandbytes' first forward in eval mode reorders them for a kernel of its own, rounds
        their scales to bf16 and never undoes that: training then uses other values, without a gradient.
        """
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False

    def dequantize(self, model: nn.Module) -> None:
        """Replace every 4-bit layer by a linear layer with the dequantised values."""
        from bitsandbytes.functional import dequantize_4bit
        from bitsandbytes.nn import Linear4bit
        from torch import nn

        for name, module in list(model.named_modules()):
            if not isinstance(module, Linear4bit):
                continue
            weight: Any = module.weight
            linear = nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
            values = dequantize_4bit(weight.data, weight.quant_state).to(self.compute.torch)
            linear.weight = nn.Parameter(values, requires_grad=False)
            linear.bias = module.bias
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, linear)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which the model computes outside of training; the same as inside it."""
        import torch

        mixed = self.compute is not Compute.fp32
        return torch.autocast(device.type, dtype=self.compute.torch if mixed else None, enabled=mixed)
