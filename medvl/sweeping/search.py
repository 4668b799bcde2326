"""The sweeper of searches: Optuna proposes, jobs answer, and a search that was killed goes on where it was.

python train.py -m sweep=search
python train.py -m hydra/sweeper=optuna 'optimizer.lr=tag(log,interval(1e-5,1e-3))' 'lora.r=choice(8,16,32)'
"""

from __future__ import annotations

import logging
import math
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from medvl import record
from medvl.measures import MEASURES
from medvl.sweeping.foreign import guarded
from medvl.sweeping.local import LocalLauncher
from medvl.sweeping.naming import plan_of, planned, refusals, settle_folder
from medvl.sweeping.plan import Planned, Repeat, State, numbers_of, state_of
from medvl.sweeping.spaces import space_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

log = logging.getLogger(__name__)
# Attributes of a trial: machine and folder of its sweep, name of its run directory, step at which it was given up.
PLACE, RUN, PRUNED = "place", "run", "pruned"
LOOK_S = 1.0  # between looks at the metrics of running jobs


class OptunaSweeper(Sweeper):
    """Asks Optuna for values, runs a job for each proposal, and tells what came of it.

    Args:
        params: Spaces by key, in Hydra's own words: choice(...), range(...), interval(...), tag(log, ...), int(...).
        trials: Proposals in all, over every time and machine that the search runs.
        objectives: Numbers to optimise, {name, direction}, by their place in a run's results: after/cer,
            train/weights_mib, latency_p50_ms. None: what the script optimises.
        sampler: Makes a sampler from a seed.
        pruner: Stops what validates worse than others did at the same step; None: nothing is stopped.
        watch: The metric that the pruner sees, of metrics.jsonl; less is better.
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
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )
            self.launcher = guarded(launcher, config, hydra_context)
            if self.pruner is not None and not isinstance(self.launcher, LocalLauncher):
                raise ValueError("only launcher=local can stop a job that is running. Set hydra.sweeper.pruner=null.")

    def _check(self) -> None:
        if self.trials < 1:
            raise ValueError(f"hydra.sweeper.trials must be positive, got {self.trials}. Set hydra.sweeper.trials=20.")
        if self.pruner is not None and len(self.objectives or ()) > 1:
            raise ValueError("Optuna prunes for one objective only. Set hydra.sweeper.pruner=null.")
        if self.config.repeat is Repeat.all:
            raise ValueError("a search is not done again as a whole. Set hydra.sweeper.study=<a new name>.")

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
        """Open the study, its earlier trials with it.

        Raises:
            ValueError: It was made for other objectives.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        storage = self.storage or f"sqlite:///{self.plan.folder}/search.db"
        name, goals = self.study_name or self.plan.name, [goal["direction"] for goal in self.goals]
        self.plan.search = {"storage": storage, "study": name, "objectives": self.goals, "trials": self.trials}
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, directions=goals,
                                    pruner=self.pruner or optuna.pruners.NopPruner())  # fmt: skip
        if (found := [direction.name.lower() for direction in study.directions]) != goals:
            raise ValueError(f"study {name} was made to {found}, not to {goals}. Set hydra.sweeper.study=<a new name>.")
        study.stop = self._exhaust  # type: ignore[method-assign]  # a sampler that has tried everything calls it
        self.hand: dict[str, list[Trial]] = {}
        self.reported: dict[int, int] = {}
        self.exhausted = False
        self.adopted = self._adopt(study)
        if self.config.repeat is Repeat.failed:
            self._repeat_failed(study)
        self._learn(study)
        return study

    def _adopt(self, study: Study) -> list[Trial]:
        """Return the trials that this sweep had in hand when it was killed; those of another machine are its own."""
        from optuna.trial import Trial, TrialState

        self.place = f"{socket.gethostname()}:{self.plan.folder.resolve()}"
        adopted = []
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            # A database in the sweep's folder has no other user: the folder is claimed.
            if self.storage is not None and trial.user_attrs.get(PLACE) != self.place:
                continue
            if not trial.params:  # killed while it was asked for
                study.tell(trial.number, state=TrialState.FAIL)
                continue
            self.reported[trial.number] = trial.last_step or 0
            adopted.append(Trial(study, trial._trial_id))
        return adopted

    def _repeat_failed(self, study: Study) -> None:
        """Ask again for what failed."""
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=[TrialState.FAIL]):
            if RUN in trial.user_attrs and state_of(self.plan.folder / trial.user_attrs[RUN]) is State.failed:
                study.enqueue_trial(trial.params)
                self.trials += 1

    def _learn(self, study: Study) -> int:
        """Plan the jobs of all trials, those of other machines too; return how many there are."""
        asked = [trial for trial in study.get_trials(deepcopy=False) if RUN in trial.user_attrs]
        self.plan.add(Planned(trial.user_attrs[RUN], self._words(trial.params)) for trial in asked)
        self.plan.write()
        return len(asked)

    def _exhaust(self) -> None:
        self.exhausted = True

    def _next(self) -> Planned | None:
        """Return the job of the next proposal, or None when there have been enough."""
        if self.adopted:
            trial = self.adopted.pop(0)
        elif not self.exhausted and self._learn(self.study) < self.trials:
            trial = self._ask()
        else:
            return None
        job = planned(self.context, self.config, self._words(trial.params))
        trial.set_user_attr(RUN, job.run)
        self.plan.add([job])
        self.plan.write()
        self.hand.setdefault(job.run, []).append(trial)
        if PRUNED in trial.user_attrs and not state_of(self.plan.folder / job.run).settled:
            record.Record(self.plan.folder / job.run).status("pruned", error=_pruned(trial))
        return job

    def _ask(self) -> Trial:
        # A seed a trial: a search that was killed proposes what it would have proposed. Machines that search together
        # must not propose the same.
        seed = self.seed + len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self.make_sampler(seed=seed + (zlib.crc32(self.place.encode()) if self.storage else 0))
        trial = self.study.ask(fixed_distributions=self.spaces)
        trial.set_user_attr(PLACE, self.place)
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
            if PRUNED in trial.user_attrs and state_of(run) is not State.done:
                record.Record(run).status("pruned", error=_pruned(trial))
            state = state_of(run)
            if not state.settled:
                continue  # interrupted: the trial stays open, and the next start adopts it
            values = self._values(run) if state is State.done else None
            if values is not None:
                self.study.tell(trial, values)
            else:
                pruned = state is State.pruned
                self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def _values(self, run: Path) -> list[float] | None:
        """Return the objectives of a run, None where one is missing or no number."""
        numbers = numbers_of(run)
        lacking = [goal["name"] for goal in self.goals if not math.isfinite(numbers.get(goal["name"], math.nan))]
        if lacking:
            log.warning("%s has no %s; it has %s", run, ", ".join(lacking), ", ".join(sorted(numbers)))
            return None
        return [numbers[goal["name"]] for goal in self.goals]

    def _prune(self, running: Sequence[Planned], stop: Callable[[Planned], None]) -> None:
        """Report what running jobs validated, and stop those that Optuna gives up."""
        if self.pruner is None or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        # The metric is a loss; Optuna takes what is reported to go the way of the objective.
        sign = -1 if self.goals[0]["direction"] == "maximize" else 1
        for job in running:
            values = validated(self.plan.folder / job.run, self.watch)
            for trial in self.hand.get(job.run, ()):
                for step, value in [one for one in values if one[0] > self.reported.get(trial.number, 0)]:
                    trial.report(sign * value, step)
                    self.reported[trial.number] = step
                    if PRUNED not in trial.user_attrs and trial.should_prune():
                        trial.set_user_attr(PRUNED, step)
                        stop(job)


def _pruned(trial: Trial) -> str:
    return f"pruned at step {trial.user_attrs[PRUNED]}"


def validated(run: Path, name: str) -> list[tuple[int, float]]:
    """Return step and value of a metric as far as a run has come."""
    path = run / "metrics.jsonl"
    rows = record.read_jsonl(path) if path.exists() else []
    return [(row["step"], row[name]) for row in rows if name in row]


def _default(config: DictConfig) -> dict[str, str]:
    """Return what the script optimises, and which way."""
    if config.hydra.job.name == "benchmark":
        bench = OmegaConf.get_type(config, "bench")
        name, higher = bench.objective, bench.higher_is_better
    else:
        name = config.eval.objective.value
        higher = MEASURES[name].higher_is_better
    return {"name": name, "direction": "maximize" if higher else "minimize"}
