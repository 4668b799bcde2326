"""The forward pass over packed rows, with the parts of Qwen2.5-VL called one by one: training, validation, prefill.

This way a frozen vision tower needs no autograd graph, and nothing is computed behind the last layer for positions
that predict nothing.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from medvl.geometry import DEVIATION, FRAMES, MEAN
from medvl.model.parts import base_of
from medvl.types import Batch


def final_states(model: nn.Module, batch: Batch, features: Tensor | None = None) -> Tensor:
    """Return the hidden states behind the last layer's norm, (T, hidden).

    Args:
        features: The result of `vision_features`, if already computed.
    """
    base = base_of(model)
    if features is None:
        features = vision_features(base.model.visual, batch)
    return base.model.language_model(
        inputs_embeds=embedded(base, batch["input_ids"], features),
        position_ids=batch["position_ids"],
        # A dict tells transformers that masks are already made; the segment bounds replace them.
        attention_mask={"full_attention": None, "sliding_attention": None},
        use_cache=False,
        cu_seq_lens_q=batch["bounds"],
        cu_seq_lens_k=batch["bounds"],
        max_length_q=batch["longest"],
        max_length_k=batch["longest"],
    ).last_hidden_state.squeeze(0)


def embedded(base: Any, input_ids: Tensor, features: Tensor) -> Tensor:
    """Return the embeddings of tokens, (..., hidden), with vision features in the places of image tokens."""
    embeddings = base.get_input_embeddings()(input_ids)
    is_image = (input_ids == base.config.image_token_id)[..., None]
    return embeddings.masked_scatter(is_image, features.to(embeddings.dtype))


def vision_features(visual: Any, batch: Batch) -> Tensor:
    """Return the merged features of all images of a row, (visual tokens, hidden)."""
    if "features" in batch:
        return batch["features"]
    frozen = not any(parameter.requires_grad for parameter in visual.parameters())
    with torch.no_grad() if frozen else contextlib.nullcontext():
        pixels = batch["pixel_values"]
        pixels = (normalized(pixels) if pixels.dtype == torch.uint8 else pixels).to(visual.dtype)
        return visual(pixels, grid_thw=batch["image_grid_thw"], **batch["tower"]).pooler_output


def normalized(grey: Tensor) -> Tensor:
    """Convert grey patches, (P, 14 * 14) uint8, to the image processor's output, (P, C) float32."""
    mean, deviation = (torch.tensor(values, device=grey.device)[:, None] for values in (MEAN, DEVIATION))
    colours = (grey[:, None].float() / 255 - mean) / deviation  # (P, 3, 196)
    return both_frames(colours)


def both_frames(frame: Tensor) -> Tensor:
    """Return the patches of still images, (P, C), from one of their equal frames, (P, 3, 14 * 14)."""
    return frame[:, :, None].expand(-1, -1, FRAMES, -1).flatten(1)
