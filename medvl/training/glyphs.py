"""An auxiliary loss for learning to read: every visual token predicts the letters in its patch of the page.

A model with random initial weights does not discover by itself that the text to predict is on the page; with this
loss it recognises letters after a few hundred steps. The head is dropped when pretraining ends.
"""

from __future__ import annotations

from torch import Tensor, nn

from medvl.types import IGNORE

CELLS, LETTERS = 8, 128  # cells per visual token, and classes: ASCII, of which the printable part is used


class GlyphHead(nn.Module):
    """Classifies the letter in each cell of a visual token.

    Args:
        hidden: Width of the merged visual features.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, CELLS * LETTERS)

    def forward(self, features: Tensor, glyphs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy over all letters and the accuracy, each ().

        Args:
            features: (visual tokens, hidden).
            glyphs: (visual tokens, 8), the ASCII code of each letter, IGNORE where there is none.
        """
        there = glyphs != IGNORE
        logits = self.linear(features.float()).unflatten(-1, (CELLS, LETTERS))[there]
        targets = glyphs[there]
        loss = nn.functional.cross_entropy(logits.float(), targets)
        return loss, (logits.detach().argmax(-1) == targets).float().mean()
