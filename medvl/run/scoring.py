"""Scoring within a run: generates and scores answers, records predictions, sends pages to the tracker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.evaluation.evaluation import Ablation, Scored, ablated, does_it_read
from medvl.generation.remote import RemoteEngine
from medvl.metrics import summarize
from medvl.metrics.scoring import SCORING, score_if_known
from medvl.readers.reader import ReadingEngine
from medvl.record.files import read_jsonl
from medvl.record.timetable import Part
from medvl.run.gguf_serving import answers_by_llama, served_export
from medvl.run.pace import timetable

if TYPE_CHECKING:
    from medvl.evaluation.evaluation import Answering, Evaluation
    from medvl.run.context import RunContext
    from medvl.types import Example


def examples_to_score(context: RunContext) -> tuple[Answering, Sequence[Example]]:
    """Return what answers in evaluate.py, a model, a server or an OCR program, and the examples that it is scored on.

    Raises:
        ValueError: As for `load_trained` and `prepare_evaluation`, the server is not there, or the program can answer
            no example.
    """
    from medvl.run.datasets import prepare_evaluation
    from medvl.run.loading import encoder_of, load_scored

    config = context.config
    if config.engine is not None:
        remote = ask_server(context)
        return remote, config.eval.chosen(prepare_evaluation(context, remote.encoder))
    if config.reader is None:
        engine = served_export(context) if answers_by_llama(config) else load_scored(context)
        chosen = config.eval.chosen(prepare_evaluation(context, engine.encoder))
        return engine, chosen
    context.tell({"reader": config.reader.engine()})
    chosen = config.eval.chosen(prepare_evaluation(context, encoder_of(config.model)))
    kept, left_out = config.reader.readable(chosen)
    if left_out:
        context.say(left_out)
    return ReadingEngine(reader=config.reader, max_image_pixels=config.model.max_image_pixels), kept


def ask_server(context: RunContext) -> RemoteEngine:
    """Return what answers by asking the server of the composition, and record what is known of it.

    Raises:
        ValueError: It is not there, or has not the model.
    """
    from medvl.run.loading import encoder_of

    config = context.config
    assert config.engine is not None
    served = config.engine.served()
    context.tell({"engine": served.choice(config.engine.concurrency)})
    if config.run is not None:
        context.say(f"run={config.run} gives the data and the size of pages; the weights are the server's")
    return RemoteEngine(endpoint=config.engine, served=served, encoder=encoder_of(config.model))


def timed(
    context: RunContext,
    engine: Answering,
    examples: Sequence[Example],
    name: str = "predictions",
    how: Evaluation | None = None,
) -> tuple[Scored, dict[str, float]]:
    """Answer and score the examples of evaluate.py; return the time an example took as well, and a server's latency."""
    config, started = context.config, time.perf_counter()
    if context.script == "evaluate" and how is None and context.main:
        pageless = len(config.ablation) if any(example.response for example in examples) else 0
        times = 1 + config.eval.constrained + pageless
        table = timetable(context, [Part(name="evaluation", amount=times * len(examples), unit="answer")])
        table.start()
        table.begin()
    scored = score_set(context, engine, examples, name, how)
    cost = {"answer_s": (time.perf_counter() - started) / len(examples)}
    return scored, cost | (engine.latency() if isinstance(engine, RemoteEngine) else {})


FREE = "no grammar"


def score_free(
    context: RunContext,
    engine: Answering,
    examples: Sequence[Example],
    rows: list[dict[str, Any]],
    cost: dict[str, float],
) -> tuple[dict[str, Scored], list[str]]:
    """Answer without grammars what was answered with them; return what `score_set` does, and the costs side by side.

    Args:
        rows: Scored with grammars, which took `cost`.
    """
    if not context.config.eval.constrained:
        return {}, []
    from medvl.evaluation.constrained import cost_table

    context.say("evaluating without grammars ...")
    how = replace(context.config.eval, constrained=False)
    free, spent = timed(context, engine, examples, "predictions_free", how)
    seconds = {"grammar": cost["answer_s"], FREE: spent["answer_s"]}
    return {FREE: free}, [cost_table({"grammar": rows, FREE: free[0]}, seconds)]


def score_set(
    context: RunContext,
    engine: Answering,
    examples: Sequence[Example],
    name: str,
    how: Evaluation | None = None,
) -> Scored:
    """Answer and score examples; rank 0 writes their predictions. Returns the rows and their summary.

    Args:
        name: Name of the predictions' file in the record.
        how: How to score; None: as `eval` says.
    """
    bar, tick = context.config.trainer.bar and context.main, context.record.timetable.tick
    head = context.config.model.answers.head_tokens
    rows = (how or context.config.eval).run(engine, examples, head_tokens=head, bar=bar, tick=tick)
    if context.main:
        context.record.predictions(rows, name)
    if context.main and context.config.privacy.shows:
        context.tracker.pages(name, rows)
    return rows, summarize(rows)


def ablated_sets(context: RunContext, examples: Sequence[Example]) -> dict[Ablation, list[Example]]:
    """Return, for every ablation of the run, the same questions with a blank or a wrong page.

    Raises:
        ValueError: There is no other page to use.
    """
    if not any(example.response for example in examples):
        return {}  # nothing is scored
    pages = Path(context.config.cache).expanduser() / "pages"
    most = context.config.model.max_image_pixels
    return {how: ablated(examples, how, pages, most) for how in context.config.ablation}


def score_pageless(
    context: RunContext,
    engine: Answering,
    ablations: dict[Ablation, list[Example]],
    rows: list[dict[str, Any]],
    objective: str,
) -> tuple[dict[str, Scored], list[str]]:
    """Score questions without their pages; returns what `score_set` does for each ablation, and the verdicts.

    Args:
        rows: Scored with the pages.
        objective: The metric that the verdicts are about.
    """
    scored, verdicts = {}, []
    for how, pageless in ablations.items():
        context.say(f"evaluating with {how.value} pages ...")
        scored[how.value] = score_set(context, engine, pageless, f"predictions_{how.value}")
        verdicts.append(does_it_read(rows, scored[how.value][0], how, objective))
    return scored, verdicts


def answered(rows: Sequence[dict[str, Any]], examples: Sequence[Example]) -> list[dict[str, Any]] | None:
    """Return recorded rows scored by the rules of today; None if they do not answer these examples."""

    def told(identity: Any, images: Any, reference: Any) -> tuple[Any, ...]:
        return identity, [Path(str(name)).name for name in images or ()], reference

    recorded = [told(row.get("id"), row.get("images"), row.get("reference")) for row in rows]
    if recorded != [told(one.id, one.images, one.response) for one in examples]:
        return None
    return [
        {
            **row,
            "images": one.images,
            "dates": one.dates,
            "scores": score_if_known(one, str(row.get("prediction"))),
            "scoring": SCORING,
        }
        for row, one in zip(rows, examples, strict=True)
    ]


def run_rows(run: str | None, examples: Sequence[Example]) -> list[dict[str, Any]] | None:
    """Return the answers that a run has recorded to these examples; None if it has none."""
    file = None if run is None else Path(run) / "predictions.jsonl"
    return answered(read_jsonl(file), examples) if file is not None and file.is_file() else None


def count_equal(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> int:
    """Return how many answers to the same examples are the same text."""
    return sum(one["prediction"] == other["prediction"] for one, other in zip(rows, others, strict=True))
