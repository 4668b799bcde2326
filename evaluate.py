"""Score a model on documents it was not trained on.

python evaluate.py                            the bare model of the composition
python evaluate.py run=outputs/train/<run>    what that run trained, on that run's data
python evaluate.py adapter=<folder> model=... an adapter in peft's layout
python evaluate.py eval=evaluation_pages      other documents; ablation=blank,shuffled: does it read at all?
"""

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start


def evaluate(job: Job) -> float | None:
    from medvl.evaluation import does_it_read
    from medvl.measures.confidence import intervals
    from medvl.measures.scoring import summary_table

    engine = job.load_trained()
    examples = job.run.eval.chosen(job.prepare_evaluation(engine.encoder))
    job.start_loggers()
    run, objective = job.run, job.run.eval.objective
    rows, summary = job.evaluate(engine, examples, "predictions")
    columns, spread = {run.eval.split.value: summary}, {run.eval.split.value: intervals(rows)}
    verdicts = []
    for how in run.ablation:
        without, columns[how.value] = job.ablate(engine, examples, how)
        spread[how.value] = intervals(without)
        verdicts.append(does_it_read(rows, without, how, objective.value))
    job.say(f"{len(rows)} examples of the {run.eval.split.value} split\n{summary_table(columns, spread)}")
    if verdicts:
        job.say("\n".join(verdicts))
    job.record.result({"scores": columns, "intervals": spread, "verdicts": verdicts})
    job.mirror(**{f"eval/{key}": value for key, value in summary.items()})
    headline = {key: summary.get(key) for key in ("cer", "combined", "exact")}
    value = summary.get(objective.value)
    job.conclude(objective.value, value, headline, higher_is_better=objective.higher_is_better)
    return value


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, evaluate)


if __name__ == "__main__":
    start(main)
