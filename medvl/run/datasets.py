"""The examples of a run: training and evaluation sets, and whether the two match."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.data.splits import SPLITS
from medvl.evaluation.evaluation import Objective, Split
from medvl.evaluation.gate import REPLAY, TARGET
from medvl.metrics.scoring import CHIEF, score_if_known, unfit
from medvl.run.option_names import of

if TYPE_CHECKING:
    from medvl.data.encoding import Encoder
    from medvl.data.prepare import Prepared
    from medvl.data.sources.source import Source
    from medvl.documents.render import Render
    from medvl.evaluation.evaluation import Evaluation
    from medvl.run.context import RunContext
    from medvl.types import Example

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """Examples to score, and how to score them."""

    evaluation: Evaluation
    examples: Sequence[Example]
    objective: Objective


@dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """The data of train.py."""

    prepared: Prepared
    scored: dict[str, ScoredSet]
    """The target set, and the replay set if there is one."""


def prepare_sets(context: RunContext, encoder: Encoder) -> TrainingSets:
    """Prepare and audit all data of a training run.

    Raises:
        ValueError: A set is empty, or the audit found a fault and audit=strict.
    """
    config = context.config
    prepared = prepare_training(context, encoder, needs=["train"])
    held_out = prepare_evaluation(context, encoder, prepared)
    sets = {TARGET: (config.eval, held_out)}
    if config.replay is not None:
        kept = prepare_replay(context, config.replay, encoder, prepared)
        sets[REPLAY] = (config.replay, kept)
    audit_sets(context, prepared, held_out)
    return TrainingSets(prepared=prepared, scored={name: _scored_set(name, *one) for name, one in sets.items()})


def _scored_set(name: str, wanted: Evaluation, examples: Sequence[Example]) -> ScoredSet:
    chosen = wanted.chosen(examples)
    objective = judged(wanted, chosen, "eval" if name == TARGET else name)
    return ScoredSet(evaluation=wanted, examples=chosen, objective=objective)


def prepare_training(context: RunContext, encoder: Encoder, needs: Sequence[str] = ()) -> Prepared:
    """Prepare the data of the composition, and report the result.

    Raises:
        ValueError: A needed split is empty.
    """
    config = context.config
    prepared = _prepare(context, config.data, config.render, encoder, config.batch.tokens)
    context.account("prepared", prepared)
    for name in needs:
        if not prepared.examples[name]:
            raise ValueError(f"no example is left for {name}. Set data.limit=null, or batch.tokens higher.")
        if not any(example.response for example in prepared.examples[name]):
            raise ValueError(
                "nothing is known of these pages, so there is nothing to learn. Add labels or transcriptions, "
                f"or let a model read them: python evaluate.py eval=folder eval.data.path={config.data.path}"
            )
    return prepared


def prepare_evaluation(context: RunContext, encoder: Encoder, trained: Prepared | None = None) -> Sequence[Example]:
    """Return the examples to score: the held-out split, or the split of eval.data, which is prepared here.

    Args:
        trained: The preparation of the training data, if it was already made.

    Raises:
        ValueError: The split is empty.
    """
    if context.config.eval.data is None:
        trained = trained or prepare_training(context, encoder)
    return _held_out(context, "eval", context.config.eval, encoder, trained)


def prepare_replay(context: RunContext, wanted: Evaluation, encoder: Encoder, trained: Prepared) -> Sequence[Example]:
    """Return the replay set, without documents that are also in the training data.

    Raises:
        ValueError: There are none.
    """
    learned = {example.document for example in trained.examples["train"]}
    held_out = _held_out(context, "replay", wanted, encoder, trained)
    kept = [example for example in held_out if example.document not in learned]
    if not kept:
        raise ValueError("all documents of the replay set are trained on. Set replay=none, or other replay.data.")
    return kept


def audit_sets(context: RunContext, prepared: Prepared, evaluated: Sequence[Example]) -> None:
    """Compare training with evaluation data; print, record and plot the findings.

    Raises:
        ValueError: The audit found a fault, and audit=strict.
    """
    from medvl.data.audit import Audit, audit
    from medvl.data.audit_figure import audit_figure

    config = context.config
    if config.audit is Audit.off:
        return
    cut, lost = prepared.account["overlong"]["train"]
    report = audit(
        prepared.examples["train"],
        evaluated,
        lost=lost,
        cut=cut,
        budget=config.batch.tokens,
        named=config.privacy.shows,
        memorised=config.eval.data is None and config.eval.split.value == "minitrain",
    )
    context.say("\n".join(report.lines()))
    if context.main:
        context.record.result(report.to_json(), "audit")
        audit_figure(report, context.record.path / "audit.png")
    if report.faults and config.audit is Audit.strict:
        raise ValueError(f"the audit found: {report.verdict}. Mend what it names above, or set audit=warn.")


def judged(wanted: Evaluation, examples: Sequence[Example], option: str) -> Objective:
    """Return the objective by which examples are judged; say before anything is answered if none of them has it.

    Unless one is set, it is the first of CHIEF that applies to any of them; that of characters where text is read.
    """
    known: set[str] = set()
    if wanted.objective is None:
        tasks = {example.task for example in examples}
        chief = CHIEF if tasks & {"transcribe", "extract"} else CHIEF[1:]  # characters count where text is read
        for example in examples:  # usually the first one has the first of them
            known |= score_if_known(example, example.response).keys()
            if chief[0] in known:
                break
        return Objective(next((name for name in chief if name in known), CHIEF[0]))
    objective = wanted.objective
    for example in examples:  # usually the first one has it
        known |= score_if_known(example, example.response).keys()
        if objective.value in known:
            return objective
    if known:
        log.warning(
            "of %d examples to score none has the objective: %s", len(examples), unfit(objective.value, known, option)
        )
    return objective


def _held_out(
    context: RunContext, name: str, wanted: Evaluation, encoder: Encoder, trained: Prepared | None
) -> Sequence[Example]:
    """Return the split that an evaluation names, from its own data or the training data."""
    if wanted.data is None:
        prepared = trained
    else:
        with of(name):
            prepared = _prepare(context, wanted.data, wanted.render or context.config.render, encoder, wanted.tokens)
        kind = {"eval": "evaluation"}.get(name, name)
        context.account(f"prepared_{kind}", prepared, f"documents of the {kind} set:")
    assert prepared is not None
    splits = SPLITS if wanted.split is Split.all else (wanted.split.value,)
    examples = [example for split in splits for example in prepared.examples[split]]
    if not examples:
        raise ValueError(f"{wanted.split} is empty. Set {name}.split=minitrain, or data.limit=null.")
    return examples


def _prepare(context: RunContext, source: Source, render: Render, encoder: Encoder, budget: int) -> Prepared:
    from medvl.data.prepare import prepare

    config = context.config
    return prepare(
        source,
        render,
        encoder,
        budget=budget,
        cache=Path(config.cache).expanduser(),
        workers=len(os.sched_getaffinity(0)),
        bar=config.trainer.bar and context.main,
        named=config.privacy.shows,
    )
