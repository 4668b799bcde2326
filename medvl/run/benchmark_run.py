"""Runs a benchmark: prepares its inputs from a composition. The top level of benchmark.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvl.benchmarks.bench import Composed, ComposedBench
from medvl.benchmarks.model import ModelBench, scored
from medvl.benchmarks.pages import PageBench
from medvl.benchmarks.served import served
from medvl.run.artefacts import deployed, prepare_artefact
from medvl.run.datasets import judged, prepare_evaluation, prepare_training
from medvl.run.gguf_serving import answers_by_llama, served_export
from medvl.run.loading import load_trained, tune_model
from medvl.run.scoring import ask_server, score_set
from medvl.run.tracked import start_tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medvl.generation.remote import RemoteEngine
    from medvl.run.context import RunContext
    from medvl.types import Example


def measure(context: RunContext) -> dict[str, Any]:
    """Run the benchmark of the composition; return every number and every sample."""
    config = context.config
    if isinstance(config.bench, PageBench):
        return config.bench.run(config.data, config.render)
    if isinstance(config.bench, ModelBench) and config.engine is not None:
        return _ask(context, config.bench, ask_server(context))
    if isinstance(config.bench, ModelBench) and answers_by_llama(config):
        return _ask(context, config.bench, served_export(prepare_artefact(context)))
    assert isinstance(config.bench, ComposedBench)
    return config.bench.run(_compose(context, config.bench))


def _ask(context: RunContext, bench: ModelBench, engine: RemoteEngine) -> dict[str, Any]:
    evaluated = context.config.eval.chosen(prepare_evaluation(context, engine.encoder))
    context.say("a server is timed as its client sees it; its memory, loading and training are not measured")
    start_tracker(context)
    results, rows = served(engine, evaluated, bench), None
    if bench.accuracy:
        rows, summary = score_set(context, engine, evaluated, "predictions")
        results |= scored(rows, summary)
    return results | _facts(context, rows, evaluated)


def _facts(context: RunContext, rows: list[dict[str, Any]] | None, evaluated: Sequence[Example]) -> dict[str, Any]:
    """Return what is measured and, if answers were scored, by which objective they are judged."""
    objective = {} if rows is None else {"objective": judged(context.config.eval, evaluated, "eval").value}
    return deployed(context, rows, evaluated) | objective


def _compose(context: RunContext, bench: ComposedBench) -> Composed:
    config = context.config
    ready = load_trained(prepare_artefact(context), bench.measured_precision(config.precision))
    engine = ready.engine
    prepared = prepare_training(context, engine.encoder, needs=["train"])
    evaluated = config.eval.chosen(prepare_evaluation(context, engine.encoder, prepared)) if bench.answers else []
    start_tracker(context)
    return Composed(
        engine=engine,
        plan=ready.plan,
        load_s=ready.loaded.seconds,
        trained=config.loads_trained,
        train=prepared.examples["train"],
        evaluated=evaluated,
        lora=config.lora,
        make_optimizer=config.make_optimizer(),
        budget=config.batch.tokens,
        tune=lambda model: tune_model(context, ready, model),
        score=lambda: score_set(context, engine, evaluated, "predictions"),
        deployed=lambda rows: _facts(context, rows, evaluated),
        folder=context.record.path,
    )
