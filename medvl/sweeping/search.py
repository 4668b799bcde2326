"""The sweeper of searches: Optuna proposes, jobs answer, and a search that was killed goes on where it was.

python train.py -m sweep=search
python train.py -m hydra/sweeper=optuna 'optimizer.lr=tag(log,interval(1e-5,1e-3))' 'lora.r=choice(8,16,32)'
"""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from medvl import record
from medvl.measures import MEASURES
from medvl.sweeping.local import LocalLauncher
from medvl.sweeping.naming import plan_of, planned, refusals, settle_folder
from medvl.sweeping.plan import Planned, State, numbers_of, state_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

log = logging.getLogger(__name__)
HOST, RUN = "host", "run"  # attributes of a trial
LOOK_S = 1.0  # between looks at the metrics of running jobs


class OptunaSweeper(Sweeper):
    """Asks Optuna for values, runs a job for each proposal, and tells what came of it.

    Args:
        params: Spaces by key, in Hydra's own words: choice(...), range(...), interval(...), tag(log, ...), int(...).
        trials: Proposals in all, over every time and machine that the search runs.
        objectives: Numbers to optimise, {name, direction}, by their place in a run's results: after/cer,
            train/weights_mib, latency_p50_ms. None: what `eval.objective` names.
        sampler: Makes a sampler from a seed.
        pruner: Stops what validates worse than others did at the same step; None: nothing is stopped.
        watch: The metric that the pruner sees, of metrics.jsonl.
        storage: Any storage URL of Optuna, shared by machines that search together; None: a file in the sweep's folder.
        max_batch_size: Proposals at a time where the launcher is not the local one, which has hydra.launcher.jobs.
    """

    def __init__(
        self,
        params: dict[str, str] | None,
        trials: int,
        objectives: Sequence[dict[str, str]] | None,
        sampler: Callable[..., Any],
        pruner: Any,
        watch: str,
        storage: str | None,
        study: str | None,
        seed: int,
        max_batch_size: int | None,
    ) -> None:
        self.params, self.trials, self.objectives = dict(params or {}), trials, objectives
        self.make_sampler, self.pruner, self.watch = sampler, pruner, watch
        self.storage, self.study_name, self.seed, self.at_once = storage, study, seed, max_batch_size or 1
        self.looked = 0.0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context
        with refusals():
            self._check()
            settle_folder(config)
            self.launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )
            if self.pruner is not None and not isinstance(self.launcher, LocalLauncher):
                raise ValueError("only launcher=local can stop a job that is running. Set hydra.sweeper.pruner=null.")

    def _check(self) -> None:
        if self.trials < 1:
            raise ValueError(f"hydra.sweeper.trials must be positive, got {self.trials}. Set hydra.sweeper.trials=20.")
        if self.pruner is not None and len(self.objectives or ()) > 1:
            raise ValueError("Optuna prunes for one objective only. Set hydra.sweeper.pruner=null.")

    def sweep(self, arguments: list[str]) -> None:
        with refusals():
            self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> None:
        words = OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(
            [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        )
        last = {word.get_key_element(): word for word in words}  # what is typed wins over the sweep's file
        self.fixed = [word.input_line for word in last.values() if not word.is_sweep_override()]
        self.spaces = {key: space_of(word) for key, word in last.items() if word.is_sweep_override()}
        if not self.spaces:
            raise ValueError("nothing to search. Set a space, for example 'lora.r=choice(8,16,32)'.")
        self.plan = plan_of(self.config)
        self.goals = [dict(goal) for goal in self.objectives or [_default(self.config)]]
        self.study = self._study()
        if isinstance(self.launcher, LocalLauncher):
            self._stream(self.launcher)
        else:
            self._batches()

    def _study(self) -> Study:
        """Open the study, its earlier trials with it."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        storage = self.storage or f"sqlite:///{self.plan.folder}/search.db"
        name = self.study_name or self.plan.name
        self.plan.search = {"storage": storage, "study": name, "objectives": self.goals}
        study = optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, pruner=self.pruner or optuna.pruners.NopPruner(),
            directions=[goal["direction"] for goal in self.goals],
        )  # fmt: skip
        self.hand: dict[str, list[Trial]] = {}
        self.exhausted = False
        study.stop = self._exhaust  # type: ignore[method-assign]  # a sampler that has tried everything calls it
        for trial in study.get_trials(deepcopy=False):
            run = trial.user_attrs.get(RUN)
            if run is not None:
                self.plan.add([Planned(run, self._words(trial.params))])
        self.plan.write()
        # What this machine had in hand when it was killed. Another machine's trials are its own.
        self.adopted = [
            optuna.trial.Trial(study, trial._trial_id)
            for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
            if trial.user_attrs.get(HOST) == socket.gethostname() and trial.params
        ]
        return study

    def _exhaust(self) -> None:
        self.exhausted = True

    def _next(self) -> Planned | None:
        """Return the job of the next proposal, or None when there have been enough."""
        if self.adopted:
            trial = self.adopted.pop(0)
        elif not self.exhausted and len(self.study.get_trials(deepcopy=False)) < self.trials:
            trial = self._ask()
        else:
            return None
        job = planned(self.context, self.config, self._words(trial.params))
        trial.set_user_attr(RUN, job.run)
        self.hand.setdefault(job.run, []).append(trial)
        self.plan.add([job])
        self.plan.write()
        return job

    def _ask(self) -> Trial:
        # A seed a trial: a search that was killed proposes what it would have proposed.
        self.study.sampler = self.make_sampler(seed=self.seed + len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask(fixed_distributions=self.spaces)
        trial.set_user_attr(HOST, socket.gethostname())
        return trial

    def _words(self, values: dict[str, Any]) -> list[str]:
        """Return the overrides of a job."""
        return [*(f"{key}={value}" for key, value in values.items()), *self.fixed]

    def _stream(self, launcher: LocalLauncher) -> None:
        """Propose whenever there is room for a job."""
        launcher.stream(self.plan, self._next, ended=self._tell, tick=self._prune)

    def _batches(self) -> None:
        """Propose as many as run together, wait for all of them, and go on: what other launchers can do."""
        while jobs := [job for job in (self._next() for _ in range(self.at_once)) if job is not None]:
            self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
            for job in jobs:
                self._tell(job)

    def _tell(self, job: Planned) -> None:
        """Tell Optuna what came of a job."""
        from optuna.trial import TrialState

        run = self.plan.folder / job.run
        for trial in self.hand.pop(job.run, []):
            if trial.user_attrs.get("pruned") and state_of(run) is not State.done:
                record.Record(run).status("pruned", error=f"pruned at step {trial.user_attrs['pruned']}")
            state = state_of(run)
            if not state.settled:
                continue  # interrupted: the trial stays open, and the next start adopts it
            numbers = numbers_of(run)
            values = [numbers.get(goal["name"], math.nan) for goal in self.goals]
            if state is State.done and all(map(math.isfinite, values)):
                self.study.tell(trial, values)
            elif state is State.pruned:
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                lacking = [goal["name"] for goal, value in zip(self.goals, values, strict=True) if math.isnan(value)]
                if state is State.done:
                    log.warning("%s has no %s; it has %s", run, ", ".join(lacking), ", ".join(sorted(numbers)))
                self.study.tell(trial, state=TrialState.FAIL)

    def _prune(self, running: Sequence[Planned], stop: Callable[[Planned], None]) -> None:
        """Report what running jobs validated, and stop those that Optuna gives up."""
        if self.pruner is None or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        for job in running:
            for trial in self.hand[job.run]:
                for step, value in validated(self.plan.folder / job.run, self.watch):
                    trial.report(value, step)  # a step reported before is left as it was
                    if not trial.user_attrs.get("pruned") and trial.should_prune():
                        trial.set_user_attr("pruned", step)
                        stop(job)


def validated(run: Path, name: str) -> list[tuple[int, float]]:
    """Return step and value of a metric as far as a run has come."""
    path = run / "metrics.jsonl"
    rows = record.read_jsonl(path) if path.exists() else []
    return [(row["step"], row[name]) for row in rows if name in row]


def space_of(word: Override) -> BaseDistribution:
    """Return Optuna's distribution for a sweep in Hydra's words.

    Raises:
        ValueError: There is none for it.
    """
    from optuna import distributions

    value = word.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        kind = distributions.IntDistribution if isinstance(value.start, int) else distributions.FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        return _range(value)
    if isinstance(value, ChoiceSweep) or word.is_discrete_sweep():
        return distributions.CategoricalDistribution(list(word.sweep_string_iterator()))
    raise ValueError(f"{word.input_line} is no space that can be searched. Set choice(), range() or interval().")


def _range(value: RangeSweep) -> BaseDistribution:
    """Return the distribution of a range, whose end is not part of it."""
    from optuna import distributions

    start, stop, step = value.start, value.stop, value.step
    assert start is not None and stop is not None
    last = start + (math.ceil((stop - start) / step) - 1) * step
    if all(isinstance(number, int) for number in (start, stop, step)):
        return distributions.IntDistribution(int(start), int(last), step=int(step), log="log" in value.tags)
    return distributions.FloatDistribution(start, last, step=step)


def _default(config: DictConfig) -> dict[str, str]:
    """Return the objective of the composition."""
    name = config.eval.objective
    name = getattr(name, "value", name)
    return {"name": "objective", "direction": "maximize" if MEASURES[name].higher_is_better else "minimize"}
