"""Cross-entropy of the answers of a packed row, through the parts of a Qwen2.5-VL.

The parts are called one by one: a frozen vision tower needs no graph, and vocabulary-wide logits are made
for answer positions only, a chunk at a time, instead of a [T, vocabulary] tensor in fp32.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvl.geometry import DEVIATION, FRAMES, MEAN
from medvl.types import IGNORE, Batch

LOGITS = 1024 * 152064  # that exist at a time: 0.6 GB in fp32


def base_of(model: nn.Module) -> nn.Module:
    """Return the Qwen2.5-VL inside peft's wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def answer_nats(model: nn.Module, batch: Batch) -> Tensor:
    """Return the summed cross-entropy of all answer tokens of a row in nats, ()."""
    return summed_nats(model, *answer_states(model, batch))


def summed_nats(model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy of what `answer_states` returned, in nats, ()."""
    head = base_of(model).lm_head
    chunk = max(1, LOGITS // head.out_features)
    return sum(  # type: ignore[return-value]
        checkpoint(_nats, head, part, target, use_reentrant=False)
        for part, target in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    )


def answer_states(model: nn.Module, batch: Batch, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what predicts each answer token: final hidden states (A, hidden) and token ids (A,).

    Args:
        features: Of `vision_features`, where they are known already.
    """
    base = base_of(model)
    if features is None:
        features = vision_features(base.model.visual, batch)
    embedded = base.get_input_embeddings()(batch["input_ids"])
    is_image = (batch["input_ids"] == base.config.image_token_id)[..., None]
    embedded = embedded.masked_scatter(is_image, features.to(embedded.dtype))
    hidden_1TH = base.model.language_model(
        inputs_embeds=embedded,
        position_ids=batch["position_ids"],
        # A dict says that masks are made already: the segments' bounds take their place.
        attention_mask={"full_attention": None, "sliding_attention": None},
        use_cache=False,
        cu_seq_lens_q=batch["bounds"],
        cu_seq_lens_k=batch["bounds"],
        max_length_q=batch["longest"],
        max_length_k=batch["longest"],
    ).last_hidden_state
    targets = batch["labels"][0, 1:]
    answered = targets != IGNORE
    return hidden_1TH[0, :-1][answered], targets[answered]


def vision_features(visual: nn.Module, batch: Batch) -> Tensor:
    """Return the merged features of all images of a row, (visual tokens, hidden)."""
    frozen = not any(parameter.requires_grad for parameter in visual.parameters())
    with torch.no_grad() if frozen else contextlib.nullcontext():
        pixels = batch["pixel_values"]
        pixels = (normalized(pixels) if pixels.dtype == torch.uint8 else pixels).to(visual.dtype)
        return visual(pixels, grid_thw=batch["image_grid_thw"], **batch["tower"]).pooler_output


def normalized(grey: Tensor) -> Tensor:
    """Return grey patches, (P, 14 * 14) uint8, as the image processor would: (P, C) float32."""
    mean, deviation = (torch.tensor(values, device=grey.device)[:, None] for values in (MEAN, DEVIATION))
    colours = (grey[:, None].float() / 255 - mean) / deviation  # (P, 3, 196)
    return colours[:, :, None].expand(-1, -1, FRAMES, -1).flatten(1)


def _nats(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    # fp32: a bf16 log-sum-exp loses the tail of the vocabulary
    return nn.functional.cross_entropy(head(hidden).float(), targets, reduction="sum")
