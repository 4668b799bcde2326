"""Score a model on documents it was not trained on.

python evaluate.py                            the bare model of the composition
python evaluate.py run=outputs/train/<run>    what that run trained, on that run's data
python evaluate.py adapter=<folder> model=... an adapter in peft's layout
"""

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start
from medvl.table import table


def evaluate(job: Job) -> float | None:
    engine = job.load_trained()
    prepared = job.prepare(engine.encoder, needs=[job.run.eval.split.value])
    job.start_loggers()
    run, objective = job.run, job.run.eval.objective
    rows, summary = job.evaluate(engine, run.eval.chosen(prepared.examples), "predictions")
    job.say(f"{len(rows)} pages of the {run.eval.split.value} split\n{table({run.eval.split.value: summary})}")
    job.record.result(summary)
    job.mirror(**{f"eval/{key}": value for key, value in summary.items()})
    headline = {key: summary[key] for key in ("cer", "combined", "exact")}
    job.conclude(objective.value, summary[objective.value], headline, higher_is_better=objective.higher_is_better)
    return summary[objective.value]


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, evaluate)


if __name__ == "__main__":
    start(main)
