"""Scoring within a run: generates and scores answers, records predictions, sends pages to the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.evaluation.evaluation import Ablation, Scored, ablated
from medvl.metrics import summarize

if TYPE_CHECKING:
    from medvl.evaluation.evaluation import Evaluation
    from medvl.evaluation.generation import Engine
    from medvl.run.context import RunContext
    from medvl.types import Example


def score_set(
    context: RunContext, engine: Engine, examples: Sequence[Example], name: str, how: Evaluation | None = None
) -> Scored:
    """Answer and score examples, and write their predictions; returns the rows and their summary.

    Args:
        name: Name of the predictions' file in the record.
        how: How to score; None: as `eval` says.
    """
    rows = (how or context.config.eval).run(engine, examples, bar=context.config.trainer.bar)
    context.record.predictions(rows, name)
    if context.config.privacy.shows:
        context.tracker.pages(name, rows)
    return rows, summarize(rows)


def ablated_sets(context: RunContext, examples: Sequence[Example]) -> dict[Ablation, list[Example]]:
    """Return, for every ablation of the run, the same questions with a blank or a wrong page.

    Raises:
        ValueError: There is no other page to use.
    """
    pages = Path(context.config.cache).expanduser() / "pages"
    most = context.config.model.max_image_pixels
    return {how: ablated(examples, how, pages, most) for how in context.config.ablation}
