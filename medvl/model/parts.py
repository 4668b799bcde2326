"""The parts of a Qwen2.5-VL, wrapped by peft or not, and their memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.hardware.plan import MIB

if TYPE_CHECKING:
    import torch
    from torch import nn


def base_of(model: nn.Module) -> Any:
    """Return the Qwen2.5-VL inside peft's wrapper, or the model itself."""
    wrapped: Any = model
    return wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else model


def device_of(model: nn.Module) -> torch.device:
    """Return where a model computes."""
    return next(model.parameters()).device


def on_device(value: Any, device: torch.device) -> Any:
    """Move all tensors of a nested batch to a device; the host does not wait for a GPU to take them."""
    if isinstance(value, dict):
        return {name: on_device(part, device) for name, part in value.items()}
    if not hasattr(value, "to"):
        return value
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that times measured on the host are correct."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def weights_mib(model: nn.Module) -> float:
    """Return the memory of all weights as stored, in MiB, including quantisation scales."""
    return stored_bytes(model) / MIB


def stored_bytes(model: nn.Module) -> int:
    """Return the bytes of all weights as stored, including quantisation scales."""
    seen: dict[int, int] = {}
    for tensor in _tensors(model):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(seen.values())


def weights_on_disk(folder: Path) -> int:
    """Return the bytes of the safetensors files in a folder, or else of its GGUF files."""
    files = [*folder.glob("*.safetensors")] or [*folder.glob("*.gguf")]
    return sum(file.stat().st_size for file in files)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        for inner in (state, getattr(state, "state2", None)):
            tensors += [
                part
                for part in (
                    getattr(inner, "absmax", None),
                    getattr(inner, "code", None),
                    getattr(inner, "offset", None),
                )
                if part is not None
            ]
        tensors += [
            part for part in (getattr(parameter, "CB", None), getattr(parameter, "SCB", None)) if part is not None
        ]
    return tensors


def key_width(text: Any) -> int:
    """Return the width of a token's keys over all heads."""
    return text.hidden_size // text.num_attention_heads * text.num_key_value_heads


def linear_parameters(text: Any) -> int:
    """Return the parameter count of the language layers' linear layers, without embeddings and head: the N of 4N."""
    hidden = text.hidden_size
    return text.num_hidden_layers * (
        2 * hidden * hidden + 2 * hidden * key_width(text) + 3 * hidden * text.intermediate_size
    )
