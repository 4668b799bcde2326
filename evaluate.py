"""Score a model on documents it was not trained on.

python evaluate.py                            how well the bare model reads general text
python evaluate.py run=outputs/train/<run>    what that run trained, on that run's data
python evaluate.py adapter=<folder> model=... an adapter in peft's layout, an export for one
python evaluate.py eval=evaluation_pages      other documents; ablation=blank,shuffled: does it read at all?
python evaluate.py -m run=<run> artefact=adapter,merged,requantised   what merging and quantising again cost
"""

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start


def evaluate(job: Job) -> float | None:
    from medvl.evaluation import does_it_read
    from medvl.measures import summary_table
    from medvl.measures.breakdown import breakdown, breakdown_table
    from medvl.measures.confidence import intervals

    engine = job.load_trained()
    examples = job.run.eval.chosen(job.prepare_evaluation(engine.encoder))
    ablations = job.ablated(examples)  # a refusal comes before anything is scored
    job.start_mirror()
    run, objective = job.run, job.run.eval.objective
    rows, summary = job.evaluate(engine, examples, "predictions")
    columns, spread = {run.eval.split.value: summary}, {run.eval.split.value: intervals(rows)}
    verdicts = []
    for how, pageless in ablations.items():
        job.say(f"evaluating with {how.value} pages ...")
        without, columns[how.value] = job.evaluate(engine, pageless, f"predictions_{how.value}")
        spread[how.value] = intervals(without)
        verdicts.append(does_it_read(rows, without, how, objective.value))
    job.say(f"{len(rows)} examples of {run.eval.split}\n{summary_table(columns, spread)}")
    parts = breakdown(rows, objective.value)
    for said in ([breakdown_table(parts, objective.value)] if parts else []) + verdicts:
        job.say(said)
    job.record.result({"scores": columns, "intervals": spread, "breakdown": parts, "verdicts": verdicts})
    job.mirror_numbers(**{f"eval/{key}": value for key, value in summary.items()})
    headline = {key: summary.get(key) for key in ("cer", "combined", "exact")}
    value = summary.get(objective.value)
    job.conclude(objective.value, value, headline, higher_is_better=objective.higher_is_better)
    return value


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, evaluate)


if __name__ == "__main__":
    start(main)
