"""Rows drawn during training: pages follow a curriculum, and each row is seeded by the run's seed and its number."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medvl.data.packing import pack
from medvl.documents.reading import ReadingPage
from medvl.geometry import PATCH_PX, TOKEN_PX, fit
from medvl.types import IGNORE, Batch, Encoded

if TYPE_CHECKING:
    import numpy as np

    from medvl.data.encoding import Encoder
    from medvl.data.sources.reading_pages import ReadingPages


class Curriculum:
    """Chooses the stage of each row: the newest with probability `newest_share`, otherwise any stage reached.

    Lives in the training process: the sampler draws stages from it, the training loop reports accuracies to it.
    """

    def __init__(self, source: ReadingPages) -> None:
        self.stages, self.newest_share = len(source.stages), source.newest_share
        self.pass_mark, self.least_rows = source.pass_mark, source.least_rows
        self.newest, self.rows, self.accuracy = source.first_stage, 0, 0.0

    def draw(self, rng: Random) -> int:
        """Draw the stage of one row; earlier stages stay in the mixture so that they are not forgotten."""
        if self.newest == 0 or rng.random() < self.newest_share:
            return self.newest
        return rng.randrange(self.newest + 1)

    def note(self, stage: int, accuracy: float) -> bool:
        """Record the teacher-forced accuracy of a row; return whether the newest stage was passed."""
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
    """Yields the random key and the stage of each row; rows that wait in workers keep their stage."""

    def __init__(
        self, curriculum: Curriculum, *, seed: int, accumulate: int, ranks: int, rank: int, steps: int
    ) -> None:
        self.curriculum, self.seed = curriculum, seed
        self.accumulate, self.ranks, self.rank = accumulate, ranks, rank
        self.steps, self.start = steps, 0
        self.given: dict[int, int] = {}  # stage of each row handed to the workers

    @property
    def rows_an_epoch(self) -> int:
        """Rows of all ranks: no page repeats, so the whole run is one epoch."""
        return len(self) * self.ranks

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def state_dict(self, used: int) -> dict[str, Any]:
        self.given = {number: stage for number, stage in self.given.items() if number >= used}
        return {"given": self.given, "curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.given = dict(state["given"])  # rows in workers at the checkpoint get the same stages in the resumed run
        self.curriculum.load_state_dict(state["curriculum"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self.start, len(self)):
            # The same stage on all ranks: accuracies are averaged over ranks, so all curricula advance together.
            stage = self.given.setdefault(number, self.curriculum.draw(Random(f"{self.seed}/{number}")))
            key = f"{self.seed}/{self.rank}/{number}"
            # Answer tokens are not known before the row is drawn, so all rows of an optimizer step weigh the same.
            yield {"key": key, "stage": stage, "rows": self.accumulate * self.ranks}


class LiveRows(Dataset[Batch]):
    """Draws pages with their prompts and packs them into one row of at most `budget` tokens.

    Raises:
        ValueError: The pages of a stage would be resized if they were read from files, so that the model would be
            scored on other pages than it is trained on.
    """

    def __init__(self, source: ReadingPages, encoder: Encoder, budget: int) -> None:
        for stage in source.stages:
            size_px = stage.height_px, stage.width_px
            if fit(*size_px, min_pixels=encoder.min_pixels, max_pixels=encoder.max_pixels) != size_px:
                raise ValueError(
                    f"data.stages has pages of {stage.width_px} x {stage.height_px} px, the model sees images of "
                    f"{encoder.min_pixels} to {encoder.max_pixels} pixels. Set model.min_pixels or model.max_pixels "
                    f"to {stage.width_px * stage.height_px}."
                )
        self.source, self.encoder, self.budget = source, encoder, budget

    def __getitem__(self, row: dict[str, Any]) -> Batch:
        room = self.budget
        encoded: list[Encoded] = []
        glyphs: list[Tensor] = []
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
        return self.encoder.assemble(pixels, grid, asked, page.response)

    @functools.lru_cache(maxsize=4096)  # noqa: B019  lives as long as the worker
    def _asked(self, text: str, visual_tokens: int) -> list[int]:
        return self.encoder.prompt_ids(text, [visual_tokens])


def grey_patches(pixels: np.ndarray) -> Tensor:
    """Cut a page, (height, width) uint8, into patches in the order of the tower, (P, 14 * 14) uint8.

    This is 1/24 of the bytes of the image processor's output; `medvl.model.packed_forward.normalized` does the rest on
    the device.
    """
    height_px, width_px = pixels.shape
    cut = torch.from_numpy(pixels).view(height_px // TOKEN_PX, 2, PATCH_PX, width_px // TOKEN_PX, 2, PATCH_PX)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(-1, PATCH_PX**2)
