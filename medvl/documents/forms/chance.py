"""Numbers that every machine draws and computes alike.

Draws are sums and products of uniform numbers. Powers and logarithms are decimal, rounded correctly at 28 digits, for
the C library's differ in their last digit from machine to machine; of it only the square root is used, which IEEE 754
rounds correctly everywhere.
"""

from __future__ import annotations

from decimal import Context, Decimal
from random import Random

_DIGITS = Context(prec=28)


def bell(rng: Random, mean: float, deviation: float) -> float:
    """Draw from nearly a normal distribution, cut at six deviations: twelve uniform numbers (Irwin-Hall)."""
    return mean + deviation * (sum(rng.random() for _ in range(12)) - 6)


def tail(rng: Random, mean: float) -> float:
    """Draw a skewed excess between 0 and four times its mean; small ones come most often."""
    share = rng.random()
    return mean * 4 * share * share * share


def power(base: float, exponent: float) -> float:
    """Return a power of a positive number.

    >>> power(10, -2), power(0.5, 1.5)
    (0.01, 0.3535533905932738)
    """
    return float(_DIGITS.exp(_DIGITS.multiply(_DIGITS.ln(Decimal(str(base))), Decimal(str(exponent)))))


def log10(number: float) -> float:
    """Return the decimal logarithm of a positive number.

    >>> log10(1000)
    3.0
    """
    return float(_DIGITS.log10(Decimal(str(number))))
