"""The shapes of the files that a report reads from a run directory."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, Required, TypedDict

from medvl.evaluation.comparison import Share
from medvl.record.reading import Count
from medvl.record.shape import Rule


def _counts(summary: dict[str, Any]) -> bool:
    return all(type(summary.get(noun)) is int and summary[noun] >= 0 for noun in ("examples", "documents"))


Summary = Annotated[dict[str, float | None], Rule(_counts, "the scores of a number of examples and documents")]
Intervals = dict[str, tuple[float, float] | None]


class Device(TypedDict, total=False):
    """What a run ran on."""

    type: str
    name: str | None


class Choices(TypedDict, total=False):
    """Automatic choices, and the option of each config group."""

    groups: dict[str, str] | None


class Environment(TypedDict, total=False):
    """environment.json"""

    command: list[str] | None
    commit: str | None
    dirty: bool | None
    cores: Count
    device: Device | None
    overrides: list[str] | None
    choices: Choices | None


class Contrast(TypedDict):
    """A set that was scored after training, and perhaps before."""

    after: Summary
    before: NotRequired[Summary]
    intervals: NotRequired[dict[str, Intervals] | None]
    verdict: NotRequired[str | None]


class BreakdownCell(TypedDict):
    """A metric of one kind or layout of page."""

    value: float | None
    interval: tuple[float, float] | None
    examples: Count
    documents: Count


class Metrics(TypedDict, total=False):
    """metrics.json: of train.py the keys of a contrast, of evaluate.py the others."""

    after: Summary
    before: Summary
    intervals: dict[str, Intervals] | None
    verdict: str | None
    replay: Contrast | None
    train: dict[str, Any]
    scores: dict[str, Summary] | None
    verdicts: list[str] | None
    breakdown: dict[str, dict[str, BreakdownCell]] | None
    answer_s: float | None


class Benchmark(TypedDict, total=False):
    """benchmark.json; what was measured is looked up by name."""

    scores: Summary | None
    intervals: Intervals | None
    peak_is: str


class Side(TypedDict, total=False):
    """Statistics of training or evaluation data; a list is a distribution."""

    kinds: Required[dict[str, float]]
    documents: Count
    examples: Count
    x_height_px: list[float] | None
    visual_tokens: list[float] | None
    tokens: list[float] | None
    words_with_digits: float | None
    lines: list[float] | None
    skew_deg: list[float] | None
    contrast: list[float] | None


class Audit(TypedDict):
    """audit.json"""

    verdict: str
    faults: NotRequired[list[str]]
    train: Side
    evaluated: Side


class Measure(TypedDict, total=False):
    """How well confidences hold."""

    values: Required[Count]
    ece: float
    brier: float
    auroc: float | None
    wrong: float
    curve: list[tuple[float, float]]
    bins: list[tuple[float, float]]


class Threshold(TypedDict):
    """From which confidence on values are accepted."""

    confidence: float
    bound: float
    coverage: float


class Calibrated(TypedDict):
    """calibration.json"""

    fitted_on: str
    measured: dict[str, Measure]
    thresholds: dict[str, Threshold | None]


class Pointed(TypedDict):
    """evidence.json"""

    measured: dict[str, float | None]


class Answer(TypedDict):
    """A row of predictions.jsonl"""

    id: str
    document: str
    kind: str
    task: str
    images: list[str]
    prompt: str
    reference: str
    prediction: str
    scores: dict[str, Share]
