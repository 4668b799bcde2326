"""Search spaces: converts Hydra's sweep syntax to Optuna's distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def space_of(word: Override) -> BaseDistribution:
    """Return Optuna's distribution for a sweep in Hydra's syntax.

    Raises:
        ValueError: Optuna has no such distribution.
    """
    from optuna import distributions

    value = word.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        kind: Any = distributions.IntDistribution if isinstance(value.start, int) else distributions.FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        return _range(value)
    if isinstance(value, ChoiceSweep) or word.is_discrete_sweep():
        return distributions.CategoricalDistribution(list(word.sweep_string_iterator()))
    raise ValueError(f"{word.input_line} is no space that can be searched. Set choice(), range() or interval().")


def _range(value: RangeSweep) -> BaseDistribution:
    """Return the distribution of a range, without its end."""
    from optuna import distributions

    start, stop, step = value.start, value.stop, value.step
    assert start is not None and stop is not None
    last = start + (math.ceil((stop - start) / step) - 1) * step
    if all(isinstance(number, int) for number in (start, stop, step)):
        return distributions.IntDistribution(int(start), int(last), step=int(step), log="log" in value.tags)
    return distributions.FloatDistribution(start, last, step=step)
