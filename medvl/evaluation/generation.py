"""Generation: greedy, batched, left-padded; shared by evaluation, benchmark and serving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from medvl.data.encoding import Encoder
from medvl.model import prompt
from medvl.model.parts import base_of
from medvl.model.precision import Precision
from medvl.types import Encoded, Example


@dataclass(slots=True)
class Answer:
    """What the model said on one example."""

    text: str
    ids: list[int]
    """Generated tokens, including the end-of-turn token."""
    finished: bool
    """Whether the turn ended by itself rather than at the token limit."""


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


@dataclass(kw_only=True)
class Engine:
    """Generates answers with a model."""

    model: nn.Module
    encoder: Encoder
    precision: Precision

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def answers(
        self, examples: Sequence[Example], *, max_new_tokens: int, batch: int, tick: Callable[[int], Any] | None = None
    ) -> list[Answer]:
        """Return the answers in the order of the examples; examples of similar length share a batch.

        Args:
            tick: Called with the number of examples done, after each batch.
        """
        order = sorted(range(len(examples)), key=lambda index: examples[index].tokens)
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            encoded = [self.encoder.encode(examples[index], answer=False) for index in part]
            answers.update(zip(part, self.generate(encoded, max_new_tokens=max_new_tokens), strict=True))
            if tick is not None:
                tick(len(part))
        return [answers[index] for index in range(len(examples))]

    def generate(
        self,
        encoded: Sequence[Encoded],
        *,
        max_new_tokens: int,
        exactly: bool = False,
        clock: Clock | None = None,
    ) -> list[Answer]:
        """Answer one batch.

        Args:
            exactly: Generate `max_new_tokens` even past the end of the turn, for timing.
            clock: Filled with the times of the steps; costs one synchronisation per token.
        """
        inputs = {name: value.to(self.device) for name, value in self._pad(encoded).items()}
        settings = self._settings(max_new_tokens, exactly=exactly)
        options: dict[str, Any] = {}
        if clock is not None:
            options["stopping_criteria"] = StoppingCriteriaList([_Ticker(clock, self.device)])
            synchronize(self.device)
            clock.started = time.perf_counter()
        base = base_of(self.model)
        base.model.rope_deltas = None  # would be that of an earlier batch
        base.generation_config = settings  # generate() fills what is not set from the model's own
        training = self.model.training
        self.model.eval()
        with torch.inference_mode(), self.precision.autocast(self.device):
            generated = base.generate(**inputs, generation_config=settings, **options)
        self.model.train(training)
        rows = generated[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._answer(row) for row in rows]

    def _settings(self, max_new_tokens: int, *, exactly: bool) -> GenerationConfig:
        """Greedy, and nothing else: a base's own settings may penalise, ban or force tokens, or sample."""
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            min_new_tokens=max_new_tokens if exactly else None,
            do_sample=False,
            num_beams=1,
            eos_token_id=self._ends(),
            pad_token_id=self._ends()[-1],
        )

    def _ends(self) -> list[int]:
        """Return the tokens that end an answer; the last also pads."""
        ids = self.encoder.processor.tokenizer.convert_tokens_to_ids
        return [ids(prompt.END_OF_TURN), ids(prompt.END_OF_TEXT)]

    def _answer(self, row: list[int]) -> Answer:
        ends = self._ends()
        at = next((at for at, token in enumerate(row) if token in ends), None)
        text = prompt.answer_text(self.encoder.processor, row[:at])
        return Answer(text=text, ids=row if at is None else row[: at + 1], finished=at is not None)

    def _pad(self, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
        """Pad prompts on the left, as generation continues at their right end."""
        width = max(len(example["input_ids"]) for example in encoded)
        pad = self._ends()[-1]

        def left(ids: Tensor, fill: int) -> Tensor:
            return nn.functional.pad(ids, (width - len(ids), 0), value=fill)

        input_ids = torch.stack([left(example["input_ids"], pad) for example in encoded])
        mask = torch.stack([left(torch.ones_like(example["input_ids"]), 0) for example in encoded])
        return {
            "input_ids": input_ids,
            "attention_mask": mask,
            "mm_token_type_ids": (input_ids == self.encoder.image_token).int(),
            "pixel_values": torch.cat([example["pixel_values"] for example in encoded]),
            "image_grid_thw": torch.cat([example["image_grid_thw"] for example in encoded]),
        }


def on_device(value: Any, device: torch.device) -> Any:
    """Move all tensors of a nested batch to a device."""
    if isinstance(value, dict):
        return {name: on_device(part, device) for name, part in value.items()}
    return value.to(device) if hasattr(value, "to") else value


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that times measured on the host are correct."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def lines_of(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield warnings about a set of answers."""
    cut = sum(not answer.finished for answer in answers)
    if cut:
        yield f"{cut} of {len(answers)} answers were cut at the token limit (eval.max_new_tokens)"
