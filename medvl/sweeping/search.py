"""The search sweeper: Optuna proposes trials, jobs evaluate them, and a killed search resumes where it stopped.

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

from medvl.metrics import METRICS
from medvl.metrics.scoring import CHIEF
from medvl.record.directory import Record
from medvl.record.files import PRIVATE, read_jsonl
from medvl.sweeping.external_launchers import guarded
from medvl.sweeping.local import LocalLauncher
from medvl.sweeping.naming import claim_folder, plan_of, planned, refusals
from medvl.sweeping.plan import Planned, Repeat, State, numbers_of, state_of
from medvl.sweeping.spaces import space_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

log = logging.getLogger(__name__)
# Attributes of a trial: machine and folder of its sweep, name of its run directory, step at which it was pruned.
PLACE, RUN, PRUNED = "place", "run", "pruned"
LOOK_S = 1.0  # between checks of the metrics of running jobs


class OptunaSweeper(Sweeper):
    """Asks Optuna for values, runs a job for each proposal, and reports its result.

    Args:
        params: Search spaces by key in Hydra's syntax: choice(...), range(...), interval(...), tag(log, ...), int(...).
        trials: Total number of proposals, over all restarts and machines of the search.
        objectives: Numbers to optimise, {name, direction}, by their path in a run's results: after/cer,
            train/weights_mib, latency_p50_ms. None: the script's own objective.
        sampler: Makes a sampler from a seed.
        pruner: Stops jobs that validate worse than others did at the same step; None: none is stopped.
        watch: The metric in metrics.jsonl that the pruner uses; lower is better.
        storage: Any storage URL of Optuna, shared by machines that search together; None: a file in the sweep's folder.
        max_batch_size: Proposals at a time with external launchers; the local one has hydra.launcher.jobs.
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
        self.config: Any = None  # Hydra sets these
        self.launcher: Any = None
        self.params, self.trials, self.objectives = dict(params or {}), trials, objectives
        self.make_sampler, self.pruner, self.watch = sampler, pruner, watch
        self.storage, self.study_name, self.seed, self.at_once = storage, study, seed, max_batch_size or 1
        self.looked = 0.0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context
        with refusals():
            self._check()
            claim_folder(config)
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
        last = {word.get_key_element(): word for word in words}  # typed overrides win over the sweep's file
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
        """Open the study with its earlier trials.

        Raises:
            ValueError: The study was created for other objectives.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        storage = self.storage or f"sqlite:///{self.plan.folder}/search.db"
        name, goals = self.study_name or self.plan.name, [goal["direction"] for goal in self.goals]
        self.plan.search = {"storage": storage, "study": name, "objectives": self.goals, "trials": self.trials}
        directions = [optuna.study.StudyDirection[goal.upper()] for goal in goals]
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            load_if_exists=True,
            directions=directions,
            pruner=self.pruner or optuna.pruners.NopPruner(),
        )
        if (found := [direction.name.lower() for direction in study.directions]) != goals:
            raise ValueError(f"study {name} was made to {found}, not to {goals}. Set hydra.sweeper.study=<a new name>.")
        study.stop = self._exhaust  # type: ignore[method-assign]  # called by an exhausted sampler
        self.hand: dict[str, list[Trial]] = {}
        self.reported: dict[int, int] = {}
        self.exhausted = False
        self.adopted = self._adopt(study)
        if self.config.repeat is Repeat.failed:
            self._repeat_failed(study)
        self._learn(study)
        return study

    def _adopt(self, study: Study) -> list[Trial]:
        """Return the trials that this sweep was running when it was killed, but not those of other machines."""
        from optuna.trial import Trial, TrialState

        self.place = f"{socket.gethostname()}:{self.plan.folder.resolve()}"
        adopted = []
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            # A database in the sweep's folder has no other user, because the folder is locked.
            if self.storage is not None and trial.user_attrs.get(PLACE) != self.place:
                continue
            if not trial.params:  # killed before it got its values
                study.tell(trial.number, state=TrialState.FAIL)
                continue
            self.reported[trial.number] = trial.last_step or 0
            adopted.append(Trial(study, trial._trial_id))
        return adopted

    def _repeat_failed(self, study: Study) -> None:
        """Enqueue the failed trials again."""
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=[TrialState.FAIL]):
            if RUN in trial.user_attrs and state_of(self.plan.folder / trial.user_attrs[RUN]) is State.failed:
                study.enqueue_trial(trial.params)
                self.trials += 1

    def _learn(self, study: Study) -> int:
        """Add the jobs of all trials to the plan, including those of other machines; return their number."""
        asked = [trial for trial in study.get_trials(deepcopy=False) if RUN in trial.user_attrs]
        self.plan.add(Planned(trial.user_attrs[RUN], self._words(trial.params)) for trial in asked)
        self.plan.write()
        return len(asked)

    def _exhaust(self) -> None:
        self.exhausted = True

    def _next(self) -> Planned | None:
        """Return the job of the next proposal; None when all trials are made."""
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
            Record(self.plan.folder / job.run).status("pruned", error=_pruned(trial))
        return job

    def _ask(self) -> Trial:
        # Each trial has its own seed, so that a resumed search proposes what it would have proposed without the kill.
        # Machines that search together get different seeds.
        seed = self.seed + len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self.make_sampler(seed=seed + (zlib.crc32(self.place.encode()) if self.storage else 0))
        trial = self.study.ask(fixed_distributions=self.spaces)
        trial.set_user_attr(PLACE, self.place)
        return trial

    def _words(self, values: dict[str, Any]) -> list[str]:
        """Return the overrides of a job."""
        return [*(f"{key}={value}" for key, value in values.items()), *map(str, self.fixed)]

    def _stream(self, launcher: LocalLauncher) -> None:
        """Propose a job whenever a slot is free."""
        launcher.stream(self.plan, self._next, ended=self._tell, tick=self._prune)

    def _batches(self) -> None:
        """Propose a batch of jobs, wait for all of them, and repeat: external launchers can do no more."""
        while jobs := [job for job in (self._next() for _ in range(self.at_once)) if job is not None]:
            self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
            for job in jobs:
                self._tell(job)

    def _tell(self, job: Planned) -> None:
        """Report a job's result to Optuna."""
        from optuna.trial import TrialState

        run = self.plan.folder / job.run
        for trial in self.hand.pop(job.run, []):
            if PRUNED in trial.user_attrs and state_of(run) is not State.done:
                Record(run).status("pruned", error=_pruned(trial))
            state = state_of(run)
            if not state.settled:
                continue  # interrupted: the trial stays open; the next start resumes it
            values = self._values(run) if state is State.done else None
            if values is not None:
                self.study.tell(trial, values)
            else:
                pruned = state is State.pruned
                self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def _values(self, run: Path) -> list[float] | None:
        """Return the objectives of a run; None if one is missing or not finite."""
        numbers = numbers_of(run)
        lacking = [goal["name"] for goal in self.goals if not math.isfinite(numbers.get(goal["name"], math.nan))]
        if lacking:
            log.warning("%s has no %s; it has %s", run, ", ".join(lacking), ", ".join(sorted(numbers)))
            return None
        return [numbers[goal["name"]] for goal in self.goals]

    def _prune(self, running: Sequence[Planned], stop: Callable[[Planned], None]) -> None:
        """Report the validation metrics of running jobs to Optuna, and stop those that it prunes."""
        if self.pruner is None or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        # The metric is a loss, but Optuna assumes that reported values have the direction of the objective.
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
    """Return the steps and values of a metric that a run has recorded so far."""
    path = run / "metrics.jsonl"
    rows = read_jsonl(path) if path.exists() else []
    return [(row["step"], row[name]) for row in rows if name in row]


def _default(config: DictConfig) -> dict[str, str]:
    """Return the script's objective and its direction."""
    if config.hydra.job.name == "benchmark":
        bench: Any = OmegaConf.get_type(config, "bench")
        name, higher = bench.objective, bench.higher_is_better
    else:
        name = config.eval.objective.value if config.eval.objective else CHIEF[0]
        higher = METRICS[name].higher_is_better
    return {"name": name, "direction": "maximize" if higher else "minimize"}
