"""The training steps that bench=train compares on the same samples, from the baseline project's to ours."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medvl.benchmarks.arms import ARMS, Arm
from medvl.data.packing import fill_rows, pack, tower_bounds
from medvl.geometry import FRAMES, PATCH_PX
from medvl.kernels.fused_ops import FusedOps
from medvl.kernels.layers import fuse, unfuse
from medvl.model import attention
from medvl.model.packed_forward import vision_features
from medvl.model.parts import base_of, on_device
from medvl.training.loss import EAGER, answer_nats
from medvl.training.tuning import checkpoint
from medvl.types import IGNORE, Batch, Encoded, Example

if TYPE_CHECKING:
    from medvl.generation.engine import Engine

MICRO_BATCH = 4  # samples; the baseline project accumulated four such batches


@dataclass(kw_only=True)
class Steps:
    """Optimizer steps of one arm over fixed samples; callable inside `set_up`."""

    arm: Arm
    engine: Engine
    batches: list[Any]
    """The batches that one step accumulates, on the device."""
    make_optimizer: Callable[..., Any]
    every: int
    fused_ops: FusedOps
    real_tokens: int
    nominal_tokens: int
    optimizer: Any = None

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest batch."""
        return max(batch["input_ids"].numel() for batch in self.batches)

    @contextlib.contextmanager
    def set_up(self, kernel: str) -> Iterator[None]:
        """Configure the model for this arm; its optimizer and adapters take memory only inside the block."""
        model: Any = self.engine.model
        if self.arm.lora is not None:
            model.add_adapter("own", self.arm.lora.peft())
            model.set_adapter("own")
            _park(model, "default", torch.device("cpu"))
        checkpoint(model, self.every)
        compute(model, None if self.arm.padded else kernel, self.fused_ops if self.arm.fused else None)
        model.train()
        self.optimizer = self.make_optimizer([p for p in model.parameters() if p.requires_grad])
        yield
        self.optimizer = None
        if self.arm.lora is not None:
            model.delete_adapter("own")
            _park(model, "default", self.engine.device)
            model.set_adapter("default")

    def __call__(self) -> float:
        """Take one step; return its loss in nats per token."""
        total = torch.zeros((), device=self.engine.device)
        fused_ops = self.fused_ops if self.arm.fused else EAGER
        take = _padded_nats if self.arm.padded else functools.partial(_packed_nats, fused_ops=fused_ops)
        for batch in self.batches:
            with self.engine.precision.autocast(self.engine.device):
                loss = take(self.engine.model, batch)
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(total)


def arms(
    names: Sequence[str],
    engine: Engine,
    examples: Sequence[Example],
    *,
    row_tokens: int,
    make_optimizer: Callable[..., Any],
    every: int,
    fused_ops: FusedOps,
) -> Iterator[tuple[str, Steps]]:
    """Yield the steps of every arm by name, over the same samples.

    Args:
        row_tokens: The most tokens in a packed row.
        every: The composition's checkpointing, for arms that set none: every n-th language layer is recomputed.
    """
    encoded = [engine.encoder.encode(example) for example in examples]
    answers = sum(int((one["labels"] != IGNORE).sum()) for one in encoded)
    real = sum(len(one["input_ids"]) for one in encoded)
    for name in names:
        arm = ARMS[name]
        batches: list[Any]
        if arm.padded:
            parts = [encoded[at : at + MICRO_BATCH] for at in range(0, len(encoded), MICRO_BATCH)]
            batches = [_pad(engine, part, answers) for part in parts]
        else:
            rows = fill_rows(examples, range(len(examples)), row_tokens)
            batches = [_packed(engine, [encoded[at] for at in row], answers, cached=arm.cached) for row in rows]
        yield (
            name,
            Steps(
                arm=arm,
                engine=engine,
                batches=batches,
                make_optimizer=make_optimizer,
                fused_ops=fused_ops,
                every=every if arm.checkpointing is None else arm.checkpointing,
                real_tokens=real,
                nominal_tokens=sum(batch["input_ids"].numel() for batch in batches),
            ),
        )


def _packed(engine: Engine, encoded: Sequence[Encoded], answers: int, *, cached: bool) -> Batch:
    batch = on_device(pack(encoded, answers), engine.device)
    if cached:
        with engine.precision.autocast(engine.device):
            features = vision_features(base_of(engine.model).model.visual, batch)
        batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "tower")}
        batch["features"] = features
    return batch


def _packed_nats(model: nn.Module, batch: Batch, *, fused_ops: FusedOps) -> Tensor:
    return answer_nats(model, batch, fused_ops) / batch["window_tokens"]


def _pad(engine: Engine, encoded: Sequence[Any], answers: int) -> dict[str, Any]:
    width = max(len(one["input_ids"]) for one in encoded)

    def right(name: str, fill: int) -> Tensor:
        return torch.stack([nn.functional.pad(one[name], (0, width - len(one[name])), value=fill) for one in encoded])

    ids = right("input_ids", 0)
    lengths = torch.tensor([len(one["input_ids"]) for one in encoded])
    return on_device(
        {
            "input_ids": ids,
            "labels": right("labels", IGNORE),
            "attention_mask": (torch.arange(width) < lengths[:, None]).long(),
            "mm_token_type_ids": (ids == engine.encoder.image_token).int(),
            "pixel_values": torch.cat([one["pixel_values"] for one in encoded]),
            "image_grid_thw": torch.cat([one["image_grid_thw"] for one in encoded]),
            "num_items_in_batch": torch.tensor(answers),
        },
        engine.device,
    )


def _padded_nats(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    base_of(model).model.rope_deltas = None
    return model(**batch, use_cache=False).loss


def _park(model: nn.Module, adapter: str, device: torch.device) -> None:
    """Move the weights of one adapter to a device."""
    for name, parameter in model.named_parameters():
        if f".{adapter}." in name:
            parameter.data = parameter.data.to(device)


def compute(model: nn.Module, kernel: str | None, fused_ops: FusedOps | None) -> None:
    """Set a model's attention kernel, and fuse its layers and tower; None leaves either to transformers and peft."""
    unfuse(model)
    if kernel is None:
        attention.use_transformers(model)
    else:
        attention.use(model, kernel)
    if fused_ops is not None:
        fuse(model, fused_ops)


def tower_run(engine: Engine, pages: int, height_px: int, width_px: int) -> Callable[[], None]:
    """Return a function that sends random noise, in the shape of some pages, through the vision tower."""
    grid_N3 = torch.tensor([[1, height_px // PATCH_PX, width_px // PATCH_PX]] * pages)
    visual = base_of(engine.model).model.visual
    pixels = torch.randn(int(grid_N3.prod(-1).sum()), visual.config.in_channels * FRAMES * PATCH_PX**2)
    given = {"pixel_values": pixels, "image_grid_thw": grid_N3, "tower": tower_bounds(grid_N3)}
    batch: Any = on_device(given, engine.device)

    def run() -> None:
        with engine.precision.autocast(engine.device):
            vision_features(visual, batch)

    return run
