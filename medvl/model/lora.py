"""Which parameters train: the `lora` config group.

Targets are patterns anchored at a part of the model. A list of name suffixes, as in most recipes, also matches the
MLPs of the vision tower: that is how the baseline project trained a tower it believed frozen (190,357,504 instead
of 161,480,704 parameters on the 7B shape).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from medvl.geometry import MERGE

if TYPE_CHECKING:
    from torch import nn

LANGUAGE = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}
VISION = {"qkv": "attn", "proj": "attn", "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}
MERGER = ("mlp.0", "mlp.2")
MAX_RANK = 8192  # hidden size of the 72B shape


class LoraInit(Enum):
    """Initial values of A and B."""

    default = "default"  # A Kaiming-uniform, B zero: the run starts at the base model
    # The exact decomposition, not the faster randomised one: loading an adapter repeats it on the base.
    pissa = "pissa"  # principal singular vectors, arXiv:2404.02948
    loftq = "loftq"  # compensates for the quantisation error, arXiv:2310.08659


@dataclass(kw_only=True)
class Adapter:
    """Which parameters train; the options of the group are the subclasses."""

    def check_device(self, device: str) -> None:
        """Refuse an option that the device does not support, before a model is loaded.

        Raises:
            ValueError: Names the override that fixes it.
        """

    def check_shape(self, shape: dict[str, Any]) -> None:
        """Refuse an option that a base of this shape has no use for.

        Args:
            shape: Its config.json; what it does not say is not checked.

        Raises:
            ValueError: Names the override that fixes it.
        """

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze the model, make trainable what this option trains, and return the model to train."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Lora(Adapter):
    """Low-rank adapters (arXiv:2106.09685) beside the linear layers of the frozen base."""

    r: int = 64
    """Rank of the adapters."""
    alpha: float | None = None
    """Numerator of the scale alpha / r (alpha / sqrt(r) with rslora); None: 2 r."""
    dropout: float = 0.0
    """Share of the inputs of an adapter that are dropped in training."""
    rslora: bool = False
    """Scale by alpha / sqrt(r), arXiv:2312.03732."""
    dora: bool = False
    """Train the magnitude of each row beside the direction, arXiv:2402.09353."""
    init: LoraInit = LoraInit.default
    """How the adapters begin; all but default need unquantised weights."""
    language: list[str] = field(default_factory=lambda: list(LANGUAGE))
    """Projections of every language layer that get an adapter."""
    vision: list[str] = field(default_factory=list)
    """Projections of every vision block that get an adapter."""
    merger: bool = False
    """Adapt the merger between vision tower and language model too."""

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"lora.r must be at least 1, got {self.r}. Set lora.r=8, or lora=none.")
        if self.r > MAX_RANK:
            raise ValueError(
                f"lora.r={self.r} is above the size of every layer, at most {MAX_RANK} in the largest Qwen2.5-VL. "
                "Set lora.r=64, or lora=none."
            )
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(
                f"lora.alpha must be above 0 and finite, got {self.alpha}. Set lora.alpha={2 * self.r} "
                "or lora.alpha=null (twice the rank)."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must lie in [0, 1), got {self.dropout}. Set lora.dropout=0.05.")
        for part, known in (("language", LANGUAGE), ("vision", VISION)):
            for name in getattr(self, part):
                if name not in known:
                    raise ValueError(f"lora.{part} knows {', '.join(known)}; got {name!r}. Set lora=llm.")
        if not (self.language or self.vision or self.merger):
            raise ValueError("lora targets nothing. Set lora=llm, or lora.language=[q_proj,v_proj].")

    @property
    def scale_numerator(self) -> float:
        return 2.0 * self.r if self.alpha is None else self.alpha

    @property
    def trains_vision(self) -> bool:
        return bool(self.vision or self.merger)

    def pattern(self) -> str:
        """Return the regular expression that a module's full name must match to be adapted."""
        parts = [rf"language_model\.layers\.\d+\.{LANGUAGE[name]}\.{name}" for name in self.language] + [
            rf"visual\.blocks\.\d+\.{VISION[name]}\.{name}" for name in self.vision
        ]
        if self.merger:
            parts += [rf"visual\.merger\.{re.escape(name)}" for name in MERGER]
        return rf"model\.({'|'.join(parts)})"

    def peft(self) -> Any:
        """Return the peft LoraConfig of this option."""
        from peft import LoftQConfig, LoraConfig

        loftq: dict[str, Any] = {"loftq_config": LoftQConfig(loftq_bits=4)} if self.init is LoraInit.loftq else {}
        return LoraConfig(
            **loftq,
            r=self.r,
            lora_alpha=self.scale_numerator,  # type: ignore[arg-type]  # peft takes any number
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=True if self.init is LoraInit.default else self.init.value,
            target_modules=self.pattern(),
            task_type="CAUSAL_LM",
        )

    def check_shape(self, shape: dict[str, Any]) -> None:
        ranks = [rank for rank in self._full_ranks(shape) if rank]
        if not ranks:
            return
        most = max(ranks) if self.init is LoraInit.default else min(ranks)
        if self.r > most:
            raise ValueError(
                f"lora.r={self.r} is above {most}, the rank that "
                + ("the adapted layers" if self.init is LoraInit.default else f"lora.init={self.init.name}")
                + f" can have in this model. Set lora.r={min(64, most)}, or lora=none."
            )

    def _full_ranks(self, shape: dict[str, Any]) -> Iterator[int]:
        """Yield the smaller side of each kind of adapted layer; 0 if the shape does not say it."""
        text, vision = (
            part if isinstance(part, dict) else {}
            for part in (shape.get("text_config", shape), shape.get("vision_config"))
        )
        hidden, heads, tower = (
            _size(part, name)
            for part, name in ((text, "hidden_size"), (text, "num_attention_heads"), (vision, "hidden_size"))
        )
        shared = hidden * _size(text, "num_key_value_heads") // (heads or 1)
        yield from (shared if name in ("k_proj", "v_proj") else hidden for name in self.language)
        if self.vision:
            yield tower
        if self.merger:
            yield from (tower * MERGE**2, min(tower * MERGE**2, hidden))

    def check_device(self, device: str) -> None:
        if self.init is LoraInit.loftq and device == "cpu":
            raise ValueError("peft computes LoftQ on GPUs only. Set lora.init=pissa, or hardware=auto on a GPU.")

    def apply(self, model: nn.Module) -> nn.Module:
        """Wrap the model with peft. Adapters are fp32, whatever the storage of the base.

        Raises:
            ValueError: The pattern matches no module.
        """
        from peft import get_peft_model

        model.requires_grad_(False)
        model = get_peft_model(model, self.peft())
        if not matched(model):
            raise ValueError(f"lora matches no module of this model; the pattern is {self.pattern()}")
        return model


@dataclass(kw_only=True)
class FullFineTuning(Adapter):
    """No adapter: the parts named here are trained directly; the base must be unquantised."""

    language: bool = True
    """Language layers, embeddings and head."""
    vision: bool = True
    """The vision tower."""
    merger: bool = True
    """The merger between vision tower and language model."""

    def __post_init__(self) -> None:
        if not (self.language or self.vision or self.merger):
            raise ValueError("lora=none trains nothing here. Set lora.language=true, or lora=llm.")

    @property
    def trains_vision(self) -> bool:
        return self.vision or self.merger

    def apply(self, model: nn.Module) -> nn.Module:
        model.requires_grad_(False)
        for name, parameter in model.named_parameters():
            merger = "visual.merger." in name
            vision = "visual." in name and not merger
            language = not (merger or vision)
            parameter.requires_grad = (
                (merger and self.merger) or (vision and self.vision) or (language and self.language)
            )
        return model


def _size(part: dict[str, Any], name: str) -> int:
    value = part.get(name)
    return value if isinstance(value, int) else 0


def matched(model: nn.Module) -> list[str]:
    """Return the full names, in the base model, of the modules that carry an adapter."""
    names = (name for name, module in model.named_modules() if hasattr(module, "lora_A"))
    return [name.removeprefix("base_model.model.") for name in names]


def trainable(model: nn.Module) -> dict[str, int]:
    """Count trainable parameters by part of the model."""
    counts = dict.fromkeys(("language", "vision", "merger"), 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "merger" if "visual.merger." in name else "vision" if "visual." in name else "language"
            counts[part] += parameter.numel()
    return counts
