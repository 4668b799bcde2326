"""Score a model on documents it was not trained on.

python evaluate.py                            how well the bare model reads general text
python evaluate.py run=outputs/train/<run>    what that run trained, on that run's data
python evaluate.py adapter=<folder> model=... an adapter in peft's layout, such as an export
python evaluate.py -m reader=model,tesseract,rapidocr   beside OCR programs, on the same pages
python evaluate.py eval=evaluation_pages      other documents; ablation=blank,shuffled: does it read at all?
python evaluate.py engine=openai engine.url=http://127.0.0.1:8000/v1    a model on a server, on the same pages
torchrun --nproc-per-node=4 evaluate.py run=<run> hydra.run.dir=<folder>   each GPU answers a part
python evaluate.py -m run=<run> artefact=adapter,merged,requantised,fp8,w4a16   the cost of merging and quantising again
"""

import medvl.record.early  # noqa: F401 (signals are heeded while the others are imported)

import hydra
from omegaconf import DictConfig

from medvl.run.context import RunContext
from medvl.run.launch import carry_out
from medvl.run.suggest import start


def evaluate(context: RunContext) -> float | None:
    from medvl.metrics import headline, summary_table
    from medvl.metrics.breakdown import breakdown, breakdown_table
    from medvl.metrics.confidence import intervals
    from medvl.run.artefacts import deployed, prepare_artefact
    from medvl.run.datasets import judged
    from medvl.run.scoring import ablated_sets, examples_to_score, score_free, score_pageless, timed
    from medvl.run.tracked import scored_numbers, start_tracker

    wanted, (engine, examples) = context.config.eval, examples_to_score(prepare_artefact(context))
    objective = judged(wanted, examples, "eval")
    ablations = ablated_sets(context, examples)  # may refuse, so before anything is scored
    start_tracker(context)
    (rows, summary), cost = timed(context, engine, examples)
    free, said = score_free(context, engine, examples, rows, cost)
    without, verdicts = score_pageless(context, engine, ablations, rows, objective.value)
    if not context.main:
        return None
    scored = {**free, wanted.split.value: (rows, summary), **without}  # two columns get their difference
    columns = {name: one[1] for name, one in scored.items()}
    spread = {name: intervals(one[0]) for name, one in scored.items()}
    parts = breakdown(rows, objective.value)
    told = said + ([breakdown_table(parts, objective.value)] if parts else []) + verdicts
    context.say("\n".join([f"{len(rows)} examples of {wanted.split}", summary_table(columns, spread), *told]))
    facts = {"scores": columns, "intervals": spread, "breakdown": parts, "verdicts": verdicts, **cost}
    context.record.result({**facts, **deployed(context, rows, examples)})
    context.track_numbers(**scored_numbers(summary, spread[wanted.split.value]))
    value, shown = summary.get(objective.value), {**headline(summary, objective.value), "examples": len(rows), **cost}
    return context.conclude(objective.value, value, shown, higher_is_better=objective.higher_is_better)


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, evaluate)


if __name__ == "__main__":
    start(main, config="evaluate")
