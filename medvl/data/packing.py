"""Packs several examples into one row: no padding, positions restart, and batches depend only on the seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from medvl.geometry import MERGE, PATCH_PX, WINDOW_PX
from medvl.types import Batch, Encoded, Example

LOOKAHEAD = 64  # waiting examples searched for one that still fits the row


def pack(encoded: Sequence[Encoded], window_tokens: int = 0) -> Batch:
    """Concatenate examples into one row."""
    lengths = torch.tensor([len(example["input_ids"]) for example in encoded])
    batch = Batch(
        input_ids=torch.cat([example["input_ids"] for example in encoded])[None],
        labels=torch.cat([example["labels"] for example in encoded])[None],
        position_ids=torch.cat([example["positions"] for example in encoded], dim=1)[:, None],
        bounds=torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0).int()]),
        image_grid_thw=torch.cat([example["image_grid_thw"] for example in encoded]),
        longest=int(lengths.max()),
        window_tokens=window_tokens,
        examples=len(encoded),
    )
    if all("features" in example for example in encoded):
        batch["features"] = torch.cat([example["features"] for example in encoded])
    else:
        batch["pixel_values"] = torch.cat([example["pixel_values"] for example in encoded])
        batch["tower"] = tower_bounds(batch["image_grid_thw"])
    return batch


def tower_bounds(grid_N3: Tensor) -> dict[str, Any]:
    """Precompute the positions and bounds that the vision tower would compute image by image, stalling the device."""
    parts = [_image_bounds(tuple(grid)) for grid in grid_N3.tolist()]
    images = torch.tensor([0, *(len(part[0]) for part in parts)]).cumsum(0)
    starts = images[:-1].tolist()
    windows = torch.cat(
        [torch.zeros(1, dtype=torch.long)] + [part[2][1:] + start for part, start in zip(parts, starts, strict=True)]
    )
    return {
        "position_ids": torch.cat([part[0] for part in parts]),
        "window_index": torch.cat([part[1] + start // MERGE**2 for part, start in zip(parts, starts, strict=True)]),
        "cu_seqlens": images.int(),
        "cu_window_seqlens": windows.int(),
        "max_seqlen": int(images.diff().max()),
        "max_window_seqlen": int(windows.diff().max()),
    }


@functools.lru_cache(maxsize=1024)
def _image_bounds(grid: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions, window order and window bounds of one still image, in patches."""
    from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

    grid_13 = torch.tensor([grid])
    order, bounds = get_vision_window_index(
        grid_13, spatial_merge_size=MERGE, window_size=WINDOW_PX, patch_size=PATCH_PX
    )
    return get_vision_position_ids(grid_13, MERGE), order, bounds.long()


def fill_rows(examples: Sequence[Example], order: Sequence[int], budget: int) -> list[list[int]]:
    """Fill rows of at most `budget` tokens in order; the room left in a row goes to the next example that fits.

    Args:
        order: Indices of the examples, shuffled.

    Raises:
        ValueError: An example is longer than a row.
    """
    waiting, rows = list(order), []
    row: list[int] = []
    room = budget
    while waiting:
        window = enumerate(waiting[:LOOKAHEAD])
        at = next((at for at, index in window if examples[index].tokens <= room), None)
        if at is None:
            if room == budget:
                longest = max(examples[index].tokens for index in waiting)
                raise ValueError(f"an example of {longest} tokens fits no row of {budget}")
            rows.append(row)
            row, room = [], budget
            continue
        index = waiting.pop(at)
        row.append(index)
        room -= examples[index].tokens
    return [*rows, row] if row else rows


class PackedSampler(Sampler[dict[str, Any]]):
    """Yields the rows of a whole run; the shuffle of an epoch depends only on the seed and the epoch's number.

    To resume in the middle of an epoch, only the position in this stream has to be saved. Every rank gets equally
    many rows. Each row carries the answer tokens of its whole optimizer step, so that the loss can be averaged over
    the tokens of the step without communication.

    Args:
        budget: Maximum tokens per row.
        accumulate: Rows per rank in one optimizer step.
        steps, epochs: Length of the run; if both are set, the shorter counts.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        budget: int,
        seed: int,
        accumulate: int = 1,
        ranks: int = 1,
        rank: int = 0,
        steps: int | None = None,
        epochs: float | None = None,
    ) -> None:
        longest = max(examples, key=lambda example: example.tokens, default=None)
        if longest is None:
            raise ValueError("there is no example to train on; see prepared.json for what was dropped.")
        if longest.tokens > budget:
            raise ValueError(
                f"a row of {budget} tokens cannot hold example {longest.id} of {longest.tokens}. "
                f"Set batch.tokens={longest.tokens}."
            )
        self.examples, self.budget, self.seed = examples, budget, seed
        self.accumulate, self.ranks, self.rank = accumulate, ranks, rank
        window = accumulate * ranks
        self.rows_an_epoch = len(self._epoch(0))
        by_epochs = None if epochs is None else max(1, round(epochs * self.rows_an_epoch / window))
        limits = [limit for limit in (steps, by_epochs) if limit is not None]
        if not limits:
            raise ValueError("the run has no end. Set trainer.max_steps=100 or trainer.epochs=1.")
        self.steps = min(limits)
        self.start = 0

    def __len__(self) -> int:
        """Rows of this rank in the whole run."""
        return self.steps * self.accumulate

    def state_dict(self, used: int) -> dict[str, Any]:
        """Return nothing: the position in the stream is enough."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, as `state_dict` is empty."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield, for each row, the `indices` of its examples and the `window_tokens` of its optimizer step."""
        window = self.accumulate * self.ranks
        stream = self._rows()
        for step in range(self.steps):
            rows = [next(stream) for _ in range(window)]
            tokens = sum(self.examples[index].answer_tokens for row in rows for index in row)
            for number, indices in enumerate(rows[self.rank :: self.ranks]):
                if step * self.accumulate + number >= self.start:
                    yield {"indices": indices, "window_tokens": tokens}

    def _rows(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            yield from self._epoch(epoch)
            epoch += 1

    def _epoch(self, epoch: int) -> list[list[int]]:
        order = list(range(len(self.examples)))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return fill_rows(self.examples, order, self.budget)
