"""Support for external launchers: submitit and Ray start the jobs, this module adds resuming and failure records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from medvl.record.errors import first_line
from medvl.sweeping.gpu_slots import gpus
from medvl.sweeping.local import LocalLauncher, note_end, returned
from medvl.sweeping.naming import jobs_of
from medvl.sweeping.plan import SweepPlan, is_settled, state_of

log = logging.getLogger(__name__)


class Foreign:
    """Passes only unfinished jobs to a launcher, and records those that died without a status."""

    def __init__(self, launcher: Launcher, config: DictConfig, context: Any) -> None:
        self.launcher, self.config, self.context = launcher, config, context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        plan = SweepPlan.read(self.config.hydra.sweep.dir)
        jobs = jobs_of(plan, self.context, self.config, job_overrides)
        waiting = {job.run: job for job in jobs if not is_settled(state_of(plan.folder / job.run), self.config.repeat)}
        if len(waiting) < len(jobs):
            log.info("%d of %d jobs are settled already", len(jobs) - len(waiting), len(jobs))
        why = ""
        if waiting:
            try:
                self.launcher.launch([job.overrides for job in waiting.values()], initial_job_idx)
            except Exception as error:  # a scheduler killed one job; the others record their own status
                why = first_line(error)
                log.error("the launcher says: %s", why)
        for run in waiting:
            note_end(plan.folder / run, why=why)
        return [returned(job, plan.folder / job.run) for job in jobs]


def guarded(launcher: Launcher, config: DictConfig, context: Any) -> Any:
    """Return our own launcher unchanged, and another one wrapped so that it behaves like ours.

    Raises:
        ValueError: The launcher cannot run these jobs here.
    """
    if isinstance(launcher, LocalLauncher):
        return launcher
    if config.trainer.devices * config.trainer.nodes > 1:
        raise ValueError("this launcher gives a job one process, several devices want more. Set launcher=local.")
    at_once = config.hydra.sweeper.max_batch_size
    if config.hydra.runtime.choices.get("launcher") == "submitit_local" and at_once != 1 and gpus():
        raise ValueError(
            f"hydra.sweeper.max_batch_size={at_once}: submitit starts that many jobs on one GPU. Set it to 1, or "
            "launcher=local, which gives each its own."
        )
    return Foreign(launcher, config, context)
