"""An auxiliary loss for learning to read: every visual token names the letters that stand under it.

A model that starts from random weights does not find out by itself that the text it predicts stands on the page; with
this loss it knows its letters after a few hundred steps. The head is dropped when pretraining ends.
"""

from __future__ import annotations

from torch import Tensor, nn

from medvl.types import IGNORE

CELLS, LETTERS = 8, 128  # cells under a visual token, and classes: the printable part of ASCII is used


class GlyphHead(nn.Module):
    """Classifies the letter in each cell under a visual token.

    Args:
        hidden: Width of the merged visual features.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, CELLS * LETTERS)

    def forward(self, features: Tensor, glyphs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy over all letters and the share that is named rightly, each ().

        Args:
            features: (visual tokens, hidden).
            glyphs: (visual tokens, 8), the code of each letter, IGNORE where there is none.
        """
        there = glyphs != IGNORE
        logits = self.linear(features.float()).unflatten(-1, (CELLS, LETTERS))[there]
        targets = glyphs[there]
        loss = nn.functional.cross_entropy(logits.float(), targets)
        return loss, (logits.detach().argmax(-1) == targets).float().mean()
