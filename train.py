"""Fine-tune a vision-language model on medical documents, and measure the effect.

python train.py                                   nano on 240 clinical forms, any laptop
python train.py precision=nf4 lora.r=64           every group and every value can be overridden
python train.py -m precision=nf4,bf16 lora.r=8,64 a sweep: one run each, one table
python train.py resume=outputs/train/<run>        continues exactly where it stopped
"""

import medvl.record.early  # noqa: F401 (signals are heeded while the others are imported)

import hydra
from omegaconf import DictConfig

from medvl.run.context import RunContext
from medvl.run.launch import carry_out
from medvl.run.suggest import start


def train(context: RunContext) -> float | None:
    from medvl.run.training_run import TrainingRun

    run = TrainingRun.start(context)
    before = run.evaluate("before") if run.evaluates_before else {}
    trained = run.fit()
    after = run.evaluate("after") if run.evaluates_after else {}
    return run.conclude(trained, before, after) if context.main else None


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, train)


if __name__ == "__main__":
    start(main)
