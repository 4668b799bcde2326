"""What was seen of a model's attention while it answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Heads = Sequence[tuple[int, int]] | Literal["all"]  # (layer, query head), or the peaks of each


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the heads looked while each token was chosen."""

    grids: list[tuple[int, int]]
    """Rows and columns of the tokens of each image."""
    attention: NDArray[np.float32] | None = None
    """(answer tokens, image tokens): mean of the heads, out of 1 for all tokens before."""
    peaks: NDArray[np.int32] | None = None
    """(layers, heads, answer tokens): the image token that each head attended to most."""

    def place(self, token: int) -> tuple[int, int, int]:
        """Return the image, row and column of an image token."""
        for image, (rows, columns) in enumerate(self.grids):
            if token < rows * columns:
                return image, token // columns, token % columns
            token -= rows * columns
        raise IndexError(f"the images have fewer tokens: {token} too many")
