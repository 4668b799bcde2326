"""The grid sweeper: one job for every combination of the typed values."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from medvl.sweeping.external_launchers import guarded
from medvl.sweeping.naming import claim_folder, plan_of, planned, refusals


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, with a written plan, in a folder that the same command finds again."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        with refusals():
            claim_folder(config)
            super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
            assert self.launcher is not None
            self.launcher = guarded(self.launcher, config, hydra_context)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = parser.parse_overrides([*self._parse_config(), *arguments])
        (jobs,) = self.split_arguments(words, None)
        plan = plan_of(self.config)
        plan.add(planned(self.hydra_context, self.config, job) for job in jobs)
        with refusals():
            plan.write()
            return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Skipped, since planning has already composed every job."""
