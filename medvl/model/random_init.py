"""Random weights in the true shape, through the ordinary loader: for speed and memory work, and for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PretrainedConfig, ProcessorMixin


class _RandomTensor:
    """Stands in for a tensor of a checkpoint file; generated when the loader reads it, so that the whole model never
    exists unquantised."""

    def __init__(self, name: str, shape: tuple[int, ...], device: str, dtype: torch.dtype, std: float) -> None:
        self.name, self.shape, self.device, self.dtype, self.std = name, shape, device, dtype, std

    def get_shape(self) -> list[int]:
        return list(self.shape)

    def get_dtype(self) -> str:
        return str(self.dtype)

    def __getitem__(self, _: Any) -> Tensor:
        import torch

        if "norm" in self.name or ".ln_q." in self.name:
            return torch.ones(self.shape, device=self.device, dtype=self.dtype)
        if self.name.endswith("bias"):
            return torch.zeros(self.shape, device=self.device, dtype=self.dtype)
        seed = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:6], "big")
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.empty(self.shape, device=self.device, dtype=self.dtype).normal_(std=self.std, generator=generator)


def random_states(
    config: PretrainedConfig, shapes: dict[str, tuple[int, ...]], device: str, dtype: torch.dtype
) -> Iterator[tuple[str, _RandomTensor]]:
    """Yield a checkpoint of random weights: each tensor depends only on its name, so it is the same on every run."""
    std = config.text_config.initializer_range
    for name, shape in shapes.items():
        yield name, _RandomTensor(name, shape, device, dtype, std)


def adopt_tokens(config: PretrainedConfig, processor: ProcessorMixin) -> None:
    """Let a random model use the ids of the tokenizer that stands in for its own."""
    ids = processor.tokenizer.convert_tokens_to_ids
    config.image_token_id, config.video_token_id = ids("<|image_pad|>"), ids("<|video_pad|>")
    config.vision_start_token_id, config.vision_end_token_id = ids("<|vision_start|>"), ids("<|vision_end|>")
    config.text_config.eos_token_id, config.text_config.pad_token_id = ids("<|im_end|>"), ids("<|endoftext|>")
    config.text_config.bos_token_id = None
