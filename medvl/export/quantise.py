"""Rounds the linear layers of the language model to 4 or 8 bits, as compressed-tensors stores them.

Every weight goes to the nearest value that its scale allows; nothing is calibrated. Vision tower, merger and head keep
their bf16: 4 bits there cost reading accuracy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.model.names import is_linear

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = "model.layers."  # of the language model, on disk
# Layers that vLLM fuses, so that they share NVFP4's scale of a whole layer.
_FUSED = re.compile(r"(?<=\.)(q|k|v|gate|up)(?=_proj$)")
_TOGETHER = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up", "up": "gate_up"}


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """Weights as compressed-tensors stores them."""

    states: dict[str, Tensor]
    """All tensors by name, those that are not quantised included."""
    settings: Any
    """compressed-tensors' QuantizationConfig, which says how they are stored."""
    layers: int
    """How many layers are quantised."""


def quantise(states: dict[str, Tensor], scheme: str) -> Quantised:
    """Quantise the linear layers of the language model.

    Args:
        states: bf16 weights under their published names; those that are quantised are taken out.
        scheme: A preset of compressed-tensors.
    """
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, preset_name_to_scheme
    from torch import nn

    preset = preset_name_to_scheme(scheme, ["Linear"])
    kind = infer_module_format(nn.Linear, preset)
    compressor = BaseCompressor.get_value_from_registry(kind.value)
    linears = [name.removesuffix(".weight") for name, one in states.items() if is_linear(name, tuple(one.shape))]
    layers = [name for name in linears if name.startswith(LAYERS)]
    kept = sorted({"lm_head", *linears} - set(layers))
    largest = _largest(states, layers)
    stored: dict[str, Tensor] = {}
    for layer in layers:
        weight = states.pop(f"{layer}.weight")
        parts = {"weight": weight, **_scales(weight, preset.weights, largest[_together(layer)])}
        stored |= {f"{layer}.{name}": one.contiguous() for name, one in compressor.compress(parts, preset).items()}
    settings = QuantizationConfig(
        config_groups={"group_0": preset},
        # Full names, and patterns for readers that have other names in memory.
        ignore=[*kept, "re:.*visual.*", "re:.*lm_head"],
        format=kind.value,
        quantization_status=QuantizationStatus.COMPRESSED,
    )
    return Quantised(states={**states, **stored}, settings=settings, layers=len(layers))


def write_settings(settings: Any, folder: Path) -> dict[str, Any]:
    """Add the settings of quantised weights to a config.json, and return them as written."""
    from compressed_tensors.compressors import ModelCompressor

    ModelCompressor(quantization_config=settings).update_config(str(folder))
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]


def _together(layer: str) -> str:
    return _FUSED.sub(lambda found: _TOGETHER[found[0]], layer)


def _largest(states: dict[str, Tensor], layers: Iterable[str]) -> dict[str, Tensor]:
    """Return the largest magnitude of each layer, or of those that are fused; float32."""
    largest: dict[str, Tensor] = {}
    for layer in layers:
        one = states[f"{layer}.weight"].abs().amax().float()
        largest[_together(layer)] = one.maximum(largest.get(_together(layer), one))
    return largest


def _scales(weight: Tensor, how: Any, largest: Tensor) -> dict[str, Tensor]:
    """Return the scales of a weight, (out, 1) or (out, in / group); NVFP4's have one of the whole layer beside them.

    They are computed in float32 and rounded to what is stored before any weight is rounded by them.
    """
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    values = weight.float() if how.group_size is None else weight.float().unflatten(1, (-1, how.group_size))
    low, high = values.amin(-1), values.amax(-1)
    if how.group_size is None:
        low, high = low[:, None], high[:, None]
    if how.strategy != "tensor_group":
        return {"weight_scale": calculate_qparams(low, high, how)[0].to(weight.dtype)}
    whole = generate_gparam(-largest, largest)
    scale, _ = calculate_qparams(low, high, how, global_scale=whole)
    return {"weight_scale": scale, "weight_global_scale": whole}
