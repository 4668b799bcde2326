"""`medvl export`: from a finished run, an adapter or a base to a folder that other engines load, with its scores."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medvl.evaluation.gate import BeforeAfter
from medvl.export.card import write_card
from medvl.export.files import share
from medvl.export.formats import Format
from medvl.export.lineage import base_of_export, run_of_export
from medvl.generation.llama_cpp import LlamaCpp
from medvl.hardware.ranks import quiet_libraries
from medvl.model.adapters import attach
from medvl.model.loading import weight_bytes
from medvl.model.merging import check_room, merged
from medvl.model.parts import weights_on_disk
from medvl.record.environment import environment, version
from medvl.record.files import replace_folder, write_text
from medvl.run.calibration_job import ROOM, check_same, has_result, job_of, start_job
from medvl.run.export_lineage import track_export
from medvl.run.export_target import adapter_hash, engine_name, locked_target, target_of
from medvl.run.gguf_serving import context_tokens, serving
from medvl.run.tracked import start_tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from medvl.data.encoding import Encoder
    from medvl.evaluation.evaluation import Objective, Scored
    from medvl.hardware.plan import HardwarePlan
    from medvl.model.loading import Loaded
    from medvl.model.precision import Precision
    from medvl.run.config import RunConfig
    from medvl.run.context import RunContext
    from medvl.types import Example

ANSWERS = "the run's"


@dataclass(frozen=True, kw_only=True)
class Means:
    """How models are loaded, and the pages they are compared on."""

    context: RunContext
    plan: HardwarePlan
    precision: Precision
    """Of training."""
    examples: Sequence[Example]

    @property
    def exact(self) -> Precision:
        """The precision of a merged model."""
        return self.precision.in_bf16()

    def load(self, folder: Path) -> Loaded:
        """Load an exported folder as evaluate.py loads model.path=; every tensor must find its place."""
        config = self.context.config
        model = replace(config.model, path=str(folder), revision=None)
        return model.load(self.exact, config.hardware, self.plan)

    def logits(self, loaded: Loaded, encoder: Encoder) -> Tensor:
        from medvl.export.parity import answer_logits

        return answer_logits(loaded.model, encoder, self.examples, self.exact)


@dataclass(frozen=True, kw_only=True)
class Export:
    """A folder that was written, read again and scored."""

    facts: dict[str, Any]
    summary: dict[str, Any]
    objective: Objective


def export(context: RunContext) -> float | None:
    """Write the model of the composition, load it again, score it, and say how it compares; return its objective.

    Raises:
        ValueError: It cannot be written, or what was written is not what was to be.
    """
    config, target = context.config, target_of(context.config)
    if config.format.calibrated:
        adapter = None if context.trained is None else adapter_hash(context.trained)
        if not has_result(target):
            _start_job(context, target, adapter)
            return None
        check_same(config, target, adapter)
    with locked_target(target):
        written = write_export(context, config.format, target)
    facts, objective, value = written.facts, written.objective, written.summary.get(written.objective.value)
    context.record.result({"scores": {"export": written.summary}, **facts})
    track_export(context, target, facts)
    shown = {objective.value: value, "MB": facts["bytes"] / 1e6, "publishable": facts["publishable"]}
    context.conclude(objective.value, value, shown, higher_is_better=objective.higher_is_better)
    context.say(f"exported to {target}")
    return value


def _start_job(context: RunContext, target: Path, adapter: str | None) -> None:
    """Write the folder in which llm-compressor is run: the merged model, and pages to calibrate on."""
    from medvl.run.loading import encoder_of, resolve_auto

    plan, precision, choices = resolve_auto(context.config, context.config.precision)
    context.tell(choices)

    def write_model(folder: Path, examples: Sequence[Example]) -> None:
        means = Means(context=context, plan=plan, precision=precision, examples=examples)
        loaded, _ = _load_merged(means, encoder_of(context.config.model))
        _write_folder(context.config, loaded, Format.merged, folder)

    with locked_target(target):
        start_job(context, target, adapter, write_model)


def write_export(context: RunContext, form: Format, target: Path) -> Export:
    """Write the model of a composition to a folder, load it again, score it, and write its card.

    Raises:
        ValueError: It cannot be written, or what was written is not what was to be.
    """
    from medvl.run.datasets import judged, prepare_evaluation
    from medvl.run.loading import encoder_of, resolve_auto
    from medvl.run.scoring import score_set

    config = context.config
    check_room(target.parent, weight_bytes(config.model.config(), config.precision.in_bf16()), ROOM)
    plan, precision, choices = resolve_auto(config, config.precision)
    quiet_libraries()
    context.tell(choices)
    encoder = encoder_of(config.model)
    examples = config.eval.chosen(prepare_evaluation(context, encoder))
    objective = judged(config.eval, examples, "eval")
    if context.script == "export":  # in evaluate.py it starts once the export is there
        start_tracker(context)
    means = Means(context=context, plan=plan, precision=precision, examples=examples)
    with replace_folder(target) as draft:
        facts, logits = _write(means, encoder, form, draft)
        gc.collect()
        if form.gguf_kind is None:
            again = means.load(draft)
            facts["parity"] = {"logits": _logit_parity(logits, means.logits(again, encoder))}
            scored = _answer(means, again, encoder)
        else:
            facts["parity"] = {"logits": []}  # llama.cpp tells texts
            with serving(context, draft) as llama:
                scored = score_set(context, llama, examples, "predictions")
        facts |= _judge(context, scored, examples, objective.value, facts)
        write_card(draft, facts)
        share(draft)
    return Export(facts=facts, summary=scored[1], objective=objective)


def _write(means: Means, encoder: Encoder, form: Format, draft: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Merge and write everything but the card; return facts, and the logits of what the export is made of."""
    context, config = means.context, means.context.config
    trained = context.trained
    into = config.merge_into.settled(means.precision)
    loaded, logits = _load_merged(means, encoder)
    pixels = {"min_pixels": config.model.min_pixels, "max_pixels": config.model.max_pixels}
    write = _write_folder if form.gguf_kind is None else _write_gguf
    tensors, quantised = write(config, loaded, form, draft)
    facts = {
        "format": form.name,
        "scheme": form.stored or form.gguf_kind,
        "merged_into": into.name if trained is not None else None,
        "base": base_of_export(config.model, loaded.base_hash),
        "run": None if config.run is None or trained is None else run_of_export(Path(config.run), trained.name),
        "medvl": {"version": version("medvl"), "commit": environment()["commit"]},
        "pixels": pixels,
        "prompt": (config.model.ask or config.data.prompt) if config.privacy.shows else None,
        "adapter": None if trained is None else adapter_hash(trained),
        "engine": engine_name(form),
        "eval": context.groups.get("eval"),
        "tensors": tensors,
        "quantised": quantised,
        "bytes": weights_on_disk(draft),
    }
    return facts, logits


def _load_merged(means: Means, encoder: Encoder) -> tuple[Loaded, dict[str, Tensor]]:
    """Load what is exported, merged in bf16; return also the logits of the adapter beside its base, and merged."""
    context, config = means.context, means.context.config
    into, trained = config.merge_into.settled(means.precision), context.trained
    storage = means.exact if trained is None else into.storage(means.precision)
    loaded = config.model.load(storage, config.hardware, means.plan)
    logits = {}
    if trained is not None:
        loaded.model = attach(loaded.model, trained)
        logits[f"the adapter on its {into.name} base"] = means.logits(loaded, encoder)
        loaded.model = merged(loaded.model)
    logits["the merged model"] = means.logits(loaded, encoder)
    return loaded, logits


def _write_folder(config: RunConfig, loaded: Loaded, form: Format, draft: Path) -> tuple[int, int]:
    """Write a folder for transformers and vLLM; return how many tensors it holds, and how many layers are quantised."""
    from medvl.export.files import write_architecture, write_generation, write_processor
    from medvl.export.weights import check_written, published_states, write_weights

    model: Any = loaded.model
    write_architecture(model.config, draft)
    if form.calibrated:
        from medvl.export.calibration import RESULT, take_result

        result = job_of(target_of(config)) / RESULT
        wanted, quantised = take_result(result, published_states(model), model.config, form.calibrated, draft)
    else:
        wanted, quantised = write_weights(published_states(model), model.config, form.scheme, draft)
    write_processor(loaded.processor, draft, min_pixels=config.model.min_pixels, max_pixels=config.model.max_pixels)
    write_generation(loaded.processor, draft)
    return check_written(draft, wanted), quantised


def _write_gguf(config: RunConfig, loaded: Loaded, form: Format, draft: Path) -> tuple[int, int]:
    """Write a folder for llama.cpp and Ollama; return as `_write_folder` does."""
    from medvl.export import ollama
    from medvl.export.gguf_files import MODEL, PROJECTOR, check_gguf, requantise, write_gguf
    from medvl.export.weights import published_states

    model, by_program = cast("Any", loaded.model), form is Format.gguf_q4_k_m
    write_gguf(
        published_states(model),
        model.config,
        loaded.processor,
        draft,
        name=loaded.base,
        kind="F16" if by_program else str(form.gguf_kind),
        min_pixels=config.model.min_pixels,
        max_pixels=config.model.max_pixels,
    )
    if by_program:
        requantise(draft, LlamaCpp.quantizer(), str(form.gguf_kind))
    text = ollama.modelfile(loaded.processor, model=MODEL, projector=PROJECTOR, context=context_tokens(config))
    write_text(draft / ollama.FILE, text)
    return check_gguf(draft, model.config), 0


def _logit_parity(before: dict[str, Tensor], after: Tensor) -> list[dict[str, Any]]:
    from medvl.export.parity import logit_parity

    return [{"against": name, **logit_parity(one, after)} for name, one in before.items()]


def _answer(means: Means, loaded: Loaded, encoder: Encoder) -> Scored:
    """Let the exported model answer the pages, and record its predictions."""
    from medvl.generation.engine import Engine
    from medvl.run.scoring import score_set

    hardware = means.context.config.hardware
    engine = Engine(
        model=loaded.model,
        encoder=encoder,
        precision=means.exact,
        compiled=hardware.compile,
        unified_memory=hardware.unified_memory,
    )
    return score_set(means.context, engine, means.examples, "predictions")


def _judge(
    context: RunContext, scored: Scored, examples: Sequence[Example], objective: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Compare the answers with those of the run, by the gate's rule; return scores, parity and publishability."""
    from medvl.metrics import summarize
    from medvl.metrics.confidence import intervals
    from medvl.run.scoring import count_equal, run_rows

    config, parity = context.config, {**facts["parity"], "answers": None}
    run, why = facts["run"] or {}, []
    if (run.get("gate") or {}).get("verdict") == "worse":
        why.append("The run's own gate found it worse than its base.")
    rows = run_rows(config.run, examples)
    if rows is not None:
        compared = BeforeAfter(
            title="held-out examples",
            objective=objective,
            before=(rows, summarize(rows)),
            after=scored,
            names=("the run's model", "the export"),
        )
        verdict = config.gate.judge(compared, None)
        equal = count_equal(rows, scored[0])
        parity["answers"] = {"against": ANSWERS, "equal": equal, "of": len(rows), **verdict.to_json()}
        why += verdict.why if verdict.worse else []
        context.say(f"{compared}\n{equal} of {len(rows)} answers equal {ANSWERS}")
    for one in parity["logits"]:
        context.say(f"logits: largest difference {one['max_logit_difference']:.4g} from {one['against']}")
    publishable = not why or config.force
    if why and not config.force:
        context.say(f"not marked publishable: {' '.join(why)} Set force=true to mark it all the same.")
    scores = {"summary": scored[1], "intervals": intervals(scored[0])}
    return {"scores": scores, "parity": parity, "publishable": publishable, "why": why}
