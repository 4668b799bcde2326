"""The interface of every benchmark, and the loaded composition passed to those that measure a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn

    from medvl.evaluation.evaluation import Scored
    from medvl.generation.engine import Engine
    from medvl.hardware.plan import HardwarePlan
    from medvl.model.lora import Adapter
    from medvl.model.precision import Precision
    from medvl.training.tuning import Tuning
    from medvl.types import Example


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A loaded and prepared composition to measure."""

    engine: Engine
    plan: HardwarePlan
    load_s: float
    trained: bool
    """Whether trained weights were loaded with the model."""
    train: Sequence[Example]
    evaluated: Sequence[Example]
    """The examples that `eval` names, if the benchmark answers them."""
    lora: Adapter
    make_optimizer: Callable[..., Any]
    budget: int
    """Tokens per packed row."""
    tune: Callable[[nn.Module], Tuning]
    score: Callable[[], Scored]
    """Answers and scores `evaluated`, and writes the predictions to the record."""
    deployed: Callable[[list[dict[str, Any]] | None], dict[str, Any]]
    """Says what is measured: artefact, engine, size on disk, and how many of the scored answers equal the run's."""
    folder: Path
    """The run directory, where pictures and profiles go."""


@dataclass(kw_only=True)
class Bench:
    """A benchmark that benchmark.py runs: the `bench` config group."""

    objective: ClassVar[str]
    """The result that a sweep optimises; lower is better unless `higher_is_better`."""
    higher_is_better: ClassVar[bool] = False
    headline: ClassVar[tuple[str, ...]]
    """The results that are printed and form the columns of a sweep's table."""

    def show(self, results: dict[str, Any]) -> str:
        """Return the results as text for people."""
        return "\n".join(f"{results[key]:>12,.1f}  {key}" for key in self.headline if key in results)


@dataclass(kw_only=True)
class ComposedBench(Bench):
    """A benchmark of a model loaded from a composition."""

    answers: ClassVar[bool] = False
    """Whether the benchmark needs the examples of `eval`."""

    def check_composition(self, lora: Adapter, *, trained: bool) -> None:
        """Refuse what cannot be measured, before a model is loaded.

        Raises:
            ValueError: The message names the override that fixes it.
        """

    def measured_precision(self, precision: Precision) -> Precision:
        """Return the storage of the weights during the measurement."""
        return precision

    def run(self, composed: Composed) -> dict[str, Any]:
        """Measure; return every number and every sample."""
        raise NotImplementedError
