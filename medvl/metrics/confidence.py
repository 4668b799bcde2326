"""Confidence intervals for a metric, and for the difference between two runs: a bootstrap over documents.

Pages of one document resemble each other, so whole documents are drawn with replacement, as many as there are; the
middle 95 % of the resampled values are the interval (percentile method, Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 13). The comparison of two runs is paired: both use the same draws, so that a document that is
hard for both does not blur their difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medvl.metrics.registry import METRICS
from medvl.metrics.scoring import summarize

Rows = Sequence[Mapping[str, Any]]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Two runs compared by one metric."""

    a: float
    b: float
    difference: float
    """b - a"""
    low: float | None
    """None if only one document has the metric, or a score is no number."""
    high: float | None
    verdict: str
    """b against a: better or worse if the interval excludes 0 and the documents are `enough`, else cannot tell."""
    documents: int
    """Number of documents that have the metric."""


def intervals(rows: Rows, level: float = 0.95, draws: int = 2000, seed: int = 0) -> dict[str, Interval | None]:
    """Return the interval of every metric of a set; None if only one document has it, or a score is no number.

    Args:
        rows: As for `summarize`.
    """
    documents, names = _documents(rows), _names(rows)
    if not names:
        return {}
    sums = _sums(rows, documents, names)
    (shares,) = _resample([sums], draws, seed)
    known = (sums[..., 1] > 0).sum(axis=0)
    return {name: _middle(shares[:, at], level) if known[at] > 1 else None for at, name in enumerate(names)}


def paired(rows_a: Rows, rows_b: Rows, level: float = 0.95, draws: int = 2000, seed: int = 0) -> dict[str, Difference]:
    """Compare two runs on the same examples.

    Args:
        rows_a: As for `summarize`, with `id` and `reference`; rows are matched by id, the others left out.

    Returns:
        The metrics that both runs have.

    Raises:
        ValueError: No row matches, an id occurs twice, or an example's reference or document differs.
    """
    a, b = matched(rows_a, rows_b)
    summary_a, summary_b = summarize(a), summarize(b)
    names = [name for name in METRICS if name in summary_a and name in summary_b]
    documents = _documents(a)
    sums_a, sums_b = _sums(a, documents, names), _sums(b, documents, names)
    shares_a, shares_b = _resample([sums_a, sums_b], draws, seed)
    known = ((sums_a[..., 1] > 0) | (sums_b[..., 1] > 0)).sum(axis=0)
    result = {}
    for at, name in enumerate(names):
        interval = _middle(shares_b[:, at] - shares_a[:, at], level) if known[at] > 1 else None
        result[name] = Difference(
            a=summary_a[name],
            b=summary_b[name],
            difference=summary_b[name] - summary_a[name],
            low=interval[0] if interval else None,
            high=interval[1] if interval else None,
            verdict=_verdict(name, interval) if enough(int(known[at]), level) else "cannot tell",
            documents=int(known[at]),
        )
    return result


def enough(documents: int, level: float = 0.95) -> bool:
    """Return whether this number of documents can show a difference at all.

    By chance alone, all of n documents agree with probability 2 / 2**n (the sign test): 6 % for 5 documents, 3 % for
    6. The bootstrap does not take this into account; its interval for a few documents is too narrow.

    >>> enough(5), enough(6)
    (False, True)
    """
    return 2 / 2**documents <= 1 - level


def matched(rows_a: Rows, rows_b: Rows) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the rows of the examples that both have, in the order of a; raises the same errors as `paired`."""
    by_id = {row["id"]: row for row in rows_b}
    a = [row for row in rows_a if row["id"] in by_id]
    if not a:
        raise ValueError("the runs have no example in common: they scored different data")
    for rows in (rows_a, rows_b):
        if len({row["id"] for row in rows}) < len(rows):
            raise ValueError("an example's id stands twice in one run")
    b = [by_id[row["id"]] for row in a]
    for key in ("reference", "document"):
        other = [one["id"] for one, two in zip(a, b, strict=True) if one.get(key) != two.get(key)]
        if other:
            raise ValueError(f"the {key} of {len(other)} of {len(a)} examples differs, that of {other[0]} first")
    return a, b


def _resample(runs: Sequence[np.ndarray], draws: int, seed: int) -> list[np.ndarray]:
    """Return the metrics of each run in every draw, (draws, metrics); nan if no document of a draw has the metric.

    Args:
        runs: Sums of each run, (documents, metrics, 2); all runs use the same draws.
    """
    random, documents = np.random.default_rng(seed), len(runs[0])
    blocks: list[list[np.ndarray]] = [[] for _ in runs]
    size = max(1, 2_000_000 // documents)  # draws at once, 16 MB of counts
    for start in range(0, draws, size):
        # For sums, only how often each document is drawn matters.
        counts = random.multinomial(documents, [1 / documents] * documents, size=min(size, draws - start))
        for sums, block in zip(runs, blocks, strict=True):
            above, below = np.moveaxis(np.tensordot(counts.astype(float), sums, 1), -1, 0)
            block.append(np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0))
    return [np.concatenate(block) for block in blocks]


def _middle(shares: np.ndarray, level: float) -> Interval | None:
    """Return the middle of the draws; None if none of them is a number."""
    if np.isnan(shares).all():
        return None
    low, high = np.nanquantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _names(rows: Rows) -> list[str]:
    """Return the metrics that any row has."""
    known = {name for row in rows for name in row["scores"]}
    return [name for name in METRICS if name in known]


def _documents(rows: Rows) -> dict[str, int]:
    """Return the documents in order, each with its number."""
    return {document: at for at, document in enumerate(dict.fromkeys(row["document"] for row in rows))}


def _sums(rows: Rows, documents: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    """Return the numerators and denominators of each document, (documents, metrics, 2)."""
    sums = np.zeros((len(documents), len(names), 2))
    for row in rows:
        for at, name in enumerate(names):
            sums[documents[row["document"]], at] += row["scores"].get(name, (0.0, 0.0))
    return sums


def _verdict(name: str, interval: Interval | None) -> str:
    """Return the verdict for an interval of b - a, which must exclude 0 to decide anything."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "cannot tell"
    return "better" if (interval[0] > 0) == METRICS[name].higher_is_better else "worse"


def sentence(name: str, difference: Difference, a: str = "a", b: str = "b", level: float = 0.95) -> str:
    """Describe a comparison in words, with differences in percentage points.

    Args:
        level: Confidence level of the difference's interval.

    >>> one = Difference(a=0.30, b=0.25, difference=-0.05, low=-0.08, high=-0.02, verdict="better", documents=12)
    >>> print(sentence("cer", one, "base", "tuned"))  # doctest: +NORMALIZE_WHITESPACE
    tuned is better than base: character error rate 25.00 % against 30.00 %, -5.00 points
    (95 % interval -8.00 to -2.00, 12 documents).
    """
    numbers = (
        f"{METRICS[name].title} {100 * difference.b:.2f} % against {100 * difference.a:.2f} %, "
        f"{100 * difference.difference:+.2f} points"
    )
    if not math.isfinite(difference.difference):
        return f"Cannot tell {b} from {a}: {numbers}, but a score is no number. Evaluate both again."
    if difference.low is None or difference.high is None:
        return f"Cannot tell {b} from {a}: {numbers}, but one document only has no interval. Evaluate more documents."
    interval = f"{100 * level:.0f} % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
    if not enough(difference.documents, level):
        few = f"{difference.documents} documents are too few for any verdict. Evaluate more documents."
        return f"Cannot tell {b} from {a}: {numbers} ({interval}), but {few}"
    basis = f"({interval}, {difference.documents} documents)"
    if difference.verdict == "cannot tell":
        return f"Cannot tell {b} from {a}: {numbers} {basis}: the interval holds 0."
    return f"{b} is {difference.verdict} than {a}: {numbers} {basis}."
