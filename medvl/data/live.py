"""Rows drawn while training goes on: pages by a curriculum, each row a function of the seed and its number."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medvl import prompt
from medvl.data.packing import pack
from medvl.documents.reading import ReadingPage
from medvl.geometry import PATCH_PX, TOKEN_PX
from medvl.types import IGNORE, Batch, Encoded

if TYPE_CHECKING:
    import numpy as np

    from medvl.data.encoding import Encoder
    from medvl.data.reading_pages import ReadingPages


class Curriculum:
    """Which stage a row is drawn from: the newest with a share, an earlier one else.

    Kept by the process that trains: the sampler asks it, the learner tells it what was read.
    """

    def __init__(self, source: ReadingPages) -> None:
        self.stages, self.newest_share = len(source.stages), source.newest_share
        self.pass_mark, self.least_rows = source.pass_mark, source.least_rows
        self.newest, self.rows, self.accuracy = source.first_stage, 0, 0.0

    def draw(self, rng: Random) -> int:
        """Return the stage of one row; earlier ones stay in the mixture, or they would be unlearned."""
        if self.newest == 0 or rng.random() < self.newest_share:
            return self.newest
        return rng.randrange(self.newest + 1)

    def note(self, stage: int, accuracy: float) -> bool:
        """Take in the teacher-forced accuracy of a row; returns whether the newest stage was passed."""
        if stage != self.newest:
            return False
        self.rows += 1
        self.accuracy = accuracy if self.rows == 1 else 0.8 * self.accuracy + 0.2 * accuracy
        if self.rows < self.least_rows or self.accuracy < self.pass_mark or self.newest + 1 == self.stages:
            return False
        self.newest, self.rows, self.accuracy = self.newest + 1, 0, 0.0
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"newest": self.newest, "rows": self.rows, "accuracy": self.accuracy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.newest, self.rows, self.accuracy = state["newest"], state["rows"], state["accuracy"]


class LiveSampler(Sampler[dict[str, Any]]):
    """Yields what each row of a run is drawn from; rows that wait on workers keep the stage they were given."""

    def __init__(
        self, curriculum: Curriculum, *, seed: int, accumulate: int, ranks: int, rank: int, steps: int
    ) -> None:
        self.curriculum, self.seed = curriculum, seed
        self.accumulate, self.ranks, self.rank = accumulate, ranks, rank
        self.steps, self.start = steps, 0
        self.given: dict[int, int] = {}  # stages of the rows that were asked for

    @property
    def rows_an_epoch(self) -> int:
        """Rows of all ranks: nothing is seen twice, so the run is one pass."""
        return len(self) * self.ranks

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def state_dict(self, used: int) -> dict[str, Any]:
        self.given = {number: stage for number, stage in self.given.items() if number >= used}
        return {"given": self.given, "curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.given = dict(state["given"])  # on workers when the checkpoint was written: a resumed run gives them again
        self.curriculum.load_state_dict(state["curriculum"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self.start, len(self)):
            # One stage for all ranks: what they read is averaged, and their curricula go on together.
            stage = self.given.setdefault(number, self.curriculum.draw(Random(f"{self.seed}/{number}")))
            key = f"{self.seed}/{self.rank}/{number}"
            # Answer tokens are known once the row is drawn: rows of one optimizer step weigh the same.
            yield {"key": key, "stage": stage, "rows": self.accumulate * self.ranks}


class LiveRows(Dataset[Batch]):
    """Draws, asks and packs one row of `budget` tokens."""

    def __init__(self, source: ReadingPages, encoder: Encoder, budget: int) -> None:
        self.source, self.encoder, self.budget = source, encoder, budget

    def __getitem__(self, row: dict[str, Any]) -> Batch:
        room, encoded, glyphs = self.budget, [], []
        while True:
            page = self.source.page(row["stage"], f"{row['key']}/{len(encoded)}")
            one = self._encode(page)
            room -= len(one["input_ids"])
            if room < 0:
                break
            encoded.append(one)
            glyphs.append(torch.from_numpy(page.glyphs).long())
        batch = pack(encoded)
        batch["window_tokens"] = row["rows"] * int((batch["labels"] != IGNORE).sum())
        batch["stage"] = row["stage"]
        marks = torch.cat(glyphs)
        batch["glyphs"] = marks.masked_fill(marks < 0, IGNORE)
        return batch

    def _encode(self, page: ReadingPage) -> Encoded:
        height_px, width_px = page.pixels.shape
        asked = self._asked(page.prompt, height_px // TOKEN_PX * (width_px // TOKEN_PX))
        grid = torch.tensor([[1, height_px // PATCH_PX, width_px // PATCH_PX]])
        pixels = {"pixel_values": grey_patches(page.pixels)}
        return self.encoder.laid_out(pixels, grid, asked, page.response)

    @functools.lru_cache(maxsize=4096)  # noqa: B019  lives as long as the worker
    def _asked(self, text: str, visual_tokens: int) -> list[int]:
        return prompt.prompt_ids(self.encoder.processor, text, [visual_tokens])


def grey_patches(pixels: np.ndarray) -> Tensor:
    """Cut a page, (height, width) uint8, into patches in the order of the tower, (P, 14 * 14) uint8.

    A twenty-fourth of the bytes that the image processor makes of it; `medvl.loss.normalized` does the rest on
    the device.
    """
    height_px, width_px = pixels.shape
    cut = torch.from_numpy(pixels).view(height_px // TOKEN_PX, 2, PATCH_PX, width_px // TOKEN_PX, 2, PATCH_PX)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(-1, PATCH_PX**2)
