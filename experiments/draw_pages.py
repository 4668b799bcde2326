"""CPU time of drawing the pages of a pretraining diet: python experiments/draw_pages.py [OVERRIDE ...]

Sixty pages of every stage, after one of each; several trees are compared by running it from each in turn.
"""

import sys
import time
from pathlib import Path

import hydra

from medvl.run.config import resolve

PAGES = 60

if __name__ == "__main__":
    with hydra.initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base="1.3"):
        source = resolve(hydra.compose("run", overrides=["experiment=pretrain_nano_wide", *sys.argv[1:]])).data
    stages = range(len(source.stages))
    for stage in stages:
        source.page(stage, f"warm/{stage}")
    started = time.process_time()
    for stage in stages:
        for number in range(PAGES):
            source.page(stage, f"timed/{number}")
    print(f"{1e3 * (time.process_time() - started) / (len(stages) * PAGES):.1f} ms of CPU a page")
