"""The sums of every metric, on one device or over many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torchmetrics import Metric

from medvl.metrics.registry import METRICS
from medvl.metrics.scoring import shares, sums


class Scores(Metric):
    """Numerators and denominators of the metrics, summed over rows and processes, divided once.

    Every process must take part in `compute`; a process may have seen no row.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in METRICS:
            self.add_state(f"sum_{name}", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, *scores: Mapping[str, Sequence[float]]) -> None:
        """Add rows that map metrics to (numerator, denominator).

        Raises:
            ValueError: A metric is not one of METRICS.
        """
        for name, total in sums(scores).items():
            state = getattr(self, f"sum_{name}")
            state += torch.tensor(total, dtype=torch.float64, device=state.device)

    def compute(self) -> dict[str, float]:
        """Return the ratio of every metric whose denominator is not 0, in the order of METRICS."""
        return shares({name: getattr(self, f"sum_{name}").tolist() for name in METRICS})
