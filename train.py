"""Fine-tune a vision-language model on medical documents, and measure what that did.

python train.py                                   nano on 120 clinical forms, any laptop
python train.py precision=nf4 lora.r=64           every group and every value can be overridden
python train.py -m precision=nf4,bf16 lora.r=8,64 a sweep: one run each, one table
python train.py resume=outputs/train/<run>        goes on exactly where it stopped
"""

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start


def train(job: Job) -> float | None:
    from medvl.session import Session

    session = Session.start(job)
    before = session.evaluate("before") if session.evaluates_before else {}
    session.fit()
    if not job.main:
        return None
    return session.conclude(before, session.evaluate("after"))


@hydra.main(version_base="1.3", config_path="conf", config_name="run")
def main(cfg: DictConfig) -> float:
    return carry_out(cfg, train)


if __name__ == "__main__":
    start(main)
