"""What happens when a sweep ends: its table is printed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from medvl.sweeping.plan import State, SweepPlan, state_of
from medvl.sweeping.table import sweep_table


class SweepTable(Callback):
    """Prints the table of a multirun when it ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from medvl.reporting.report import report_line

        folder = Path(config.hydra.sweep.dir)
        states = Counter(state_of(run) for run in SweepPlan.read(folder).runs())
        print(f"\n{sweep_table(folder)}\n\n{folder}/sweep.txt")
        if config.report:
            print(report_line(folder))
        if states[State.failed]:
            print(f"{states[State.failed]} failed; the same command with repeat=failed does them again.")
        if any(not state.settled or state is State.failed for state in states):
            sys.exit(1)
