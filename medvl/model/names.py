"""Names and shapes of tensors. transformers 5 has other names in memory than the published checkpoints on disk."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

PUBLISHED = {"model.visual.": "visual.", "model.language_model.": "model.", "lm_head.": "lm_head."}


def published(name: str) -> str:
    """Return the published name of a tensor in memory.

    >>> published("model.visual.merger.mlp.0.weight"), published("model.language_model.norm.weight")
    ('visual.merger.mlp.0.weight', 'model.norm.weight')

    Raises:
        ValueError: It belongs to no part of a Qwen2.5-VL.
    """
    for ours, theirs in PUBLISHED.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise ValueError(f"{name} belongs neither to the vision tower nor to the language model of a Qwen2.5-VL.")


def on_disk(name: str) -> str:
    """Return the published name of a tensor that a checkpoint may hold under either; others stay as they are.

    >>> on_disk("model.language_model.norm.weight"), on_disk("model.norm.weight"), on_disk("x")
    ('model.norm.weight', 'model.norm.weight', 'x')
    """
    return published(name) if name.startswith(tuple(PUBLISHED)) else name


def is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is the weight of a linear layer."""
    return len(shape) == 2 and "embed_tokens" not in name


def parameter_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an architecture's parameters, by their names in memory."""
    return {name: tuple(parameter.shape) for name, parameter in meta_model(config).named_parameters()}


def meta_model(config: PretrainedConfig) -> nn.Module:
    """Return the architecture on the meta device: names and shapes, no memory."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config)  # type: ignore[arg-type]  # checked where it is read


def shapes() -> list[str]:
    """Return the architectures that ship with the package."""
    return sorted(
        folder.name
        for folder in resources.files("medvl.shapes").iterdir()
        if folder.is_dir() and not folder.name.startswith("_")
    )
