"""Values whose truth is known, and what tells of each how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvl.generation.values import SaidValue
from medvl.metrics import normalize

FEATURES = 5
TOKENS = 4  # features without the page's own transcript
_LEAST_MASS = 1e-9


@dataclass(frozen=True, slots=True)
class KnownValue:
    """A value whose truth is known."""

    said: SaidValue
    right: bool
    document: str
    transcript: str | None = None
    """What the same model read on the same pages when it was asked for their text."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Values of one set, with what is known about them."""

    features: NDArray[np.float64]
    """(N, 5); the last is NaN where no transcript of the page is known."""
    right: NDArray[np.bool_]
    """(N,)"""
    documents: NDArray[np.int64]
    """The document of each, (N,)."""

    @classmethod
    def of(cls, values: Sequence[KnownValue]) -> Judged:
        """Collect values with their truth and their documents."""
        names = {name: at for at, name in enumerate(dict.fromkeys(known.document for known in values))}
        seen = [features(known.said, known.transcript) for known in values]
        return cls(
            np.array(seen, np.float64).reshape(len(values), FEATURES),
            np.array([known.right for known in values], bool),
            np.array([names[known.document] for known in values], np.int64),
        )

    @property
    def transcribed(self) -> bool:
        """Whether the transcripts of all pages are known."""
        return not bool(np.isnan(self.features[:, TOKENS:]).any())

    def of_documents(self, remainder: int, divisor: int) -> Judged:
        """Return the values of every so-many-th document."""
        chosen = self.documents % divisor == remainder
        return Judged(self.features[chosen], self.right[chosen], self.documents[chosen])


def features(value: SaidValue, transcript: str | None = None) -> list[float]:
    """Return what the regression sees of a value; the last of it is NaN without a transcript."""
    mass = math.log(max(value.mass, _LEAST_MASS))
    stands = math.nan if transcript is None else agreement(value.value or "", transcript)
    return [value.log_probability, value.least, mass, math.log1p(value.tokens), stands]


def agreement(value: str, transcript: str) -> float:
    """Return how nearly a value stands in a transcript, in [0, 1]: 1 as whole words, else by its most similar part.

    >>> agreement("0.5 g", "Aspirin 500 mg daily"), round(agreement("1", "Room 17"), 2), agreement("Miller", "")
    (1.0, 0.67, 0.0)
    """
    from rapidfuzz.fuzz import partial_ratio

    said, read = normalize.value(value), " ".join(normalize.normal(transcript).split())
    if not said or len(read) < len(said):
        return 0.0
    if normalize.states(read, said):
        return 1.0
    # Blanks around it make a part of a longer word or number less than the whole.
    return min(partial_ratio(f" {said} ", f" {read} ") / 100, 0.99)
