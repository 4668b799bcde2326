"""Generation by transformers: for models that the engine does not cover, and to compare with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from medvl.model.parts import base_of, device_of, synchronize

if TYPE_CHECKING:
    from medvl.data.encoding import Encoder
    from medvl.model.precision import Precision
    from medvl.types import Encoded


@dataclass(slots=True)
class Clock:
    """Times of one batch's generation, in seconds."""

    started: float = 0.0
    ticks: list[float] = field(default_factory=list)
    """When each step's tokens were generated, since the start."""


class _Ticker(StoppingCriteria):
    """Records the time of each token; never stops generation."""

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self.clock, self.device = clock, device

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        synchronize(self.device)
        self.clock.ticks.append(time.perf_counter() - self.clock.started)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generate(
    model: nn.Module,
    encoder: Encoder,
    precision: Precision,
    encoded: Sequence[Encoded],
    *,
    max_new_tokens: int,
    endless: bool = False,
    cache: str | None = None,
    clock: Clock | None = None,
) -> list[list[int]]:
    """Return the tokens that transformers generates for one batch of prompts, padded on the left.

    Args:
        endless: Generate `max_new_tokens` even past the end of the turn, for timing.
        cache: Name of transformers' cache implementation; None: its default.
        clock: Filled with the times of the steps; costs one synchronisation per token.
    """
    device, ends = device_of(model), encoder.ends
    inputs = {name: value.to(device) for name, value in _pad(encoder, encoded).items()}
    # Greedy, and nothing else: a base's own settings may penalise, ban or force tokens, or sample.
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        min_new_tokens=max_new_tokens if endless else None,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=ends[-1],
        cache_implementation=cache,
    )
    options: dict[str, Any] = {}
    if clock is not None:
        options["stopping_criteria"] = StoppingCriteriaList([_Ticker(clock, device)])
        synchronize(device)
        clock.started = time.perf_counter()
    base = base_of(model)
    base.model.rope_deltas = None  # would be that of an earlier batch
    base.generation_config = settings  # generate() fills what is not set from the model's own
    training = model.training
    model.eval()
    with torch.inference_mode(), precision.autocast(device):
        generated = base.generate(**inputs, generation_config=settings, **options)
    model.train(training)
    return generated[:, inputs["input_ids"].shape[1] :].tolist()


def _pad(encoder: Encoder, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
    """Pad prompts on the left, as generation continues at their right end."""
    width = max(len(example["input_ids"]) for example in encoded)

    def left(ids: Tensor, fill: int) -> Tensor:
        return nn.functional.pad(ids, (width - len(ids), 0), value=fill)

    input_ids = torch.stack([left(example["input_ids"], encoder.ends[-1]) for example in encoded])
    return {
        "input_ids": input_ids,
        "attention_mask": torch.stack([left(torch.ones_like(example["input_ids"]), 0) for example in encoded]),
        "mm_token_type_ids": (input_ids == encoder.image_token).int(),
        "pixel_values": torch.cat([example["pixel_values"] for example in encoded]),
        "image_grid_thw": torch.cat([example["image_grid_thw"] for example in encoded]),
    }
