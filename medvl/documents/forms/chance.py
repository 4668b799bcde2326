"""Random numbers that every machine draws alike: sums and products of uniform ones, nothing of the C library's."""

from __future__ import annotations

from random import Random


def bell(rng: Random, mean: float, deviation: float) -> float:
    """Draw from nearly a normal distribution, cut at six deviations: twelve uniform numbers (Irwin-Hall)."""
    return mean + deviation * (sum(rng.random() for _ in range(12)) - 6)


def tail(rng: Random, mean: float) -> float:
    """Draw a skewed excess between 0 and four times its mean; small ones come most often."""
    share = rng.random()
    return mean * 4 * share * share * share
