"""Launchers that are not ours: submitit and Ray start the jobs, and what they do not know is done here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from medvl.sweeping.local import LocalLauncher, note_end, returned
from medvl.sweeping.naming import jobs_of
from medvl.sweeping.plan import Plan, is_settled, state_of
from medvl.sweeping.room import gpus

log = logging.getLogger(__name__)


class Foreign:
    """Gives a launcher only jobs that are not settled, and records those that died without a word."""

    def __init__(self, launcher: Launcher, config: DictConfig, context: Any) -> None:
        self.launcher, self.config, self.context = launcher, config, context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        plan = Plan.read(self.config.hydra.sweep.dir)
        jobs = jobs_of(plan, self.context, self.config, job_overrides)
        waiting = {job.run: job for job in jobs if not is_settled(state_of(plan.folder / job.run), self.config.repeat)}
        if len(waiting) < len(jobs):
            log.info("%d of %d jobs are settled already", len(jobs) - len(waiting), len(jobs))
        why = ""
        if waiting:
            try:
                self.launcher.launch([job.overrides for job in waiting.values()], initial_job_idx)
            except Exception as error:  # one job that a scheduler killed; the others have their own ends
                why = (str(error).strip().splitlines() or [type(error).__name__])[0]
                log.error("the launcher says: %s", why)
        for run in waiting:
            note_end(plan.folder / run, why=why)
        return [returned(job, plan.folder / job.run) for job in jobs]


def guarded(launcher: Launcher, config: DictConfig, context: Any) -> Any:
    """Return our own launcher as it is, and another one so that it does what ours does.

    Raises:
        ValueError: It cannot run such jobs here.
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
