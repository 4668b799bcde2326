"""How far a model's values can be trusted: probabilities that its answers state a fact rightly.

A value's log-probabilities say how sure a model is, not how often it is right. A logistic regression on values whose
truth is known (Platt 1999) turns them into probabilities of being right. The documents that it is fitted on, those that
choose the thresholds, and those that both are measured on are different ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medvl.evaluation.judged import TOKENS, Judged, features
from medvl.generation.values import SaidValue
from medvl.record.files import read_json, write_json

T = TypeVar("T")
FILE = "calibration.json"
BINS = 10  # of the expected calibration error, with equal numbers of values
LEVEL = 0.95  # of the bound on that share
TRIED = 10  # thresholds
FEWEST = 20  # values, right and wrong ones together, and documents: 6
FEWEST_DOCUMENTS = 6
ALIKE = 0.1  # intraclass correlation that values of a document have at least: few errors do not tell it


@dataclass(slots=True)
class Calibration:
    """A fitted regression, what it was fitted on and how well it holds."""

    lows: list[float]
    highs: list[float]
    """The range of the features that it was fitted on; what lies outside counts as its end."""
    means: list[float]
    scales: list[float]
    weights: list[float]
    bias: float
    fitted_on: str
    """The set, in words: a response names it."""
    documents: int
    values: int
    checkpoint: str = ""
    """Name of the checkpoint whose values they were."""
    thresholds: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """By the wanted error: confidence from which values are accepted, and the bound; None: no threshold holds it."""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def transcribed(self) -> bool:
        """Whether it needs the transcript of a value's pages."""
        return len(self.means) > TOKENS

    def confidence(self, value: SaidValue, transcript: str | None = None) -> float:
        """Return the probability that a value is right.

        Raises:
            ValueError: It needs the transcript, and there is none.
        """
        if self.transcribed and transcript is None:
            raise ValueError("the confidence of a value needs the transcript of its pages")
        return float(self.of(np.array([features(value, transcript)]))[0])

    def of(self, features_: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities, (N,), of features, (N, 5)."""
        from scipy.special import expit

        scaled = (np.clip(features_[:, : len(self.means)], self.lows, self.highs) - self.means) / self.scales
        return np.asarray(expit(scaled @ self.weights + self.bias))

    def accepts(self, value: SaidValue, error: float, transcript: str | None = None) -> bool | None:
        """Return whether a value is accepted at a share of wrong ones, one of WANTED_ERRORS; None: none can be."""
        chosen = self.thresholds.get(f"{error:g}")
        return None if chosen is None else self.confidence(value, transcript) >= chosen["confidence"]

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Calibration | None:
        """Return the calibration of a run; None if it has none.

        Raises:
            ValueError: The file is damaged.
        """

        def made(content: dict[str, Any]) -> Calibration:
            found = cls(**content)
            found.confidence(SaidValue("", "", -1.0, -1.0, 1.0, 1), "")
            return found

        return stored(folder, FILE, made)


def stored(folder: Path, name: str, made: Callable[[dict[str, Any]], T]) -> T | None:
    """Return what `medvl calibrate` stored in a file of a run; None if there is none.

    Args:
        made: Makes it of the file's content; raises TypeError or ValueError if that is damaged.

    Raises:
        ValueError: The file is damaged.
    """
    content = read_json(folder / name)
    if content is None:
        return None
    try:
        return made(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / name} is damaged. Run medvl calibrate run={folder} again.") from error


def fit(judged: Judged, fitted_on: str, *, transcribed: bool = False) -> Calibration:
    """Fit the regression, with a penalty of half the squared weights on standardised features.

    Args:
        transcribed: Use the agreement with transcripts, too.

    Raises:
        ValueError: There are too few values, or all are right, or none is.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    wrong, documents = int((~judged.right).sum()), len(np.unique(judged.documents))
    if len(judged.right) < FEWEST or documents < FEWEST_DOCUMENTS or wrong in (0, len(judged.right)):
        raise ValueError(
            f"{len(judged.right)} values of {documents} documents, {wrong} of them wrong, are too few to calibrate on "
            f"(at least {FEWEST} of {FEWEST_DOCUMENTS}, some right and some wrong). Set data.limit=null."
        )
    seen = judged.features if transcribed else judged.features[:, :TOKENS]
    means, scales = seen.mean(0), np.maximum(seen.std(0), 1e-6)
    scaled = np.c_[(seen - means) / scales, np.ones(len(judged.right))]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = scaled @ weights
        kept = np.r_[weights[:-1], 0.0]
        nats = np.logaddexp(0, logits).sum() - logits[judged.right].sum() + (kept**2).sum() / 2
        return float(nats), scaled.T @ (expit(logits) - judged.right) + kept

    # A value of more probable tokens, or one that was read twice, is not less likely right; how many tokens there are
    # may tell either way.
    bounds = [(0, None), (0, None), (0, None), (None, None), *[(0, None)] * transcribed, (None, None)]
    found = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(
        lows=seen.min(0).tolist(),
        highs=seen.max(0).tolist(),
        means=means.tolist(),
        scales=scales.tolist(),
        weights=found[:-1].tolist(),
        bias=float(found[-1]),
        fitted_on=fitted_on,
        documents=documents,
        values=len(judged.right),
    )


def surely_better(one: Calibration, other: Calibration, judged: Judged) -> bool:
    """Return whether `one` makes values more likely than `other`: by more than its error over documents, at 95 %."""
    from scipy.stats import t

    def losses(calibration: Calibration) -> NDArray[np.float64]:
        confidence = np.clip(calibration.of(judged.features), 1e-12, 1 - 1e-12)
        return np.asarray(-np.log(np.where(judged.right, confidence, 1 - confidence)))

    documents = np.unique(judged.documents, return_inverse=True)[1]
    gains = np.bincount(documents, losses(other) - losses(one)) / np.bincount(documents)
    if len(gains) < 2:
        return False
    return bool(gains.mean() > t.ppf(LEVEL, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5)


def threshold(confidence: NDArray[np.float64], judged: Judged, error: float) -> dict[str, Any] | None:
    """Return from which confidence on values are accepted so that at most a share `error` of those is wrong.

    Of the thresholds that accept a tenth, two tenths ... of the values, the lowest is taken whose bound holds. As ten
    are tried, each bound is of a level ten times nearer to 1 (Bonferroni). None: no bound holds.
    """
    order = np.argsort(-confidence, kind="stable")
    for tenth in range(TRIED, 0, -1):
        least = confidence[order[max(1, round(len(order) * tenth / TRIED)) - 1]]
        accepted = confidence >= least
        bound = error_bound(judged.right[accepted], judged.documents[accepted], 1 - (1 - LEVEL) / TRIED)
        if bound <= error:
            return {"confidence": float(least), "bound": bound, "coverage": float(accepted.mean())}
    return None


def error_bound(right: NDArray[np.bool_], documents: NDArray[np.int64], level: float = LEVEL) -> float:
    """Return an upper bound of the share of wrong values: Clopper-Pearson, with fewer values where documents differ.

    Values of one document are alike, so that they count as fewer: by the design effect of documents as clusters (Korn
    and Graubard, Confidence intervals for proportions with small expected number of positive counts, 1998), which is at
    least that of an intraclass correlation of ALIKE.
    """
    from scipy.stats import beta, norm, t

    wrong = (~right).astype(np.float64)
    share, count = wrong.mean(), len(wrong)
    groups = np.unique(documents, return_inverse=True)[1]
    sizes = np.bincount(groups)
    effect = 1 + ((sizes**2).sum() / count - 1) * ALIKE
    if len(sizes) == 1:
        return 1.0  # nothing tells how documents differ
    if 0 < share < 1:
        rests = np.bincount(groups, wrong) - share * sizes
        variance = len(sizes) / (len(sizes) - 1) * (rests**2).sum() / count**2
        effect = max(effect, variance / (share * (1 - share) / count))
    effective = count / effect * (norm.ppf(level) / t.ppf(level, len(sizes) - 1)) ** 2
    return float(beta.ppf(level, share * effective + 1, max(effective - share * effective, 1e-9)))


def measure(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how well probabilities hold: ECE, Brier score, AUROC, and risk by coverage.

    Returns:
        `ece`, `brier`, `auroc` (None if all are right, or none is), `wrong` (share), `curve` ([coverage, risk] at each
        tenth), `bins` ([mean confidence, share of right ones] of each) and `values`.
    """
    from scipy.stats import rankdata

    order = np.argsort(-confidence, kind="stable")
    bins = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    sides = [[float(confidence[part].mean()), float(right[part].mean())] for part in bins]
    gaps = sum(len(part) * abs(said - true) for part, (said, true) in zip(bins, sides, strict=True))
    above, below = int(right.sum()), int((~right).sum())
    auroc = None
    if above and below:
        ranks = rankdata(confidence)[right].sum()
        auroc = float((ranks - above * (above + 1) / 2) / (above * below))
    risks = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    counts = [max(1, round(len(order) * tenth / 10)) for tenth in range(1, 11)]
    return {
        "ece": float(gaps / len(order)),
        "brier": float(((confidence - right) ** 2).mean()),
        "auroc": auroc,
        "wrong": float((~right).mean()),
        "bins": sides,
        "curve": [[count / len(order), float(risks[count - 1])] for count in counts],
        "values": len(order),
    }
