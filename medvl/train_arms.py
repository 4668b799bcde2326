"""Ways to take one training step on the same samples, from the seed project's to ours: what bench=train compares."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medvl import attention
from medvl.data.packing import fill_rows, pack, tower_bounds
from medvl.engine import on_device
from medvl.geometry import FRAMES, PATCH_PX
from medvl.kernels.layers import fuse, unfuse
from medvl.kernels.pointwise import Pointwise
from medvl.loss import answer_nats, base_of, vision_features
from medvl.memory import key_width
from medvl.train_bench import ARMS, Arm
from medvl.tuning import checkpoint
from medvl.types import IGNORE, Batch, Encoded, Example

if TYPE_CHECKING:
    from medvl.engine import Engine

MICRO_BATCH = 4  # samples, of which the seed project accumulated four


@dataclass(kw_only=True)
class Steps:
    """Optimizer steps of one arm over fixed samples, while it is set up."""

    arm: Arm
    engine: Engine
    batches: list[Any]
    """What a step accumulates over, on the device."""
    make_optimizer: Callable[..., Any]
    every: int
    pointwise: Pointwise
    real_tokens: int
    nominal_tokens: int
    optimizer: Any = None

    @property
    def row_tokens(self) -> int:
        """Of the longest batch."""
        return max(batch["input_ids"].numel() for batch in self.batches)

    @contextlib.contextmanager
    def set_up(self, kernel: str) -> Iterator[None]:
        """Make the model compute this arm's way; its optimizer and adapters take memory only meanwhile."""
        model = self.engine.model
        if self.arm.lora is not None:
            model.add_adapter("own", self.arm.lora.peft())
            model.set_adapter("own")
            _park(model, "default", torch.device("cpu"))
        checkpoint(model, self.every)
        compute(model, None if self.arm.padded else kernel, self.pointwise if self.arm.fused else None)
        model.train()
        self.optimizer = self.make_optimizer([p for p in model.parameters() if p.requires_grad])
        yield
        self.optimizer = None
        if self.arm.lora is not None:
            model.delete_adapter("own")
            _park(model, "default", self.engine.device)
            model.set_adapter("default")

    def __call__(self) -> float:
        """Take one step; return its loss in nats a token."""
        total = torch.zeros((), device=self.engine.device)
        take = _padded_nats if self.arm.padded else _packed_nats
        for batch in self.batches:
            with self.engine.precision.autocast(self.engine.device):
                loss = take(self.engine.model, batch)
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(total)


def arms(
    names: Sequence[str], engine: Engine, examples: Sequence[Example], *, row_tokens: int,
    make_optimizer: Callable[..., Any], every: int, pointwise: Pointwise,
) -> Iterator[tuple[str, Steps]]:  # fmt: skip
    """Yield the steps of every arm by name, over the same samples.

    Args:
        row_tokens: A packed row holds at most.
        every: Checkpointing that this composition settled.
    """
    encoded = [engine.encoder.encode(example) for example in examples]
    answers = sum(int((one["labels"] != IGNORE).sum()) for one in encoded)
    real = sum(len(one["input_ids"]) for one in encoded)
    for name in names:
        arm = ARMS[name]
        if arm.padded:
            parts = [encoded[at : at + MICRO_BATCH] for at in range(0, len(encoded), MICRO_BATCH)]
            batches = [_pad(engine, part, answers) for part in parts]
        else:
            rows = fill_rows(examples, range(len(examples)), row_tokens)
            batches = [_packed(engine, [encoded[at] for at in row], answers, cached=arm.cached) for row in rows]
        yield name, Steps(
            arm=arm, engine=engine, batches=batches, make_optimizer=make_optimizer, pointwise=pointwise,
            every=every if arm.checkpointing is None else arm.checkpointing, real_tokens=real,
            nominal_tokens=sum(batch["input_ids"].numel() for batch in batches),
        )  # fmt: skip


def _packed(engine: Engine, encoded: Sequence[Encoded], answers: int, *, cached: bool) -> Batch:
    batch = on_device(pack(encoded, answers), engine.device)
    if cached:
        with engine.precision.autocast(engine.device):
            features = vision_features(base_of(engine.model).model.visual, batch)
        batch = {name: value for name, value in batch.items() if name not in ("pixel_values", "tower")}
        batch["features"] = features
    return batch  # type: ignore[return-value]


def _packed_nats(model: nn.Module, batch: Batch) -> Tensor:
    return answer_nats(model, batch) / batch["window_tokens"]


def _pad(engine: Engine, encoded: Sequence[Encoded], answers: int) -> dict[str, Any]:
    width = max(len(one["input_ids"]) for one in encoded)

    def right(name: str, fill: int) -> Tensor:
        return torch.stack([nn.functional.pad(one[name], (0, width - len(one[name])), value=fill) for one in encoded])

    ids = right("input_ids", 0)
    lengths = torch.tensor([len(one["input_ids"]) for one in encoded])
    return on_device({
        "input_ids": ids,
        "labels": right("labels", IGNORE),
        "attention_mask": (torch.arange(width) < lengths[:, None]).long(),
        "mm_token_type_ids": (ids == engine.encoder.image_token).int(),
        "pixel_values": torch.cat([one["pixel_values"] for one in encoded]),
        "image_grid_thw": torch.cat([one["image_grid_thw"] for one in encoded]),
        "num_items_in_batch": torch.tensor(answers),
    }, engine.device)  # fmt: skip


def _padded_nats(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    base_of(model).model.rope_deltas = None
    return model(**batch, use_cache=False).loss


def _park(model: nn.Module, adapter: str, device: torch.device) -> None:
    """Move the weights of one adapter."""
    for name, parameter in model.named_parameters():
        if f".{adapter}." in name:
            parameter.data = parameter.data.to(device)


def compute(model: nn.Module, kernel: str | None, pointwise: Pointwise | None) -> None:
    """Let a model attend by a kernel of ours, and its layers and tower be fused; None: as transformers and peft do."""
    unfuse(model)
    if kernel is None:
        attention.use_transformers(model)
    else:
        attention.use(model, kernel)
    if pointwise is not None:
        fuse(model, pointwise)


def tower_run(engine: Engine, pages: int, height_px: int, width_px: int) -> Callable[[], None]:
    """Return what sends noise of the size of some pages through the vision tower."""
    grid_N3 = torch.tensor([[1, height_px // PATCH_PX, width_px // PATCH_PX]] * pages)
    visual = base_of(engine.model).model.visual
    pixels = torch.randn(int(grid_N3.prod(-1).sum()), visual.config.in_channels * FRAMES * PATCH_PX**2)
    given = {"pixel_values": pixels, "image_grid_thw": grid_N3, "tower": tower_bounds(grid_N3)}
    batch: Any = on_device(given, engine.device)

    def run() -> None:
        with engine.precision.autocast(engine.device):
            vision_features(visual, batch)

    return run


def linear_parameters(text: Any) -> int:
    """Return the parameters of the language layers' products: what 4N counts, embeddings and head left out."""
    hidden = text.hidden_size
    return text.num_hidden_layers * (
        2 * hidden * hidden + 2 * hidden * key_width(text) + 3 * hidden * text.intermediate_size
    )
